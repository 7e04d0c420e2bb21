"""The images that tiles are drawn from: in memory, or read where a tile needs them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from septum.annotation.labels import IGNORE, LabelMeaning, to_target
from septum.annotation.pairs import Annotated
from septum.augment.deform import Deformation
from septum.images.intensity_range import IntensityRange

PLACED_PIXELS = 2**18
"""So many object pixels of an image are looked at to find places in its objects."""


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """One annotated image ready to be sampled: normalised grey values, classes, instances."""

    name: str
    image_CS: Float32[np.ndarray, "c *s"]
    classes_S: UInt8[np.ndarray, "*s"]
    instances_S: Int32[np.ndarray, "*s"]

    @property
    def extents(self) -> tuple[int, ...]:
        return self.classes_S.shape

    @functools.cached_property
    def places(self) -> list[Int32[np.ndarray, "n d"]]:
        """For each class above 0 that occurs, a random pixel of each of its objects."""
        return object_places(self.classes_S, self.instances_S)

    def around(
        self, deformation: Deformation, tile: Sequence[int]
    ) -> tuple[TrainingImage, Deformation]:
        """The part that a tile is made from, and the tile's deformation within that part."""
        return self, deformation


TrainingImages = Sequence[TrainingImage]


def training_images(
    annotated: Sequence[Annotated], meaning: LabelMeaning, intensity: IntensityRange
) -> list[TrainingImage]:
    """Normalise the images and give their labels a meaning, once for the whole run."""
    images = []
    for item in annotated:
        classes_S, instances_S = to_target(item.labels_S, meaning)
        images.append(
            TrainingImage(item.name, intensity.apply(item.image_CS), classes_S, instances_S)
        )
    return images


def object_places(
    classes_S: UInt8[np.ndarray, "*s"], instances_S: Int32[np.ndarray, "*s"]
) -> list[Int32[np.ndarray, "n d"]]:
    """For each class above 0 that occurs, one random pixel of each object, in pixels (Z)YX.

    The same for the same labels. Of an image with more than ``PLACED_PIXELS`` object pixels so
    many are looked at; objects that none of them belongs to are left out.
    """
    known_S = (instances_S != 0) & (classes_S != 0) & (classes_S != IGNORE)
    rng = np.random.default_rng(0)
    # Of a random order of the pixels the first of each object is a random one.
    pixels = rng.permutation(np.flatnonzero(known_S))[:PLACED_PIXELS]
    _, first = np.unique(instances_S.ravel()[pixels], return_index=True)
    chosen = pixels[first]
    points = np.stack(np.unravel_index(chosen, classes_S.shape), axis=1).astype(np.int32)
    classes = classes_S.ravel()[chosen]
    return [points[classes == value] for value in np.unique(classes)]
