"""The measures of one image: those that are cheap, and all that fit a map, a mask or objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from septum.annotation.labels import IGNORE
from septum.errors import InputError
from septum.evaluation.boundaries import boundary_f1
from septum.evaluation.contingency import Contingency, Ids, contingency
from septum.evaluation.measures import MASK, measure
from septum.evaluation.objects import ObjectCounts, count_objects
from septum.evaluation.overlapping import count_bits, scores_of_bits
from septum.evaluation.partitions import (
    THRESHOLDS,
    rand_error,
    rand_errors,
    rand_of,
    variation_of,
)
from septum.evaluation.pixels import (
    Bools,
    Numbers,
    check_shapes,
    count_classes,
    dice,
    iou,
    map_average_precision,
    pixel_error,
    pixel_f_error,
    precision_recall,
    scores_of_classes,
)
from septum.evaluation.thinning import THIN_THRESHOLDS, v_scores_at
from septum.evaluation.truth import Truth
from septum.evaluation.warping import warps

IGNORED = IGNORE
"""The class id of pixels that are left out of every measure."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A measure at each of T thresholds."""

    name: str
    thresholds: tuple[float, ...]
    value_T: npt.NDArray[np.float64]

    @property
    def best(self) -> int:
        """Where it is best; of equally good ones that nearest to 0.5, and of two the lower."""
        sign = 1 if measure(self.name).best == "low" else -1

        def rank(k: int) -> tuple[float, float, float]:
            t = self.thresholds[k]
            return sign * float(self.value_T[k]), abs(t - 0.5), t

        return min(range(len(self.thresholds)), key=rank)

    def scores(self) -> dict[str, float]:
        """The best value and, where there was a choice, its threshold."""
        found = {self.name: float(self.value_T[self.best])}
        if len(self.thresholds) > 1:
            threshold = f"{self.name.removesuffix('_error')}_threshold"
            found[threshold] = float(self.thresholds[self.best])
        return found


@dataclass(frozen=True, eq=False)
class Scores:
    """The measures of an image by name, and what they are made of, to be put together with others.

    ``curves`` by the name of their measure; of maps only. ``objects``: None if none were compared.
    """

    values: dict[str, float]
    curves: Mapping[str, Curve] = field(default_factory=dict)
    objects: ObjectCounts | None = None

    def of_mask(self) -> Scores:
        """The same under names that say that a mask was measured."""
        return Scores({MASK + name: value for name, value in self.values.items()})


