"""The annotated images of a run: found, read, checked, split, and what was learnt about them."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

from septum.annotation.labels import LabelMeaning, find_meaning
from septum.annotation.pairs import Annotated, find_pairs, load_pairs, split_validation
from septum.images.intensity_range import IntensityRange, fit_intensity_range
from septum.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Data:
    """The annotated images of a run, split, with what was learnt about them before training."""

    path: Path
    training: list[Annotated]
    validation: list[Annotated]
    meaning: LabelMeaning
    intensity: IntensityRange

    @property
    def channels(self) -> int:
        return len(self.training[0].image_CS)

    @functools.cached_property
    def fingerprints(self) -> dict[str, str]:
        """Of each side of the split: changes if any image, label or name there does."""
        return {"data": _fingerprint(self.training), "validation": _fingerprint(self.validation)}


def load_data(path: Path, recipe: Recipe) -> Data:
    """Find, read, check and split the annotated images; raises InputError and its kinds."""
    annotated = load_pairs(find_pairs(path), recipe.network.dimensions)
    meaning = find_meaning(((item.name, item.labels_S) for item in annotated), recipe.labels)
    names = [item.name for item in annotated]
    train_indices, validation_indices = split_validation(names, recipe.validation)
    training = [annotated[index] for index in train_indices]
    intensity = fit_intensity_range((item.image_CS for item in training), recipe.intensity)
    return Data(
        path, training, [annotated[index] for index in validation_indices], meaning, intensity
    )


def _fingerprint(annotated: list[Annotated]) -> str:
    digest = hashlib.sha256()
    for item in annotated:
        digest.update(item.name.encode())
        digest.update(item.image_CS.tobytes())
        digest.update(item.labels_S.tobytes())
    return digest.hexdigest()
