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
from typing import Any

import numpy as np
from jaxtyping import Float32, Integer
from numba import njit

NEGLIGIBLE = 1e-6
"""Border weights below this share of w0 are 0."""

RUN = 64
"""Neighbouring pixels that look for their nearest cells together; a few vector registers' worth."""

_FAR = np.int64(1) << 62  # a key that no cell has: farther than anything, label 0
_REACH = 1 << 29  # the square of the radius, as the integers below count it

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


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
    weight below ``NEGLIGIBLE`` · w0 is returned as 0; else it is exact to rounding (σ up to some
    4000 pixels).
    """
    if instances_S.ndim not in (2, 3):
        raise ValueError(f"instances_S has {instances_S.ndim} axes; expected YX or ZYX")
    steps = [1.0] * instances_S.ndim if spacing is None else [float(step) for step in spacing]
    if len(steps) != instances_S.ndim or min(steps) <= 0:
        raise ValueError(f"spacing {steps}: expected {instances_S.ndim} extents above 0")
    if instances_S.dtype.itemsize > np.dtype(np.int32).itemsize:  # wide ids must stay distinct
        ids, ranks_S = np.unique(instances_S, return_inverse=True)
        instances_S = np.where(instances_S == 0, 0, ranks_S.reshape(instances_S.shape) + 1)
        assert len(ids) < np.iinfo(np.int32).max
    labels = np.ascontiguousarray(instances_S, dtype=np.int32)
    if w0 == 0 or labels.size == 0:
        return np.zeros(labels.shape, np.float32)
    # A key is distance · 2³² + label: keys sort by distance, and a vector register holds eight.
    # Squared distances are counted in fractions of the squared radius, 2⁻²⁹ of it: whole numbers
    # for square pixels, else exact to 1e-8 of the radius. Nothing is nearer or farther by it.
    reach = weight_radius(sigma)
    unit = 2.0 ** math.floor(math.log2(_REACH / reach**2))
    squares = [
        np.rint((np.arange(min(int(reach / step) + 1, extent)) * step) ** 2 * unit).astype(np.int64)
        for step, extent in zip(steps, labels.shape, strict=True)
    ]
    nearest, second = _carry(labels.reshape(labels.shape[0], -1), squares[0])
    for axis in range(1, labels.ndim):
        rows = (math.prod(labels.shape[:axis]), -1)
        inner = math.prod(labels.shape[axis + 1 :])
        _merge(nearest.reshape(rows), second.reshape(rows), inner, squares[axis])
    weight: np.ndarray = _exponent(nearest.ravel(), second.ravel(), 1 / unit, sigma, reach)
    np.exp(weight, out=weight)
    weight *= np.float32(w0)
    return weight.reshape(labels.shape)


@njit(**_OPTIONS)
def _carry(labels, squares):  # type: ignore[no-untyped-def]
    """Keys of the nearest and the second nearest distinct label along the first axis.

    The axis is walked once in each direction, which carries the two nearest labels along.
    """
    extent, inner = labels.shape
    nearest = np.empty((extent, inner), np.int64)
    second = np.full((extent, inner), _FAR)
    for i in range(extent):
        for j in range(inner):
            label = np.int64(labels[i, j]) & 0xFFFFFFFF
            nearest[i, j] = label if label != 0 else _FAR
    pixel = np.int64(1) << 32
    for i in range(1, extent):
        _offer(nearest[i], second[i], nearest[i - 1], second[i - 1], pixel)
    for i in range(extent - 2, -1, -1):
        _offer(nearest[i], second[i], nearest[i + 1], second[i + 1], pixel)
    for keys in (nearest, second):
        for i in range(extent):
            for j in range(inner):
                count = keys[i, j] >> 32
                label = keys[i, j] & 0xFFFFFFFF
                keys[i, j] = (squares[count] << 32) + label if count < len(squares) else _FAR
    return nearest, second


@njit(**_OPTIONS)
def _offer(nearest, second, other_nearest, other_second, farther):  # type: ignore[no-untyped-def]
    """Enter the two nearest labels of other pixels, ``farther`` away, into those of a row.

    Without branches, so that the compiler makes vector instructions of it.
    """
    for j in range(len(nearest)):
        mine, theirs = nearest[j], other_nearest[j] + farther
        first = min(mine, theirs)
        rest = max(mine, theirs)
        best = rest if (rest ^ first) & 0xFFFFFFFF else _FAR
        rest = second[j]
        best = min(best, rest if (rest ^ first) & 0xFFFFFFFF else _FAR)
        rest = other_second[j] + farther
        best = min(best, rest if (rest ^ first) & 0xFFFFFFFF else _FAR)
        nearest[j], second[j] = first, best


@njit(**_OPTIONS)
def _merge(nearest, second, inner, squares):  # type: ignore[no-untyped-def]
    """Extend the keys, in place, by the next axis of (outer, extent · inner).

    Neighbours along that axis are ``inner`` places apart. Runs of ``RUN`` places look outwards
    together, until no neighbour can be among the two nearest of any of them. On the last axis
    cells no longer matter, only the background's keys are wanted.
    """
    outer, places = nearest.shape
    last, pixel = inner == 1, np.int64(1) << 32
    window = min(len(squares), places // inner)
    margin = (window - 1) * inner  # around a row, so that no neighbour is outside
    row = slice(margin, margin + places)
    nearest_row = np.full(places + 2 * margin, _FAR)
    second_row = np.full(places + 2 * margin, _FAR)
    for o in range(outer):
        nearest_row[row], second_row[row] = nearest[o], second[o]
        for start in range(0, places, RUN):
            run = slice(start, min(start + RUN, places))
            keys1, keys2 = nearest[o, run], second[o, run]
            for s in range(1, window):
                farther = squares[s] << 32
                farthest = np.int64(0)
                for j in range(len(keys2)):
                    settled = last and keys1[j] < pixel  # on a cell, where no weight is wanted
                    farthest = max(farthest, np.int64(0) if settled else keys2[j])
                if farther >= farthest:
                    break
                for offset in (-s * inner, s * inner):
                    at = margin + start + offset
                    to = at + len(keys1)
                    _offer(keys1, keys2, nearest_row[at:to], second_row[at:to], farther)


@njit(**_OPTIONS)
def _exponent(nearest, second, unit, sigma, reach):  # type: ignore[no-untyped-def]
    """−(d1 + d2)² / 2σ², and −∞ on cells and beyond the reach."""
    exponent = np.empty(len(nearest), np.float32)
    for i in range(len(nearest)):
        squared1, squared2 = nearest[i] >> 32, second[i] >> 32
        total = np.sqrt(squared1 * unit) + np.sqrt(squared2 * unit)
        near = squared1 > 0 and total <= reach
        exponent[i] = -total * total / (2 * sigma * sigma) if near else -np.inf
    return exponent
