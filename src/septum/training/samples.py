"""Annotated images into augmented training tiles.

Sample ``index`` of step ``step`` depends on (seed, step, index) and on nothing else: not on what
was drawn before, not on who draws it. So a resumed run sees what the uninterrupted one would have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int32, UInt8
from torch import Tensor

from septum.annotation.labels import IGNORE, UNDRAWN, to_target
from septum.augment.deform import Deformation, deform, sample_deformation
from septum.augment.intensity import GreyValues, sample_grey_values, vary_grey_values
from septum.devices import channels_last
from septum.errors import RecipeError
from septum.geometry import Footprint
from septum.loss.border_weight import border_weight, weight_radius
from septum.loss.targets import encode_image, target_reach
from septum.network.heads import HeadKind
from septum.recipe import Augment, Loss, Recipe, Training
from septum.training.data import Data
from septum.training.images import (
    AnyTrainingImage,
    StoredTrainingImage,
    TrainingImage,
    training_images,
)

UNDRAWN_WEIGHT = 0.03
"""Of that of background, where nobody has drawn (decision 29)."""

# Purposes that random numbers are drawn for, so that no two share a stream.
_ORDER, _TILE = 0, 1

Batch = tuple[list[str], Tensor, Tensor, Tensor]
"""The names of the images, and images (N, C, S), classes as the head learns them (N, S), weights
(N, S)."""


@runtime_checkable
class Batches(Protocol):
    """Where the tiles of a run come from: ``Sampler``, ``DeviceSampler`` or ``Prefetched``."""

    def batch(self, step: int, indices: Sequence[int], device: torch.device) -> Batch:
        """Tiles ``indices`` of the batch of ``step``."""
        ...


@dataclass(frozen=True, eq=False)
class Sample:
    """One training tile. Targets and weights cover the central part that the network outputs.

    ``classes_S``: classes, as the head is to learn them (`septum.loss.targets`).
    """

    name: str
    image_CS: Float32[np.ndarray, "c *s"]
    classes_S: UInt8[np.ndarray, "*t"]
    weights_S: Float32[np.ndarray, "*t"]


@dataclass(frozen=True)
class Draw:
    """What is random about one tile: the number of its image, and how it is taken from it."""

    number: int
    deformation: Deformation
    grey_values: GreyValues


@dataclass(frozen=True, eq=False)
class Sampler:
    """Draws the tiles of a run."""

    images: Sequence[AnyTrainingImage]
    weights_K: np.ndarray
    footprint: Footprint
    augment: Augment
    loss: Loss
    training: Training
    head: HeadKind = "softmax"

    @property
    def reads_files(self) -> bool:
        """Whether drawing a tile reads a file."""
        return any(isinstance(image, StoredTrainingImage) for image in self.images)

    @property
    def target(self) -> int:
        """Extent of the part of a tile that the network outputs, along each axis."""
        return self.footprint.output_extent(self.training.tile)

    @property
    def rim(self) -> int:
        """How far around it labels are needed: cells there count for the border weight in it, and
        for the targets of heads that learn where objects end.

        A padded network's tile has none around it: there only the cells in the tile count.
        """
        reach = math.ceil(weight_radius(self.loss.border_sigma)) if self.loss.border_weight else 0
        reach = max(reach, target_reach(self.head))
        return min(reach, (self.training.tile - self.target) // 2)

    def order(self, epoch: int) -> np.ndarray:
        """The order of the images in an epoch, a permutation."""
        rng = np.random.default_rng([self.training.seed, _ORDER, epoch])
        return rng.permutation(len(self.images))

    def draw(self, step: int, index: int) -> Draw:
        """The random part of tile ``index`` of the batch of ``step``, both counted from 0."""
        epoch, place = divmod(step * self.training.batch + index, len(self.images))
        number = int(self.order(epoch)[place])
        rng = np.random.default_rng([self.training.seed, _TILE, step, index])
        image = self.images[number]
        share, near = self.training.object_share, None
        if share and rng.random() < share and image.places:
            points = image.places[rng.integers(len(image.places))]
            near = points[rng.integers(len(points))].tolist()
        axes = len(image.extents)
        tile, kept = (self.training.tile,) * axes, (self.target,) * axes
        deformation = sample_deformation(image.extents, tile, kept, self.augment, rng, near)
        grey_values = sample_grey_values(self.augment, rng, image.channels)
        return Draw(number, deformation, grey_values)

    def sample(self, step: int, index: int) -> Sample:
        """Tile ``index`` of the batch of ``step``, both counted from 0."""
        drawn = self.draw(step, index)
        axes, rim = len(drawn.deformation.centre), self.rim
        tile, target = (self.training.tile,) * axes, self.target
        image, deformation = self.images[drawn.number].around(drawn.deformation, tile)
        image_CS, classes_S, instances_S = deform(
            image.image_CS,
            image.classes_S,
            image.instances_S,
            deformation,
            tile,
            (target + 2 * rim,) * axes,
            cubic=self.augment.interpolation == "cubic",
        )
        image_CS = vary_grey_values(image_CS, drawn.grey_values)
        inner = (slice(rim, rim + target),) * axes
        weights_S = self.weigh(classes_S, instances_S, image.spacing)[inner]
        targets_S = encode_image(classes_S, instances_S, self.head, image.spacing)[inner]
        return Sample(image.name, image_CS, targets_S, weights_S)

    def weigh(
        self,
        classes_S: UInt8[np.ndarray, "*s"],
        instances_S: Int32[np.ndarray, "*s"],
        spacing: tuple[float, ...] | None = None,
    ) -> Float32[np.ndarray, "*s"]:
        """w(x) = w_c(x) + border weight (equation 2), of labels as they are: deformed ones too.

        ``spacing``: as in ``TrainingImage``; σ is in pixels, along their shortest side.
        """
        weights_S: np.ndarray = self.class_weight_table()[classes_S]
        if self.loss.border_weight:
            border_S = border_weight(
                instances_S, self.loss.border_weight, self.loss.border_sigma, spacing
            )
            weights_S += np.where(classes_S == IGNORE, np.float32(0), border_S)
        return weights_S

    def class_weight_table(self) -> Float32[np.ndarray, "256"]:
        """w_c by the value of a class map; 0 for ignored pixels, little for undrawn ones."""
        table = np.zeros(256, np.float32)
        table[: len(self.weights_K)] = self.weights_K
        table[IGNORE], table[UNDRAWN] = 0, UNDRAWN_WEIGHT * table[0]
        return table

    def batch(self, step: int, indices: Sequence[int], device: torch.device) -> Batch:
        """Tiles ``indices`` of the batch of ``step``."""
        samples = [self.sample(step, index) for index in indices]
        image_NCS = torch.from_numpy(np.stack([sample.image_CS for sample in samples]))
        classes_NS = torch.from_numpy(np.stack([sample.classes_S for sample in samples]))
        weights_NS = torch.from_numpy(np.stack([sample.weights_S for sample in samples]))
        image_NCS = image_NCS.contiguous(memory_format=channels_last(image_NCS.ndim - 2))
        names = [sample.name for sample in samples]
        return names, image_NCS.to(device), classes_NS.to(device), weights_NS.to(device)


def build_sampler(data: Data, recipe: Recipe, footprint: Footprint) -> Sampler:
    """The sampler of a run."""
    images = training_images(data.training, data.meaning, data.intensity)
    # The classes' shares in images left in their files: in the windows looked at before.
    examined = (to_target(item.labels_S, data.meaning, item.name)[0] for item in data.examined)
    whole = (image.classes_S for image in images if isinstance(image, TrainingImage))
    class_maps = examined if data.stored else whole
    if data.meaning.kind == "overlapping":
        weights_K = _one_for_all(recipe.loss)
    else:
        weights_K = class_weights(class_maps, data.meaning.class_count, recipe.loss)
    sections = (recipe.augment, recipe.loss, recipe.training)
    return Sampler(images, weights_K, footprint, *sections, recipe.network.head)


def _one_for_all(section: Loss) -> np.ndarray:
    """The weights of all that bits of overlapping classes can say."""
    if section.class_weight != "none":
        raise RecipeError(
            f"loss.class_weight = '{section.class_weight}' weighs classes that exclude each other, "
            "and the labels overlap; use --set loss.class_weight=none"
        )
    return np.ones(IGNORE, np.float32)


def class_weights(class_maps: Iterable[np.ndarray], classes: int, section: Loss) -> np.ndarray:
    """w_c for each class, float32: 1, or inverse to its frequency with a mean over pixels of 1.

    A class without any pixel has weight 1; it multiplies nothing.
    """
    if section.class_weight == "none":
        return np.ones(classes, np.float32)
    counts = np.zeros(classes)
    for classes_S in class_maps:
        counts += np.bincount(classes_S.ravel(), minlength=256)[:classes]
    present = counts > 0
    weights = np.ones(classes)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights.astype(np.float32)
