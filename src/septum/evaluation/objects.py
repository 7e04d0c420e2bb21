"""Measures of objects: which true object was found, by which segment, how well.

All are made of a table of shared pixels (`septum.evaluation.contingency`), so that they can be had
of images larger than memory, too. Shapes: S the spatial axes, T true objects, P pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from septum.errors import InputError
from septum.evaluation.contingency import Contingency, Ids, Overlaps, contingency

TAUS: tuple[float, ...] = tuple(round(0.05 * k, 2) for k in range(10, 20))
"""0.5, 0.55 … 0.95."""
Floats = npt.NDArray[np.float64]
FALSE_NEGATIVE, FALSE_POSITIVE, SPLIT = 10.0, 1.0, 5.0
"""Costs of an object that is missed, of one that is invented, and of one that has to be divided."""


@dataclass(frozen=True)
class Matching:
    """Pairs of a true object and a segment with an IoU of at least some τ, each in one pair."""

    true_positives: int
    false_positives: int
    false_negatives: int
    iou_sum: float
    """Of the pairs."""

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN), in [0, 1]; 1 where there is nothing on either side.

        The Data Science Bowl's and StarDist's. Not the area under a curve that detection has.
        """
        found = [self.true_positives, self.false_positives, self.false_negatives]
        return float(_average_precision(*np.array(found, np.float64)[:, None])[0])

    @property
    def precision(self) -> float:
        """TP / (TP + FP): how many of the segments are objects; 1 where there are none."""
        found = self.true_positives + self.false_positives
        return self.true_positives / found if found else 1.0

    @property
    def recall(self) -> float:
        """TP / (TP + FN): how many of the objects were found; 1 where there are none."""
        known = self.true_positives + self.false_negatives
        return self.true_positives / known if known else 1.0

    @property
    def panoptic_quality(self) -> float:
        """Σ IoU / (TP + ½ FP + ½ FN) (Kirillov 2019, at τ = 0.5), in [0, 1]; 1 of nothing."""
        found = [self.true_positives, self.false_positives, self.false_negatives, self.iou_sum]
        return float(_panoptic_quality(*np.array(found, np.float64)[:, None])[0])

    @property
    def mean_matched_iou(self) -> float:
        """Mean IoU of the pairs, in [τ, 1]; 0 where there is no pair."""
        return self.iou_sum / self.true_positives if self.true_positives else 0.0


def match_objects(overlaps: Overlaps, tau: float) -> Matching:
    """As many pairs of IoU ≥ ``tau`` as there can be, and of these the largest sum of IoU.

    Above 0.5 no object is in two pairs; from there down objects are assigned (Hungarian method), as
    `stardist.matching` does. Raises InputError for a ``tau`` that is not in (0, 1].
    """
    if not 0 < tau <= 1:
        raise InputError(f"tau = {tau} is not a share of two objects; use a value in (0, 1]")
    iou_P = overlaps.iou
    good = iou_P >= tau
    truth_P, segment_P, iou_P = overlaps.truth_P[good], overlaps.segment_P[good], iou_P[good]
    if len(np.unique(truth_P)) < len(truth_P) or len(np.unique(segment_P)) < len(segment_P):
        iou_P = _assign(truth_P, segment_P, iou_P)
    found = len(iou_P)
    return Matching(
        found,
        len(overlaps.segment_S) - found,
        len(overlaps.truth_T) - found,
        float(iou_P.sum()),
    )


def average_precision(segmentation_S: Ids, truth_S: Ids, tau: float = 0.5) -> float:
    """TP / (TP + FP + FN) of two label images; see `Matching`. Raises InputError."""
    return match_objects(contingency(segmentation_S, truth_S).overlaps(), tau).average_precision


