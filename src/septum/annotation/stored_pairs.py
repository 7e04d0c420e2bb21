"""Annotated images left where they are: checked by their headers, read by region."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from septum.annotation.colours import as_grey, without_channels
from septum.annotation.drawn_labels import open_labels
from septum.annotation.pair import Pair
from septum.errors import AnnotationError
from septum.images.pixel_size import relative_spacing
from septum.images.stored import Box, StoredImage, StoredStack, open_image


def part_name(name: str, box: Box) -> str:
    """Of a part of an image, with where it is: ``brain[0:161, 64:225, 0:161]``."""
    return f"{name}[{', '.join(f'{side.start}:{side.stop}' for side in box)}]"


@dataclass(frozen=True)
class Annotated:
    """One image with its labels.

    ``image_CS``: channels first, then the spatial axes (Z)YX, of the file's own type.
    ``labels_S``: integers as drawn, of the same spatial shape. ``pixel_size``: micrometres, one a
    spatial axis, or None. ``name`` tells the planes of a stack apart: ``train-volume[07]``.
    """

    name: str
    image_CS: np.ndarray
    labels_S: np.ndarray
    pixel_size: tuple[float, ...] | None
    image_path: Path
    label_path: Path

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

    def cut(self, box: Box) -> Annotated:
        """The part ``box`` of it: one slice a spatial axis, in pixels."""
        return replace(
            self,
            name=part_name(self.name, box),
            image_CS=np.ascontiguousarray(self.image_CS[(slice(None), *box)]),
            labels_S=np.ascontiguousarray(self.labels_S[box]),
        )


@dataclass(frozen=True)
class StoredAnnotated:
    """One image with its labels, neither read yet; what has the same name is as in Annotated."""

    name: str
    image: StoredStack
    labels: StoredStack
    pixel_size: tuple[float, ...] | None
    image_path: Path
    label_path: Path

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

        Raises AnnotationError if labels there are not whole numbers, or classes overlap, or if the
        image is in colour where others are grey; ImageFileError and ValueError as
        `StoredStack.read`.
        """
        labels_S = self.read_labels(box)
        image_CS = self.image.read(box)
        return Annotated(
            self.name, image_CS, labels_S, self.pixel_size, self.image_path, self.label_path
        )

    def read_labels(self, box: Box | None = None) -> np.ndarray:
        """The labels alone, of the axes (Z)YX; raises as ``read``."""
        return _whole(self.labels.read(box)[0], self.label_path)


def open_pairs(pairs: Sequence[Pair], dimensions: int = 2) -> list[StoredAnnotated]:
    """The images that `load_pairs` would give, their pixels left in the files.

    Raises the same errors, of what headers tell: numbers of pages, sizes, channels. What only
    the pixels tell is found when they are read. Colour images, where others of the data set are
    grey, must be grey, too.
    """
    opened = [part for pair in pairs for part in _open(pair, dimensions)]
    if {part.channels for part in opened} == {1, 3}:
        grey = next(part for part in opened if part.channels == 1)
        return [part if part.channels == 1 else _as_grey(part, grey) for part in opened]
    check_channels([(part.image_path, part.channels) for part in opened])
    return opened


def _open(pair: Pair, dimensions: int) -> list[StoredAnnotated]:
    image = open_image(pair.image)
    return match_parts(pair, image, open_labels(pair, image), dimensions)


def match_parts(
    pair: Pair, image: StoredImage, labels: StoredImage, dimensions: int
) -> list[StoredAnnotated]:
    """Each part of the image with its labels, which are from `open_labels`.

    Raises AnnotationError as `open_pairs`.
    """
    plain = image.axes.replace("C", "")
    if labels.shape == without_channels(image):
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
            remedy = "export the labels again, or crop"
            if part.extents[-2:] == label_part.extents[:-3:-1]:
                remedy = (
                    "rows and columns are swapped: transpose the labels (Python: array.T; Fiji: "
                    "Image › Transform › Rotate 90 Degrees Right, then Flip Horizontally)"
                )
            raise AnnotationError(
                f"{pair.image} has {_size(part)} pixels, but {pair.labels} has "
                f"{_size(label_part)}; expected the same size: {remedy}"
            )
        name = pair.name + suffix
        matched.append(StoredAnnotated(name, part, label_part, size, pair.image, pair.labels))
    return matched


def check_channels(images: Sequence[tuple[Path, int]]) -> None:
    """Raise AnnotationError unless all images, given by path and channels, have the same number."""
    for path, channels in images:
        if channels != images[0][1]:
            raise AnnotationError(_other_channels(path, channels, *images[0]))


def _other_channels(path: Path, channels: int, other: Path, others: int) -> str:
    return (
        f"{path}: {channels} channels, but {other} has {others}; expected the same number in all "
        "images: convert one"
    )


def _as_grey(part: StoredAnnotated, other: StoredAnnotated) -> StoredAnnotated:
    problem = _other_channels(part.image_path, part.channels, other.image_path, other.channels)
    stack = part.image
    axis = stack.image.axes.index("C")
    index = (*stack.index[:axis], *stack.index[axis + 1 :])
    return replace(part, image=StoredStack(as_grey(stack.image, problem), index))


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
