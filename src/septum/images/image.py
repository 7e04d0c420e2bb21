"""An image in memory: the array, the names of its axes, and the size of a pixel."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from septum.errors import ImageFileError

AXES = "TCZYX"


@dataclass(frozen=True)
class ImageHeader:
    """What is known of an image without its pixels; see Image. Raises ImageFileError."""

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pixel_size: tuple[float, ...] | None = None
    channel_names: tuple[str, ...] | None = None
    source: Path | None = None

    def __post_init__(self) -> None:
        ordered = "".join(axis for axis in AXES if axis in self.axes)
        if self.axes != ordered or not self.axes.endswith("YX"):
            self._refuse(f"axes '{self.axes}' are not a part of TCZYX, in this order, ending in YX")
        if len(self.shape) != len(self.axes):
            self._refuse(f"axes '{self.axes}' do not fit an array of shape {self.shape}")
        if 0 in self.shape:
            self._refuse(f"no pixels: the shape is {self.shape} (axes {self.axes})")
        if self.dtype.kind not in "buif":
            self._refuse(
                f"pixels of type {self.dtype} cannot be used; expected integer or real values"
            )
        if self.pixel_size is not None:
            if len(self.pixel_size) != len(self.spatial_axes):
                self._refuse(f"pixel size {self.pixel_size} does not fit axes {self.spatial_axes}")
            if not all(0 < size < float("inf") for size in self.pixel_size):
                self._refuse(f"pixel size {self.pixel_size} is not positive")
        if self.channel_names is not None and len(self.channel_names) != self.channels:
            self._refuse(f"{len(self.channel_names)} channel names for {self.channels} channels")

    @property
    def spatial_axes(self) -> str:
        """``ZYX`` or ``YX``."""
        return "".join(axis for axis in self.axes if axis in "ZYX")

    @property
    def channels(self) -> int:
        """Extent of axis C; 1 where there is none."""
        return int(self.shape[self.axes.index("C")]) if "C" in self.axes else 1

    def stack_indices(self, dimensions: int) -> list[tuple[str, tuple[int | slice, ...]]]:
        """Suffix and index of each of the parts that `Image.stacks` splits the image into."""
        assert dimensions in (2, 3), dimensions
        if dimensions == 3 and "Z" not in self.axes:
            self._refuse(
                f"axes {self.axes} have no Z, but network.dimensions = 3 needs volumes; give a "
                "stack, or train with network.dimensions=2"
            )
        split = [axis for axis in self.axes if axis == "T" or (axis == "Z" and dimensions == 2)]
        extents = [self.shape[self.axes.index(axis)] for axis in split]
        parts = []
        for place in itertools.product(*map(range, extents)):
            numbers = [
                f"{i:0{max(2, len(str(n - 1)))}d}" for i, n in zip(place, extents, strict=True)
            ]
            if len(split) > 1:
                numbers = [f"{a.lower()}{i}" for a, i in zip(split, numbers, strict=True)]
            chosen = dict(zip(split, place, strict=True))
            index = tuple(chosen.get(axis, slice(None)) for axis in self.axes)
            parts.append((f"[{','.join(numbers)}]" if split else "", index))
        return parts

    def _refuse(self, reason: str) -> NoReturn:
        raise ImageFileError(f"{self.source or 'image'}: {reason}")


@dataclass(frozen=True)
class Image:
    """Pixels with named axes.

    ``axes`` names the axes of ``array``: a subset of TCZYX in this order, ending in YX.
    ``pixel_size`` is in micrometres, one entry a spatial axis present, in the order (Z)YX; None
    where it is unknown. ``source`` is the file it was read from. Raises ImageFileError.
    """

    array: np.ndarray
    axes: str
    pixel_size: tuple[float, ...] | None = None
    channel_names: tuple[str, ...] | None = None
    source: Path | None = None

    def __post_init__(self) -> None:
        _ = self.header  # which checks what it is given

    @property
    def header(self) -> ImageHeader:
        """All that is known without the pixels."""
        return ImageHeader(
            self.axes,
            self.array.shape,
            self.array.dtype,
            self.pixel_size,
            self.channel_names,
            self.source,
        )

    @property
    def spatial_axes(self) -> str:
        """``ZYX`` or ``YX``."""
        return self.header.spatial_axes

    @property
    def channels(self) -> int:
        """Extent of axis C; 1 where there is none."""
        return self.header.channels

    def stacks(self, dimensions: int) -> list[tuple[str, np.ndarray]]:
        """Split into views of shape (C, *spatial) with ``dimensions`` spatial axes.

        2: every T and Z index is one plane. 3: every T index is one volume; an image without Z
        raises ImageFileError, time is never taken for depth. The string tells the parts apart:
        empty where the image has nothing to split, else ``[07]``, or ``[t03,z07]`` for two axes;
        numbers count from 0 and are padded with zeros to sort in order.
        """
        return [
            (suffix, self.array[index] if "C" in self.axes else self.array[index][np.newaxis])
            for suffix, index in self.header.stack_indices(dimensions)
        ]


def in_order(array: np.ndarray, axes: str, order: str) -> np.ndarray:
    """A view of ``array``, whose axes are ``axes``, in ``order``; axes it lacks get extent 1."""
    missing = [axis for axis in order if axis not in axes]
    array = array.reshape(*array.shape, *(1 for _ in missing))
    return array.transpose([(axes + "".join(missing)).index(axis) for axis in order])
