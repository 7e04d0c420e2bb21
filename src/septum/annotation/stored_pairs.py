"""Annotated images left where they are: checked by their headers, read by region."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from septum.annotation.layouts import Pair
from septum.annotation.masks import as_bits, mask_names
from septum.annotation.meaning import LabelMeaning
from septum.errors import AnnotationError
from septum.images.pixel_size import relative_spacing
from septum.images.stored import Box, StoredImage, StoredStack, open_image
from septum.recipe import Labels

Meant = Labels | LabelMeaning
"""What is known of labels before they are read: whether they are one mask a class, and which value
is ignored."""
DRAWN = Labels()


@dataclass(frozen=True)
class Annotated:
    """One image with its labels.

    ``image_CS``: channels first, then the spatial axes (Z)YX, of the file's own type.
    ``labels_S``: integers as drawn, of the same spatial shape; of overlapping classes the bits of
    `septum.annotation.masks`. ``pixel_size``: micrometres, one a spatial axis, or None. ``name``
    tells the planes of a stack apart: ``train-volume[07]``. ``masks``: the names of overlapping
    classes.
    """

    name: str
    image_CS: np.ndarray
    labels_S: np.ndarray
    pixel_size: tuple[float, ...] | None
    image_path: Path
    label_path: Path
    masks: tuple[str, ...] = ()

    @property
    def extents(self) -> tuple[int, ...]:
        """Pixels along the spatial axes (Z)YX."""
        return self.labels_S.shape

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return len(self.image_CS)

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Extents of a pixel in those of its shortest side; None: all are equal, or unknown."""
        return relative_spacing(self.pixel_size)


@dataclass(frozen=True)
class StoredAnnotated:
    """One image with its labels, neither read yet; what has the same name is as in Annotated."""

    name: str
    image: StoredStack
    labels: StoredStack
    pixel_size: tuple[float, ...] | None
    image_path: Path
    label_path: Path
    masks: tuple[str, ...] = ()

    @property
    def extents(self) -> tuple[int, ...]:
        """Pixels along the spatial axes (Z)YX."""
        return self.image.extents

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return self.image.channels

    @property
    def nbytes(self) -> int:
        """Bytes of image and labels when both are read as a whole."""
        itemsize = _label_type(self.labels.dtype).itemsize
        return self.image.nbytes + math.prod(self.extents) * itemsize

    def read(self, box: Box | None = None) -> Annotated:
        """Image and labels within ``box`` (one slice a spatial axis; None is all), as `load_pairs`.

        Raises AnnotationError if labels there are not whole numbers or their colours differ, or
        if the image is in colour where others are grey; ImageFileError and ValueError as
        `StoredStack.read`.
        """
        labels_S = self.read_labels(box)
        image_CS = self.image.read(box)
        paths = (self.image_path, self.label_path)
        return Annotated(self.name, image_CS, labels_S, self.pixel_size, *paths, self.masks)

    def read_labels(self, box: Box | None = None) -> np.ndarray:
        """The labels alone, of the axes (Z)YX; raises as ``read``."""
        return _whole(self.labels.read(box)[0], self.label_path)


def open_pairs(
    pairs: Sequence[Pair], dimensions: int = 2, meant: Meant = DRAWN
) -> list[StoredAnnotated]:
    """The images that `load_pairs` would give, their pixels left in the files.

    Raises the same errors, of what headers tell: numbers of pages, sizes, channels, masks. What
    only the pixels tell is found when they are read. Colour images, where others of the data set
    are grey, must be grey, too; labels in colour must be.
    """
    opened = [
        part
        for pair in pairs
        for part in match_parts(
            pair, open_image(pair.image), open_image(pair.labels, labels=True), dimensions, meant
        )
    ]
    if {part.channels for part in opened} == {1, 3}:
        grey = next(part for part in opened if part.channels == 1)
        return [part if part.channels == 1 else _as_grey(part, grey) for part in opened]
    check_channels([(part.image_path, part.channels) for part in opened])
    return opened


