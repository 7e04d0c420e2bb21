"""Label images whose classes are colours, and colours that are only another way to write grey.

A grey pixel has its grey value; any other colour of red, green and blue, of 8 bits each, is one
number above all of these, so that no label value depends on which part of an image is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from septum.errors import AnnotationError
from septum.images.stored import Box, StoredImage

COLOUR = 2**24
"""Label values from here on are colours: red, green and blue, of eight bits each, come after it."""


def parse_colour(text: str) -> int:
    """The label value of a colour ``#rrggbb``. Raises ValueError."""
    if not re.fullmatch("#[0-9a-fA-F]{6}", text.strip()):
        raise ValueError(f"'{text}' is neither a number nor a colour #rrggbb")
    number = int(text.strip()[1:], 16)
    red, green, blue = number >> 16, number >> 8 & 255, number & 255
    return red if red == green == blue else COLOUR + number


def value_text(value: int) -> str:
    """A label value as people write it: ``7``, or ``#ff0000``."""
    return f"#{value - COLOUR:06x}" if COLOUR <= value < 2 * COLOUR else str(value)


def channels_of(values: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Red, green and blue of label values, of shape (values, 3); a plain value is all three."""
    values = values.astype(np.int64)
    coloured = (values >= COLOUR) & (values < 2 * COLOUR)
    number = values - COLOUR
    split = np.stack([number >> 16, number >> 8 & 255, number & 255], axis=-1)
    return np.where(coloured[..., None], split, values[..., None])


def one_number_a_pixel(labels: StoredImage, image: StoredImage) -> StoredImage:
    """Label values without an axis C: colours as one number, pages that are called channels as Z.

    Raises AnnotationError when pixels are read whose channels differ and are no colours.
    """
    if "C" not in labels.axes:
        return labels
    if labels.channel_names is None and "Z" not in labels.axes and labels.channels > 1:
        # ImageJ stacks written by programs often call their pages channels.
        pages = replace(labels, axes=labels.axes.replace("C", "Z"), pixel_size=None)
        if len(pages.stacks(2)) == len(image.stacks(2)):
            return pages
    colours = labels.channels == 3 and labels.dtype == np.uint8
    return replace(
        labels,
        axes=labels.axes.replace("C", ""),
        shape=without_channels(labels),
        dtype=np.dtype(np.int32) if colours else labels.dtype,
        regions=ColourRegions(labels) if colours else GreyRegions(labels, _problem(labels)),
        channel_names=None,
    )


def without_channels(image: StoredImage) -> tuple[int, ...]:
    """The shape of an image without its axis C."""
    return tuple(n for n, axis in zip(image.shape, image.axes, strict=True) if axis != "C")


def as_grey(image: StoredImage, problem: str) -> StoredImage:
    """One channel of several that are equal; reading a region where they differ raises
    AnnotationError with ``problem``.
    """
    return replace(
        image,
        axes=image.axes.replace("C", ""),
        shape=without_channels(image),
        regions=GreyRegions(image, problem),
        channel_names=None,
    )


@dataclass(frozen=True)
class GreyRegions:
    """The first channel of an image, of which ``problem`` is said where the others differ."""

    image: StoredImage
    problem: str

    def read(self, box: Box) -> np.ndarray:
        """A region without the channels. Raises AnnotationError."""
        region = _read_channels(self.image, box)
        if (region != region[:1]).any():
            raise AnnotationError(self.problem)
        first: np.ndarray = region[0]
        return first


@dataclass(frozen=True)
class ColourRegions:
    """Colours of an image as label values."""

    image: StoredImage

    def read(self, box: Box) -> np.ndarray:
        """A region without the channels, of int32."""
        red, green, blue = _read_channels(self.image, box).astype(np.int32)
        grey = (red == green) & (green == blue)
        return np.asarray(np.where(grey, red, COLOUR | red << 16 | green << 8 | blue))


def _read_channels(image: StoredImage, box: Box) -> np.ndarray:
    axis = image.axes.index("C")
    whole = (*box[:axis], slice(0, image.channels), *box[axis:])
    channels: np.ndarray = np.moveaxis(image.regions.read(whole), axis, 0)
    return channels


def _problem(labels: StoredImage) -> str:
    return (
        f"{labels.source}: labels in {labels.channels} differing channels of {labels.dtype}; "
        "expected one number a pixel, or colours of 8 bits: save them as a grey, palette or RGB "
        "image; if they are one mask a class, set labels.kind=overlapping"
    )
