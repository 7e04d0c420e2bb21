"""Objects in pieces: labelled block by block, joined where the pieces of two blocks meet.

A piece is a connected component, by face neighbours, of pixels of one block that are alike: of
one class, and all seed or none. Pieces are numbered from 1 through all blocks; everything that
asks for more than one block (what is one object, what is a hole, how large it is) is answered by
the graph of the pieces, without looking at pixels again.

Shapes: S the spatial axes (YX or ZYX), D their number, N pieces with an unused entry 0, M pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from numba import njit

from septum.errors import InputError
from septum.images.tiff_regions import Box
from septum.images.tiff_writer import LazyArray

Integers = npt.NDArray[np.int64]

MOST_NUMBERS = 2**32 - 1


@runtime_checkable
class WritableArray(LazyArray, Protocol):
    """A ``LazyArray`` that is written by region, too."""

    def __setitem__(self, index: Box, pixels: Any, /) -> None:
        """Write the pixels of a region."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """What is known of each piece; entry 0 is no piece.

    ``first_N``: index of its first pixel in the C order of the image; ``low_ND`` (inclusive) and
    ``high_ND`` (exclusive): its bounding box. ``pairs_M2``: pieces of which pixels are face
    neighbours; a pair may occur more than once, in either order.
    """

    class_N: npt.NDArray[np.uint8]
    seed_N: npt.NDArray[np.bool_]
    pixels_N: Integers
    first_N: Integers
    low_ND: Integers
    high_ND: Integers
    pairs_M2: Integers

    def grouped(self, group_N: Integers) -> Pieces:
        """The unions of pieces of the same group number; groups are 0, 1, … and have a piece each.

        A union is of the largest class in it, and a seed if one of its pieces is.
        """
        count = int(group_N.max()) + 1
        class_G = np.zeros(count, np.uint8)
        np.maximum.at(class_G, group_N, self.class_N)
        seed_G = np.zeros(count, bool)
        np.logical_or.at(seed_G, group_N, self.seed_N)
        pixels_G = np.zeros(count, np.int64)
        np.add.at(pixels_G, group_N, self.pixels_N)
        far = np.iinfo(np.int64).max
        first_G = np.full(count, far)
        np.minimum.at(first_G, group_N, self.first_N)
        low_GD = np.full((count, self.low_ND.shape[1]), far)
        np.minimum.at(low_GD, group_N, self.low_ND)
        high_GD = np.zeros_like(low_GD)
        np.maximum.at(high_GD, group_N, self.high_ND)
        return Pieces(class_G, seed_G, pixels_G, first_G, low_GD, high_GD, group_N[self.pairs_M2])


class PieceList:
    """Pieces as they are found, block by block, with their numbers written to ``numbers``."""

    def __init__(self, numbers: WritableArray) -> None:
        self._numbers = numbers
        dimensions = len(numbers.shape)
        self._count = 0
        self._found = [_nothing(dimensions)]
        self._pairs = [np.zeros((0, 2), np.int64)]

    def add_block(
        self,
        box: Box,
        class_S: npt.NDArray[np.uint8],
        seed_S: npt.NDArray[np.bool_] | None,
        background: bool,
    ) -> None:
        """Number the pieces in a block, and note which meet; blocks come in C order.

        ``background``: pixels of class 0 are in pieces as well, else their number is 0. Raises
        InputError if there are more pieces than numbers.
        """
        labels_S, pieces = _find_pieces(class_S, seed_S, background)
        if self._count + len(pieces.class_N) - 1 > MOST_NUMBERS:
            raise InputError(
                f"the objects are in more than {MOST_NUMBERS} pieces, which 32 bits cannot number; "
                "raise the threshold, take larger blocks, or label parts of the image"
            )
        numbers_S = labels_S.astype(np.uint32)
        numbers_S[labels_S > 0] += np.uint32(self._count)
        self._numbers[box] = numbers_S
        self._found.append(_placed(pieces, box, self._numbers.shape))
        self._count += len(pieces.class_N) - 1
        if background or seed_S is not None:  # else neighbours in a block have different classes
            for axis in range(len(box)):
                rolled_S = np.moveaxis(numbers_S, axis, 0)
                self._pairs.append(_meeting(rolled_S[:-1], rolled_S[1:]))
        for axis, span in enumerate(box):
            if span.start > 0:
                before = (*box[:axis], slice(span.start - 1, span.start), *box[axis + 1 :])
                here_S = np.moveaxis(numbers_S, axis, 0)[:1]
                there_S = np.moveaxis(np.asarray(self._numbers[before]), axis, 0)
                self._pairs.append(_meeting(there_S, here_S))

    def pieces(self) -> Pieces:
        """All that were found."""
        found = self._found
        return Pieces(
            np.concatenate([part.class_N for part in found]),
            np.concatenate([part.seed_N for part in found]),
            np.concatenate([part.pixels_N for part in found]),
            np.concatenate([part.first_N for part in found]),
            np.concatenate([part.low_ND for part in found]),
            np.concatenate([part.high_ND for part in found]),
            np.concatenate(self._pairs),
        )


def join_objects(pieces: Pieces, extents: Sequence[int], fill: int) -> Integers:
    """For each piece the number, from 0, of the object, hole or background that it is part of.

    Neighbours of one class are joined; then each hole that is to be filled, of at most ``fill``
    pixels, with its neighbours (`septum.prediction.instances.label_objects` says which).
    """
    a_M, b_M = pieces.pairs_M2.T
    alike_M = pieces.class_N[a_M] == pieces.class_N[b_M]
    region_N = _connected(len(pieces.class_N), pieces.pairs_M2[alike_M])
    if not fill:
        return region_N
    regions = pieces.grouped(region_N)
    hole_G = (regions.class_N == 0) & (regions.pixels_N <= fill) & (regions.pixels_N > 0)
    hole_G &= (regions.low_ND > 0).all(1) & (regions.high_ND < np.asarray(extents)).all(1)
    both_M2 = np.concatenate([regions.pairs_M2, regions.pairs_M2[:, ::-1]])
    rims_M2 = both_M2[hole_G[both_M2[:, 0]] & (regions.class_N[both_M2[:, 1]] > 0)]
    least_G, most_G = np.full(len(hole_G), 255, np.uint8), np.zeros(len(hole_G), np.uint8)
    np.minimum.at(least_G, rims_M2[:, 0], regions.class_N[rims_M2[:, 1]])
    np.maximum.at(most_G, rims_M2[:, 0], regions.class_N[rims_M2[:, 1]])
    one_class_M = (least_G == most_G)[rims_M2[:, 0]]
    return _connected(len(hole_G), rims_M2[one_class_M])[region_N]


def join_seeds(pieces: Pieces) -> Integers:
    """For each piece the number, from 1, of the seed that it is part of; 0 for none."""
    a_M, b_M = pieces.pairs_M2.T
    alike_M = pieces.seed_N[a_M] & pieces.seed_N[b_M] & (pieces.class_N[a_M] == pieces.class_N[b_M])
    region_N = _connected(len(pieces.class_N), pieces.pairs_M2[alike_M])
    seed_of_N = np.zeros(len(region_N), np.int64)
    seed_of_N[pieces.seed_N] = np.unique(region_N[pieces.seed_N], return_inverse=True)[1] + 1
    return seed_of_N


def _connected(count: int, pairs_M2: Integers) -> Integers:
    """Number, from 0, of the connected component of each of ``count`` nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs_M2), bool), tuple(pairs_M2.T)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)


