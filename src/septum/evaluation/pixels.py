"""Measures that compare pixel by pixel and know nothing of objects.

Arrays have any shape S, the same for prediction, truth and `valid`. `valid` is False at ignored
pixels; these are left out of every count, so what is predicted there changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from septum.errors import InputError

Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.number] | Bools


def pixel_error(
    prediction_S: Numbers,
    truth_S: Numbers,
    valid_S: Bools | None = None,
    threshold: float = 0.5,
) -> float:
    """Share of the pixels that are wrong, in [0, 1]; 0 where no pixel counts.

    A floating prediction is the object's probability in [0, 1]: above `threshold` is object, and
    the truth is object where it is not 0. Otherwise both are class ids and must be equal; a
    boolean on either side makes both boolean (a mask of 0 and 255 fits a boolean truth).

    This is plain disagreement, not the ISBI 2012 table's pixel error: that is `pixel_f_error`.
    Raises InputError where shapes differ or a probability is outside [0, 1].
    """
    prediction_N, truth_N = _counted(prediction_S, truth_S, valid_S)
    if prediction_N.dtype.kind == "f":
        check_probability(prediction_N)
        wrong_N = (prediction_N > threshold) != (truth_N != 0)
    elif bool in (prediction_N.dtype, truth_N.dtype):
        wrong_N = (prediction_N != 0) != (truth_N != 0)
    else:
        wrong_N = prediction_N != truth_N
    return float(wrong_N.mean()) if wrong_N.size else 0.0


def pixel_f_error(probability_S: Numbers, truth_S: Numbers, valid_S: Bools | None = None) -> float:
    """1 minus the largest F-score of the object's pixels over all thresholds, in [0, 1].

    The pixel error of the ISBI 2012 challenge (Arganda-Carreras et al. 2015): at a threshold t,
    pixels with probability > t are object, F = 2 TP / (2 TP + FP + FN). Exact: every distinct
    value of the map is tried, none is binned. Not symmetric: the object is what is not 0 in the
    truth. A truth without object is met by the threshold that leaves nothing: 0.
    Raises InputError as `pixel_error`.
    """
    probability_N, truth_N = _counted(probability_S, truth_S, valid_S)
    check_probability(probability_N)
    object_N = truth_N != 0
    object_count = int(object_N.sum())
    if object_count == 0:
        return 0.0
    hits_K, chosen_K = _hits_by_threshold(probability_N, object_N)
    f_scores_K = 2.0 * hits_K / (chosen_K + object_count)
    return float(1.0 - f_scores_K.max())


def dice(mask_S: Numbers, truth_S: Numbers, valid_S: Bools | None = None) -> float:
    """2 |A and B| / (|A| + |B|) of the pixels that are not 0, in [0, 1]; 1 where both are empty.

    Raises InputError where shapes differ.
    """
    common, mask_count, truth_count = _overlap(mask_S, truth_S, valid_S)
    total = mask_count + truth_count
    return 2.0 * common / total if total else 1.0


def iou(mask_S: Numbers, truth_S: Numbers, valid_S: Bools | None = None) -> float:
    """|A and B| / |A or B| of the pixels that are not 0, in [0, 1]; 1 where both are empty.

    Raises InputError where shapes differ.
    """
    common, mask_count, truth_count = _overlap(mask_S, truth_S, valid_S)
    union = mask_count + truth_count - common
    return common / union if union else 1.0


def precision_recall(
    mask_S: Numbers, truth_S: Numbers, valid_S: Bools | None = None
) -> tuple[float, float]:
    """Share of the mask that is object, and share of the object that is mask; each in [0, 1].

    Objects are the pixels that are not 0. Precision is 1 for an empty mask, recall for an empty
    truth: nothing was said wrongly, nothing was to be found. Raises InputError for other shapes.
    """
    common, mask_count, truth_count = _overlap(mask_S, truth_S, valid_S)
    precision = common / mask_count if mask_count else 1.0
    return precision, common / truth_count if truth_count else 1.0


def map_average_precision(
    probability_S: Numbers, truth_S: Numbers, valid_S: Bools | None = None
) -> float:
    """Area under precision against recall of the object's pixels, over all thresholds, in [0, 1].

    Σ (R_k − R_{k−1}) P_k, where the k-th threshold is the k-th largest distinct value: what
    scikit-learn's `average_precision_score` is, not interpolated. 1 for a truth without object.
    (The AP of objects is `septum.evaluation.objects.average_precision`.) Raises InputError as
    `pixel_error`.
    """
    probability_N, truth_N = _counted(probability_S, truth_S, valid_S)
    check_probability(probability_N)
    object_N = truth_N != 0
    object_count = int(object_N.sum())
    if object_count == 0:
        return 1.0
    hits_K, chosen_K = _hits_by_threshold(probability_N, object_N)
    recalls_K = np.diff(hits_K, prepend=0) / object_count
    return float((recalls_K * hits_K / chosen_K).sum())


def class_iou(
    prediction_S: Numbers,
    truth_S: Numbers,
    class_count: int,
    valid_S: Bools | None = None,
) -> dict[int, float]:
    """IoU of each class 0 … class_count − 1 between two maps of class ids.

    A class that is in neither map has 1. An id at a pixel that counts and is not below
    `class_count` raises InputError: a wrong id must not vanish from every class.
    """
    table_TP = _confusion(prediction_S, truth_S, class_count, valid_S)
    common_C = np.diag(table_TP)
    union_C = table_TP.sum(0) + table_TP.sum(1) - common_C
    return {k: float(common_C[k] / union_C[k]) if union_C[k] else 1.0 for k in range(class_count)}


def class_dice(
    prediction_S: Numbers,
    truth_S: Numbers,
    class_count: int,
    valid_S: Bools | None = None,
) -> dict[int, float]:
    """Dice of each class; edge cases and errors as `class_iou`."""
    table_TP = _confusion(prediction_S, truth_S, class_count, valid_S)
    common_C = np.diag(table_TP)
    total_C = table_TP.sum(0) + table_TP.sum(1)
    return {
        k: float(2 * common_C[k] / total_C[k]) if total_C[k] else 1.0 for k in range(class_count)
    }


def mask_iou(
    prediction_S: npt.NDArray[np.integer],
    truth_S: npt.NDArray[np.integer],
    class_count: int,
    valid_S: Bools | None = None,
) -> dict[int, float]:
    """IoU of each overlapping class 1 … class_count − 1, class k being bit k − 1 of both maps.

    1 for a class that is in neither.
    """
    return {
        k: iou((prediction_S >> (k - 1)) & 1, (truth_S >> (k - 1)) & 1, valid_S)
        for k in range(1, class_count)
    }


def mean_of_objects(values: dict[int, float]) -> float:
    """Mean over the classes above 0. With two classes that is the object's own value."""
    return float(np.mean([value for k, value in values.items() if k > 0]))