def seg_of_objects(overlaps: Overlaps) -> npt.NDArray[np.float64]:
    """SEG of each true object (T,): IoU with the segment that covers more than half of it, or 0.

    The Cell Tracking Challenge's (Ulman 2017, doi:10.1038/nmeth.4473). Segments that no true object
    belongs to do not count, so truth in which only some objects were drawn will do.
    """
    seg_T = np.zeros(len(overlaps.truth_T))
    covers = 2 * overlaps.count_P > overlaps.truth_T[overlaps.truth_P]
    seg_T[overlaps.truth_P[covers]] = overlaps.iou[covers]
    return seg_T


def seg(segmentation_S: Ids, truth_S: Ids) -> float:
    """Mean of `seg_of_objects`, in [0, 1]; NaN for a truth without object, which says nothing.

    Of several images the challenge takes the mean over all of their objects.
    """
    seg_T = seg_of_objects(contingency(segmentation_S, truth_S).overlaps())
    return float(seg_T.mean()) if seg_T.size else float("nan")


@dataclass(frozen=True)
class Detection:
    """What it takes to mend a detection; ``objects``: those of the truth."""

    objects: int
    missed: int
    invented: int
    divisions: int
    """Cuts of segments that cover several true objects, one less than these each."""

    @property
    def det(self) -> float:
        """DET of the Cell Tracking Challenge, in [0, 1].

        1 − min(D, D0) / D0, where D = 10 missed + invented + 5 divisions and D0 = 10 objects, what
        it takes to draw all of them. Without true objects 1 if none is invented, else 0.
        """
        found = np.array(dataclasses.astuple(self), np.float64)
        return float(_det(*found[:, None])[0])


def detection(overlaps: Overlaps) -> Detection:
    """Which true objects a segment covers by more than half (Matula 2015, the AOGM's vertices).

    All objects have to be in the truth: of one that is partly annotated, what is right and was not
    drawn would count as invented.
    """
    covers = 2 * overlaps.count_P > overlaps.truth_T[overlaps.truth_P]
    segments, times = np.unique(overlaps.segment_P[covers], return_counts=True)
    return Detection(
        objects=len(overlaps.truth_T),
        missed=len(overlaps.truth_T) - int(covers.sum()),
        invented=len(overlaps.segment_S) - len(segments),
        divisions=int((times - 1).sum()),
    )


def add_detections(found: Sequence[Detection]) -> Detection:
    """Of several images together, as the challenge counts those of a video."""
    sums = np.sum([(0, 0, 0, 0), *map(dataclasses.astuple, found)], axis=0)
    return Detection(*sums.tolist())


@dataclass(frozen=True, eq=False)
class ObjectCounts:
    """What all measures of objects are made of, of an image or of several together.

    All of it are sums over objects, so that those of several images are added. ``seg_sum``: of
    `seg_of_objects`; ``matchings`` by τ. ``partial``: not every object was drawn, so that only
    ``seg_sum`` and the number of true objects mean anything.
    """

    seg_sum: float
    detection: Detection
    matchings: Mapping[float, Matching]
    partial: bool = False

    def scores(self) -> dict[str, float]:
        """`seg`, `det`, `ap_50` … `ap_95`, `ap_mean`, `panoptic_quality`, `mean_matched_iou`,
        `objects`, `true_objects`; of partly drawn truth `seg` and `true_objects`.

        ``seg`` and ``det`` are left out where the truth has no object, ``mean_matched_iou`` where
        there is no pair.
        """
        found = scores_of_sums(self.to_sums()[None], self.partial)
        return {name: float(value_R[0]) for name, value_R in found.items() if value_R[0] >= 0}

    def to_sums(self) -> npt.NDArray[np.float64]:
        """All sums in one array (F,), to be added in many ways at once: see `scores_of_sums`."""
        sums = [self.seg_sum, *dataclasses.astuple(self.detection)]
        for matching in self.matchings.values():
            sums += dataclasses.astuple(matching)
        return np.array(sums, np.float64)

    @classmethod
    def from_sums(cls, sums: npt.NDArray[np.float64], partial: bool = False) -> ObjectCounts:
        """What `to_sums` gave, or a sum of such arrays."""
        values = iter(sums.tolist())
        seg_sum = next(values)
        found = Detection(*map(round, islice(values, 4)))
        pairs = {}
        for tau in TAUS:
            right, invented, missed = map(round, islice(values, 3))
            pairs[tau] = Matching(right, invented, missed, next(values))
        return cls(seg_sum, found, pairs, partial)


