"""Augmentation of a whole batch on any device: ``deform`` and ``vary_grey_values`` in PyTorch.

The images of a run lie on the device. What was drawn for the tiles of a batch is packed on the
host, one row a tile, so that one small copy a step takes it there; float32 travels in the int32
rows by its bits. The rest happens on the device alone: nothing waits for the host and no shape
depends on a value, so that the work can be compiled, or captured in a CUDA graph.

Shapes: B tiles, C channels, D spatial axes in the order (Z)YX, I images, P pixels of all images,
R numbers of a row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64, UInt8
from torch import Tensor

from septum.augment.deform import Deformation, spline_basis
from septum.augment.intensity import GreyValues
from septum.recipe import Augment

_WORD = 0xFFFFFFFF


@dataclass(frozen=True, eq=False)
class PlacedImages:
    """All images of a run on one device, end to end; their extents may differ.

    Pixel x of image i is number ``starts_I[i] + Σ_d x_d · strides_ID[i, d]`` of P.
    """

    pixels_PC: Float32[Tensor, "p c"]
    classes_P: UInt8[Tensor, " p"]
    instances_P: Int32[Tensor, " p"]
    starts_I: Int64[Tensor, " i"]
    extents_ID: Int32[Tensor, "i d"]
    strides_ID: Int64[Tensor, "i d"]


def place_images(
    images: Sequence[
        tuple[Float32[np.ndarray, "c ..."], UInt8[np.ndarray, "..."], Int32[np.ndarray, "..."]]
    ],
    device: torch.device,
) -> PlacedImages:
    """Copy images with their classes and instances to ``device``: 4 C + 5 bytes a pixel.

    All have the same channels and the same number of axes.
    """
    shapes = [classes_S.shape for _, classes_S, _ in images]
    sizes = [math.prod(shape) for shape in shapes]
    strides = [[math.prod(shape[axis:]) for axis in range(1, len(shape) + 1)] for shape in shapes]

    def place(arrays: list[np.ndarray]) -> Tensor:
        # In order: where pixels are gathered, all channels of one are read together.
        return torch.from_numpy(np.ascontiguousarray(np.concatenate(arrays))).to(device)

    return PlacedImages(
        pixels_PC=place([image_CS.reshape(len(image_CS), -1).T for image_CS, _, _ in images]),
        classes_P=place([classes_S.ravel() for _, classes_S, _ in images]),
        instances_P=place([instances_S.ravel() for _, _, instances_S in images]),
        starts_I=torch.tensor([0, *itertools.accumulate(sizes[:-1])], device=device),
        extents_ID=torch.tensor(shapes, dtype=torch.int32, device=device),
        strides_ID=torch.tensor(strides, device=device),
    )


def spline_bases(
    deformation: Deformation, tile: Sequence[int], device: torch.device
) -> tuple[Float32[Tensor, "_ _"], ...]:
    """``spline_basis`` of each axis, (nodes, extent of the tile), for ``deform_batch``.

    They are the same for all deformations with the same span and nodes, so for a whole run.
    Without elastic displacement there are 0 nodes.
    """
    if deformation.displacement is None:
        return tuple(torch.empty((0, size), device=device) for size in tile)
    nodes = deformation.displacement.shape[1:]
    axes = zip(tile, nodes, deformation.span, strict=True)
    return tuple(torch.tensor(spline_basis(*axis), device=device) for axis in axes)


def pack_deformations(
    numbers: Sequence[int], deformations: Sequence[Deformation], pinned: bool = False
) -> Int32[Tensor, "b r"]:
    """Rows for ``deform_batch``, on the host: tile b is taken from image ``numbers[b]``.

    All deformations have the span and the nodes of the first, or none has nodes. ``pinned``: in
    memory from which CUDA copies without waiting.
    """
    axes = len(deformations[0].centre)
    first = deformations[0].displacement
    nodes = (0,) * axes if first is None else first.shape[1:]
    fields: list[tuple[str, str, tuple[int, ...]]] = [
        ("number", "i4", ()),
        ("base", "i4", (axes,)),
        ("rest", "f4", (axes,)),
        ("matrix", "f4", (axes, axes)),
        ("nodes", "f4", (axes, *nodes)),
    ]
    rows = np.zeros(len(deformations), fields)
    for row, number, deformation in zip(rows, numbers, deformations, strict=True):
        assert first is None or deformation.span == deformations[0].span
        assert (deformation.displacement is None) == (first is None)
        # As in ``deform``: single precision is enough for the rest, however large the image is.
        row["base"] = base = np.floor(deformation.centre)
        row["number"], row["rest"] = number, np.asarray(deformation.centre) - base
        row["matrix"] = deformation.matrix
        if deformation.displacement is not None:
            row["nodes"] = deformation.displacement
    return _on_host(rows, pinned)


def deform_batch(
    images: PlacedImages,
    rows_BR: Int32[Tensor, "b r"],
    bases: Sequence[Float32[Tensor, "_ _"]],
    target: Sequence[int],
    cubic: bool = False,
) -> tuple[Float32[Tensor, "b c *t"], UInt8[Tensor, "b *u"], Int32[Tensor, "b *u"]]:
    """``deform`` for each row of ``pack_deformations``: images, and classes and instances.

    The extents of the tile are those of ``spline_bases``; all arguments are on one device. Equal
    to ``deform`` to the rounding of the map: about 1e-7 of the tile's extent, in pixels. The images
    have their channels last in memory.
    """
    axes, tile = len(bases), [basis.shape[1] for basis in bases]
    nodes = [basis.shape[0] for basis in bases]
    margins = [(size - kept) // 2 for size, kept in zip(tile, target, strict=True)]
    assert all(size - kept == 2 * m for size, kept, m in zip(tile, target, margins, strict=True))
    inner = tuple(slice(m, m + kept) for m, kept in zip(margins, target, strict=True))

    counts = [1, axes, axes, axes * axes, axes * math.prod(nodes)]
    number_B1, base_BD, rest_BD, matrix, displacement = torch.split(rows_BR, counts, dim=1)
    rest_BD = rest_BD.view(torch.float32)
    matrix_BDD = matrix.view(torch.float32).reshape(-1, axes, axes)
    displacement = displacement.view(torch.float32).reshape(len(rows_BR), axes, *nodes)
    number_B = number_B1[:, 0].long()

    def spread(value_B: Tensor) -> Tensor:
        return value_B.view(-1, *[1] * axes)

    pixel = label = spread(images.starts_I[number_B])
    taps = []
    for axis in range(axes):
        extent = spread(images.extents_ID[number_B, axis])
        stride = spread(images.strides_ID[number_B, axis])
        place = _source(rest_BD[:, axis], matrix_BDD[:, axis], displacement[:, axis], bases)
        floor = place.floor()
        fraction = place - floor
        before = floor.int() + spread(base_BD[:, axis])
        nearest = (before + (fraction + 0.5).int())[:, *inner]
        label = label + _mirror(nearest, extent) * stride
        offsets = range(-1, 3) if cubic else range(2)
        places = [_mirror(before + offset, extent) * stride for offset in offsets]
        taps.append(list(zip(places, _weights(fraction, cubic), strict=True)))
    image_BTC = _interpolate(images.pixels_PC, pixel, taps)
    return image_BTC.movedim(-1, 1), images.classes_P[label], images.instances_P[label]


def _source(rest_B: Tensor, slope_BD: Tensor, nodes: Tensor, bases: Sequence[Tensor]) -> Tensor:
    """Along one axis of the image, rest + slope · u + Σ_k B_k(u) · nodes_k for each pixel u.

    Sums are written out: a matrix product would be in TF32 or bfloat16 where these are switched
    on, and be wrong by whole pixels.
    """
    axes = len(bases)
    place = rest_B.view(-1, *[1] * axes)
    for axis, basis in enumerate(bases):
        along = [1] * axes
        along[axis] = extent = basis.shape[1]
        offset = torch.arange(extent, device=basis.device) - (extent - 1) / 2
        place = place + slope_BD[:, axis].view(-1, *[1] * axes) * offset.view(along)
    *outer, last = bases
    for axis, basis in enumerate(outer, start=1):  # the grid, interpolated to this axis
        weight = basis.view(*basis.shape, *[1] * (axes - axis))
        nodes = (nodes.unsqueeze(axis + 1) * weight).sum(axis)
    for node, row in enumerate(last):
        place = torch.addcmul(place, nodes[..., node, None], row)
    return place


def _mirror(index: Tensor, extent: Tensor) -> Tensor:
    """Continue an axis by mirroring, as often as needed; the edge pixel is not repeated."""
    last = extent - 1
    return last - (last - index.abs() % (2 * last).clamp(min=1)).abs()


def _weights(t: Tensor, cubic: bool) -> list[Tensor]:
    """Of the pixels around a point ``t`` after a pixel: linear, or Keys' kernel, a = −1/2."""
    if not cubic:
        return [1 - t, t]
    return [
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]


