"""Measures that compare two partitions of an image into objects, whatever the objects' ids.

The Rand F-score here is that of Arganda-Carreras et al. 2015 (doi:10.3389/fnana.2015.00142), in
its original form of the ISBI 2012 challenge: over unordered pairs of different pixels, restricted
to the truth's foreground. Arrays have any shape S; ids are integers from 0, and 0 is no object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from septum.errors import InputError
from septum.evaluation.components import components
from septum.evaluation.contingency import (
    Contingency,
    Counts,
    Ids,
    compact,
    contingency,
    count_pairs,
)
from septum.evaluation.pixels import Bools, Numbers, check_probability, check_shapes

Background = Literal["segment", "unassigned"]

THRESHOLDS: tuple[float, ...] = tuple(round(0.05 * k, 2) for k in range(1, 20))
"""0.05, 0.10 … 0.95."""


@dataclass(frozen=True)
class RandScore:
    """Each in [0, 1], 1 is best; `f_score` is the harmonic mean of the other two."""

    f_score: float
    precision: float
    """Of the pixel pairs in one segment, the share in one true object: low after merges."""
    recall: float
    """Of the pixel pairs in one true object, the share in one segment: low after splits."""


def rand_f_score(
    segmentation_S: Ids, truth_S: Ids, background: Background = "segment"
) -> RandScore:
    """Foreground-restricted Rand F-score of two label images.

    Pixels where the truth is 0 do not count. Where the segmentation is 0 inside the truth's
    foreground, `background` says what that is:

    - "segment": one segment like any other. So does scikit-image's `adapted_rand_error`, whose
      error is 1 − `f_score`. (Its second and third results are this `recall` and this
      `precision`: scikit-image 0.26 has the two names the other way round from its own text.)
    - "unassigned": each such pixel is alone, in no pair. So does the ISBI 2012 challenge (Fiji's
      `RandError`), where a membrane drawn too wide costs the pixels it covers and no merge.

    A ratio with no pair at all in its denominator is 1 (nothing was there to get wrong), so an
    empty truth scores 1; truth with pairs against a segmentation without any has recall 0, F 0.
    Raises InputError as `contingency`.
    """
    return rand_of(contingency(segmentation_S, truth_S), background)


@dataclass(frozen=True)
class Variation:
    """Variation of information (Meila 2007) in bits, each 0 at best and at most log2 of the pixels.

    Their sum is the variation itself, which is a metric.
    """

    split: float
    """H(segmentation | truth): what it takes to say which part of a true object a pixel is in."""
    merge: float
    """H(truth | segmentation): what it takes to say which of the objects of a segment it is in."""


def variation_of_information(segmentation_S: Ids, truth_S: Ids) -> Variation:
    """Variation of information of two label images, restricted to the truth's foreground.

    Pixels where the truth is 0 do not count; where the segmentation is 0 inside the truth's
    foreground, that is a segment like any other. So does scikit-image's
    `variation_of_information(truth, segmentation, ignore_labels=(0,))`, whose two results are
    ``split`` and ``merge``. 0 and 0 for an empty truth. Raises InputError as `contingency`.
    """
    return variation_of(contingency(segmentation_S, truth_S))


def variation_of(table: Contingency) -> Variation:
    """`variation_of_information` of a table that was counted already."""
    table = table.foreground()
    joint = _entropy(table.count)
    segment = _entropy(np.bincount(_rank(table.segment), weights=table.count))
    truth = _entropy(np.bincount(_rank(table.truth), weights=table.count))
    return Variation(split=max(joint - truth, 0.0), merge=max(joint - segment, 0.0))


def _entropy(count_K: npt.NDArray[np.number]) -> float:
    """Bits of a choice in proportion to the counts."""
    total = float(count_K.sum())
    if total == 0:
        return 0.0
    share_K = count_K[count_K > 0] / total
    return float(-(share_K * np.log2(share_K)).sum())


def rand_error(
    probability_S: Numbers,
    truth_S: Numbers,
    thresholds: Sequence[float] = THRESHOLDS,
    valid_S: Bools | None = None,
    background: Background = "unassigned",
) -> tuple[float, float]:
    """The ISBI 2012 Rand error, 1 − the largest Rand F-score over `thresholds`, and where it is.

    At a threshold t the segments are the connected components, by faces, of the pixels with an
    object's probability > t. A boolean truth is taken apart in the same way; an integer truth is
    object ids already. A mask is a map of 0 and 1: give it one threshold.

    The default `background` is the challenge's own (see `rand_f_score`); it matters: with
    "segment" all pixels of the membrane are one more segment, which thin membranes never deserve.
    Of equally good thresholds the nearest to 0.5 is returned, and of two the lower.

    Pixels that are not valid count for nothing and are background to both sides before their
    components are found: a bridge across them joins nothing.
    Raises InputError for values outside [0, 1], no threshold, or different shapes.
    """
    error_T = rand_errors(probability_S, truth_S, thresholds, valid_S, background)
    return _smallest(error_T, thresholds)


def best_threshold(
    probabilities: Sequence[Numbers],
    truths: Sequence[Numbers],
    thresholds: Sequence[float] = THRESHOLDS,
    valids: Sequence[Bools | None] | None = None,
    background: Background = "unassigned",
) -> tuple[float, float]:
    """The one threshold with the smallest mean `rand_error` over images, and that mean.

    Images may differ in size. Ties and errors as `rand_error`; raises InputError for no image or
    lists of different lengths.
    """
    valids = [None] * len(truths) if valids is None else valids
    if not len(probabilities) == len(truths) == len(valids) or not truths:
        raise InputError(
            f"a threshold needs as many predictions as truths and at least one, found "
            f"{len(probabilities)} and {len(truths)}"
        )
    errors_NT = [
        rand_errors(probability, truth, thresholds, valid, background)
        for probability, truth, valid in zip(probabilities, truths, valids, strict=True)
    ]
    error, threshold = _smallest(np.mean(errors_NT, axis=0), thresholds)
    return threshold, error


def flat_truth(
    probability_S: Numbers, truth_S: Numbers, thresholds: Sequence[float], valid_S: Bools | None
) -> tuple[npt.NDArray[np.int32], Counts]:
    """The true objects as `compact` gives them, 0 where pixels are not valid.

    A boolean truth is taken apart into components. Raises InputError for values of the map outside
    [0, 1], no threshold, or different shapes.
    """
    if len(thresholds) == 0:
        raise InputError("at least one threshold is needed, found none")
    check_shapes([a.shape for a in (probability_S, truth_S, valid_S) if a is not None])
    check_probability(probability_S if valid_S is None else probability_S[valid_S])
    if valid_S is not None:
        truth_S = np.where(valid_S, truth_S, truth_S.dtype.type(0))
    if truth_S.dtype == bool:
        truth_S = components(truth_S.astype(bool, copy=False))
    return compact(truth_S, "truth")


def rand_errors(
    probability_S: Numbers,
    truth_S: Numbers,
    thresholds: Sequence[float],
    valid_S: Bools | None = None,
    background: Background = "unassigned",
) -> npt.NDArray[np.float64]:
    """`rand_error` at each of the thresholds."""
    truth_N, truth_ids = flat_truth(probability_S, truth_S, thresholds, valid_S)
    errors = []
    for threshold in thresholds:
        object_S = probability_S > threshold
        if valid_S is not None:
            object_S &= valid_S
        segment_N = components(object_S).ravel()
        segments = int(segment_N.max(initial=0)) + 1
        table = count_pairs(segment_N, segments, truth_N, len(truth_ids))
        errors.append(1.0 - rand_of(table, background).f_score)
    return np.array(errors)


def _smallest(error_T: npt.NDArray[np.float64], thresholds: Sequence[float]) -> tuple[float, float]:
    best = min(
        range(len(thresholds)),
        key=lambda k: (error_T[k], abs(thresholds[k] - 0.5), thresholds[k]),
    )
    return float(error_T[best]), float(thresholds[best])


def rand_of(table: Contingency, background: Background = "segment") -> RandScore:
    """`rand_f_score` of a table that was counted already."""
    table = table.foreground()
    segment_K, count_K = table.segment, table.count
    truth_pairs = _pairs(np.bincount(_rank(table.truth), weights=count_K))
    if background == "unassigned":
        assigned_K = segment_K != 0
        segment_K, count_K = segment_K[assigned_K], count_K[assigned_K]
    segment_pairs = _pairs(np.bincount(_rank(segment_K), weights=count_K))
    common = _pairs(count_K)
    total = truth_pairs + segment_pairs
    return RandScore(
        f_score=2.0 * common / total if total else 1.0,
        precision=common / segment_pairs if segment_pairs else 1.0,
        recall=common / truth_pairs if truth_pairs else 1.0,
    )


def _pairs(count_K: npt.NDArray[np.number]) -> float:
    size_K = count_K.astype(np.float64)
    return float(size_K @ size_K - size_K.sum())  # twice the pairs: the 2 cancels in every ratio


def _rank(id_K: Counts) -> npt.NDArray[np.intp]:
    return np.unique(id_K, return_inverse=True)[1]  # original ids may be far apart
