"""The images that tiles are drawn from: in memory, or read where a tile needs them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from septum.annotation.labels import IGNORE, UNDRAWN, LabelMeaning, to_target
from septum.annotation.pairs import Annotated
from septum.annotation.targets import kept_apart, pieces
from septum.augment.deform import Deformation, moved, source_window
from septum.images.intensity_range import IntensityRange
from septum.training.windows import WINDOW_PIXELS, StoredWindow, glimpse, spread_windows

PLACED_PIXELS = 2**18
"""So many object pixels of an image are looked at to find places in its objects."""

PLACED_WINDOWS = ((4, 2**18), (8, WINDOW_PIXELS))
"""Windows of a large image left in its file, and their pixels; the larger ones if the others hold
no object."""


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """One annotated image ready to be sampled: normalised grey values, classes, instances."""

    name: str
    image_CS: Float32[np.ndarray, "c *s"]
    classes_S: UInt8[np.ndarray, "*s"]
    instances_S: Int32[np.ndarray, "*s"]
    spacing: tuple[float, ...] | None = None
    """Extents of a pixel in those of its shortest side; None: all sides are equal, or unknown."""

    @property
    def extents(self) -> tuple[int, ...]:
        return self.classes_S.shape

    @property
    def channels(self) -> int:
        return len(self.image_CS)

    @functools.cached_property
    def places(self) -> list[Int32[np.ndarray, "n d"]]:
        """For each class above 0 that occurs, a random pixel of each of its objects."""
        return object_places(self.classes_S, self.instances_S)

    def around(
        self, deformation: Deformation, tile: Sequence[int]
    ) -> tuple[TrainingImage, Deformation]:
        """The part that a tile is made from, and the tile's deformation within that part."""
        return self, deformation

    def glimpse(self) -> TrainingImage:
        """What of it can be shown as a whole."""
        return self


@dataclass(frozen=True, eq=False)
class StoredTrainingImage:
    """One annotated image left in its file: a tile reads the part that it is made from.

    Pieces of binary labels and of classes are those within that part: a cell that is in one piece
    only far outside the tile counts as two.
    """

    window: StoredWindow
    meaning: LabelMeaning
    intensity: IntensityRange
    """Of the set; see `own`."""

    @functools.cached_property
    def own(self) -> IntensityRange:
        """Of this image, which is read for it once where each has its own."""
        return self.intensity.of(self.window.pair.image)

    @property
    def name(self) -> str:
        return self.window.name

    @property
    def extents(self) -> tuple[int, ...]:
        return self.window.extents

    @property
    def channels(self) -> int:
        return self.window.channels

    @functools.cached_property
    def places(self) -> list[Int32[np.ndarray, "n d"]]:
        """As of ``TrainingImage``; of a large image, the objects of a few windows of it."""
        for count, pixels in PLACED_WINDOWS:
            found: dict[int, list[np.ndarray]] = {}
            for part in spread_windows([self.window], 1, count, pixels):
                maps = to_target(part.labels_S, self.meaning, part.name)
                corner = 0 if part.box is None else np.array([side.start for side in part.box])
                for points in object_places(*maps):
                    value = int(maps[0][tuple(points[0])])
                    found.setdefault(value, []).append((points + corner).astype(np.int32))
            if found:
                break
        return [np.concatenate(found[value]) for value in sorted(found)]

    def around(
        self, deformation: Deformation, tile: Sequence[int]
    ) -> tuple[TrainingImage, Deformation]:
        """The part that a tile is made from, and the tile's deformation within that part."""
        box = source_window(deformation, tile, self.extents)
        part = prepare_image(self.window.read(box), self.meaning, self.own)
        return part, moved(deformation, box)

    def glimpse(self) -> TrainingImage:
        """What of it can be shown as a whole."""
        return prepare_image(glimpse(self.window), self.meaning, self.own)


AnyTrainingImage = TrainingImage | StoredTrainingImage


def prepare_image(
    item: Annotated, meaning: LabelMeaning, intensity: IntensityRange
) -> TrainingImage:
    """Normalise an image, or a part in the range of the whole, and give its labels a meaning."""
    classes_S, instances_S = to_target(item.labels_S, meaning, item.name, UNDRAWN)
    instances_S = kept_apart(classes_S, instances_S, meaning)
    image_CS = intensity.of(item.image_CS).apply(item.image_CS)
    return TrainingImage(item.name, image_CS, classes_S, instances_S, item.spacing)


def training_images(
    annotated: Sequence[Annotated | StoredWindow], meaning: LabelMeaning, intensity: IntensityRange
) -> list[AnyTrainingImage]:
    """Images in memory prepared once for the whole run; those in files as they are drawn."""
    return [
        StoredTrainingImage(item, meaning, intensity)
        if isinstance(item, StoredWindow)
        else prepare_image(item, meaning, intensity)
        for item in annotated
    ]


def object_places(
    classes_S: UInt8[np.ndarray, "*s"], instances_S: Int32[np.ndarray, "*s"]
) -> list[Int32[np.ndarray, "n d"]]:
    """For each class above 0 that occurs, one random pixel of each object, in pixels (Z)YX.

    The same for the same labels. Of an image with more than ``PLACED_PIXELS`` object pixels so
    many are looked at; objects that none of them belongs to are left out.
    """
    known_S = (instances_S != 0) & (classes_S != 0) & (classes_S != IGNORE)
    if classes_S[known_S].max(initial=0) > 1:  # instances may be of several classes
        instances_S = pieces(np.where(known_S, classes_S, 0))
    rng = np.random.default_rng(0)
    pixels = np.flatnonzero(known_S)
    if len(pixels) > PLACED_PIXELS:
        pixels = pixels[rng.integers(len(pixels), size=PLACED_PIXELS)]
    # Of a random order of the pixels the first of each object is a random one.
    pixels = rng.permutation(pixels)
    _, first = np.unique(instances_S.ravel()[pixels], return_index=True)
    chosen = pixels[first]
    points = np.stack(np.unravel_index(chosen, classes_S.shape), axis=1).astype(np.int32)
    classes = classes_S.ravel()[chosen]
    return [points[classes == value] for value in np.unique(classes)]
