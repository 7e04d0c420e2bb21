"""The warping error: errors of topology, whatever the width and the place of borders.

Jain et al. 2010 (doi:10.1109/CVPR.2010.5539950). The truth is warped towards the prediction: pixels
that differ are flipped while that changes no topology (simple points). What differs then joins or
divides objects, or makes or fills holes. In planes only: objects hang together by their sides
(4 neighbours), the background by corners too (8), and beyond the image is background.
Shapes: Y, X the plane; N its pixels in a padded flat array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from septum.errors import InputError
from septum.evaluation.components import components, padded_components
from septum.evaluation.pixels import Bools, Numbers, check_probability, check_shapes
from septum.evaluation.thinning import THIN_THRESHOLDS

RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
"""The neighbours of a pixel, one after the other around it; those at its sides are odd."""


@dataclass(frozen=True)
class Warping:
    """What of a prediction no warping of the truth explains.

    ``error``: share of the pixels that still differ, in [0, 1]. The others count what it takes to
    make the truth's topology into the prediction's: objects joined (``mergers``) and divided
    (``splits``), holes made and gone, objects made and gone.
    """

    error: float
    mergers: int
    splits: int
    hole_additions: int
    hole_deletions: int
    object_additions: int
    object_deletions: int


def warp(
    prediction_YX: Numbers,
    truth_YX: Numbers,
    valid_YX: Bools | None = None,
    movable_YX: Bools | None = None,
) -> Warping:
    """Compare two masks, whose objects are what is not 0.

    ``movable_YX``: pixels that may be flipped, all by default; Jain's mask, for errors that lie far
    from where they may be to count as well. Pixels that are not ``valid`` are taken from the
    prediction, so they differ nowhere; they are left out of the share. Where several orders of
    flipping are possible, first come is first served, in C order. Raises InputError for other
    shapes than (Y, X), or different ones.
    """
    known = [a for a in (prediction_YX, truth_YX, valid_YX, movable_YX) if a is not None]
    check_shapes([a.shape for a in known])
    if truth_YX.ndim != 2:
        raise InputError(
            f"the warping error is that of planes (Y, X), found {truth_YX.ndim} axes; give a stack "
            "plane by plane"
        )
    warped_YX, goal_YX = _warp(prediction_YX, truth_YX, valid_YX, movable_YX)
    pixels = truth_YX.size if valid_YX is None else int(valid_YX.sum())
    differing = int((warped_YX != goal_YX).sum())
    return _explain(warped_YX, goal_YX, differing / pixels if pixels else 0.0)


def warping_error(
    probability_YX: Numbers,
    truth_YX: Numbers,
    thresholds: Sequence[float] = THIN_THRESHOLDS,
    valid_YX: Bools | None = None,
) -> tuple[Warping, float]:
    """The least `warp` error of the map over ``thresholds``, and where it is.

    Object is what is above the threshold; a mask is a map of 0 and 1: give it one threshold. Of
    equally good ones the nearest to 0.5 is taken, and of two the lower. Raises InputError for
    values outside [0, 1], no threshold, and as `warp`.
    """
    ordered = sorted(thresholds, key=lambda t: (abs(t - 0.5), t))
    found = zip(warps(probability_YX, truth_YX, ordered, valid_YX), ordered, strict=True)
    return min(found, key=lambda pair: pair[0].error)


def warps(
    probability_YX: Numbers,
    truth_YX: Numbers,
    thresholds: Sequence[float],
    valid_YX: Bools | None = None,
) -> list[Warping]:
    """`warp` of the map at each of the thresholds; see `warping_error`."""
    if len(thresholds) == 0:
        raise InputError("the warping error needs at least one threshold")
    check_shapes([a.shape for a in (probability_YX, truth_YX, valid_YX) if a is not None])
    check_probability(probability_YX if valid_YX is None else probability_YX[valid_YX])
    return [warp(probability_YX > t, truth_YX, valid_YX) for t in thresholds]


def warping_places(
    prediction_YX: Numbers, truth_YX: Numbers, valid_YX: Bools | None = None
) -> tuple[Bools, Bools]:
    """Where the prediction joins objects, and where it divides one: pixels that `warp` counts so.

    Both are of the plane's shape; each connected piece is one merger (or several), one split.
    """
    warped_YX, goal_YX = _warp(prediction_YX, truth_YX, valid_YX)
    current_N = warped_YX.astype(np.uint8).reshape(-1)
    pieces_YX, sides_P, _ = _carry_out(current_N, goal_YX & ~warped_YX, adds=True)
    mergers_YX = np.append(False, sides_P > 1)[pieces_YX]
    pieces_YX, sides_P, euler_P = _carry_out(current_N, warped_YX & ~goal_YX, adds=False)
    splits_YX = np.append(False, euler_P + 1 - sides_P > 0)[pieces_YX]
    return mergers_YX[1:-1, 1:-1], splits_YX[1:-1, 1:-1]


def _warp(
    prediction_YX: Numbers,
    truth_YX: Numbers,
    valid_YX: Bools | None,
    movable_YX: Bools | None = None,
) -> tuple[Bools, Bools]:
    """The truth, warped, and the prediction; both with a rim of background."""
    goal_YX = prediction_YX != 0
    warped_YX = truth_YX != 0
    if valid_YX is not None:
        warped_YX = np.where(valid_YX, warped_YX, goal_YX)
    movable = np.ones(goal_YX.shape, bool) if movable_YX is None else movable_YX != 0
    goal, warped, may = (np.pad(a, 1).astype(np.uint8) for a in (goal_YX, warped_YX, movable))
    _flip_simple(warped.reshape(-1), goal.reshape(-1), may.reshape(-1), _ring(goal.shape))
    return warped != 0, goal != 0


def _explain(warped_YX: Bools, goal_YX: Bools, error: float) -> Warping:
    """Carry out what is left, a connected piece at a time, and count what each does.

    Euler's number (objects less holes) changes by what each pixel does to its neighbourhood. What
    is added joins the objects beside it, what is removed the parts of the background beside it; so
    the numbers of objects and of holes are both known after each piece.
    """
    current_N = warped_YX.astype(np.uint8).reshape(-1)
    _, sides_P, euler_P = _carry_out(current_N, goal_YX & ~warped_YX, adds=True)
    objects_P, holes_P = 1 - sides_P, 1 - sides_P - euler_P
    mergers, object_additions = -_falls(objects_P), _rises(objects_P)
    hole_additions, hole_deletions = _rises(holes_P), -_falls(holes_P)
    _, sides_P, euler_P = _carry_out(current_N, warped_YX & ~goal_YX, adds=False)
    holes_P = 1 - sides_P
    objects_P = euler_P + holes_P
    return Warping(
        error=error,
        mergers=mergers,
        splits=_rises(objects_P),
        hole_additions=hole_additions + _rises(holes_P),
        hole_deletions=hole_deletions - _falls(holes_P),
        object_additions=object_additions,
        object_deletions=-_falls(objects_P),
    )


def _carry_out(
    current_N: npt.NDArray[np.uint8], change_YX: Bools, adds: bool
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Flip the pixels of ``change_YX`` in ``current_N``, piece by piece.

    The pieces, numbered from 1, and for each how many objects (parts of the background, where it is
    removed) it meets, and by how much it changes Euler's number.
    """
    inside = (slice(1, -1),) * 2  # of a rim that is there already, for neighbours
    pieces_YX, count = padded_components(change_YX[inside], corners=not adds)
    pieces_N = pieces_YX.reshape(-1)
    pixels_K = np.flatnonzero(pieces_N)
    order = np.argsort(pieces_N[pixels_K], kind="stable")
    pixels_K = pixels_K[order]
    start_P = np.searchsorted(pieces_N[pixels_K], np.arange(1, count + 2))
    parts_YX = components(current_N.reshape(change_YX.shape) == adds, corners=not adds)
    parts = int(parts_YX.max())
    sides_P, euler_P = np.zeros(count, np.int64), np.zeros(count, np.int64)
    ring = _ring(change_YX.shape)
    root_L = np.arange(parts + count + 1)
    _flip_pieces(
        current_N, pixels_K, start_P, parts_YX.reshape(-1), root_L, ring, adds, sides_P, euler_P
    )
    return np.asarray(pieces_YX, np.int32), sides_P, euler_P