def _interpolate(
    pixels_PC: Tensor, pixel: Tensor, taps: Sequence[Sequence[tuple[Tensor, Tensor]]]
) -> Tensor:
    """Σ weight · value over the taps of each axis, (place, weight) each; channels come last."""
    if not taps:
        return pixels_PC[pixel]
    total = None
    for place, weight in taps[0]:
        part, weight_1 = _interpolate(pixels_PC, pixel + place, taps[1:]), weight[..., None]
        total = part * weight_1 if total is None else torch.addcmul(total, part, weight_1)
    assert total is not None
    return total


def pack_grey_values(values: Sequence[GreyValues], pinned: bool = False) -> Int32[Tensor, "b r"]:
    """Rows for ``vary_grey_values_batch``, on the host. ``pinned`` as in ``pack_deformations``.

    All have as many channels as the first, or none.
    """
    count = len(values[0].channels)
    rows = np.zeros(
        len(values), [("grey", "f4", 4), ("key", "u4", 2), ("channels", "f4", (2, count))]
    )
    for row, item in zip(rows, values, strict=True):
        row["channels"] = np.array(item.channels, np.float32).reshape(count, 2).T
        row["grey"] = item.contrast, item.brightness, item.gamma, item.noise
        row["key"] = np.random.SeedSequence(item.noise_seed).generate_state(2)
    return _on_host(rows, pinned)


