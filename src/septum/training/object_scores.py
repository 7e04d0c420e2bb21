"""How good the objects are that maps of validation images give: what training is to improve.

Pixels hardly tell: the few between two objects decide whether they are one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from septum.evaluation.contingency import contingency
from septum.evaluation.objects import ObjectCounts, add_counts, count_objects
from septum.evaluation.truth import Truth
from septum.network.heads import Maps
from septum.prediction.instances import label_objects
from septum.prediction.separation import Separation

LARGEST_TAU = 0.9
"""IoU up to which pairs of objects are counted: beyond it, how labels were drawn decides."""
SMALL = 5
"""Percentile of the pixels of true objects that is a small one."""
SPECK = 0.5
"""Share of a small true object below which segments are left out while training goes on."""
THRESHOLDS = (0.5, 0.4, 0.6, 0.3, 0.7)
"""Object probabilities that are tried while training goes on; the core of objects has one."""


def quality(pairs: Sequence[tuple[np.ndarray, Truth]], separation: Separation) -> float:
    """How good the objects are that maps give with ``separation``, in [0, 1]."""
    return of_counts(add_counts([_count(*pair, separation) for pair in pairs]))


def of_counts(counts: ObjectCounts) -> float:
    """Mean average precision up to LARGEST_TAU."""
    chosen = [m.average_precision for tau, m in counts.matchings.items() if tau <= LARGEST_TAU]
    return float(np.mean(chosen))


def count_at_thresholds(map_MS: np.ndarray, truth: Truth, maps: Maps) -> list[ObjectCounts]:
    """What is found in one image at each of THRESHOLDS, without specks."""
    small = areas_of([truth])
    minimum = int(SPECK * np.percentile(small, SMALL)) if len(small) else 0
    seeds = 0.5 if maps == "core" else None
    return [
        _count(map_MS, truth, Separation(threshold, seeds, minimum, maps=maps))
        for threshold in THRESHOLDS
    ]


def object_error(images: Sequence[Sequence[ObjectCounts]]) -> float:
    """1 − `of_counts` of the objects of all images together, at the threshold that is best."""
    return 1 - max(of_counts(add_counts(same)) for same in zip(*images, strict=True))


def areas_of(truths: Sequence[Truth]) -> np.ndarray:
    """Pixels of each true object of each image."""
    drawn = [truth.instances_S[truth.instances_S != 0] for truth in truths]
    return np.concatenate([np.unique(ids, return_counts=True)[1] for ids in drawn])


def _count(map_MS: np.ndarray, truth: Truth, separation: Separation) -> ObjectCounts:
    """Of partly drawn truth segments count of which at least half is where it is known what is
    there: the objects drawn, and what is beside them. SEG alone would not mind what is invented.
    """
    segments_S, _ = label_objects(map_MS, separation)
    if truth.partial:
        ids = segments_S.ravel()
        inside = np.bincount(ids, truth.looked_at_S.ravel())
        segments_S = np.where((2 * inside >= np.bincount(ids))[segments_S], segments_S, 0)
    return count_objects(contingency(segments_S, truth.instances_S, truth.known_S))
