"""The compiled loops behind ``augment.deform``: no map of coordinates is ever written to memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "arcp"},
}


@njit(inline="always", **_OPTIONS)
def _mirror(index, extent):  # type: ignore[no-untyped-def]
    """Continue an axis by mirroring; the edge pixel is not repeated."""
    if 0 <= index < extent:
        return index
    if extent == 1:
        return 0
    period = 2 * (extent - 1)
    index = abs(index) % period
    return period - index if index >= extent else index


@njit(inline="always", **_OPTIONS)
def _cubic(weights, t):  # type: ignore[no-untyped-def]
    """Keys' cubic convolution kernel, a = −1/2, at the four pixels around a point."""
    half = np.float32(0.5)
    weights[0] = ((-half * t + 1) * t - half) * t
    weights[1] = (np.float32(1.5) * t - np.float32(2.5)) * t * t + 1
    weights[2] = ((np.float32(-1.5) * t + 2) * t + half) * t
    weights[3] = (half * t - half) * t * t


@njit(**_OPTIONS)
def resample_plane(  # type: ignore[no-untyped-def]
    image, classes, instances, base, rest, matrix, nodes, basis_y, basis_x, margins, cubic,
    image_out, classes_out, instances_out,
):  # fmt: skip
    """2D: see ``deform``. image (C, Y, X); nodes (2, ny, nx); bases (extent, nodes)."""
    channels, extent_y, extent_x = image.shape
    tile_y, tile_x = image_out.shape[1:]
    target_y, target_x = classes_out.shape
    ny, nx = nodes.shape[1:]
    row_y = np.empty(nx, np.float32)
    row_x = np.empty(nx, np.float32)
    weights_y = np.empty(4, np.float32)
    weights_x = np.empty(4, np.float32)
    half = np.float32(0.5)
    for i in range(tile_y):
        for b in range(nx):  # the grid's rows, interpolated once a row of the tile
            row_y[b] = row_x[b] = np.float32(0)
            for a in range(ny):
                row_y[b] += basis_y[i, a] * nodes[0, a, b]
                row_x[b] += basis_y[i, a] * nodes[1, a, b]
        u = np.float32(i) - np.float32(tile_y - 1) * half
        for j in range(tile_x):
            v = np.float32(j) - np.float32(tile_x - 1) * half
            y = rest[0] + matrix[0, 0] * u + matrix[0, 1] * v
            x = rest[1] + matrix[1, 0] * u + matrix[1, 1] * v
            for b in range(nx):
                y += row_y[b] * basis_x[j, b]
                x += row_x[b] * basis_x[j, b]
            floor_y, floor_x = np.floor(y), np.floor(x)
            fy, fx = y - floor_y, x - floor_x
            y0, x0 = np.int64(floor_y) + base[0], np.int64(floor_x) + base[1]
            if cubic:
                _cubic(weights_y, fy)
                _cubic(weights_x, fx)
                for c in range(channels):
                    value = np.float32(0)
                    for a in range(4):
                        line = image[c, _mirror(y0 - 1 + a, extent_y)]
                        for b in range(4):
                            weight = weights_y[a] * weights_x[b]
                            value += weight * line[_mirror(x0 - 1 + b, extent_x)]
                    image_out[c, i, j] = value
            else:
                ya, yb = _mirror(y0, extent_y), _mirror(y0 + 1, extent_y)
                xa, xb = _mirror(x0, extent_x), _mirror(x0 + 1, extent_x)
                for c in range(channels):
                    above = image[c, ya, xa] * (1 - fx) + image[c, ya, xb] * fx
                    below = image[c, yb, xa] * (1 - fx) + image[c, yb, xb] * fx
                    image_out[c, i, j] = above * (1 - fy) + below * fy
            ti, tj = i - margins[0], j - margins[1]
            if 0 <= ti < target_y and 0 <= tj < target_x:
                yn = _mirror(y0 + (1 if fy >= half else 0), extent_y)
                xn = _mirror(x0 + (1 if fx >= half else 0), extent_x)
                classes_out[ti, tj] = classes[yn, xn]
                instances_out[ti, tj] = instances[yn, xn]


@njit(**_OPTIONS)
def resample_volume(  # type: ignore[no-untyped-def]
    image, classes, instances, base, rest, matrix, nodes, basis_z, basis_y, basis_x, margins,
    cubic, image_out, classes_out, instances_out,
):  # fmt: skip
    """3D: see ``deform``. image (C, Z, Y, X); nodes (3, nz, ny, nx)."""
    channels, extent_z, extent_y, extent_x = image.shape
    tile = image_out.shape[1:]
    target = classes_out.shape
    nz, ny, nx = nodes.shape[1:]
    row = np.empty((3, nx), np.float32)
    source = np.empty(3, np.float32)
    weights = np.zeros((3, 4), np.float32)
    half = np.float32(0.5)
    first, taps = (-1, 4) if cubic else (0, 2)
    for k in range(tile[0]):
        for i in range(tile[1]):
            for axis in range(3):
                for b in range(nx):
                    total = np.float32(0)
                    for d in range(nz):
                        for a in range(ny):
                            total += basis_z[k, d] * basis_y[i, a] * nodes[axis, d, a, b]
                    row[axis, b] = total
            t = np.float32(k) - np.float32(tile[0] - 1) * half
            u = np.float32(i) - np.float32(tile[1] - 1) * half
            for j in range(tile[2]):
                v = np.float32(j) - np.float32(tile[2] - 1) * half
                for axis in range(3):
                    place = rest[axis] + matrix[axis, 0] * t + matrix[axis, 1] * u
                    place += matrix[axis, 2] * v
                    for b in range(nx):
                        place += row[axis, b] * basis_x[j, b]
                    source[axis] = place
                fz = source[0] - np.floor(source[0])
                fy = source[1] - np.floor(source[1])
                fx = source[2] - np.floor(source[2])
                z0 = np.int64(np.floor(source[0])) + base[0]
                y0 = np.int64(np.floor(source[1])) + base[1]
                x0 = np.int64(np.floor(source[2])) + base[2]
                if cubic:
                    _cubic(weights[0], fz)
                    _cubic(weights[1], fy)
                    _cubic(weights[2], fx)
                else:
                    weights[0, 0], weights[0, 1] = 1 - fz, fz
                    weights[1, 0], weights[1, 1] = 1 - fy, fy
                    weights[2, 0], weights[2, 1] = 1 - fx, fx
                for c in range(channels):
                    value = np.float32(0)
                    for d in range(taps):
                        zz = _mirror(z0 + first + d, extent_z)
                        for a in range(taps):
                            yy = _mirror(y0 + first + a, extent_y)
                            weight = weights[0, d] * weights[1, a]
                            for b in range(taps):
                                xx = _mirror(x0 + first + b, extent_x)
                                value += weight * weights[2, b] * image[c, zz, yy, xx]
                    image_out[c, k, i, j] = value
                tk, ti, tj = k - margins[0], i - margins[1], j - margins[2]
                if 0 <= tk < target[0] and 0 <= ti < target[1] and 0 <= tj < target[2]:
                    zn = _mirror(z0 + (1 if fz >= half else 0), extent_z)
                    yn = _mirror(y0 + (1 if fy >= half else 0), extent_y)
                    xn = _mirror(x0 + (1 if fx >= half else 0), extent_x)
                    classes_out[tk, ti, tj] = classes[zn, yn, xn]
                    instances_out[tk, ti, tj] = instances[zn, yn, xn]