def _find_pieces(
    class_S: npt.NDArray[np.uint8], seed_S: npt.NDArray[np.bool_] | None, background: bool
) -> tuple[npt.NDArray[np.int32], Pieces]:
    """Pieces of one block, in its own coordinates, and the number of each pixel's."""
    from scipy.ndimage import label  # one value at a time it is faster than skimage's, all at once

    kind_S = class_S if seed_S is None else class_S * np.uint16(2) + seed_S
    labels_S = np.zeros(class_S.shape, np.int32)
    kinds = [0]
    for kind in np.flatnonzero(np.bincount(kind_S.ravel())).tolist():
        if kind or background:
            part_S, count = label(kind_S == kind)
            part_S[part_S > 0] += len(kinds) - 1
            labels_S += part_S
            kinds += [kind] * count
    kind_N = np.array(kinds)
    pieces = _nothing(class_S.ndim, len(kinds))
    shape_3 = (1,) * (3 - class_S.ndim) + class_S.shape
    low_N3, high_N3 = np.zeros((2, len(kinds), 3), np.int64)
    _survey(labels_S.reshape(shape_3), pieces.pixels_N, pieces.first_N, low_N3, high_N3)
    pieces.low_ND[:] = low_N3[:, -class_S.ndim :]
    pieces.high_ND[:] = high_N3[:, -class_S.ndim :]
    pieces.class_N[:] = kind_N if seed_S is None else kind_N // 2
    if seed_S is not None:
        pieces.seed_N[:] = kind_N % 2 == 1
    return labels_S, pieces