def vary_grey_values_batch(
    image_BCS: Float32[Tensor, "b c *s"], rows_BR: Int32[Tensor, "b r"], section: Augment
) -> Float32[Tensor, "b c *s"]:
    """``vary_grey_values`` for each row of ``pack_grey_values``, on the device of the images.

    What ``section`` turns off is not computed, whatever the rows say. The noise has other bits
    than that of the processor and the same distribution: each pixel's is a hash of the tile's
    ``noise_seed`` and the pixel's place, whatever else is in the batch.
    """
    parameters = rows_BR[:, :4].view(torch.float32).unbind(1)
    ones = [1] * (image_BCS.ndim - 1)
    contrast, brightness, gamma, noise = (value.view(-1, *ones) for value in parameters)
    if section.gamma:
        spatial = tuple(range(2, image_BCS.ndim))
        low = image_BCS.amin(spatial, keepdim=True)
        extent = image_BCS.amax(spatial, keepdim=True) - low
        extent = extent.masked_fill(extent == 0, 1.0)
        bent_BCS = ((image_BCS - low) / extent) ** gamma * extent + low
        image_BCS = torch.where(gamma == 1, image_BCS, bent_BCS)  # else neutral to rounding only
    if section.contrast or section.brightness:
        image_BCS = torch.addcmul(brightness, image_BCS, contrast)
    if rows_BR.shape[1] > 6 and section.channels:
        times_BC, more_BC = rows_BR[:, 6:].view(torch.float32).chunk(2, dim=1)
        deviation = image_BCS.std(tuple(range(2, image_BCS.ndim)), correction=0, keepdim=True)
        shape = deviation.shape
        added_BCS = more_BC.reshape(shape) * deviation
        image_BCS = torch.addcmul(added_BCS, image_BCS, times_BC.reshape(shape))
    if section.noise:
        normal_BCS = _normal(rows_BR[:, 4:6], math.prod(image_BCS.shape[1:])).view(image_BCS.shape)
        image_BCS = torch.addcmul(image_BCS, normal_BCS, noise)
    return image_BCS


def _normal(keys_B2: Tensor, count: int) -> Tensor:
    """Normal variates (B, count) by Box and Müller from hashes of (keys, 0 … count − 1)."""
    low, high = (keys_B2.long() & _WORD).unsqueeze(2).unbind(1)
    bits = _scramble(_scramble(torch.arange(count, device=keys_B2.device) ^ low) ^ high)
    angle = (_scramble(bits ^ 0x9E3779B9) >> 8) * (2 * math.pi / 2**24)
    share = ((bits >> 8) + 1) * 2.0**-24  # in (0, 1], exact in single precision
    return torch.sqrt(-2 * torch.log(share)) * torch.cos(angle)


def _scramble(word: Tensor) -> Tensor:
    """A bijection of 32 bits, in int64, each bit of which depends on all bits.

    The constants are of C. Wellons' hash-prospector; both are below 2³¹, so no product overflows.
    """
    word = ((word ^ (word >> 15)) * 0x2C1B3C6D) & _WORD
    word = ((word ^ (word >> 12)) * 0x297A2D39) & _WORD
    return word ^ (word >> 15)


def _on_host(rows: np.ndarray, pinned: bool) -> Tensor:
    packed = torch.from_numpy(rows.view(np.int32).reshape(len(rows), -1))
    return packed.pin_memory() if pinned else packed