def score_image(
    prediction_S: Numbers,
    truth_S: npt.NDArray[np.uint8],
    instances_S: Ids | None = None,
    class_count: int = 2,
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[str, float]:
    """The measures that are cheap enough for training, by name; all lower = better but `dice` and
    `iou`.

    `truth_S` has class ids, 0 is background, 255 is ignored. `instances_S` are the objects' ids
    (0: none); without them the objects are the components of class 1.

    - A floating prediction is the object's probability, of a truth with two classes: pixel_error,
      dice and iou at 0.5; pixel_f_error; rand_error, the least over `thresholds`, and
      rand_threshold, where that is.
    - A boolean or integer prediction is a map of class ids: pixel_error, dice, iou, rand_error.
    - With more than two classes: pixel_error, iou_1, iou_2, …, and dice and iou as means over the
      classes above 0. No Rand error: touching objects of different classes have no one partition.

    Raises InputError where the prediction is not of that kind or the shapes differ.
    """
    check_shapes([a.shape for a in (prediction_S, truth_S, instances_S) if a is not None])
    valid_S = truth_S != IGNORED
    is_probability = prediction_S.dtype.kind == "f"
    if class_count > 2:
        return score_classes(prediction_S, truth_S, class_count)
    object_S = valid_S & (truth_S != 0)
    scores = _score_pixels(prediction_S, object_S, valid_S)
    parts_S = object_S if instances_S is None else instances_S
    if is_probability:
        error, threshold = rand_error(prediction_S, parts_S, thresholds, valid_S)
        scores["rand_error"], scores["rand_threshold"] = error, threshold
    else:
        scores["rand_error"] = rand_error(prediction_S != 0, parts_S, [0.5], valid_S)[0]
    return scores


def score_classes(
    prediction_S: Numbers, truth_S: npt.NDArray[np.uint8], class_count: int
) -> dict[str, float]:
    """Of a map of class ids: pixel_error, dice, iou, iou_1, iou_2, …; see `score_image`."""
    if prediction_S.dtype.kind == "f":
        raise InputError(
            f"{class_count} classes are compared as a map of class ids, "
            "found the probability of one object"
        )
    valid_S = truth_S != IGNORED
    return scores_of_classes(count_classes(prediction_S, truth_S, class_count, valid_S))


def score_overlapping(
    prediction_S: npt.NDArray[np.integer], truth_S: npt.NDArray[np.uint8], class_count: int
) -> dict[str, float]:
    """Of classes that overlap, bits of both maps: pixel_error, dice, iou, iou_1, iou_2, …

    A pixel is wrong if any of its classes is. Raises InputError for classes that the truth has not.
    """
    return scores_of_bits(count_bits(prediction_S, truth_S, class_count))


def score_map(map_S: Numbers, truth: Truth) -> Scores:
    """Every measure of a map of one object: floating, its probabilities, else a mask.

    Of probabilities, pixels are compared at 0.5, objects at the threshold that is best for this
    image, each measure at its own. The warping error is that of planes, and left out of volumes.
    Raises InputError for other values or shapes.
    """
    check_shapes([map_S.shape, truth.classes_S.shape])
    is_probability = map_S.dtype.kind == "f"
    valid_S, object_S = truth.valid, truth.foreground
    # Ignored pixels are background on both sides: what is predicted there changes nothing.
    map_S = np.where(valid_S, map_S, map_S.dtype.type(0))
    if not is_probability:
        map_S = map_S != 0
    mask_S = map_S > 0.5 if is_probability else map_S
    values = _score_pixels(map_S, object_S, valid_S)
    values["precision"], values["recall"] = precision_recall(mask_S, object_S, valid_S)
    if is_probability:
        values["map_average_precision"] = map_average_precision(map_S, object_S, valid_S)
    values["boundary_f1"] = boundary_f1(mask_S, truth.instances_S, valid_S=valid_S).f1
    rand_T = THRESHOLDS if is_probability else (0.5,)
    thin_T = THIN_THRESHOLDS if is_probability else (0.5,)
    error_T = rand_errors(map_S, truth.instances_S, rand_T, valid_S)
    v_rand_T, v_info_T = v_scores_at(map_S, truth.instances_S, thin_T, valid_S).T
    curves = [
        Curve("rand_error", rand_T, error_T),
        Curve("v_rand", thin_T, v_rand_T),
        Curve("v_info", thin_T, v_info_T),
    ]
    counts: dict[str, float] = {}
    if map_S.ndim == 2:
        # Touching objects are told apart by a seam, as a mask has to, which has no ids.
        found_T = warps(map_S, truth.parted_S, thin_T, valid_S)
        curves.append(Curve("warping_error", thin_T, np.array([each.error for each in found_T])))
        warping = found_T[curves[-1].best]
        counts = {
            "warping_mergers": float(warping.mergers),
            "warping_splits": float(warping.splits),
            "warping_hole_additions": float(warping.hole_additions),
            "warping_hole_deletions": float(warping.hole_deletions),
            "warping_object_additions": float(warping.object_additions),
            "warping_object_deletions": float(warping.object_deletions),
        }
    for curve in curves:
        values |= curve.scores()
    return Scores(values | counts, {c.name: c for c in curves} if is_probability else {})


def score_objects(segments_S: Ids, truth: Truth) -> Scores:
    """Every measure of numbered objects; of partly drawn truth only SEG. Raises InputError."""
    return score_table(contingency(segments_S, truth.instances_S, truth.known_S), truth.partial)


def score_table(table: Contingency, partial: bool = False) -> Scores:
    """`score_objects` of a table that was counted already."""
    counts = count_objects(table, partial)
    values = counts.scores()
    if not partial:
        variation = variation_of(table)
        values["adapted_rand_error"] = 1.0 - rand_of(table).f_score
        values["vi_split"], values["vi_merge"] = variation.split, variation.merge
    return Scores(values, objects=counts)


def _score_pixels(map_S: Numbers, object_S: Bools, valid_S: Bools) -> dict[str, float]:
    is_probability = map_S.dtype.kind == "f"
    mask_S = map_S > 0.5 if is_probability else map_S != 0
    scores = {"pixel_error": pixel_error(map_S, object_S, valid_S)}
    if is_probability:
        scores["pixel_f_error"] = pixel_f_error(map_S, object_S, valid_S)
    scores["dice"] = dice(mask_S, object_S, valid_S)
    scores["iou"] = iou(mask_S, object_S, valid_S)
    return scores
