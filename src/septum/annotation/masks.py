"""Overlapping classes: one mask each, along axis C of a label image, read as one byte a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from septum.annotation.meaning import IGNORE, MOST_OVERLAPPING
from septum.errors import AnnotationError
from septum.images.stored import Box, StoredImage


def mask_names(labels: StoredImage) -> tuple[str, ...]:
    """What the masks of a label image are called: its channels' names, else ``mask 1`` …"""
    return labels.channel_names or tuple(f"mask {k + 1}" for k in range(labels.channels))


def as_bits(labels: StoredImage, ignore: Sequence[int]) -> StoredImage:
    """The label image of one byte a pixel that says which of its masks are not 0 there.

    Mask k, counted from 0, is bit k. A pixel where any of them has a value of ``ignore`` is IGNORE.
    Raises AnnotationError for an image without axis C, or with more masks than bits.
    """
    if "C" not in labels.axes:
        raise AnnotationError(
            f"{labels.source}: one label image of axes {labels.axes}; overlapping classes are "
            "drawn as one mask each, in files of their own (NAME_CLASS) or along axis C: save them "
            "so (OME-TIFF, ImageJ, OME-Zarr), or set labels.kind"
        )
    check_number(str(labels.source), labels.channels)
    shape = tuple(n for n, axis in zip(labels.shape, labels.axes, strict=True) if axis != "C")
    return replace(
        labels,
        axes=labels.axes.replace("C", ""),
        shape=shape,
        dtype=np.dtype(np.uint8),
        regions=_Bits(labels, ignore),
        channel_names=None,
    )


def check_number(what: str, masks: int) -> None:
    """Raise AnnotationError, beginning with ``what``, for more masks than a byte has room for."""
    if masks > MOST_OVERLAPPING:
        raise AnnotationError(
            f"{what}: {masks} masks; expected at most {MOST_OVERLAPPING} overlapping classes: "
            "train two models, or number classes that exclude each other"
        )


def bits_of(masks_CS: np.ndarray, ignore: Sequence[int] = ()) -> np.ndarray:
    """Masks (C, *S) as one byte a pixel (*S); see `as_bits`."""
    bits_S = np.zeros(masks_CS.shape[1:], np.uint8)
    for number, mask_S in enumerate(masks_CS):
        bits_S |= (mask_S != 0).astype(np.uint8) << np.uint8(number)
    for value in ignore:
        bits_S[(masks_CS == value).any(0)] = IGNORE
    return bits_S


def masks_of(bits_S: np.ndarray, classes: int) -> np.ndarray:
    """The masks (C, *S; uint8, 0 and 1) of the classes above 0, of ``classes`` with background."""
    numbers = np.arange(classes - 1, dtype=np.uint8).reshape(-1, *[1] * bits_S.ndim)
    return (bits_S >> numbers) & np.uint8(1)


@dataclass(frozen=True)
class _Bits:
    """Regions of masks, as bits."""

    image: StoredImage
    ignore: Sequence[int]

    def read(self, box: Box) -> np.ndarray:
        axis = self.image.axes.index("C")
        channels = slice(0, self.image.channels)
        region = self.image.regions.read((*box[:axis], channels, *box[axis:]))
        return bits_of(np.moveaxis(region, axis, 0), self.ignore)
