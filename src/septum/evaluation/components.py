"""Connected components of masks, of any number of axes; the same as scipy's, and faster.

Shapes: S the axes of a mask, N the pixels of a flat array with a rim of one pixel around it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import njit

from septum.evaluation.pixels import Bools

Ids = npt.NDArray[np.int32]


def components(object_S: Bools, corners: bool = False) -> npt.NDArray[np.int32]:
    """Ids 1, 2, … of the connected components, in order of their first pixels; 0 outside.

    Neighbours share a face (4 in 2D, 6 in 3D), or, with ``corners``, a corner at least (8, 26).
    """
    ids_S, _ = padded_components(object_S, corners)
    return np.ascontiguousarray(ids_S[(slice(1, -1),) * object_S.ndim])


def padded_components(object_S: Bools, corners: bool = False) -> tuple[npt.NDArray[np.int32], int]:
    """As `components`, with a rim of zeros around it; and how many there are."""
    padded_S = np.zeros([extent + 2 for extent in object_S.shape], dtype=np.int32)
    padded_S[(slice(1, -1),) * object_S.ndim] = object_S
    steps = offsets(padded_S.shape, corners)
    return padded_S, int(_label(padded_S.reshape(-1), steps[: len(steps) // 2]))


def offsets(extents: Sequence[int], corners: bool = False) -> npt.NDArray[np.int64]:
    """Steps in a flat C-ordered array of these extents to the neighbours of a pixel.

    Those to pixels before it come first, and those after it in the opposite order.
    """
    strides = [int(np.prod(extents[axis + 1 :], dtype=np.int64)) for axis in range(len(extents))]
    places = itertools.product((-1, 0, 1), repeat=len(extents))
    chosen = [p for p in places if 0 < sum(map(abs, p)) <= (len(extents) if corners else 1)]
    return np.array([sum(np.multiply(place, strides)) for place in chosen], dtype=np.int64)


@njit(cache=True, nogil=True)
def _label(ids_N, before):  # type: ignore[no-untyped-def]  # numba infers
    """Number the ones of a padded image, in place; return how many components there are.

    ``before``: steps to the neighbours that come before a pixel. Of pieces that meet, the one that
    began first is the root, so that roots are in the order of the components' first pixels.
    """
    root = np.empty(ids_N.size // 2 + 2, np.int32)
    pieces = 0
    for i in range(ids_N.size):
        if ids_N[i] == 0:
            continue
        own = 0
        for step in before:
            other = ids_N[i + step]
            if other in (0, own):
                continue
            while root[other] != other:
                root[other] = root[root[other]]
                other = root[other]
            if own == 0:
                own = other
            elif other < own:
                root[own] = other
                own = other
            elif other > own:
                root[other] = own
        if own == 0:
            pieces += 1
            own = pieces
            root[own] = own
        ids_N[i] = own
    count = 0
    for piece in range(1, pieces + 1):
        if root[piece] == piece:
            count += 1
            root[piece] = count
        else:
            root[piece] = root[root[piece]]  # numbered already, as it began before
    for i in range(ids_N.size):
        if ids_N[i]:
            ids_N[i] = root[ids_N[i]]
    return count
