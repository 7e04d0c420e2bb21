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
from numba import njit
from scipy import ndimage

from septum.errors import InputError
from septum.evaluation.pixels import Bools, Numbers, check_probability, check_shapes

Ids = Numbers
"""Object ids; an array of another type is refused with InputError."""
Counts = npt.NDArray[np.int64]
Background = Literal["segment", "unassigned"]

THRESHOLDS: tuple[float, ...] = tuple(round(0.05 * k, 2) for k in range(1, 20))
"""0.05, 0.10 … 0.95."""


@dataclass(frozen=True)
class Contingency:
    """The pixels that a true object and a segment share, for each pair that shares any.

    Three arrays of one length, a pair an entry, in no promised order; each pair occurs once.
    `truth` has no 0; `segment` may.
    """

    truth: Counts
    segment: Counts
    count: Counts


@dataclass(frozen=True)
class RandScore:
    """Each in [0, 1], 1 is best; `f_score` is the harmonic mean of the other two."""

    f_score: float
    precision: float
    """Of the pixel pairs in one segment, the share in one true object: low after merges."""
    recall: float
    """Of the pixel pairs in one true object, the share in one segment: low after splits."""


def contingency(segmentation_S: Ids, truth_S: Ids) -> Contingency:
    """Count shared pixels, leaving out those where the truth is 0.

    Time and memory go with the pixels, not with the product of the numbers of ids, and ids may be
    as large as they like. Raises InputError for floating or negative ids, or different shapes.
    """
    check_shapes([segmentation_S.shape, truth_S.shape])
    segment_N, segment_ids = _compact(segmentation_S, "segmentation")
    truth_N, truth_ids = _compact(truth_S, "truth")
    pixels_N, start_G = _group(truth_N, len(truth_ids))
    table = _count(segment_N, len(segment_ids), pixels_N, start_G)
    return Contingency(truth_ids[table.truth], segment_ids[table.segment], table.count)


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
    return _rand(contingency(segmentation_S, truth_S), background)


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
    error_T = _rand_errors(probability_S, truth_S, thresholds, valid_S, background)
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
        _rand_errors(probability, truth, thresholds, valid, background)
        for probability, truth, valid in zip(probabilities, truths, valids, strict=True)
    ]
    error, threshold = _smallest(np.mean(errors_NT, axis=0), thresholds)
    return threshold, error


def components(object_S: Bools) -> npt.NDArray[np.int32]:
    """Ids 1, 2, … of the connected components by faces (4 neighbours in 2D, 6 in 3D); 0 outside."""
    ids_S, _ = ndimage.label(object_S)
    return np.asarray(ids_S, dtype=np.int32)


def _rand_errors(
    probability_S: Numbers,
    truth_S: Numbers,
    thresholds: Sequence[float],
    valid_S: Bools | None,
    background: Background,
) -> npt.NDArray[np.float64]:
    if len(thresholds) == 0:
        raise InputError("the Rand error needs at least one threshold")
    check_shapes([a.shape for a in (probability_S, truth_S, valid_S) if a is not None])
    check_probability(probability_S if valid_S is None else probability_S[valid_S])
    if valid_S is not None:
        truth_S = np.where(valid_S, truth_S, truth_S.dtype.type(0))
    if truth_S.dtype == bool:
        truth_S = components(truth_S.astype(bool, copy=False))
    truth_N, truth_ids = _compact(truth_S, "truth")
    # Sorted by true object once, an image costs one pass a threshold, however many segments.
    pixels_N, start_G = _group(truth_N, len(truth_ids))
    errors = []
    for threshold in thresholds:
        object_S = probability_S > threshold
        if valid_S is not None:
            object_S &= valid_S
        segment_N = components(object_S).ravel()
        table = _count(segment_N, int(segment_N.max(initial=0)) + 1, pixels_N, start_G)
        errors.append(1.0 - _rand(table, background).f_score)
    return np.array(errors)


def _smallest(error_T: npt.NDArray[np.float64], thresholds: Sequence[float]) -> tuple[float, float]:
    best = min(
        range(len(thresholds)),
        key=lambda k: (error_T[k], abs(thresholds[k] - 0.5), thresholds[k]),
    )
    return float(error_T[best]), float(thresholds[best])


def _rand(table: Contingency, background: Background) -> RandScore:
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


def _compact(ids_S: Numbers, name: str) -> tuple[npt.NDArray[np.int32], Counts]:
    """Flat ids without large gaps, as int32, and the id that each stands for; 0 stays 0."""
    if ids_S.dtype.kind not in "bui":
        raise InputError(f"the {name} must have integer object ids, found {ids_S.dtype}")
    if ids_S.size and ids_S.min() < 0:
        raise InputError(f"object ids of the {name} must not be negative, found {ids_S.min()}")
    high = int(ids_S.max(initial=0))
    if high <= max(ids_S.size, 1 << 16) and high < np.iinfo(np.int32).max:
        return ids_S.ravel().astype(np.int32, copy=False), np.arange(high + 1, dtype=np.int64)
    known, rank_N = np.unique(ids_S.ravel(), return_inverse=True)
    if known[0] != 0:
        known, rank_N = np.insert(known, 0, 0), rank_N + 1
    return rank_N.ravel().astype(np.int32), known.astype(np.int64)


def _count(
    segment_N: npt.NDArray[np.int32], segment_count: int, pixels_N: Counts, start_G: Counts
) -> Contingency:
    room = 4096
    while True:
        row_S = np.full(segment_count, -1, dtype=np.int64)
        table_F = np.empty(3 * room, dtype=np.int64)
        size = int(_tally(segment_N, pixels_N, start_G, row_S, table_F))
        if size <= room:
            return Contingency(*table_F.reshape(room, 3)[:size].T)
        room = size  # the second pass fits


@njit(cache=True)
def _group(truth_N, truth_count):  # type: ignore[no-untyped-def]  # numba infers
    """Counting sort: pixels of object g are pixels_N[start_G[g - 1] : start_G[g]]; none of 0."""
    start_G = np.zeros(truth_count, np.int64)
    for i in range(truth_N.size):
        if truth_N[i] > 0:
            start_G[truth_N[i]] += 1
    for g in range(1, truth_count):
        start_G[g] += start_G[g - 1]
    fill_G = start_G.copy()
    pixels_N = np.empty(start_G[-1], np.int64)
    for i in range(truth_N.size - 1, -1, -1):
        g = truth_N[i]
        if g > 0:
            fill_G[g] -= 1
            pixels_N[fill_G[g]] = i
    return pixels_N, start_G


@njit(cache=True)
def _tally(segment_N, pixels_N, start_G, row_S, table_F):  # type: ignore[no-untyped-def]
    """Write triples (object, segment, pixels) to table_F while they fit; return how many exist.

    row_S, one entry a segment and -1 at first, says where the segment's triple of the present
    object stands: one row of the dense table at a time is in memory.
    """
    size = 0
    for g in range(1, start_G.size):
        first = size
        for i in range(start_G[g - 1], start_G[g]):
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
