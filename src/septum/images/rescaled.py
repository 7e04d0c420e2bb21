"""An image at another pixel size, resampled region by region.

Pixels are the mean of those around them, weighed by a triangle that is as wide as two pixels of the
coarser grid: linear interpolation where pixels become smaller, and no aliases where they become
larger. A region is the same whatever is asked for around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from septum.geometry import Span
from septum.images.stored import Box, StoredImage

AT_ONCE = 4 << 20
"""Pixels that are read and weighed at a time."""


def rescale(image: StoredImage, pixel_size: Sequence[float]) -> StoredImage:
    """``image`` with pixels of about ``pixel_size``, one entry a spatial axis, in µm; float32.

    The image's own must be known. Its edges stay where they are, so extents are whole numbers and
    the size is exact to within half a pixel of the whole extent.
    """
    assert image.pixel_size is not None
    shape, sizes = list(image.shape), list(image.pixel_size)
    spatial = [number for number, axis in enumerate(image.axes) if axis in "ZYX"]
    for place, (number, size) in enumerate(zip(spatial, pixel_size, strict=True)):
        whole = image.shape[number] * image.pixel_size[place]
        shape[number] = max(round(whole / size), 1)
        sizes[place] = whole / shape[number]
    return replace(
        image,
        shape=tuple(shape),
        dtype=np.dtype(np.float32),
        regions=RescaledRegions(image, tuple(shape)),
        pixel_size=tuple(sizes),
    )


def read_rescaled(
    read: Callable[[Box], np.ndarray], shape: Sequence[int], to: Sequence[int], box: Box
) -> np.ndarray:
    """The region ``box`` of what ``read`` gives regions of, brought from ``shape`` to ``to``."""
    axes = list(zip(shape, to, box, strict=True))
    sources = [
        _source(part.start, part.stop, before, after)
        if before != after
        else (part.start, part.stop)
        for before, after, part in axes
    ]
    longest = max(range(len(box)), key=lambda axis: box[axis].stop - box[axis].start)
    pixels = math.prod(stop - start for start, stop in sources)
    part = box[longest]
    if pixels > AT_ONCE and part.stop - part.start > 1 and shape[longest] != to[longest]:
        middle = (part.start + part.stop) // 2
        halves = [
            (*box[:longest], half, *box[longest + 1 :])
            for half in (slice(part.start, middle), slice(middle, part.stop))
        ]
        return np.concatenate([read_rescaled(read, shape, to, half) for half in halves], longest)
    region: np.ndarray[Any, Any] = read(tuple(slice(*source) for source in sources))
    region = region.astype(np.float32)
    for axis, ((before, after, part), source) in enumerate(zip(axes, sources, strict=True)):
        if before != after:
            region = _resample(region, axis, source[0], part, before, after)
    return region


@dataclass(frozen=True, eq=False)
class RescaledRegions:
    """The pixels of ``image`` on another grid, of extents ``shape``."""

    image: StoredImage
    shape: tuple[int, ...]

    def read(self, box: Box) -> np.ndarray:
        """The region ``box``, float32; reads what it is made of."""
        return read_rescaled(lambda b: self.image.read(b).array, self.image.shape, self.shape, box)


def _centres(start: int, stop: int, before: int, after: int) -> np.ndarray:
    """Where the pixels of the new grid lie in the old one."""
    ratio = before / after
    return (np.arange(start, stop) + 0.5) * ratio - 0.5


def _source(start: int, stop: int, before: int, after: int) -> Span:
    """The old pixels that ``start`` to ``stop`` of the new ones are made of."""
    reach = max(before / after, 1.0)
    first, last = _centres(start, stop, before, after)[[0, -1]]
    return max(math.floor(first - reach), 0), min(math.ceil(last + reach) + 1, before)


def _resample(
    region: np.ndarray, axis: int, first: int, part: slice, before: int, after: int
) -> np.ndarray:
    """New pixels ``part`` along ``axis``, of old ones from ``first`` on."""
    reach = max(before / after, 1.0)
    centres = _centres(part.start, part.stop, before, after)
    lowest = np.floor(centres - reach).astype(np.int64) + 1
    taps = lowest[:, None] + np.arange(math.ceil(2 * reach) + 1)
    weights = np.maximum(1 - np.abs(taps - centres[:, None]) / reach, 0)
    weights[(taps < 0) | (taps >= before)] = 0
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    places = taps.clip(first, first + region.shape[axis] - 1) - first
    shape = [1] * region.ndim
    shape[axis] = -1
    out = np.zeros(
        [*region.shape[:axis], len(centres), *region.shape[axis + 1 :]], dtype=np.float32
    )
    for tap in range(taps.shape[1]):  # in this order for every pixel: the same sum in every region
        out += np.take(region, places[:, tap], axis) * weights[:, tap].reshape(shape)
    return out
