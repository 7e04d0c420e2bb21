"""The annotated images of a run: found, read, checked, split, and what was learnt about them."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from septum.annotation.labels import LabelMeaning, find_meaning
from septum.annotation.pairs import Annotated, find_pairs, load_pairs, split_validation
from septum.annotation.stored_pairs import StoredAnnotated, open_pairs, same_masks
from septum.images.intensity_range import IntensityRange, fit_intensity_range
from septum.memory import available_memory
from septum.network.heads import OF_OBJECTS, check_head
from septum.recipe import Recipe
from septum.training.windows import StoredWindow, spread_windows

MEMORY_SHARE = 0.4
"""Of the memory that is free to a process: a larger set is left in its files."""
EXAMINED, EXAMINED_EACH = 200, 8
"""Of a set that is left in its files so many windows, and of one image at most so many, are looked
at before training: for the meaning of the labels, the range of grey values, the classes' shares."""
MOST_COUNTED = 2**32
"""Up to so many pixels all labels are read once, so that no class is missed; beyond, windows."""
SHOWN_EACH = 4
"""Windows of a validation image that is too large to be predicted as a whole at each validation."""
LARGEST_VALIDATED = 2**24
"""Pixels of the largest image that is."""

Item = Annotated | StoredWindow


@dataclass(frozen=True, eq=False)
class Data:
    """The annotated images of a run, split, with what was learnt about them before training."""

    path: Path
    training: Sequence[Item]
    validation: Sequence[Item]
    meaning: LabelMeaning
    intensity: IntensityRange
    examined: Sequence[StoredWindow] = field(default=())
    """Where the images are left in their files: the windows of training images looked at."""

    @property
    def stored(self) -> bool:
        """Whether the images are left in their files."""
        return bool(self.examined)

    @property
    def validates_on_training(self) -> bool:
        """Whether an image is on both sides of the split, as a single one is."""
        sides = (self.training, self.validation)
        names = [
            {i.pair.name if isinstance(i, StoredWindow) else i.name for i in side} for side in sides
        ]
        return not names[0].isdisjoint(names[1])

    @property
    def channels(self) -> int:
        return self.training[0].channels

    @functools.cached_property
    def fingerprints(self) -> dict[str, str]:
        """Of each side of the split: changes if any image, label or name there does.

        Of images left in their files: if a name, a file's size or an image's extents do.
        """
        return {"data": _fingerprint(self.training), "validation": _fingerprint(self.validation)}


def load_data(path: Path, recipe: Recipe, memory: int | None = None) -> Data:
    """Find, read, check and split the annotated images; raises InputError and its kinds.

    A set that would take more than ``memory`` bytes (None: a share of what is free) when it is
    ready for training is left in its files, and read tile by tile.
    """
    dimensions = recipe.network.dimensions
    pairs = find_pairs(path)
    stored = open_pairs(pairs, dimensions, recipe.labels)
    masks = same_masks(stored)
    names = [item.name for item in stored]
    train_indices, validation_indices = split_validation(names, recipe.validation)
    if memory is None:
        memory = memory_for_images()
    if sum(_prepared_bytes(item) for item in stored) > memory:
        return _left_in_files(path, recipe, stored, train_indices, validation_indices, masks)

    annotated = load_pairs(pairs, dimensions, recipe.labels)
    meaning = _find_meaning(annotated, recipe, masks)
    training = [annotated[index] for index in train_indices]
    intensity = fit_intensity_range((item.image_CS for item in training), recipe.intensity)
    return Data(
        path, training, [annotated[index] for index in validation_indices], meaning, intensity
    )


def memory_for_images(processes: int = 1) -> int:
    """Bytes that the images may take in each of ``processes`` processes on this machine."""
    return int(MEMORY_SHARE * available_memory() / processes)


def _prepared_bytes(item: StoredAnnotated) -> int:
    """Of an image as it is read, and as it is kept for training: float32, classes, instances."""
    return item.nbytes + math.prod(item.extents) * (4 * item.channels + 5)


def _left_in_files(
    path: Path,
    recipe: Recipe,
    stored: Sequence[StoredAnnotated],
    train_indices: Sequence[int],
    validation_indices: Sequence[int],
    masks: tuple[str, ...],
) -> Data:
    training = [StoredWindow(stored[index]) for index in train_indices]
    held = [StoredWindow(stored[index]) for index in validation_indices]
    validation = [
        part
        for item in held
        for part in (
            [item]
            if math.prod(item.extents) <= LARGEST_VALIDATED
            else spread_windows([item], 1, SHOWN_EACH)
        )
    ]
    examined, also = (
        spread_windows(items, EXAMINED, max(min(EXAMINED_EACH, EXAMINED // len(items)), 1))
        for items in (training, held)
    )
    everything = [*training, *held]
    few = sum(math.prod(item.extents) for item in everything) <= MOST_COUNTED
    counted = everything if few else [*examined, *also]
    meaning = _find_meaning(counted, recipe, masks)
    intensity = fit_intensity_range((item.image_CS for item in examined), recipe.intensity)
    return Data(path, training, validation, meaning, intensity, examined)


def _find_meaning(items: Sequence[Item], recipe: Recipe, masks: tuple[str, ...]) -> LabelMeaning:
    """What the labels mean, and that the network can learn it. Raises RecipeError, too."""
    labels = ((item.name, item.labels_S) for item in items)
    meaning = find_meaning(labels, recipe.labels, masks)
    check_head(recipe.network.head, meaning)
    return replace(meaning, seams=recipe.network.head not in OF_OBJECTS)


def _fingerprint(items: Sequence[Item]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(item.name.encode())
        if isinstance(item, StoredWindow):
            sizes = [p.stat().st_size for p in (item.image_path, item.label_path) if p.is_file()]
            digest.update(repr((item.extents, item.channels, sizes)).encode())
        else:
            digest.update(item.image_CS.tobytes())
            digest.update(item.labels_S.tobytes())
    return digest.hexdigest()
