"""Measures of objects: which true object was found, by which segment, how well.

All are made of a table of shared pixels (`septum.evaluation.contingency`), so that they can be had
of images larger than memory, too. Shapes: S the spatial axes, T true objects, P pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from septum.errors import InputError
from septum.evaluation.contingency import Contingency, Ids, Overlaps, contingency

TAUS: tuple[float, ...] = tuple(round(0.05 * k, 2) for k in range(10, 20))
"""0.5, 0.55 … 0.95."""
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
        total = self.true_positives + self.false_positives + self.false_negatives
        return self.true_positives / total if total else 1.0

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
        total = self.true_positives + (self.false_positives + self.false_negatives) / 2
        return self.iou_sum / total if total else 1.0

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


def add_matchings(matchings: Sequence[Matching]) -> Matching:
    """Of several images together: all objects count alike, whatever image they are in."""
    return _sum(Matching, matchings)


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
        cost = FALSE_NEGATIVE * self.missed + FALSE_POSITIVE * self.invented
        cost += SPLIT * self.divisions
        nothing = FALSE_NEGATIVE * self.objects
        if nothing == 0:
            return 0.0 if cost else 1.0
        return 1.0 - min(cost, nothing) / nothing


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
    return _sum(Detection, found)


@dataclass(frozen=True, eq=False)
class ObjectCounts:
    """What all measures of objects are made of, of an image or of several together.

    ``seg_T``: `seg_of_objects`; ``matchings`` by τ. ``partial``: not every object was drawn, so
    that only ``seg_T`` means anything.
    """

    seg_T: npt.NDArray[np.float64]
    detection: Detection
    matchings: Mapping[float, Matching]
    partial: bool = False

    def scores(self) -> dict[str, float]:
        """`seg`, `det`, `ap_50` … `ap_95`, `ap_mean`, `panoptic_quality`, `mean_matched_iou`,
        `objects`, `true_objects`; of partly drawn truth `seg` and `true_objects`.

        ``seg`` and ``det`` are left out where the truth has no object, ``mean_matched_iou`` where
        there is no pair.
        """
        scores: dict[str, float] = {}
        known = {"true_objects": float(len(self.seg_T))}
        if len(self.seg_T):
            scores["seg"] = float(self.seg_T.mean())
        if self.partial:
            return scores | known
        if len(self.seg_T):
            scores["det"] = self.detection.det
        for tau, matching in self.matchings.items():
            scores[f"ap_{round(100 * tau)}"] = matching.average_precision
        precisions = [m.average_precision for m in self.matchings.values()]
        scores["ap_mean"] = float(np.mean(precisions))
        half = self.matchings[0.5]
        scores["panoptic_quality"] = half.panoptic_quality
        if half.true_positives:
            scores["mean_matched_iou"] = half.mean_matched_iou
        scores["objects"] = float(half.true_positives + half.false_positives)
        return scores | known


def count_objects(table: Contingency, partial: bool = False) -> ObjectCounts:
    """Of one image; ``partial`` as in `ObjectCounts`."""
    overlaps = table.overlaps()
    return ObjectCounts(
        seg_of_objects(overlaps),
        detection(overlaps),
        {tau: match_objects(overlaps, tau) for tau in TAUS},
        partial,
    )


def add_counts(counts: Sequence[ObjectCounts]) -> ObjectCounts:
    """Of several images together: all objects count alike, whatever image they are in."""
    return ObjectCounts(
        np.concatenate([count.seg_T for count in counts]),
        add_detections([count.detection for count in counts]),
        {tau: add_matchings([count.matchings[tau] for count in counts]) for tau in TAUS},
        any(count.partial for count in counts),
    )


def object_scores(table: Contingency) -> dict[str, float]:
    """`ObjectCounts.scores` of one image."""
    return count_objects(table).scores()


Counted = TypeVar("Counted", Matching, Detection)


def _sum(kind: type[Counted], found: Sequence[Counted]) -> Counted:
    """Field by field."""
    return kind(*(sum(getattr(each, f.name) for each in found) for f in dataclasses.fields(kind)))


def _assign(
    truth_P: npt.NDArray[np.int64],
    segment_P: npt.NDArray[np.int64],
    iou_P: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """IoU of the pairs that are chosen: as many as can be, then the best."""
    rows, row_P = np.unique(truth_P, return_inverse=True)
    columns, column_P = np.unique(segment_P, return_inverse=True)
    # A pair more is worth more than any sum of IoU; as the others are worth 0, they are not chosen.
    worth = np.zeros((len(rows), len(columns)))
    most = min(worth.shape)
    worth[row_P, column_P] = 1 + iou_P / (2 * most)
    chosen = linear_sum_assignment(worth, maximize=True)
    found = worth[chosen]
    return np.asarray((found[found > 0] - 1) * 2 * most)