def check_probability(probability_S: Numbers) -> None:
    """Raise InputError unless every value is in [0, 1]; NaN is not."""
    if probability_S.size == 0:
        return
    low, high = float(probability_S.min()), float(probability_S.max())
    if not (low >= 0.0 and high <= 1.0):  # so written, NaN fails too
        raise InputError(
            f"probabilities must lie in [0, 1], found {low:g} … {high:g}: "
            "give a probability map, or a mask of class ids"
        )


def check_shapes(shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise InputError unless all are equal."""
    if len(set(shapes)) > 1:
        raise InputError(
            "prediction, truth and valid pixels must have one shape, found "
            + ", ".join(" × ".join(map(str, shape)) for shape in shapes)
        )


def _counted(
    prediction_S: Numbers, truth_S: Numbers, valid_S: Bools | None
) -> tuple[Numbers, Numbers]:
    if valid_S is None:
        check_shapes([prediction_S.shape, truth_S.shape])
        return prediction_S.ravel(), truth_S.ravel()
    check_shapes([prediction_S.shape, truth_S.shape, valid_S.shape])
    return prediction_S[valid_S], truth_S[valid_S]


def _hits_by_threshold(
    probability_N: Numbers, object_N: Bools
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each distinct value, largest first: object pixels of that value or more, and pixels."""
    order = np.argsort(probability_N)[::-1]
    falling_N = probability_N[order]
    # Pixels of one value pass together: a threshold lies only after the last of them.
    last_K = np.append(np.flatnonzero(falling_N[1:] != falling_N[:-1]), falling_N.size - 1)
    return np.cumsum(object_N[order])[last_K], last_K + 1


def _overlap(mask_S: Numbers, truth_S: Numbers, valid_S: Bools | None) -> tuple[int, int, int]:
    mask_N, truth_N = _counted(mask_S, truth_S, valid_S)
    mask_N, truth_N = mask_N != 0, truth_N != 0
    return int((mask_N & truth_N).sum()), int(mask_N.sum()), int(truth_N.sum())


def _confusion(
    prediction_S: Numbers, truth_S: Numbers, class_count: int, valid_S: Bools | None
) -> npt.NDArray[np.int64]:
    prediction_N, truth_N = _counted(prediction_S, truth_S, valid_S)
    for name, ids_N in (("prediction", prediction_N), ("truth", truth_N)):
        if ids_N.dtype.kind not in "bui":
            raise InputError(f"the {name} must be a map of class ids, found {ids_N.dtype}")
        if ids_N.size and not 0 <= int(ids_N.min()) <= int(ids_N.max()) < class_count:
            raise InputError(
                f"the {name} has class ids {ids_N.min()} … {ids_N.max()}, "
                f"expected 0 … {class_count - 1}"
            )
    pairs_N = truth_N.astype(np.int64) * class_count + prediction_N.astype(np.int64)
    counts = np.bincount(pairs_N, minlength=class_count * class_count)
    return counts.reshape(class_count, class_count).astype(np.int64)
