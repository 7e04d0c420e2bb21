"""The labels of an image, whatever they were drawn with: one image of label values.

This is the one entrance for all kinds of annotation. A label image is itself; of everything else
the values are computed where they are read:

- objects are 1, 2, …, in the order of their file, without ignored values (labels.ignore). Where
  two overlap, the smaller has the pixel.
- classes have the values of `Drawing.values`. Where two overlap, the later of the user's order
  (labels.classes) has the pixel; without one that is an error.
- of overlapping classes they are bits, one for each class; 255 is ignored.
- -1 is ignored: crowds of COCO, what is called Ignore* in QuPath, ignored values of masks. Objects
  lie above it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from septum.annotation.coco import read_coco
from septum.annotation.colours import one_number_a_pixel, without_channels
from septum.annotation.geojson import read_geojson
from septum.annotation.imagej_rois import read_rois
from septum.annotation.mask_files import ClassMasks, overlap_error, read_object_masks
from septum.annotation.masks import as_bits
from septum.annotation.meaning import DRAWN_IGNORED, IGNORE
from septum.annotation.pair import Drawing, Pair
from septum.annotation.shapes import Shape, Window, intersect
from septum.errors import AnnotationError
from septum.images.stored import Box, StoredImage, load_image, open_image
from septum.images.tiff import RGB

KEPT = 64
"""The shapes of so many images are kept."""


def open_labels(pair: Pair, image: StoredImage, in_memory: bool = False) -> StoredImage:
    """The label values of ``pair``, of the axes of ``image`` but C, to be read by region.

    ``in_memory``: a label image is read at once. Outlines and masks of objects are read at once in
    any case, and become pixels where they are read. Raises AnnotationError: what cannot be read,
    lies outside the image, or was drawn on a plane that it does not have.
    """
    if pair.drawing is None or pair.drawing.format == "masks as channels":
        labels = (load_image if in_memory else open_image)(pair.labels, labels=True)
        if pair.drawing is not None:
            return as_bits(labels, pair.drawing.ignore)
        return one_number_a_pixel(labels, image)
    if pair.image == pair.labels:
        raise AnnotationError(
            f"{pair.labels}: outlines alone do not say how large the image is; give the folder "
            "that holds the images, too"
        )
    plain = replace(
        image,
        axes=image.axes.replace("C", ""),
        shape=without_channels(image),
        dtype=np.dtype(np.uint8 if pair.drawing.kind == "overlapping" else np.int32),
        channel_names=None,
    )
    if pair.drawing.format == "masks of classes":
        return replace(plain, regions=ClassMasks.open(pair.drawing, plain), source=pair.labels)
    regions = DrawnRegions(pair.drawing, Frame.of(image), pair.labels)
    _ = regions.planes  # which checks what was drawn
    return replace(plain, regions=regions, source=pair.labels)


def read_shapes(drawing: Drawing, extents: tuple[int, ...] | None = None) -> list[Shape]:
    """What was drawn on one image of ``extents`` (Y, X), if known. Raises AnnotationError."""
    if drawing.format in ("ImageJ", "GeoJSON"):
        extents = None  # which they do not tell
    plain = Drawing(drawing.format, drawing.files, drawing.key, ignore=drawing.ignore)
    return _read_shapes(plain, extents, _states(drawing))


def _states(drawing: Drawing) -> tuple[tuple[int, int], ...]:
    """When the files were changed, and their sizes: what is kept of others is not used."""
    try:
        return tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in drawing.files)
    except OSError as error:
        raise AnnotationError(f"{error.filename}: cannot be read: {error.strerror}") from error


@functools.lru_cache(KEPT)
def _read_shapes(
    drawing: Drawing, extents: tuple[int, ...] | None, _states: tuple[tuple[int, int], ...]
) -> list[Shape]:
    if drawing.format == "ImageJ":
        return [shape for file in drawing.files for shape in read_rois(file)]
    if drawing.format == "GeoJSON":
        return [shape for file in drawing.files for shape in read_geojson(file)]
    if drawing.format == "COCO":
        return read_coco(drawing.files[0], drawing.key, extents)
    return read_object_masks(drawing.files, extents, drawing.ignore)


def numbers_without(ignore: Sequence[int]) -> Iterator[int]:
    """1, 2, … without the values that are ignored."""
    return (number for number in itertools.count(1) if number not in ignore)


@dataclass(frozen=True)
class Frame:
    """The image that was drawn on: extents of T and Z, where it has them, of C, and of Y and X."""

    stack: tuple[int, ...]
    depth: int
    channels: int
    extents: tuple[int, int]

    @classmethod
    def of(cls, image: StoredImage) -> Frame:
        """The frame of an image."""
        sides = dict(zip(image.axes, image.shape, strict=True))
        stack = tuple(sides[axis] for axis in "TZ" if axis in sides)
        channels = 1 if image.channel_names == RGB else image.channels
        return cls(stack, sides.get("Z", 1), channels, (sides["Y"], sides["X"]))

    def plane(self, shape: Shape, what: str) -> int:
        """The plane that a shape was drawn on, over T and Z. Raises AnnotationError."""
        planes, inside = math.prod(self.stack), True
        if planes == 1:
            return 0
        if shape.place is None:
            raise AnnotationError(
                f"{what} belongs to none of the {planes} planes of its image; in ImageJ's ROI "
                "Manager, Properties › Position binds it to one"
            )
        if isinstance(shape.place, int):
            plane = shape.place // self.channels
        else:
            time, depth = shape.place
            plane, inside = time * self.depth + depth, depth < self.depth
        if not inside or plane >= planes:
            raise AnnotationError(
                f"{what} was drawn on a plane that its image of {planes} planes does not have; is "
                "it of another image?"
            )
        return plane


@dataclass(frozen=True, eq=False)
class Layers:
    """What lies on one plane, from the lowest to the topmost: label values and shapes."""

    values: list[int]
    shapes: list[Shape]

    @functools.cached_property
    def bounds(self) -> npt.NDArray[np.int64]:
        """Windows of the shapes, of shape (shapes, 4)."""
        return np.array([shape.bounds for shape in self.shapes], np.int64).reshape(-1, 4)

    def touching(self, window: Window) -> Iterator[tuple[int, Window, tuple[slice, slice]]]:
        """Index of each shape that touches ``window``, what they share, and where that is in it."""
        first = np.maximum(self.bounds[:, :2], window[:2])
        last = np.minimum(self.bounds[:, 2:], window[2:])
        for index in np.flatnonzero((first < last).all(axis=1)).tolist():
            (top, left), (bottom, right) = first[index].tolist(), last[index].tolist()
            rows = slice(top - window[0], bottom - window[0])
            columns = slice(left - window[1], right - window[1])
            yield index, (top, left, bottom, right), (rows, columns)


@dataclass(frozen=True)
class DrawnRegions:
    """Label values of what was drawn, computed for the region that is read."""

    drawing: Drawing
    frame: Frame
    path: Path

    @property
    def planes(self) -> list[Layers]:
        """What is on each plane. Raises AnnotationError."""
        return _lay(self.drawing, self.frame, self.path, _states(self.drawing))

    def read(self, box: Box) -> npt.NDArray[np.integer[Any]]:
        """Label values within ``box``, of the axes of the image but C. Raises AnnotationError."""
        *stack, rows, columns = box
        window = rows.start, columns.start, rows.stop, columns.stop
        dtype = np.uint8 if self.drawing.kind == "overlapping" else np.int32
        sides = [part.stop - part.start for part in box]
        labels: npt.NDArray[np.integer[Any]] = np.empty(sides, dtype)
        flat, planes = labels.reshape(-1, *labels.shape[-2:]), self.planes
        places = itertools.product(*(range(part.start, part.stop) for part in stack))
        for number, place in enumerate(places):
            plane = int(np.ravel_multi_index(place, self.frame.stack)) if place else 0
            flat[number] = self._paint(planes[plane], window)
        return labels

    def _paint(self, layers: Layers, window: Window) -> npt.NDArray[np.int32]:
        labels_YX = np.zeros((window[2] - window[0], window[3] - window[1]), np.int32)
        # Of classes 0 may be drawn, too: what was drawn already is marked apart.
        exclusive = self.drawing.kind == "classes" and not self.drawing.ordered
        drawn_YX = np.full(labels_YX.shape, DRAWN_IGNORED, np.int32) if exclusive else None
        for index, shared, inside in layers.touching(window):
            value, shape = layers.values[index], layers.shapes[index]
            mask_YX = shape.mask(shared)
            if self.drawing.kind == "overlapping":
                labels_YX[inside][mask_YX] |= IGNORE if value == DRAWN_IGNORED else value
                continue
            if drawn_YX is not None and value != DRAWN_IGNORED:
                before = drawn_YX[inside][mask_YX]
                both = before[(before != DRAWN_IGNORED) & (before != value)]
                if both.size:
                    first = next(name for name, number in self.drawing.values if number == both[0])
                    what = f"{self.path}: {shape.title}"
                    raise overlap_error(what, both.size, first, shape.name)
                drawn_YX[inside][mask_YX] = value
            labels_YX[inside][mask_YX] = value
        return labels_YX


@functools.lru_cache(KEPT)
def _lay(
    drawing: Drawing, frame: Frame, path: Path, _states: tuple[tuple[int, int], ...]
) -> list[Layers]:
    values = dict(drawing.values)
    planes: list[list[tuple[int, Shape]]] = [[] for _ in range(math.prod(frame.stack))]
    found = read_shapes(drawing, frame.extents)
    _refuse_outside([shape for shape in found if _is_outside(shape, frame)], frame, path)
    for number, shape in zip(numbers_without(drawing.ignore), found, strict=False):
        value = number if drawing.kind == "instances" else values.get(shape.name)
        if shape.ignored:
            value = DRAWN_IGNORED
        if value is not None:
            planes[frame.plane(shape, f"{path}: {shape.title}")].append((value, shape))
    ranks = {value: rank for rank, (_, value) in enumerate(drawing.values)}
    for plane in planes:
        plane.reverse()  # of equals the first is topmost; sorting keeps their order
        if drawing.kind != "instances":
            plane.sort(key=lambda item: ranks.get(item[0], -1))
        else:
            plane.sort(key=lambda item: (item[0] != DRAWN_IGNORED, -item[1].area))
    return [Layers([value for value, _ in p], [shape for _, shape in p]) for p in planes]


def _refuse_outside(shapes: Sequence[Shape], frame: Frame, path: Path) -> None:
    if shapes:
        height, width = frame.extents
        top, left, bottom, right = shapes[0].bounds
        more = f", and so do {len(shapes) - 1} more" if len(shapes) > 1 else ""
        raise AnnotationError(
            f"{path}: {shapes[0].title} (x {left} to {right}, y {top} to {bottom}) lies outside "
            f"its image of {height} × {width} pixels (height × width){more}; is it of another "
            "image, or not in pixels? Delete it, or export it in pixels"
        )


def _is_outside(shape: Shape, frame: Frame) -> bool:
    top, left, bottom, right = shape.bounds
    seen = intersect(shape.bounds, (0, 0, *frame.extents)) is not None
    return top < bottom and left < right and not seen
