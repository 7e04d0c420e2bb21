"""Annotated images that stay in their files: what is asked of them is read when it is asked."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from septum.annotation.stored_pairs import Annotated, StoredAnnotated, part_name
from septum.images.pixel_size import relative_spacing
from septum.images.stored import Box

AnyItem = TypeVar("AnyItem", Annotated, "StoredWindow")

WINDOW_PIXELS = 2**22
"""Extent of a window, all axes together: 2048 × 2048, or 161 × 161 × 161."""


@dataclass(frozen=True)
class StoredWindow:
    """``Annotated``, but that ``image_CS`` and ``labels_S`` are read at each use.

    ``box``: one slice a spatial axis, in pixels of the image; None: all of it.
    """

    pair: StoredAnnotated
    box: Box | None = None

    @property
    def name(self) -> str:
        """The image's name, and for a part of it where that is: ``brain[0:161, 64:225, 0:161]``."""
        if self.box is None:
            return self.pair.name
        return part_name(self.pair.name, self.box)

    @property
    def extents(self) -> tuple[int, ...]:
        """Pixels along the spatial axes (Z)YX."""
        if self.box is None:
            return self.pair.extents
        return tuple(part.stop - part.start for part in self.box)

    @property
    def channels(self) -> int:
        return self.pair.channels

    @property
    def pixel_size(self) -> tuple[float, ...] | None:
        return self.pair.pixel_size

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Extents of a pixel in those of its shortest side; None: all are equal, or unknown."""
        return relative_spacing(self.pixel_size)

    @property
    def image_path(self) -> Path:
        return self.pair.image_path

    @property
    def label_path(self) -> Path:
        return self.pair.label_path

    @property
    def image_CS(self) -> np.ndarray:  # noqa: N802 (as in Annotated)
        """Channels first, of the file's own type."""
        return self.pair.image.read(self.box)

    @property
    def labels_S(self) -> np.ndarray:  # noqa: N802
        """Integers as drawn."""
        return self.pair.read_labels(self.box)

    def cut(self, box: Box) -> StoredWindow:
        """The part ``box`` of it: one slice a spatial axis, in pixels."""
        return dataclasses.replace(self, box=self._of_the_whole(box))

    def read(self, box: Box | None = None) -> Annotated:
        """Image and labels together, or the part ``box`` of them."""
        annotated = self.pair.read(self.box if box is None else self._of_the_whole(box))
        return dataclasses.replace(annotated, name=self.name)

    def _of_the_whole(self, box: Box) -> Box:
        if self.box is None:
            return box
        return tuple(
            slice(outer.start + inner.start, outer.start + inner.stop)
            for outer, inner in zip(self.box, box, strict=True)
        )


def in_memory(item: Annotated | StoredWindow) -> Annotated:
    """``item``, read if it is in its files: what needs image and labels reads each once."""
    return item.read() if isinstance(item, StoredWindow) else item


def glimpse(item: Annotated | StoredWindow) -> Annotated:
    """``item`` in memory, or a window of it if it is too large to be shown."""
    return in_memory(large_windows(item, 1)[0] if isinstance(item, StoredWindow) else item)


def spread_windows(
    windows: Sequence[StoredWindow], count: int, each: int = 1, pixels: int | None = None
) -> list[StoredWindow]:
    """At most ``count`` images, evenly spread, and of large ones ``each`` windows at random places.

    The places depend on the images' names alone. Large are those of more than ``WINDOW_PIXELS``;
    no window of theirs has more than ``pixels`` (None: as many).
    """
    chosen = [
        windows[round(place)]
        for place in np.linspace(0, len(windows) - 1, min(count, len(windows)))
    ]
    return [part for window in chosen for part in large_windows(window, each, pixels)]


def large_windows(item: AnyItem, count: int, pixels: int | None = None) -> list[AnyItem]:
    """``item``; if it has more than ``WINDOW_PIXELS``, so many windows, see `spread_windows`."""
    if math.prod(item.extents) <= WINDOW_PIXELS:
        return [item]
    return random_windows(item, count, pixels or WINDOW_PIXELS)


def random_windows(item: AnyItem, count: int, pixels: int) -> list[AnyItem]:
    """``item``; if it has more pixels, so many windows of so many at most, at places that depend on
    the name alone.
    """
    extents = item.extents
    if math.prod(extents) <= pixels:
        return [item]
    side = _side(extents, pixels)
    seed = int.from_bytes(hashlib.sha256(item.name.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(count):
        starts = [int(rng.integers(max(extent - side, 0) + 1)) for extent in extents]
        parts.append(
            item.cut(
                tuple(
                    slice(start, min(start + side, extent))
                    for start, extent in zip(starts, extents, strict=True)
                )
            )
        )
    return parts


@functools.cache
def _side(extents: tuple[int, ...], pixels: int) -> int:
    """The side of the largest cube of so many pixels, shorter axes taken whole."""
    room, axes = float(pixels), len(extents)
    for extent in sorted(extents):
        side = int(room ** (1 / axes) + 1e-9)
        if extent > side:
            return side
        room, axes = room / extent, axes - 1
    return max(extents)
