"""An image of which parts cannot be read: they are left out, and known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from septum.errors import ImageFileError
from septum.images.rescaled import RescaledRegions
from septum.images.stored import Box, Regions, StoredImage

LEAST = 1 << 16
"""Pixels that are given up together; what cannot be read is halved down to that."""


def tolerate(image: StoredImage, fill: Sequence[float]) -> StoredImage:
    """``image``, whose pixels that cannot be read are ``fill``, a value a channel; see ``damage``.

    What a value is rounded to, or limited to, is the image's own type.
    """
    values = np.asarray(fill, dtype=np.float64)
    if image.dtype.kind in "ui":
        limits = np.iinfo(image.dtype.str)
        values = np.rint(values).clip(limits.min, limits.max)
    axes = [len(values) if axis == "C" else 1 for axis in image.axes]
    return replace(image, regions=_TolerantRegions(image, values.astype(image.dtype).reshape(axes)))


def damage(image: StoredImage) -> list[Box]:
    """The regions of a tolerated image that were read in vain so far; of another, none.

    Of an image that was rescaled after that, too: in pixels of the file.
    """
    regions = _below(image)
    return regions.found if isinstance(regions, _TolerantRegions) else []


def is_tolerated(image: StoredImage) -> bool:
    """Whether what cannot be read of it is left out."""
    return isinstance(_below(image), _TolerantRegions)


def _below(image: StoredImage) -> Regions:
    """Regions of the file, also of an image that was rescaled."""
    regions = image.regions
    return regions.image.regions if isinstance(regions, RescaledRegions) else regions


def is_lost(image: StoredImage) -> bool:
    """Whether nothing of a tolerated image could be read, after all of it was asked for."""
    lost = sum(math.prod(part.stop - part.start for part in box) for box in damage(image))
    return bool(lost >= math.prod(image.shape))  # regions of one reading do not overlap


def describe_damage(image: StoredImage) -> str:
    """``damage`` in words: the box around it all, and its parts; "" if there is none."""
    found = list(dict.fromkeys(map(_key, damage(image))))
    if not found:
        return ""
    spans = []
    for number, axis in enumerate(image.axes):
        starts, stops = zip(*(box[number] for box in found), strict=True)
        if (min(starts), max(stops)) != (0, image.shape[number]) or axis in "YX":
            spans.append(f"{axis} {min(starts)}–{max(stops)}")
    count = "1 region" if len(found) == 1 else f"{len(found)} regions"
    return f"{count} cannot be read, within {', '.join(spans)}"


@dataclass(frozen=True, eq=False)
class _TolerantRegions:
    image: StoredImage
    fill: np.ndarray
    """Of the axes of the image; of one pixel along all but C."""
    found: list[Box] = field(default_factory=list)

    def read(self, box: Box) -> np.ndarray:
        try:
            return self.image.read(box).array
        except ImageFileError:
            extents = [part.stop - part.start for part in box]
        longest = max(
            (number for number, axis in enumerate(self.image.axes) if axis in "ZYX"),
            key=lambda number: extents[number],
        )
        if math.prod(extents) <= LEAST or extents[longest] < 2:
            if box not in self.found:
                self.found.append(box)
            return np.broadcast_to(self.fill, extents).copy()
        middle = box[longest].start + extents[longest] // 2
        halves = (slice(box[longest].start, middle), slice(middle, box[longest].stop))
        parts = [self.read((*box[:longest], half, *box[longest + 1 :])) for half in halves]
        return np.concatenate(parts, axis=longest)


def _key(box: Box) -> tuple[tuple[int, int], ...]:
    return tuple((part.start, part.stop) for part in box)