def _nothing(dimensions: int, count: int = 1) -> Pieces:
    return Pieces(
        np.zeros(count, np.uint8),
        np.zeros(count, bool),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros((count, dimensions), np.int64),
        np.zeros((count, dimensions), np.int64),
        np.zeros((0, 2), np.int64),
    )


def _placed(pieces: Pieces, box: Box, extents: Sequence[int]) -> Pieces:
    """Without entry 0, and in the coordinates of the image."""
    corner_D = np.array([span.start for span in box], np.int64)
    shape = tuple(span.stop - span.start for span in box)
    first_DN = np.array(np.unravel_index(pieces.first_N[1:], shape)) + corner_D[:, np.newaxis]
    return Pieces(
        pieces.class_N[1:],
        pieces.seed_N[1:],
        pieces.pixels_N[1:],
        np.asarray(np.ravel_multi_index(tuple(first_DN), tuple(extents)), np.int64),
        pieces.low_ND[1:] + corner_D,
        pieces.high_ND[1:] + corner_D,
        pieces.pairs_M2,
    )


def _meeting(one_S: npt.NDArray[np.uint32], other_S: npt.NDArray[np.uint32]) -> Integers:
    """The pairs of different numbers, neither 0, at the same place of two arrays; each once."""
    meet_S = (one_S != other_S) & (one_S != 0) & (other_S != 0)
    codes_M = np.unique(one_S[meet_S].astype(np.uint64) << 32 | other_S[meet_S])
    return np.stack([codes_M >> 32, codes_M & MOST_NUMBERS], axis=1).astype(np.int64)


@njit(cache=True)
def _survey(labels_ZYX, pixels_N, first_N, low_N3, high_N3):  # type: ignore[no-untyped-def]  # numba infers
    index = 0
    for z in range(labels_ZYX.shape[0]):
        for y in range(labels_ZYX.shape[1]):
            for x in range(labels_ZYX.shape[2]):
                k = labels_ZYX[z, y, x]
                if k:
                    if pixels_N[k] == 0:
                        first_N[k] = index
                        low_N3[k] = (z, y, x)
                    pixels_N[k] += 1
                    low_N3[k, 1] = min(low_N3[k, 1], y)
                    low_N3[k, 2] = min(low_N3[k, 2], x)
                    high_N3[k, 0] = z + 1
                    high_N3[k, 1] = max(high_N3[k, 1], y + 1)
                    high_N3[k, 2] = max(high_N3[k, 2], x + 1)
                index += 1
