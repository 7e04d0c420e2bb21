"""The weight of the background between touching cells (Ronneberger et al. 2015, equation 2).

    w(x) = w_c(x) + w0 · exp(−(d1(x) + d2(x))² / 2σ²)

d1 and d2 are the distances to the nearest and to the second nearest *distinct* cell. The usual
recipe runs one distance transform of the whole image per cell. Here the two nearest distinct
cells are found for all pixels at once, axis by axis: the two nearest of a pixel are among the two
nearest of the pixels of its row, found along the axes before. So the cost does not depend on the
number of cells, and it is local: beyond ``weight_radius`` nothing is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Integer
from numba import njit

NEGLIGIBLE = 1e-6
"""Border weights below this share of w0 are 0."""

_FAR = np.float32(1e30)


def weight_radius(sigma: float) -> float:
    """d1 + d2 at which the border weight falls to ``NEGLIGIBLE`` · w0; the unit is σ's."""
    return sigma * math.sqrt(-2.0 * math.log(NEGLIGIBLE))


def border_weight(
    instances_S: Integer[np.ndarray, "*s"],
    w0: float = 10.0,
    sigma: float = 5.0,
    spacing: Sequence[float] | None = None,
) -> Float32[np.ndarray, "*s"]:
    """w0 · exp(−(d1 + d2)² / 2σ²) on the background of an instance map, 0 on the cells.

    ``instances_S``: (YX) or (ZYX), 0 is background, every other value a cell. Distances are
    Euclidean between pixel centres, in pixels, or in the unit of ``spacing`` (extent of a pixel
    along each axis), which is then σ's unit too. With fewer than two cells within reach of a
    pixel its weight is 0. Ties count: two cells equally near are nearest and second nearest. A
    weight below ``NEGLIGIBLE`` · w0 is returned as 0; else it is exact to rounding.
    """
    if instances_S.ndim not in (2, 3):
        raise ValueError(f"instances_S has {instances_S.ndim} axes; expected YX or ZYX")
    steps = [1.0] * instances_S.ndim if spacing is None else [float(step) for step in spacing]
    if instances_S.dtype.itemsize > np.dtype(np.int32).itemsize:  # wide ids must stay distinct
        ids, ranks_S = np.unique(instances_S, return_inverse=True)
        instances_S = np.where(instances_S == 0, 0, ranks_S.reshape(instances_S.shape) + 1)
        assert len(ids) < np.iinfo(np.int32).max
    labels = np.ascontiguousarray(instances_S, dtype=np.int32)
    reach = weight_radius(sigma)
    weight = np.zeros(labels.shape, np.float32)
    if w0 == 0 or labels.size == 0:
        return weight

    # The first axis is walked once in each direction, which carries its two nearest cells along.
    near = _carry(labels.reshape(labels.shape[0], -1), np.float32(steps[0]), np.float32(reach))
    for axis in range(1, labels.ndim):
        rows = (math.prod(labels.shape[:axis]), labels.shape[axis], -1)
        near = _merge(  # type: ignore[call-arg]
            *(part.reshape(rows) for part in near),
            labels.reshape(rows),
            np.float32(steps[axis]),
            np.float32(reach),
            axis == labels.ndim - 1,
        )
    squared1, squared2 = near[0].reshape(-1), near[2].reshape(-1)
    _weigh(squared1, squared2, weight.reshape(-1), w0, sigma, reach)
    return weight


@njit(cache=True, nogil=True)
def _carry(labels, step, reach):  # type: ignore[no-untyped-def]
    """Two nearest distinct labels along the first axis: squared distance and label of each."""
    extent, inner = labels.shape
    d1 = np.full((extent, inner), _FAR, np.float32)
    d2 = np.full((extent, inner), _FAR, np.float32)
    l1 = np.zeros((extent, inner), np.int32)
    l2 = np.zeros((extent, inner), np.int32)
    for i in range(extent):
        for j in range(inner):
            own = labels[i, j]
            if own != 0:
                d1[i, j], l1[i, j] = 0.0, own
            if i > 0:
                _offer(d1, l1, d2, l2, i, j, d1[i - 1, j] + step, l1[i - 1, j])
                _offer(d1, l1, d2, l2, i, j, d2[i - 1, j] + step, l2[i - 1, j])
    for i in range(extent - 2, -1, -1):
        for j in range(inner):
            _offer(d1, l1, d2, l2, i, j, d1[i + 1, j] + step, l1[i + 1, j])
            _offer(d1, l1, d2, l2, i, j, d2[i + 1, j] + step, l2[i + 1, j])
    for i in range(extent):
        for j in range(inner):
            d1[i, j] = d1[i, j] * d1[i, j] if d1[i, j] <= reach else _FAR
            d2[i, j] = d2[i, j] * d2[i, j] if d2[i, j] <= reach else _FAR
    return d1, l1, d2, l2


@njit(cache=True, nogil=True, inline="always")
def _offer(d1, l1, d2, l2, i, j, distance, label):  # type: ignore[no-untyped-def]
    """Enter a candidate into the two nearest distinct labels of pixel (i, j)."""
    if label == 0 or distance >= d2[i, j]:
        return
    if label == l1[i, j]:
        d1[i, j] = min(d1[i, j], distance)
    elif distance < d1[i, j]:
        d2[i, j], l2[i, j] = d1[i, j], l1[i, j]
        d1[i, j], l1[i, j] = distance, label
    else:
        d2[i, j], l2[i, j] = distance, label


@njit(cache=True, nogil=True)
def _merge(d1, l1, d2, l2, labels, step, reach, last):  # type: ignore[no-untyped-def]
    """Extend the two nearest distinct labels by the middle axis of (outer, extent, inner).

    After the last axis only the background's are wanted.
    """
    outer, extent, inner = d1.shape
    e1 = np.full(d1.shape, _FAR, np.float32)
    e2 = np.full(d1.shape, _FAR, np.float32)
    m1 = np.zeros(d1.shape, np.int32)
    m2 = np.zeros(d1.shape, np.int32)
    window = int(reach / step) + 1
    for o in range(outer):
        for i in range(extent):
            for j in range(inner):
                if last and labels[o, i, j] != 0:
                    continue
                b1, b2 = _FAR, _FAR
                n1, n2 = np.int32(0), np.int32(0)
                for s in range(window):
                    across = s * step * s * step
                    if across >= b2:
                        break
                    for side in range(2):
                        k = i - s if side == 0 else i + s
                        if k < 0 or k >= extent or (side == 1 and s == 0):
                            continue
                        for second in range(2):
                            label = l2[o, k, j] if second else l1[o, k, j]
                            if label == 0:
                                break
                            distance = across + (d2[o, k, j] if second else d1[o, k, j])
                            if distance >= b2:
                                break  # the second is no nearer than the first
                            if label == n1:
                                b1 = min(b1, distance)
                            elif distance < b1:
                                b2, n2 = b1, n1
                                b1, n1 = distance, label
                            else:
                                b2, n2 = distance, label
                e1[o, i, j], m1[o, i, j] = b1, n1
                e2[o, i, j], m2[o, i, j] = b2, n2
    return e1, m1, e2, m2


@njit(cache=True, nogil=True)
def _weigh(squared1, squared2, weight, w0, sigma, reach):  # type: ignore[no-untyped-def]
    for i in range(weight.size):
        if squared1[i] > 0 and squared2[i] < _FAR:
            total = math.sqrt(squared1[i]) + math.sqrt(squared2[i])
            if total <= reach:
                weight[i] = w0 * math.exp(-total * total / (2.0 * sigma * sigma))