def match_parts(
    pair: Pair, image: StoredImage, labels: StoredImage, dimensions: int, meant: Meant = DRAWN
) -> list[StoredAnnotated]:
    """Each part of the image with its labels. Raises AnnotationError as `open_pairs`."""
    masks: tuple[str, ...] = ()
    if meant.kind == "overlapping":
        masks = mask_names(labels)
        labels = as_bits(labels, meant.ignore)
    else:
        labels = _one_number_a_pixel(labels, image)
    plain = image.axes.replace("C", "")
    if labels.shape == _without_channels(image):
        # What the image says of its axes holds for its labels.
        labels = replace(labels, axes=plain, pixel_size=None)
    parts, label_parts = image.stacks(dimensions), labels.stacks(dimensions)
    if len(parts) != len(label_parts):
        raise AnnotationError(
            f"{pair.image} has {len(parts)} pages (axes {image.axes}), but {pair.labels} has "
            f"{len(label_parts)} (axes {labels.axes}); expected labels for every page"
        )
    size = None if image.pixel_size is None else image.pixel_size[-dimensions:]
    matched = []
    for (suffix, part), (_, label_part) in zip(parts, label_parts, strict=True):
        if part.extents != label_part.extents:
            raise AnnotationError(
                f"{pair.image} has {_size(part)} pixels, but {pair.labels} has "
                f"{_size(label_part)}; expected the same size: export the labels again, or crop"
            )
        name = pair.name + suffix
        paths = (pair.image, pair.labels)
        matched.append(StoredAnnotated(name, part, label_part, size, *paths, masks))
    return matched


def check_channels(images: Sequence[tuple[Path, int]]) -> None:
    """Raise AnnotationError unless all images, given by path and channels, have the same number."""
    for path, channels in images:
        if channels != images[0][1]:
            raise AnnotationError(_other_channels(path, channels, *images[0]))


def same_masks(items: Sequence[StoredAnnotated]) -> tuple[str, ...]:
    """The names of overlapping classes, which are those of all images. Raises AnnotationError."""
    for item in items:
        if item.masks != items[0].masks:
            raise AnnotationError(
                f"{item.label_path}: masks of {', '.join(item.masks)}, but {items[0].label_path} "
                f"has {', '.join(items[0].masks)}; expected the same, in the same order, in all"
            )
    return items[0].masks if items else ()


def _other_channels(path: Path, channels: int, other: Path, others: int) -> str:
    return (
        f"{path}: {channels} channels, but {other} has {others}; expected the same number in all "
        "images: convert one"
    )


@dataclass(frozen=True)
class _GreyRegions:
    """The first channel of an image, of which ``problem`` is said where the others differ."""

    image: StoredImage
    problem: str

    def read(self, box: Box) -> np.ndarray:
        axis = self.image.axes.index("C")
        channels = slice(0, self.image.channels)
        region = np.moveaxis(self.image.regions.read((*box[:axis], channels, *box[axis:])), axis, 0)
        if (region != region[:1]).any():
            raise AnnotationError(self.problem)
        first: np.ndarray = region[0]
        return first


def _grey(image: StoredImage, problem: str) -> StoredImage:
    return replace(
        image,
        axes=image.axes.replace("C", ""),
        shape=_without_channels(image),
        regions=_GreyRegions(image, problem),
        channel_names=None,
    )


def _as_grey(part: StoredAnnotated, other: StoredAnnotated) -> StoredAnnotated:
    problem = _other_channels(part.image_path, part.channels, other.image_path, other.channels)
    stack = part.image
    axis = stack.image.axes.index("C")
    index = (*stack.index[:axis], *stack.index[axis + 1 :])
    return replace(part, image=StoredStack(_grey(stack.image, problem), index))


def _one_number_a_pixel(labels: StoredImage, image: StoredImage) -> StoredImage:
    if "C" not in labels.axes:
        return labels
    if labels.channel_names is None and "Z" not in labels.axes and labels.channels > 1:
        # ImageJ stacks written by programs often call their pages channels.
        pages = replace(labels, axes=labels.axes.replace("C", "Z"), pixel_size=None)
        if len(pages.stacks(2)) == len(image.stacks(2)):
            return pages
    return _grey(
        labels,
        f"{labels.source}: labels in {labels.channels} differing channels (colours); expected one "
        "number a pixel: save them as a grey or palette image; if they are one mask a class, set "
        "labels.kind=overlapping",
    )


def _without_channels(image: StoredImage) -> tuple[int, ...]:
    return tuple(n for n, axis in zip(image.shape, image.axes, strict=True) if axis != "C")


def _size(part: StoredStack) -> str:
    return " × ".join(map(str, part.extents))


def _label_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return dtype if dtype.kind in "ui" and dtype.itemsize <= 2 else np.dtype(np.int32)


def _whole(labels_S: np.ndarray, path: Path) -> np.ndarray:
    if labels_S.dtype.kind == "f":
        broken = labels_S[labels_S != np.rint(labels_S)]
        if broken.size:
            raise AnnotationError(
                f"{path}: value {broken[0]:g} at {broken.size} pixels; labels must be whole "
                "numbers: is this a probability map? Threshold it first"
            )
    limits = np.iinfo(np.int32)
    for value in (labels_S.min(), labels_S.max()):
        if not limits.min <= value <= limits.max:
            raise AnnotationError(
                f"{path}: label value {value:g}; expected at most {limits.max}: number the "
                "objects anew"
            )
    return labels_S.astype(_label_type(labels_S.dtype), copy=False)
