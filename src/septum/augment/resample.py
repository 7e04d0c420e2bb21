"""The compiled loops behind ``augment.deform``: no map of coordinates is ever written to memory.

A tile is made in strips of ``STRIP`` columns, row by row: a turned row of a whole tile would touch
a new line of memory at each pixel. The points of a row come first, in loops that the compiler
turns into vector instructions; mirroring at the border is done there, on whole numbers, so that
the loops that gather the pixels have no branch in them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

STRIP = 128

_OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "arcp"},
}


@njit(**_OPTIONS)
def _mirror(index, extent):  # type: ignore[no-untyped-def]
    """Continue an axis by mirroring, in place; the edge pixel is not repeated."""
    last = np.int32(extent - 1)
    low, high = last, np.int32(0)
    for j in range(index.shape[1]):
        low, high = min(low, index[0, j]), max(high, index[index.shape[0] - 2, j])
    if low >= 0 and high <= last:
        return
    if low >= -last and high <= 2 * last:  # one reflection is enough
        for tap in range(index.shape[0]):
            for j in range(index.shape[1]):
                index[tap, j] = last - abs(last - abs(index[tap, j]))
        return
    period = max(2 * last, 1)
    for tap in range(index.shape[0]):
        for j in range(index.shape[1]):
            index[tap, j] = last - abs(last - abs(index[tap, j]) % period)


@njit(**_OPTIONS)
def _locate(place, base, extent, index, weight):  # type: ignore[no-untyped-def]
    """Split the points ``place + base`` of a row into mirrored pixels and weights, one a tap.

    Two taps interpolate linearly; four by Keys' cubic convolution kernel, a = −1/2. The last row
    of ``index`` is the pixel nearest to the point.
    """
    half, one = np.float32(0.5), np.float32(1)
    taps, extent_j = weight.shape
    fraction = weight[0]
    before, nearest = index[taps // 2 - 1], index[taps]
    for j in range(extent_j):
        floor = np.floor(place[j])
        fraction[j] = place[j] - floor
        before[j] = np.int32(floor) + base
        nearest[j] = before[j] + np.int32(fraction[j] + half)
    if taps == 4:
        for j in range(extent_j):
            t = fraction[j]
            weight[1, j] = (np.float32(1.5) * t - np.float32(2.5)) * t * t + one
            weight[2, j] = ((np.float32(-1.5) * t + np.float32(2)) * t + half) * t
            weight[3, j] = (half * t - half) * t * t
            weight[0, j] = ((-half * t + one) * t - half) * t
            index[0, j] = before[j] - np.int32(1)
    else:
        for j in range(extent_j):
            weight[1, j] = fraction[j]
            weight[0, j] = one - fraction[j]
    for tap in range(1, taps):
        for j in range(extent_j):
            index[tap, j] = index[0, j] + np.int32(tap)
    _mirror(index, extent)


@njit(**_OPTIONS)
def _points(rest, slope, first, coefficients, basis, place):  # type: ignore[no-untyped-def]
    """Fill in rest + slope · v + Σ_b coefficients_b · basis_b(v), v the columns from ``first``."""
    middle = np.float32(basis.shape[1] - 1) * np.float32(0.5)
    for j in range(len(place)):
        place[j] = rest + slope * (np.float32(first + j) - middle)
    for b in range(len(coefficients)):
        coefficient, row = coefficients[b], basis[b, first : first + len(place)]
        for j in range(len(place)):
            place[j] += coefficient * row[j]


@njit(**_OPTIONS)
def _gather_linear(image, iy, ix, wy, wx, out):  # type: ignore[no-untyped-def]
    ya, yb, xa, xb = iy[0], iy[1], ix[0], ix[1]
    va, vb, wa, wb = wy[0], wy[1], wx[0], wx[1]
    for j in range(len(out)):
        above = image[ya[j], xa[j]] * wa[j] + image[ya[j], xb[j]] * wb[j]
        below = image[yb[j], xa[j]] * wa[j] + image[yb[j], xb[j]] * wb[j]
        out[j] = above * va[j] + below * vb[j]


@njit(**_OPTIONS)
def _gather_cubic(image, iy, ix, wy, wx, out):  # type: ignore[no-untyped-def]
    xa, xb, xc, xd = ix[0], ix[1], ix[2], ix[3]
    wa, wb, wc, wd = wx[0], wx[1], wx[2], wx[3]
    for j in range(len(out)):
        value = np.float32(0)
        for tap in range(4):
            y = iy[tap, j]
            line = image[y, xa[j]] * wa[j] + image[y, xb[j]] * wb[j]
            line += image[y, xc[j]] * wc[j] + image[y, xd[j]] * wd[j]
            value += line * wy[tap, j]
        out[j] = value


@njit(**_OPTIONS)
def _gather_volume(image, index, weight, out):  # type: ignore[no-untyped-def]
    taps = weight.shape[1]
    for j in range(len(out)):
        value = np.float32(0)
        for d in range(taps):
            z = index[0, d, j]
            for a in range(taps):
                y = index[1, a, j]
                line = np.float32(0)
                for b in range(taps):
                    line += weight[2, b, j] * image[z, y, index[2, b, j]]
                value += weight[0, d, j] * weight[1, a, j] * line
        out[j] = value


@njit(**_OPTIONS)
def _gather_labels(classes, instances, iy, ix, classes_out, instances_out):  # type: ignore[no-untyped-def]
    for j in range(len(iy)):
        classes_out[j] = classes[iy[j], ix[j]]
        instances_out[j] = instances[iy[j], ix[j]]


@njit(**_OPTIONS)
def resample_plane(  # type: ignore[no-untyped-def]
    image, classes, instances, base, rest, matrix, nodes, basis_y, basis_x, margins, taps,
    image_out, classes_out, instances_out,
):  # fmt: skip
    """2D: see ``deform``. image (C, Y, X); nodes (2, ny, nx); bases (nodes, extent)."""
    extents = image.shape[1:]
    tile_y, tile_x = image_out.shape[1:]
    target_y, target_x = classes_out.shape
    ny, nx = nodes.shape[1:]
    half = np.float32(0.5)
    coefficients = np.empty(nx, np.float32)
    for first in range(0, tile_x, STRIP):
        width = min(STRIP, tile_x - first)
        kept = max(first, margins[1]), min(first + width, margins[1] + target_x)
        place, weight = np.empty(width, np.float32), np.empty((2, taps, width), np.float32)
        index = np.empty((2, taps + 1, width), np.int32)
        pixel = index.view(np.uint32)  # an unsigned index is not tested for being negative
        for i in range(tile_y):
            u = np.float32(i) - np.float32(tile_y - 1) * half
            for axis in range(2):
                for b in range(nx):  # the grid, interpolated to this row
                    coefficients[b] = np.float32(0)
                    for a in range(ny):
                        coefficients[b] += basis_y[a, i] * nodes[axis, a, b]
                start = rest[axis] + matrix[axis, 0] * u
                _points(start, matrix[axis, 1], first, coefficients, basis_x, place)
                _locate(place, base[axis], extents[axis], index[axis], weight[axis])
            for c in range(image.shape[0]):
                out = image_out[c, i, first : first + width]
                if taps == 4:
                    _gather_cubic(image[c], pixel[0], pixel[1], weight[0], weight[1], out)
                else:
                    _gather_linear(image[c], pixel[0], pixel[1], weight[0], weight[1], out)
            if margins[0] <= i < margins[0] + target_y and kept[0] < kept[1]:
                here = slice(kept[0] - first, kept[1] - first)
                to = slice(kept[0] - margins[1], kept[1] - margins[1])
                _gather_labels(
                    classes, instances, pixel[0, taps, here], pixel[1, taps, here],
                    classes_out[i - margins[0], to], instances_out[i - margins[0], to],
                )  # fmt: skip


@njit(**_OPTIONS)
def resample_volume(  # type: ignore[no-untyped-def]
    image, classes, instances, base, rest, matrix, nodes, basis_z, basis_y, basis_x, margins,
    taps, image_out, classes_out, instances_out,
):  # fmt: skip
    """3D: see ``deform``. image (C, Z, Y, X); nodes (3, nz, ny, nx)."""
    extents = image.shape[1:]
    tile_z, tile_y, tile_x = image_out.shape[1:]
    target = classes_out.shape
    nz, ny, nx = nodes.shape[1:]
    half = np.float32(0.5)
    coefficients = np.empty(nx, np.float32)
    place, weight = np.empty(tile_x, np.float32), np.empty((3, taps, tile_x), np.float32)
    index = np.empty((3, taps + 1, tile_x), np.int32)
    pixel = index.view(np.uint32)
    for k in range(tile_z):
        t = np.float32(k) - np.float32(tile_z - 1) * half
        for i in range(tile_y):
            u = np.float32(i) - np.float32(tile_y - 1) * half
            for axis in range(3):
                for b in range(nx):
                    total = np.float32(0)
                    for d in range(nz):
                        for a in range(ny):
                            total += basis_z[d, k] * basis_y[a, i] * nodes[axis, d, a, b]
                    coefficients[b] = total
                start = rest[axis] + matrix[axis, 0] * t + matrix[axis, 1] * u
                _points(start, matrix[axis, 2], 0, coefficients, basis_x, place)
                _locate(place, base[axis], extents[axis], index[axis], weight[axis])
            for c in range(image.shape[0]):
                _gather_volume(image[c], pixel, weight, image_out[c, k, i])
            tk, ti = k - margins[0], i - margins[1]
            if 0 <= tk < target[0] and 0 <= ti < target[1]:
                for tj in range(target[2]):
                    j = tj + margins[2]
                    z, y, x = pixel[0, taps, j], pixel[1, taps, j], pixel[2, taps, j]
                    classes_out[tk, ti, tj] = classes[z, y, x]
                    instances_out[tk, ti, tj] = instances[z, y, x]
