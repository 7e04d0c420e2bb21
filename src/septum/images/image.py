"""An image in memory: the array, the names of its axes, and the size of a pixel."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from septum.errors import ImageFileError

AXES = "TCZYX"


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
        ordered = "".join(axis for axis in AXES if axis in self.axes)
        if self.axes != ordered or not self.axes.endswith("YX"):
            self._refuse(f"axes '{self.axes}' are not a part of TCZYX, in this order, ending in YX")
        if self.array.ndim != len(self.axes):
            self._refuse(f"axes '{self.axes}' do not fit an array of shape {self.array.shape}")
        if 0 in self.array.shape:
            self._refuse(f"no pixels: the shape is {self.array.shape} (axes {self.axes})")
        if self.array.dtype.kind not in "buif":
            self._refuse(
                f"pixels of type {self.array.dtype} cannot be used; expected integer or real values"
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
        return int(self.array.shape[self.axes.index("C")]) if "C" in self.axes else 1

    def stacks(self, dimensions: int) -> list[tuple[str, np.ndarray]]:
        """Split into views of shape (C, *spatial) with ``dimensions`` spatial axes.

        2: every T and Z index is one plane. 3: every T index is one volume; an image without Z
        raises ImageFileError, time is never taken for depth. The string tells the parts apart:
        empty where the image has nothing to split, else ``[07]``, or ``[t03,z07]`` for two axes;
        numbers count from 0 and are padded with zeros to sort in order.
        """
        assert dimensions in (2, 3), dimensions
        if dimensions == 3 and "Z" not in self.axes:
            self._refuse(
                f"axes {self.axes} have no Z, but network.dimensions = 3 needs volumes; give a "
                "stack, or train with network.dimensions=2"
            )
        split = [axis for axis in self.axes if axis == "T" or (axis == "Z" and dimensions == 2)]
        array = self.array
        if "C" not in self.axes:
            array = np.expand_dims(array, axis=-len(self.spatial_axes) - 1)
        axes = "".join(axis for axis in AXES if axis in self.axes or axis == "C")
        array = np.moveaxis(array, [axes.index(axis) for axis in split], range(len(split)))
        extents = array.shape[: len(split)]
        parts = []
        for index in itertools.product(*map(range, extents)):
            numbers = [
                f"{i:0{max(2, len(str(n - 1)))}d}" for i, n in zip(index, extents, strict=True)
            ]
            if len(split) > 1:
                numbers = [f"{a.lower()}{i}" for a, i in zip(split, numbers, strict=True)]
            parts.append((f"[{','.join(numbers)}]" if split else "", array[index]))
        return parts

    def _refuse(self, reason: str) -> None:
        raise ImageFileError(f"{self.source or 'image'}: {reason}")
