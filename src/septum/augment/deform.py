"""Shift, rotation, flip and elastic deformation, as one resampling of image and labels.

A tile is drawn by mapping each of its pixels to a point of the source image,

    source(u) = centre + matrix · u + Σ_k B_k(u) · displacement_k,

u the pixel's offset from the tile's centre and B the cubic spline through a coarse grid of nodes
(Ronneberger et al. 2015, section 3.1: 3 × 3 nodes, σ = 10 pixels, bicubic). Because everything is
in one map, the image is interpolated once and the labels, taken from the nearest pixel of the same
map, stay on it. Beyond its border the image is mirrored, as in prediction.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from septum.augment.resample import resample_plane, resample_volume
from septum.recipe import Augment


@dataclass(frozen=True, eq=False)
class Deformation:
    """Where a tile comes from. D is the number of spatial axes, in the order (Z)YX.

    ``centre`` (D): source coordinates of the tile's centre, in pixels; ``matrix`` (D, D): rotation
    and flips; ``displacement`` (D, nodes…): pixels, one vector a node of the coarse grid, or None;
    ``span`` (D): how many pixels of the tile's own frame the grid covers, centred on the tile.
    """

    centre: tuple[float, ...]
    matrix: np.ndarray
    displacement: np.ndarray | None
    span: tuple[float, ...]


def identity(extents: Sequence[int]) -> Deformation:
    """The deformation that copies a tile from the centre of an image of ``extents``."""
    centre = tuple((extent - 1) / 2 for extent in extents)
    return Deformation(centre, np.eye(len(extents)), None, tuple(map(float, extents)))


def sample_deformation(
    extents: Sequence[int],
    tile: Sequence[int],
    target: Sequence[int],
    section: Augment,
    rng: np.random.Generator,
    near: Sequence[int] | None = None,
) -> Deformation:
    """Draw the parameters for one tile of extents ``tile`` out of an image of ``extents``.

    With ``section.shift`` the tile's centre is drawn so that its labelled part, ``target``, stays
    in the image but for an eighth of its extent: that far into the mirrored outside, so that
    pixels at the rim are learnt nearly as often as others; further would show the network ever
    more of what it has seen. It is drawn on the grid of pixels: without rotation and elasticity
    none is interpolated. With ``near``, a pixel, it is drawn within a quarter of the labelled part
    around that, as far as the image allows. Rotation is about the Z axis in 3D. The order of the
    draws is fixed: the same generator gives the same tile.
    """
    axes = len(extents)
    centre = [(extent - 1) / 2 for extent in extents]
    if section.shift:
        for axis, (extent, kept) in enumerate(zip(extents, target, strict=True)):
            # Half a pixel more or less: an even target has its centre between two pixels.
            first = (kept - 1) / 2 - kept // 8
            room = round(extent - 1 - 2 * first)
            lowest, places = first + min(room, 0), abs(room)
            if near is None:
                place = rng.integers(places + 1)
            else:
                place = near[axis] - round(lowest) + rng.integers(-(kept // 4), kept // 4 + 1)
            centre[axis] = lowest + min(max(int(place), 0), places)
    angle = (
        math.radians(rng.uniform(-section.rotation, section.rotation)) if section.rotation else 0
    )
    matrix = np.eye(axes)
    matrix[-2:, -2:] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    if section.flip:
        matrix = matrix * np.where(rng.random(axes) < 0.5, -1.0, 1.0)
    displacement = None
    if section.elastic_sigma:
        nodes = (section.elastic_grid,) * axes
        displacement = rng.normal(0.0, section.elastic_sigma, (axes, *nodes))
    span = tuple(max(float(size), section.elastic_span) for size in tile)
    return Deformation(tuple(centre), matrix, displacement, span)


def deform(
    image_CS: Float32[np.ndarray, "c *s"],
    classes_S: UInt8[np.ndarray, "*s"],
    instances_S: Int32[np.ndarray, "*s"],
    deformation: Deformation,
    tile: Sequence[int],
    target: Sequence[int],
    cubic: bool = False,
) -> tuple[Float32[np.ndarray, "c *t"], UInt8[np.ndarray, "*u"], Int32[np.ndarray, "*u"]]:
    """Resample an image to ``tile`` and its labels to the central ``target`` of that tile.

    The image is interpolated linearly or (``cubic``) by Keys' cubic convolution, a = −1/2; the
    labels take the nearest pixel. ``tile`` minus ``target`` must be even along each axis.
    """
    margins = [(size - kept) // 2 for size, kept in zip(tile, target, strict=True)]
    assert all(size - kept == 2 * m for size, kept, m in zip(tile, target, margins, strict=True))
    # Split the centre into whole pixels and a rest, so that single precision is enough for the
    # map however large the image is.
    base = np.floor(np.asarray(deformation.centre)).astype(np.int32)
    rest = (np.asarray(deformation.centre) - base).astype(np.float32)
    if deformation.displacement is None:
        displacement = np.zeros((len(tile),) + (2,) * len(tile), np.float32)
    else:
        displacement = deformation.displacement.astype(np.float32)
    bases = [
        spline_basis(size, nodes, span)
        for size, nodes, span in zip(tile, displacement.shape[1:], deformation.span, strict=True)
    ]
    image_T = np.empty((len(image_CS), *tile), np.float32)
    classes_T = np.empty(tuple(target), np.uint8)
    instances_T = np.empty(tuple(target), np.int32)
    kernel = resample_plane if len(tile) == 2 else resample_volume
    kernel(
        *(np.ascontiguousarray(array) for array in (image_CS, classes_S, instances_S)),
        *(base, rest, deformation.matrix.astype(np.float32), displacement, *bases),
        *(np.asarray(margins), 4 if cubic else 2, image_T, classes_T, instances_T),
    )
    return image_T, classes_T, instances_T


def source_window(
    deformation: Deformation, tile: Sequence[int], extents: Sequence[int]
) -> tuple[slice, ...]:
    """The part of an image of ``extents`` that a tile is made from, one slice an axis.

    ``deform`` of that part, with the deformation ``moved`` there, gives what it gives of the whole
    image, bit for bit: where the tile reaches over the image's border, the part ends there too, and
    holds what is mirrored.
    """
    halves = [(size - 1) / 2 for size in tile]
    window = []
    for axis, (centre, extent) in enumerate(zip(deformation.centre, extents, strict=True)):
        reach = float(np.abs(deformation.matrix[axis]) @ halves)
        if deformation.displacement is not None:
            # The spline's basis functions are not all positive: it may leave its nodes' range.
            nodes = deformation.displacement.shape[1:]
            sums = [
                float(np.abs(spline_basis(size, count, span)).sum(0).max())
                for size, count, span in zip(tile, nodes, deformation.span, strict=True)
            ]
            reach += math.prod(sums) * float(np.abs(deformation.displacement[axis]).max())
        # Two pixels more for the taps of the cubic kernel, one for rounding.
        first, last = math.floor(centre - reach) - 3, math.ceil(centre + reach) + 3
        start, stop = max(first, 0), min(last + 1, extent)
        if first < 0:
            stop = max(stop, min(1 - first, extent))
        if last >= extent:
            start = min(start, max(2 * (extent - 1) - last, 0))
        if first < 1 - extent or last > 2 * (extent - 1):  # mirrored more than once
            start, stop = 0, extent
        # A tile wholly outside still needs a pixel to mirror.
        start, stop = min(start, extent - 1), max(stop, 1)
        window.append(slice(start, max(stop, start + 1)))
    return tuple(window)


def moved(deformation: Deformation, window: Sequence[slice]) -> Deformation:
    """The same deformation where only ``window`` of the image is at hand."""
    centre = tuple(
        place - part.start for place, part in zip(deformation.centre, window, strict=True)
    )
    return dataclasses.replace(deformation, centre=centre)


def displacement_field(
    deformation: Deformation, tile: Sequence[int]
) -> Float32[np.ndarray, "d *t"]:
    """The elastic part alone, in pixels, for each pixel of a tile. For pictures and tests."""
    assert deformation.displacement is not None
    field = deformation.displacement
    for axis, (size, span) in enumerate(zip(tile, deformation.span, strict=True), start=1):
        basis = spline_basis(size, field.shape[axis], span)
        field = np.moveaxis(np.tensordot(field, basis, axes=(axis, 0)), -1, axis)
    return field.astype(np.float32)


@functools.lru_cache(maxsize=64)
def spline_basis(extent: int, nodes: int, span: float) -> Float32[np.ndarray, "nodes extent"]:
    """Weight of each node at each pixel of an axis: the cubic spline through unit vectors.

    Nodes are spread evenly over ``span`` pixels around the centre of the ``extent`` pixels, the
    first and the last on the outermost pixels if ``span == extent``. The spline is the
    interpolating cubic B-spline, mirrored at its ends (as in scipy.ndimage and elasticdeform),
    so it passes through the nodes' values, and first and second derivative are continuous.
    """
    from scipy.ndimage import map_coordinates

    offsets = np.arange(extent) - (extent - 1) / 2
    positions = (offsets / max(span - 1, 1.0) + 0.5) * (nodes - 1)
    rows = [
        map_coordinates(unit, positions[None], order=3, mode="mirror") for unit in np.eye(nodes)
    ]
    basis = np.stack(rows).astype(np.float32)
    basis.setflags(write=False)
    return basis
