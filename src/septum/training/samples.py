"""Annotated images into augmented training tiles.

Sample ``index`` of step ``step`` depends on (seed, step, index) and on nothing else: not on what
was drawn before, not on who draws it. So a resumed run sees what the uninterrupted one would have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int32, UInt8
from torch import Tensor

from septum.annotation.labels import IGNORE, LabelMeaning, to_target
from septum.annotation.pairs import Annotated
from septum.augment.deform import deform, sample_deformation
from septum.augment.intensity import sample_grey_values, vary_grey_values
from septum.devices import channels_last
from septum.geometry import Footprint
from septum.images.intensity_range import IntensityRange
from septum.loss.border_weight import border_weight, weight_radius
from septum.recipe import Augment, Loss, Training

# Purposes that random numbers are drawn for, so that no two share a stream.
_ORDER, _TILE = 0, 1


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """One annotated image ready to be sampled: normalised grey values, classes, instances."""

    name: str
    image_CS: Float32[np.ndarray, "c *s"]
    classes_S: UInt8[np.ndarray, "*s"]
    instances_S: Int32[np.ndarray, "*s"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One training tile. Labels and weights cover the central part that the network outputs."""

    name: str
    image_CS: Float32[np.ndarray, "c *s"]
    classes_S: UInt8[np.ndarray, "*t"]
    weights_S: Float32[np.ndarray, "*t"]


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


def class_weights(images: Sequence[TrainingImage], classes: int, section: Loss) -> np.ndarray:
    """w_c for each class, float32: 1, or inverse to its frequency with a mean over pixels of 1.

    A class without any pixel has weight 1; it multiplies nothing.
    """
    if section.class_weight == "none":
        return np.ones(classes, np.float32)
    counts = np.zeros(classes)
    for image in images:
        counts += np.bincount(image.classes_S.ravel(), minlength=256)[:classes]
    present = counts > 0
    weights = np.ones(classes)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Sampler:
    """Draws the tiles of a run."""

    images: Sequence[TrainingImage]
    weights_K: np.ndarray
    footprint: Footprint
    augment: Augment
    loss: Loss
    training: Training

    def order(self, epoch: int) -> np.ndarray:
        """The order of the images in an epoch, a permutation."""
        rng = np.random.default_rng([self.training.seed, _ORDER, epoch])
        return rng.permutation(len(self.images))

    def sample(self, step: int, index: int) -> Sample:
        """Tile ``index`` of the batch of ``step``, both counted from 0."""
        epoch, place = divmod(step * self.training.batch + index, len(self.images))
        image = self.images[self.order(epoch)[place]]
        rng = np.random.default_rng([self.training.seed, _TILE, step, index])
        extents = image.classes_S.shape
        tile = (self.training.tile,) * len(extents)
        target = self.footprint.output_extent(self.training.tile)
        # Cells just outside the target count for the border weight inside it.
        rim = math.ceil(weight_radius(self.loss.border_sigma)) if self.loss.border_weight else 0
        rim = min(rim, (self.training.tile - target) // 2)
        labelled = (target + 2 * rim,) * len(extents)

        kept = (target,) * len(extents)
        deformation = sample_deformation(extents, tile, kept, self.augment, rng)
        image_CS, classes_S, instances_S = deform(
            image.image_CS,
            image.classes_S,
            image.instances_S,
            deformation,
            tile,
            labelled,
            cubic=self.augment.interpolation == "cubic",
        )
        image_CS = vary_grey_values(image_CS, sample_grey_values(self.augment, rng))
        inner = (slice(rim, rim + target),) * len(extents)
        weights_S = self.weigh(classes_S, instances_S)[inner]
        return Sample(image.name, image_CS, classes_S[inner], weights_S)

    def weigh(
        self, classes_S: UInt8[np.ndarray, "*s"], instances_S: Int32[np.ndarray, "*s"]
    ) -> Float32[np.ndarray, "*s"]:
        """w(x) = w_c(x) + border weight (equation 2), of labels as they are: deformed ones too."""
        lookup = np.zeros(256, np.float32)
        lookup[: len(self.weights_K)] = self.weights_K
        lookup[IGNORE] = 0
        weights_S: np.ndarray = lookup[classes_S]
        if self.loss.border_weight:
            border_S = border_weight(instances_S, self.loss.border_weight, self.loss.border_sigma)
            weights_S += np.where(classes_S == IGNORE, np.float32(0), border_S)
        return weights_S

    def batch(
        self, step: int, indices: Sequence[int], device: torch.device
    ) -> tuple[list[str], Tensor, Tensor, Tensor]:
        """Tiles ``indices`` of the batch of ``step``.

        The names of their images, and images (N, C, S), classes (N, S), weights (N, S).
        """
        samples = [self.sample(step, index) for index in indices]
        image_NCS = torch.from_numpy(np.stack([sample.image_CS for sample in samples]))
        classes_NS = torch.from_numpy(np.stack([sample.classes_S for sample in samples]))
        weights_NS = torch.from_numpy(np.stack([sample.weights_S for sample in samples]))
        image_NCS = image_NCS.contiguous(memory_format=channels_last(image_NCS.ndim - 2))
        names = [sample.name for sample in samples]
        return names, image_NCS.to(device), classes_NS.to(device), weights_NS.to(device)
