"""Boundaries compared with a tolerance: where exactly a border lies is not known to the pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from septum.errors import InputError
from septum.evaluation.pixels import Bools, Numbers, check_shapes

TOLERANCE = 2.0
"""Pixels."""


@dataclass(frozen=True)
class BoundaryScore:
    """Each in [0, 1], 1 is best; `f1` is the harmonic mean of the other two."""

    f1: float
    precision: float
    """Share of the predicted boundary that lies near a true one."""
    recall: float
    """Share of the true boundary that lies near a predicted one."""


def boundary_f1(
    prediction_S: Numbers,
    truth_S: Numbers,
    tolerance: float = TOLERANCE,
    valid_S: Bools | None = None,
) -> BoundaryScore:
    """F1 of boundary pixels within ``tolerance`` of each other (Csurka 2013, Martin 2004).

    Both are masks, class ids or object ids of one shape; a pixel is boundary if it is not 0 and a
    neighbour by a face has another value; beyond the image there is none. ``tolerance``: Euclidean,
    in pixels, from 0 up. Pixels that are not valid are no boundary, and none is near for what lies
    there. Without boundaries on one side the other's share is 0, without any all are 1. Raises
    InputError for other shapes or a negative tolerance.
    """
    check_shapes([a.shape for a in (prediction_S, truth_S, valid_S) if a is not None])
    if not tolerance >= 0:
        raise InputError(f"tolerance = {tolerance} pixels: use 0 or more")
    found, true = boundaries(prediction_S), boundaries(truth_S)
    if valid_S is not None:
        found, true = found & valid_S, true & valid_S
    precision, recall = _share_near(found, true, tolerance), _share_near(true, found, tolerance)
    total = precision + recall
    return BoundaryScore(2 * precision * recall / total if total else 0.0, precision, recall)


def boundaries(ids_S: Numbers) -> Bools:
    """The innermost pixels of each object along its sides; of objects that touch, of both."""
    found = np.zeros(ids_S.shape, dtype=bool)
    for axis in range(ids_S.ndim):
        before = (slice(None),) * axis + (slice(None, -1),)
        after = (slice(None),) * axis + (slice(1, None),)
        differ = ids_S[before] != ids_S[after]
        found[before] |= differ
        found[after] |= differ
    return np.asarray(found & (ids_S != 0), dtype=bool)


def _share_near(of: Bools, others: Bools, tolerance: float) -> float:
    count = int(of.sum())
    if count == 0:
        return 1.0 if not others.any() else 0.0
    if not others.any():
        return 0.0
    distance = ndimage.distance_transform_edt(~others)
    return int((distance[of] <= tolerance).sum()) / count
