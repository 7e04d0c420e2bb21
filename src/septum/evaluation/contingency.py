"""How many pixels each true object and each segment share: what measures of objects are made of.

Arrays have any shape S, the same for both; ids are integers from 0, and 0 is no object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from septum.errors import InputError
from septum.evaluation.pixels import Bools, Numbers, check_shapes

Ids = Numbers
"""Object ids; an array of another type is refused with InputError."""
Counts = npt.NDArray[np.int64]

DENSE = 1 << 22
"""Pairs of ids up to which a table has a place for each; of large images up to a byte a pixel."""


@dataclass(frozen=True)
class Contingency:
    """The pixels that a true object and a segment share, for each pair that shares any.

    Three arrays of one length, a pair an entry, sorted by true object, then by segment. Both have
    an id 0, which is what belongs to no object.
    """

    truth: Counts
    segment: Counts
    count: Counts

    def foreground(self) -> Contingency:
        """Without the pixels that belong to no true object."""
        kept = self.truth != 0
        return Contingency(self.truth[kept], self.segment[kept], self.count[kept])

    def truth_areas(self) -> tuple[Counts, Counts]:
        """Ids of the true objects, 0 left out, and their pixels."""
        return _areas(self.truth, self.count)

    def segment_areas(self) -> tuple[Counts, Counts]:
        """Ids of the segments, 0 left out, and their pixels."""
        return _areas(self.segment, self.count)

    def overlaps(self) -> Overlaps:
        """The pairs of two objects, with the areas of both."""
        both = (self.truth != 0) & (self.segment != 0)
        truth_ids, truth_areas = self.truth_areas()
        segment_ids, segment_areas = self.segment_areas()
        return Overlaps(
            truth_areas,
            segment_areas,
            np.searchsorted(truth_ids, self.truth[both]),
            np.searchsorted(segment_ids, self.segment[both]),
            self.count[both],
        )


@dataclass(frozen=True)
class Overlaps:
    """Areas of T true objects and of S segments, and P pairs that share pixels.

    ``truth_P`` and ``segment_P`` are places in the two areas, not ids.
    """

    truth_T: Counts
    segment_S: Counts
    truth_P: Counts
    segment_P: Counts
    count_P: Counts

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union of each pair, in (0, 1]."""
        union_P = self.truth_T[self.truth_P] + self.segment_S[self.segment_P] - self.count_P
        return np.asarray(self.count_P / union_P, dtype=np.float64)


def contingency(segmentation_S: Ids, truth_S: Ids, valid_S: Bools | None = None) -> Contingency:
    """Count shared pixels, those that are not valid left out.

    Time goes with the pixels, not with the product of the numbers of ids, and ids may be as large
    as they like. Raises InputError for floating or negative ids, or different shapes.
    """
    check_shapes([a.shape for a in (segmentation_S, truth_S, valid_S) if a is not None])
    segment_N, segment_ids = compact(segmentation_S, "segmentation")
    truth_N, truth_ids = compact(truth_S, "truth")
    if valid_S is not None:
        valid_N = valid_S.ravel()
        segment_N, truth_N = segment_N[valid_N], truth_N[valid_N]
    table = count_pairs(segment_N, len(segment_ids), truth_N, len(truth_ids))
    return Contingency(truth_ids[table.truth], segment_ids[table.segment], table.count)


def join(tables: Sequence[Contingency]) -> Contingency:
    """One table of the pixels of all, whose ids mean the same objects: blocks of an image."""
    truth, segment, count = (
        np.concatenate([np.zeros(0, np.int64), *(getattr(table, name) for table in tables)])
        for name in ("truth", "segment", "count")
    )
    known_2P, place_K = np.unique(np.stack([truth, segment]), axis=1, return_inverse=True)
    count_P = np.zeros(known_2P.shape[1], dtype=np.int64)
    np.add.at(count_P, place_K.ravel(), count)
    return Contingency(known_2P[0], known_2P[1], count_P)


