"""From a handful of annotated images to a model that segments, and separates, what is in images.

The public names are imported on first use, so that ``import septum`` and ``septum --help`` are
quick and load no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from septum.images.files import read_image, write_image
    from septum.images.image import Image
    from septum.model import Model, load_model, save_model
    from septum.prediction.overlap_tile import (
        predict_maps,
        predict_mask,
        predict_probabilities,
        predict_tiles,
        prepare,
    )
    from septum.recipe import Recipe, load_recipe
    from septum.training.loop import train

__version__ = "0.1.0"

_HOMES = {
    "Image": "septum.images.image",
    "Model": "septum.model",
    "Recipe": "septum.recipe",
    "load_model": "septum.model",
    "load_recipe": "septum.recipe",
    "predict_maps": "septum.prediction.overlap_tile",
    "predict_mask": "septum.prediction.overlap_tile",
    "predict_probabilities": "septum.prediction.overlap_tile",
    "predict_tiles": "septum.prediction.overlap_tile",
    "prepare": "septum.prediction.overlap_tile",
    "read_image": "septum.images.files",
    "save_model": "septum.model",
    "train": "septum.training.loop",
    "write_image": "septum.images.files",
}

__all__ = [
    "Image",
    "Model",
    "Recipe",
    "load_model",
    "load_recipe",
    "predict_maps",
    "predict_mask",
    "predict_probabilities",
    "predict_tiles",
    "prepare",
    "read_image",
    "save_model",
    "train",
    "write_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'septum' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
