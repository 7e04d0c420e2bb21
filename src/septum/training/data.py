"""The annotated images of a run: found, read, checked, split, and what was learnt about them."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from septum.annotation.drawn_remarks import describe_drawn
from septum.annotation.interpretation import describe_meaning, interpret, settle_labels
from septum.annotation.labels import IGNORE, LabelMeaning, to_target
from septum.annotation.pairs import Annotated, Pair, find_pairs, load_pairs, split_validation
from septum.annotation.stored_pairs import StoredAnnotated, open_pairs
from septum.images.intensity_range import IntensityRange, fit_intensity_range
from septum.memory import available_memory
from septum.network.heads import OF_OBJECTS, check_head
from septum.recipe import Recipe
from septum.training.windows import AnyItem, StoredWindow, large_windows, spread_windows

MEMORY_SHARE = 0.4
"""Of the memory that is free to a process: a larger set is left in its files."""
LEAST_QUARTER = 32
"""Pixels of the part of a single image that validates, along its longest axis."""
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
    divided: bool = False
    """Whether there is one image, of which a part trains and another validates."""
    remarks: Sequence[str] = field(default=())
    """What the labels were taken for, and what of drawn objects was lost or shared."""

    @property
    def stored(self) -> bool:
        """Whether the images are left in their files."""
        return bool(self.examined)

    @property
    def validates_on_training(self) -> bool:
        """Whether an image is on both sides of the split, as one too small to be divided is."""
        if self.divided:
            return False
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


def planned_steps(recipe: Recipe, data: Data) -> int:
    """The number of steps of a run: as the recipe says, or of so many epochs of this data."""
    section = recipe.training
    return section.steps or section.epochs * math.ceil(len(data.training) / section.batch)


def load_data(path: Path, recipe: Recipe, memory: int | None = None) -> Data:
    """Find, read, check and split the annotated images; raises InputError and its kinds.

    A set that would take more than ``memory`` bytes (None: a share of what is free) when it is
    ready for training is left in its files, and read tile by tile.
    """
    dimensions = recipe.network.dimensions
    pairs, recipe = settle_labels(find_pairs(path, recipe.labels), recipe)
    stored = open_pairs(pairs, dimensions)
    names = [item.name for item in stored]
    train_indices, validation_indices = split_validation(names, recipe.validation)
    if memory is None:
        memory = memory_for_images()
    if sum(_prepared_bytes(item) for item in stored) > memory:
        return _left_in_files(path, recipe, pairs, stored, train_indices, validation_indices)

    annotated = load_pairs(pairs, dimensions)
    meaning = _find_meaning(pairs, annotated, recipe)
    parts = divide(annotated[0], meaning) if len(annotated) == 1 else None
    training, validation = parts or tuple(
        [annotated[index] for index in side] for side in (train_indices, validation_indices)
    )
    intensity = fit_intensity_range((item.image_CS for item in training), recipe.intensity)
    remarks = _remarks(meaning, recipe, pairs, stored)
    divided, held = parts is not None, _validated(validation)
    return Data(path, training, held, meaning, intensity, (), divided, remarks)


def _remarks(
    meaning: LabelMeaning, recipe: Recipe, pairs: Sequence[Pair], stored: Sequence[StoredAnnotated]
) -> list[str]:
    drawn = describe_drawn(item.labels.image for item in stored)
    return [describe_meaning(meaning, recipe.labels, pairs), *drawn]


def is_divisible(extents: Sequence[int]) -> bool:
    """Whether a quarter of an image is large enough to validate on."""
    return max(extents) // 4 >= LEAST_QUARTER


def divide(item: AnyItem, meaning: LabelMeaning) -> tuple[list[AnyItem], list[AnyItem]] | None:
    """A single image as a part to train on and one to validate on; None if it is too small.

    The last quarter along its longest axis (the first such one) validates; the first quarter if
    the last has no object.
    """
    extents = item.extents
    if not is_divisible(extents):
        return None
    axis = int(np.argmax(extents))
    quarter = extents[axis] // 4

    def part(start: int, stop: int) -> AnyItem:
        sides = [slice(0, extent) for extent in extents]
        sides[axis] = slice(start, stop)
        return item.cut(tuple(sides))

    def has_object(part: AnyItem) -> bool:
        windows = large_windows(part, SHOWN_EACH) if isinstance(part, StoredWindow) else [part]
        maps = (to_target(window.labels_S, meaning, window.name)[0] for window in windows)
        return any(((classes_S > 0) & (classes_S != IGNORE)).any() for classes_S in maps)

    end = extents[axis]
    last = part(end - quarter, end)
    if has_object(last) or not has_object(first := part(0, quarter)):
        return [part(0, end - quarter)], [last]
    return [part(quarter, end)], [first]


def memory_for_images(processes: int = 1) -> int:
    """Bytes that the images may take in each of ``processes`` processes on this machine."""
    return int(MEMORY_SHARE * available_memory() / processes)


def _prepared_bytes(item: StoredAnnotated) -> int:
    """Of an image as it is read, and as it is kept for training: float32, classes, instances."""
    return item.nbytes + math.prod(item.extents) * (4 * item.channels + 5)


def _left_in_files(
    path: Path,
    recipe: Recipe,
    pairs: Sequence[Pair],
    stored: Sequence[StoredAnnotated],
    train_indices: Sequence[int],
    validation_indices: Sequence[int],
) -> Data:
    whole = [StoredWindow(item) for item in stored]
    examined = _examined(whole)
    few = sum(math.prod(item.extents) for item in whole) <= MOST_COUNTED
    counted = whole if few else examined
    meaning = _find_meaning(pairs, counted, recipe)
    parts = divide(whole[0], meaning) if len(whole) == 1 else None
    training, held = parts or tuple(
        [whole[index] for index in side] for side in (train_indices, validation_indices)
    )
    validation = _validated(held)
    examined = _examined(training)
    intensity = fit_intensity_range((item.image_CS for item in examined), recipe.intensity)
    remarks = _remarks(meaning, recipe, pairs, stored)
    divided = parts is not None
    return Data(path, training, validation, meaning, intensity, examined, divided, remarks)


def _validated(held: Sequence[AnyItem]) -> list[AnyItem]:
    """As they are, or of images too large for that some windows."""
    return [
        part
        for item in held
        for part in (
            [item]
            if math.prod(item.extents) <= LARGEST_VALIDATED
            else large_windows(item, SHOWN_EACH)
        )
    ]


def _examined(items: Sequence[StoredWindow]) -> list[StoredWindow]:
    each = max(min(EXAMINED_EACH, EXAMINED // len(items)), 1)
    return spread_windows(items, EXAMINED, each)


def _find_meaning(pairs: Sequence[Pair], items: Sequence[Item], recipe: Recipe) -> LabelMeaning:
    """What the labels mean, and that the network can learn it. Raises RecipeError, too."""
    labels = ((item.name, item.labels_S) for item in items)
    meaning = interpret(pairs, labels, recipe.labels)
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