def _rises(change_P: npt.NDArray[np.int64]) -> int:
    return int(change_P.clip(min=0).sum())


def _falls(change_P: npt.NDArray[np.int64]) -> int:
    return int(change_P.clip(max=0).sum())


def _ring(extents: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Steps to the neighbours in a flat array."""
    return np.array([y * extents[1] + x for y, x in RING], dtype=np.int64)


@njit(cache=True, nogil=True)
def _sides(image_N, i, ring):  # type: ignore[no-untyped-def]  # numba infers
    """Yokoi's number: parts of the object that meet at pixel i by their sides, 0 inside of it.

    1 is a simple point: to flip it changes neither the object's parts nor the background's.
    """
    found = 0
    for k in range(1, 8, 2):
        side = image_N[i + ring[k]]
        found += side - side * image_N[i + ring[(k + 1) % 8]] * image_N[i + ring[(k + 2) % 8]]
    return found


@njit(cache=True, nogil=True)
def _flip_simple(image_N, goal_N, may_N, ring):  # type: ignore[no-untyped-def]
    """Flip simple points that differ from the goal until there are none; first come first."""
    room = image_N.size + 1
    queue, waits = np.empty(room, np.int64), np.zeros(image_N.size, np.uint8)
    end = 0
    for i in range(image_N.size):
        if image_N[i] != goal_N[i] and may_N[i]:
            queue[end], waits[i] = i, 1
            end += 1
    start = 0
    while start != end:
        i = queue[start]
        start = (start + 1) % room
        waits[i] = 0
        if _sides(image_N, i, ring) != 1:
            continue
        image_N[i] = goal_N[i]
        for step in ring:
            j = i + step
            if image_N[j] != goal_N[j] and may_N[j] and not waits[j]:
                queue[end], waits[j] = j, 1
                end = (end + 1) % room


@njit(cache=True, nogil=True)
def _flip_pieces(  # type: ignore[no-untyped-def]
    image_N, pixels_K, start_P, part_N, root_L, ring, adds, sides_P, euler_P
):
    first_new = root_L.size - start_P.size + 1
    for p in range(sides_P.size):
        own = first_new + p
        for k in range(start_P[p], start_P[p + 1]):
            i = pixels_K[k]
            change = 1 - _sides(image_N, i, ring)
            euler_P[p] += change if adds else -change
            image_N[i] = adds
        for k in range(start_P[p], start_P[p + 1]):
            i = pixels_K[k]
            for n in range(1 if adds else 0, 8, 2 if adds else 1):
                part = part_N[i + ring[n]]
                while root_L[part] != part:
                    root_L[part] = root_L[root_L[part]]
                    part = root_L[part]
                if part > 0 and part != own:
                    root_L[part] = own
                    sides_P[p] += 1
        for k in range(start_P[p], start_P[p + 1]):
            part_N[pixels_K[k]] = own