def count_objects(table: Contingency, partial: bool = False) -> ObjectCounts:
    """Of one image; ``partial`` as in `ObjectCounts`."""
    overlaps = table.overlaps()
    return ObjectCounts(
        float(seg_of_objects(overlaps).sum()),
        detection(overlaps),
        {tau: match_objects(overlaps, tau) for tau in TAUS},
        partial,
    )


def scores_of_sums(sums_RF: Floats, partial: bool = False) -> dict[str, Floats]:
    """`ObjectCounts.scores` of R sums of `ObjectCounts.to_sums`, R numbers each; NaN: left out."""
    seg_sum, objects, *found = sums_RF.T
    by_tau = np.reshape(found[3:], (len(TAUS), 4, -1))
    nan, known = np.full(len(sums_RF), np.nan), {"true_objects": objects}
    scores = {"seg": _ratio(seg_sum, objects, nan)}
    if partial:
        return scores | known
    scores["det"] = np.where(objects > 0, _det(objects, *found[:3]), nan)
    precisions = [_average_precision(*each[:3]) for each in by_tau]
    scores |= {f"ap_{round(100 * t)}": a for t, a in zip(TAUS, precisions, strict=True)}
    scores["ap_mean"] = np.mean(precisions, axis=0)
    right, invented, _, iou_sum = half = by_tau[0]
    scores["panoptic_quality"] = _panoptic_quality(*half)
    scores["mean_matched_iou"] = _ratio(iou_sum, right, nan)
    return scores | {"objects": right + invented} | known


def add_counts(counts: Sequence[ObjectCounts]) -> ObjectCounts:
    """Of several images together: all objects count alike, whatever image they are in."""
    sums = np.sum([count.to_sums() for count in counts], axis=0)
    return ObjectCounts.from_sums(sums, any(count.partial for count in counts))


def object_scores(table: Contingency) -> dict[str, float]:
    """`ObjectCounts.scores` of one image."""
    return count_objects(table).scores()


def _ratio(part: Floats, whole: Floats, empty: Floats | float) -> Floats:
    """``part / whole``, and ``empty`` where that is of nothing."""
    return np.where(whole != 0, part / np.where(whole != 0, whole, 1), empty)


def _average_precision(right: Floats, invented: Floats, missed: Floats) -> Floats:
    return _ratio(right, right + invented + missed, 1.0)


def _panoptic_quality(right: Floats, invented: Floats, missed: Floats, iou_sum: Floats) -> Floats:
    return _ratio(iou_sum, right + (invented + missed) / 2, 1.0)


def _det(objects: Floats, missed: Floats, invented: Floats, divisions: Floats) -> Floats:
    cost = FALSE_NEGATIVE * missed + FALSE_POSITIVE * invented + SPLIT * divisions
    nothing = FALSE_NEGATIVE * objects
    return 1.0 - _ratio(np.minimum(cost, nothing), nothing, np.minimum(cost, 1.0))


def _assign(
    truth_P: npt.NDArray[np.int64],
    segment_P: npt.NDArray[np.int64],
    iou_P: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """IoU of the pairs that are chosen: as many as can be, then the best."""
    from scipy.optimize import linear_sum_assignment  # 0.7 s, which a start need not wait for

    rows, row_P = np.unique(truth_P, return_inverse=True)
    columns, column_P = np.unique(segment_P, return_inverse=True)
    # A pair more is worth more than any sum of IoU; as the others are worth 0, they are not chosen.
    worth = np.zeros((len(rows), len(columns)))
    most = min(worth.shape)
    worth[row_P, column_P] = 1 + iou_P / (2 * most)
    chosen = linear_sum_assignment(worth, maximize=True)
    found = worth[chosen]
    return np.asarray((found[found > 0] - 1) * 2 * most)
