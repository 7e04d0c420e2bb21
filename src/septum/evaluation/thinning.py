"""V_rand and V_info after the borders are thinned: the final measures of the ISBI 2012 challenge.

Arganda-Carreras et al. 2015 (doi:10.3389/fnana.2015.00142). How wide a border is drawn is a matter
of taste; so that of the prediction is thinned first, by a watershed, to a line between objects.
Shapes: S the spatial axes of an image, T thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from septum.errors import InputError
from septum.evaluation.components import offsets, padded_components
from septum.evaluation.contingency import Contingency, count_pairs
from septum.evaluation.partitions import flat_truth
from septum.evaluation.pixels import Bools, Numbers

THIN_THRESHOLDS: tuple[float, ...] = tuple(round(0.1 * k, 1) for k in range(1, 10))
"""0.1, 0.2 … 0.9: those of the challenge, without 0 and 1."""
UNREACHED, LINE, WAITING, OUTSIDE = 0, -1, -2, -3


@dataclass(frozen=True)
class ThinnedScores:
    """Each in [0, 1], 1 is best; with the threshold that it was found at."""

    v_rand: float
    v_rand_threshold: float
    v_info: float
    v_info_threshold: float


def thinned_scores(
    probability_S: Numbers,
    truth_S: Numbers,
    thresholds: Sequence[float] = THIN_THRESHOLDS,
    valid_S: Bools | None = None,
) -> ThinnedScores:
    """The largest V_rand and V_info over ``thresholds``, after `thin_borders`; α = 0.5.

    The challenge scores slice by slice, and means over slices at one threshold for all:
    `mean_thinned_scores`. A boolean truth is taken apart into connected components, by faces; an
    integer truth is object ids already. A mask is a map of 0 and 1: give it one threshold. Pixels
    that are not valid count for nothing; in the prediction they are border.

    An empty truth scores 1; a prediction without object is one of single pixels, see `v_scores`.
    Of equally good thresholds that nearest to 0.5 is given, and of two the lower.
    Raises InputError for values outside [0, 1], no threshold, or different shapes.
    """
    return _largest(v_scores_at(probability_S, truth_S, thresholds, valid_S), thresholds)


def mean_thinned_scores(
    probabilities: Sequence[Numbers],
    truths: Sequence[Numbers],
    thresholds: Sequence[float] = THIN_THRESHOLDS,
    valids: Sequence[Bools | None] | None = None,
) -> ThinnedScores:
    """The largest mean over images, each at the same threshold: the challenge's own number.

    Raises InputError as `thinned_scores`, and for no image or lists of different lengths.
    """
    valids = [None] * len(truths) if valids is None else valids
    if not len(probabilities) == len(truths) == len(valids) or not truths:
        raise InputError(
            f"scores need as many predictions as truths and at least one, found "
            f"{len(probabilities)} and {len(truths)}"
        )
    scores_NT2 = [
        v_scores_at(probability, truth, thresholds, valid)
        for probability, truth, valid in zip(probabilities, truths, valids, strict=True)
    ]
    return _largest(np.mean(scores_NT2, axis=0), thresholds)


def thin_borders(object_S: Bools) -> npt.NDArray[np.int32]:
    """Ids of the connected components, by faces, grown over the border until they meet.

    A watershed by flooding (Vincent and Soille 1991) from the objects, by face neighbours, a pixel
    further at a time: a pixel that has two of them beside it when its turn comes is the line
    between them, 0. So does the challenge's script (Fiji's Trainable Segmentation); which of two
    pixels in the middle of an even gap is the line depends on the order of the pixels, here that of
    C. Where there is no object there is no id.
    """
    ids_S, _ = padded_components(object_S)
    for axis in range(ids_S.ndim):
        np.moveaxis(ids_S, axis, 0)[[0, -1]] = OUTSIDE
    _flood(ids_S.reshape(-1), offsets(ids_S.shape))
    return np.ascontiguousarray(ids_S[(slice(1, -1),) * ids_S.ndim])


def v_scores(table: Contingency) -> tuple[float, float]:
    """V_rand and V_info (α = 0.5), of segments that may leave lines of id 0 between them.

    With p_ij the share of the truth's foreground that is in object i and segment j:
    V_rand = Σ p_ij² / (½ Σ p_i² + ½ Σ p_j²), V_info = I / (½ H_i + ½ H_j), mutual information over
    the mean of the entropies. Each pixel of id 0 is a segment of its own. Where both denominators
    are 0 (one object in one segment) V_info is 1, and both are 1 for an empty truth.
    """
    table = table.foreground()
    total = int(table.count.sum())
    if total == 0:
        return 1.0, 1.0
    single = float(table.count[table.segment == 0].sum()) / total
    kept = table.segment != 0
    share_K = table.count[kept] / total
    rank_K = np.unique(table.truth, return_inverse=True)[1]
    of_truth = np.bincount(rank_K, weights=table.count / total)
    rank_K = np.unique(table.segment[kept], return_inverse=True)[1]
    of_segment = np.bincount(rank_K, weights=share_K)
    squares = float(share_K @ share_K) + single / total
    both = float(of_truth @ of_truth) + float(of_segment @ of_segment) + single / total
    singles = single * np.log(total)
    joint = singles - float(share_K @ np.log(share_K))
    truth = -float(of_truth @ np.log(of_truth))
    segment = singles - float(of_segment @ np.log(of_segment))
    v_info = 2.0 * (truth + segment - joint) / (truth + segment) if truth + segment else 1.0
    return 2.0 * squares / both, min(max(v_info, 0.0), 1.0)


def v_scores_at(
    probability_S: Numbers,
    truth_S: Numbers,
    thresholds: Sequence[float],
    valid_S: Bools | None = None,
) -> npt.NDArray[np.float64]:
    """V_rand and V_info of `thinned_scores` at each threshold: (T, 2)."""
    truth_N, truth_ids = flat_truth(probability_S, truth_S, thresholds, valid_S)

    def score(threshold: float) -> tuple[float, float]:
        object_S = probability_S > threshold
        if valid_S is not None:
            object_S &= valid_S
        segment_N = thin_borders(object_S).ravel()
        segments = int(segment_N.max(initial=0)) + 1
        return v_scores(count_pairs(segment_N, segments, truth_N, len(truth_ids)))

    with ThreadPoolExecutor() as pool:  # what is compiled lets other threads run
        return np.array(list(pool.map(score, thresholds)))


def _largest(scores_T2: npt.NDArray[np.float64], thresholds: Sequence[float]) -> ThinnedScores:
    found: list[float] = []
    for score_T in scores_T2.T:
        best = min(
            range(len(thresholds)),
            key=lambda k: (-score_T[k], abs(thresholds[k] - 0.5), thresholds[k]),
        )
        found += [float(score_T[best]), float(thresholds[best])]
    return ThinnedScores(*found)


@njit(cache=True, nogil=True)
def _flood(ids_N, steps):  # type: ignore[no-untyped-def]  # numba infers
    """Give each UNREACHED pixel of a padded image the id of an object, or 0 on a line; in place."""
    queue = np.empty(ids_N.size, np.int64)
    end = 0
    for i in range(ids_N.size):
        if ids_N[i] == UNREACHED:
            for step in steps:
                if ids_N[i + step] > 0:
                    queue[end] = i
                    end += 1
                    break
    for k in range(end):
        ids_N[queue[k]] = WAITING
    start = 0
    while start < end:
        i = queue[start]
        start += 1
        own, of_line = WAITING, False
        for step in steps:
            other = ids_N[i + step]
            if other > 0:
                if own == WAITING or of_line:
                    own, of_line = other, False
                elif own > 0 and own != other:
                    own = LINE
            elif other == LINE:
                if own == WAITING:
                    own, of_line = LINE, True
            elif other == UNREACHED:
                ids_N[i + step] = WAITING
                queue[end] = i + step
                end += 1
        ids_N[i] = own
    for k in range(end):
        if ids_N[queue[k]] == LINE:
            ids_N[queue[k]] = 0