def compact(ids_S: Numbers, name: str) -> tuple[npt.NDArray[np.int32], Counts]:
    """Flat ids without large gaps, as int32, and the id that each stands for; 0 stays 0.

    Raises InputError for ids that are floating or negative.
    """
    if ids_S.dtype.kind not in "bui":
        raise InputError(f"the {name} must have integer object ids, found {ids_S.dtype}")
    if ids_S.size and ids_S.dtype.kind == "i" and ids_S.min() < 0:
        raise InputError(f"object ids of the {name} must not be negative, found {ids_S.min()}")
    high = int(ids_S.max(initial=0))
    if high <= max(ids_S.size, 1 << 16) and high < np.iinfo(np.int32).max:
        return ids_S.ravel().astype(np.int32, copy=False), np.arange(high + 1, dtype=np.int64)
    known, rank_N = np.unique(ids_S.ravel(), return_inverse=True)
    if known[0] != 0:
        known, rank_N = np.insert(known, 0, 0), rank_N + 1
    return rank_N.ravel().astype(np.int32), known.astype(np.int64)


def count_pairs(
    segment_N: npt.NDArray[np.int32],
    segment_count: int,
    truth_N: npt.NDArray[np.int32],
    truth_count: int,
) -> Contingency:
    """The table of flat ids below the two counts; see `compact`."""
    if segment_count * truth_count <= max(DENSE, segment_N.size // 8):
        table_TS = np.zeros((truth_count, segment_count), dtype=np.int64)
        _add_runs(segment_N, truth_N, table_TS)
        truth_K, segment_K = np.nonzero(table_TS)
        return Contingency(truth_K, segment_K, table_TS[truth_K, segment_K])
    pixels_N, start_G = _group(truth_N, truth_count)
    room = 4096
    while True:
        row_S = np.full(segment_count, -1, dtype=np.int64)
        table_F = np.empty(3 * room, dtype=np.int64)
        size = int(_tally(segment_N, pixels_N, start_G, row_S, table_F))
        if size <= room:
            truth_K, segment_K, count_K = table_F.reshape(room, 3)[:size].T
            order = np.lexsort((segment_K, truth_K))
            return Contingency(truth_K[order], segment_K[order], count_K[order])
        room = size  # the second pass fits


def _areas(ids_K: Counts, count_K: Counts) -> tuple[Counts, Counts]:
    known, place_K = np.unique(ids_K, return_inverse=True)
    areas = np.zeros(len(known), dtype=np.int64)
    np.add.at(areas, place_K.ravel(), count_K)
    kept = known != 0
    return known[kept], areas[kept]


@njit(cache=True, nogil=True)
def _add_runs(segment_N, truth_N, table_TS):  # type: ignore[no-untyped-def]  # numba infers
    """Neighbours mostly are alike: the table is written once a run."""
    if segment_N.size == 0:
        return
    segment, truth, first = segment_N[0], truth_N[0], 0
    for i in range(1, segment_N.size):
        if segment_N[i] != segment or truth_N[i] != truth:
            table_TS[truth, segment] += i - first
            segment, truth, first = segment_N[i], truth_N[i], i
    table_TS[truth, segment] += segment_N.size - first


@njit(cache=True, nogil=True)
def _group(truth_N, truth_count):  # type: ignore[no-untyped-def]
    """Counting sort: pixels of object g are pixels_N[start_G[g] : start_G[g + 1]]."""
    start_G = np.zeros(truth_count + 1, np.int64)
    for i in range(truth_N.size):
        start_G[truth_N[i] + 1] += 1
    for g in range(truth_count):
        start_G[g + 1] += start_G[g]
    fill_G = start_G.copy()
    pixels_N = np.empty(truth_N.size, np.int64)
    for i in range(truth_N.size):
        g = truth_N[i]
        pixels_N[fill_G[g]] = i
        fill_G[g] += 1
    return pixels_N, start_G


@njit(cache=True, nogil=True)
def _tally(segment_N, pixels_N, start_G, row_S, table_F):  # type: ignore[no-untyped-def]
    """Write triples (object, segment, pixels) to table_F while they fit; return how many exist.

    row_S, one entry a segment and -1 at first, says where the segment's triple of the present
    object stands: one row of the dense table at a time is in memory.
    """
    size = 0
    for g in range(start_G.size - 1):
        first = size
        for i in range(start_G[g], start_G[g + 1]):
            s = segment_N[pixels_N[i]]
            if row_S[s] < first:
                row_S[s] = size
                if 3 * size < table_F.size:
                    table_F[3 * size] = g
                    table_F[3 * size + 1] = s
                    table_F[3 * size + 2] = 0
                size += 1
            if 3 * row_S[s] < table_F.size:
                table_F[3 * row_S[s] + 2] += 1
    return size
