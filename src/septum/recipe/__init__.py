"""What to do: sections, and the files that hold them."""

from septum.recipe.files import build_recipe, dump_recipe, load_recipe, read_reasons, recipe_names
from septum.recipe.sections import (
    Augment,
    Intensity,
    Labels,
    Loss,
    Network,
    Prediction,
    Recipe,
    Training,
    Validation,
)

__all__ = [
    "Augment",
    "Intensity",
    "Labels",
    "Loss",
    "Network",
    "Prediction",
    "Recipe",
    "Training",
    "Validation",
    "build_recipe",
    "dump_recipe",
    "load_recipe",
    "read_reasons",
    "recipe_names",
]
