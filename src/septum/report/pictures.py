"""Images, labels, probabilities and errors as pictures: arrays in, RGB arrays out.

Shapes: C channels, S the spatial axes (YX or ZYX), P a picture's rows and columns (YX), pictures
are (Y, X, 3), uint8. Of a volume the central plane is shown.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from septum.annotation.labels import IGNORE
from septum.images.intensity_range import IntensityRange

Rgb = NDArray[np.uint8]
Colour = tuple[int, int, int]

# Okabe and Ito (2008): seven colours that stay apart for every kind of colour vision.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
MISSED: Colour = (213, 94, 0)
INVENTED: Colour = (0, 114, 178)
WRONG_CLASS: Colour = (160, 60, 130)
UNANNOTATED: Colour = (128, 128, 128)

SMALLEST, LARGEST = 256, 448
"""A picture's longer side, in pixels: smaller ones are enlarged, larger ones reduced."""


def class_colour(number: int) -> Colour:
    """The colour of class ``number``, from 1 up; the background has none."""
    return PALETTE[(number - 1) % len(PALETTE)]


def central_plane(array: np.ndarray) -> np.ndarray:
    """The last two axes; of an axis before them (Z) the middle. Takes labels, not channels."""
    while array.ndim > 2:
        array = array[len(array) // 2]
    return array


def central_planes(array_CS: np.ndarray) -> np.ndarray:
    """The same of each channel: (C, Y, X)."""
    return np.stack([central_plane(channel_S) for channel_S in array_CS])


@dataclass(frozen=True)
class View:
    """How an image of any extents becomes a picture of ``height`` by ``width``."""

    height: int
    width: int

    @classmethod
    def of(cls, extents: tuple[int, ...], largest: int = LARGEST) -> View:
        """A view of the plane YX: enlarged by a whole number, or reduced, or as it is."""
        y, x = extents[-2:]
        longest = max(y, x)
        if longest <= largest:
            factor = max(1, round(SMALLEST / longest))
            return cls(y * factor, x * factor)
        return cls(max(1, y * largest // longest), max(1, x * largest // longest))

    def labels(self, labels_YX: np.ndarray) -> np.ndarray:
        """Take the nearest pixel."""
        rows, columns = labels_YX.shape
        y = ((np.arange(self.height) + 0.5) * rows / self.height).astype(int)
        x = ((np.arange(self.width) + 0.5) * columns / self.width).astype(int)
        return np.asarray(labels_YX[np.ix_(y, x)])

    def values(self, values_YX: np.ndarray) -> NDArray[np.float32]:
        """Take the mean where the picture is smaller, the nearest pixel where it is larger."""
        values_YX = values_YX.astype(np.float32)
        if self.height >= values_YX.shape[0] and self.width >= values_YX.shape[1]:
            return np.asarray(self.labels(values_YX), np.float32)
        from PIL import Image

        size = (self.width, self.height)
        return np.asarray(Image.fromarray(values_YX).resize(size, Image.Resampling.BOX))


@dataclass(frozen=True, eq=False)
class GreyRange:
    """Which grey value of each channel is shown black, and which white."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def normalized(self, intensity: IntensityRange) -> GreyRange:
        """The same tones for the image as the network gets it."""
        offset, scale = np.asarray(intensity.offset), np.asarray(intensity.scale)
        return GreyRange((self.low - offset) / scale, (self.high - offset) / scale)

    def picture(self, image_CS: np.ndarray, view: View) -> Rgb:
        """One channel as grey, two as green and magenta, three or more (the first) as RGB."""
        planes_CYX = central_planes(image_CS[:3])
        shown = np.stack([view.values(plane) for plane in planes_CYX])
        low, high = (end[:3].reshape(-1, 1, 1) for end in (self.low, self.high))
        shown = np.clip((shown - low) / (high - low), 0, 1)
        order = {1: [0, 0, 0], 2: [1, 0, 1], 3: [0, 1, 2]}[len(shown)]
        return _rgb(np.moveaxis(shown[order], 0, -1) * 255)


def grey_range(image_CS: np.ndarray) -> GreyRange:
    """Colour photographs (three channels of 8 bits) as they are, others from 0.2 % to 99.8 %."""
    planes = central_planes(image_CS).reshape(len(image_CS), -1)
    if image_CS.dtype == np.uint8 and len(planes) == 3:
        return GreyRange(np.zeros(3), np.full(3, 255.0))
    low, high = np.percentile(planes.astype(np.float64), (0.2, 99.8), axis=1)
    return GreyRange(low, np.where(high > low, high, low + 1))


def draw_labels(picture: Rgb, ids_YX: np.ndarray, ignored_YX: np.ndarray | None = None) -> Rgb:
    """Lay translucent colours with outlines over a picture: one a class, or one an object.

    ``ids_YX``, of the picture's size: 0 is background. ``ignored_YX`` is striped in grey.
    Neighbouring objects mostly differ in colour, not always: there are seven.
    """
    lookup = np.array(PALETTE, np.float64)
    colours = lookup[(ids_YX.astype(np.int64) - 1) % len(PALETTE)]
    out = picture.astype(np.float64)
    inside = ids_YX != 0
    out[inside] = 0.6 * out[inside] + 0.4 * colours[inside]
    edge = _outline(ids_YX) & inside
    out[edge] = colours[edge]
    if ignored_YX is not None:
        y, x = np.indices(ignored_YX.shape)
        out[ignored_YX & ((x + y) // 4 % 2 == 0)] = UNANNOTATED
    return _rgb(out)


def draw_outlines(picture: Rgb, ids_YX: np.ndarray) -> Rgb:
    """The outlines alone of classes or objects, in their colours; what is inside stays as it is."""
    out = picture.copy()
    edge = _outline(ids_YX) & (ids_YX != 0)
    colours = np.array(PALETTE, np.uint8)
    out[edge] = colours[(ids_YX[edge].astype(np.int64) - 1) % len(PALETTE)]
    return out


def draw_errors(picture: Rgb, predicted_YX: np.ndarray, classes_YX: np.ndarray) -> Rgb:
    """Wrong pixels in full colour on the faded picture; what is not annotated cannot be wrong."""
    grey = picture.astype(np.float64).mean(axis=-1, keepdims=True)
    out = np.repeat(150 + 0.41 * grey, 3, axis=-1)
    valid = classes_YX != IGNORE
    out[valid & (predicted_YX == 0) & (classes_YX != 0)] = MISSED
    out[valid & (predicted_YX != 0) & (classes_YX == 0)] = INVENTED
    both = valid & (predicted_YX != 0) & (classes_YX != 0)
    out[both & (predicted_YX != classes_YX)] = WRONG_CLASS
    return _rgb(out)


def fade_rim(picture: Rgb, share: float) -> Rgb:
    """Fade what lies outside the centre, whose extents are ``share`` of the picture's."""
    out = 0.45 * picture.astype(np.float64) + 0.55 * 255
    centre = tuple(
        slice(round(n * (1 - share) / 2), round(n * (1 + share) / 2)) for n in picture.shape[:2]
    )
    out[centre] = picture[centre]
    return _rgb(out)


def draw_probability(probability_KS: np.ndarray, view: View, numbers: Sequence[int] = ()) -> Rgb:
    """Two classes: the object's, black 0, white 1. More: each class's colour, by its share.

    ``numbers``: what the classes are drawn as where labels are, if not as 0, 1, 2, …
    """
    planes_KYX = np.stack([view.values(plane) for plane in central_planes(probability_KS)])
    if len(planes_KYX) == 2:
        return _rgb(np.repeat(planes_KYX[1][..., None], 3, -1) * 255)
    shown = numbers or range(len(planes_KYX))
    colours = np.array([class_colour(k) for k in shown[1:]], np.float64)
    mixed = np.tensordot(planes_KYX[1:].clip(0, 1), colours, axes=(0, 0))
    return _rgb(mixed)


def draw_values(values_YX: np.ndarray, highest: float, view: View) -> Rgb:
    """Values from 0 to ``highest`` in matplotlib's colour map magma."""
    from matplotlib import colormaps

    shown = view.values(values_YX) / max(highest, 1e-9)
    return np.asarray(colormaps["magma"](shown, bytes=True)[..., :3], np.uint8)


def encode_jpeg(picture: Rgb) -> bytes:
    """For pictures of images: a third of the size of PNG; colours at full resolution."""
    return _encode(picture, "JPEG", quality=75, subsampling=0)


def encode_png(picture: Rgb) -> bytes:
    """For flat colours."""
    return _encode(picture, "PNG", optimize=True)


def _rgb(values: np.ndarray) -> Rgb:
    return np.asarray(np.rint(values.clip(0, 255)), np.uint8)


def _encode(picture: Rgb, format_: str, **options: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format_, **options)
    return buffer.getvalue()


def _outline(ids_YX: np.ndarray) -> NDArray[np.bool_]:
    edge = np.zeros(ids_YX.shape, bool)
    for axis in (0, 1):
        ids, marks = np.moveaxis(ids_YX, axis, 0), np.moveaxis(edge, axis, 0)
        differs = ids[1:] != ids[:-1]
        marks[1:] |= differs
        marks[:-1] |= differs
    return edge
