"""What was seen in the images turned into a recipe: each choice with its reason.

A choice is a key of the recipe and its value. What the user gives stays, and the rest is chosen
around it. The same survey gives the same recipe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from septum.model import network_footprint
from septum.recipe import Recipe, build_recipe, load_recipe
from septum.survey.survey import Survey
from septum.training.choices import (
    Choice,
    choose_brightness,
    choose_depth,
    choose_labels,
    choose_method,
    choose_reduction,
    choose_scope,
    choose_tile,
)
from septum.training.data import is_divisible
from septum.training.learning_choices import (
    choose_goal,
    choose_loss,
    choose_sampling,
    choose_schedule,
    choose_steps,
    choose_validation,
)
from septum.training.planning import VALIDATIONS

SEEN_SHARE, WELL_SEEN, HIGHEST_REDUCTION = 0.75, 0.4, 8
"""Of what one output pixel sees: larger objects are not seen whole, and so large ones are; and the
largest `network.reduction`."""
TINY, MOSTLY_OBJECT = 6.0, 0.8
"""Pixels that a tiny object is wide; share of the pixels that is rarely the object."""

BASES = {"cpu": "quick"}
"""The recipe to begin with, by the type of the device, where it is not `default`: on a processor
the smaller network is ahead for as long as people wait (decision 24)."""

CHOOSERS = (
    choose_labels,
    choose_depth,
    choose_reduction,
    choose_tile,
    choose_scope,
    choose_method,
    choose_brightness,
    choose_loss,
    choose_sampling,
    choose_steps,
    choose_schedule,
    choose_goal,
    choose_validation,
)
"""In this order: a later one builds on those before it, as the steps on the tile."""

OF_TILES = ("training.batch", "network.reduction")
"""Keys that are not chosen where the tile is the user's."""

ALWAYS = ("labels.kind", "training.patience")
"""Keys that are chosen whatever the images are."""

Fits = Callable[[Recipe, int], bool]
"""Whether a step of this recipe, with so many tiles in memory at once, fits."""


@dataclass(frozen=True)
class Configuration:
    """A recipe for these images. ``advice``: what no recipe can do; ``base``: where it began;
    ``given``: keys that are as the user wants them.
    """

    recipe: Recipe
    choices: tuple[Choice, ...]
    advice: tuple[str, ...]
    base: Recipe
    given: tuple[str, ...] = ()

    @property
    def changes(self) -> list[str]:
        """What the user gave, ``section.key=value`` as `--set` takes it."""
        tree = self.recipe.model_dump()
        return [f"{key}={Choice(key, _plain(_get(tree, key)), '').shown}" for key in self.given]

    @property
    def reasons(self) -> dict[str, str]:
        """By the key, and of the recipe's name."""
        return {
            "name": f"for these images, from the recipe {self.base.name}",
            **dict.fromkeys(self.given, "given"),
            **{choice.key: choice.reason for choice in self.choices},
        }

    @property
    def changed(self) -> list[Choice]:
        """The choices that differ from the recipe that everything began with."""
        tree = self.base.model_dump()
        return [c for c in self.choices if _plain(c.value) != _plain(_get(tree, c.key))]

    def describe(self) -> list[str]:
        """What it began with, and what is not as there, in a few lines."""
        shown = [choice for choice in self.changed if choice.key not in ALWAYS]
        lines = [f"chosen for these images: {choice}" for choice in shown]
        return [f"chosen for this device: the recipe {self.base.name}", *lines, *self.advice]


def configure(
    survey: Survey,
    changes: Sequence[str] = (),
    fits: Fits | None = None,
    hours: float | None = None,
    device: str = "cuda",
) -> Configuration:
    """The recipe for this type of device, changed to suit the images; each choice with its reason.

    ``changes``, each ``section.key=value``, are the user's and stay; ``fits`` None: memory is no
    limit. With ``hours`` the steps are left to planning. ``device``: "cuda", whose recipe is
    ``default``, or "cpu", whose is ``quick``. Where the survey says too little to go by, it is
    that recipe with the changes. Raises RecipeError; TileSizeError for a tile that the network
    cannot take.
    """
    base = load_recipe(BASES.get(device, "default"), changes)
    if not survey.usable:
        return Configuration(base, (), (), base)
    fixed = {change.partition("=")[0].strip() for change in changes}
    tree = base.model_dump()
    tree["name"] = "configured"
    choices: list[Choice] = []
    split = any(key.startswith("validation.") for key in fixed)
    for choose in CHOOSERS:
        recipe = build_recipe(tree)
        for choice in choose(survey, recipe):
            held = choice.key in fixed or (split and choice.key.startswith("validation."))
            # So many tiles are as many as these would show, not as the user's own, which may not
            # fit a network of reduced images.
            held |= choice.key in OF_TILES and "training.tile" in fixed
            held |= choice.key == "network.reduction" and "prediction.tile" in fixed
            if held or (hours is not None and choice.key == "training.steps"):
                continue
            choices.append(choice)
            if hours is not None and choice.key == "training.validate_every":
                choices[-1] = Choice(choice.key, 0, f"{VALIDATIONS} times in the time given")
            _set(tree, choices[-1])
    if fits is not None:
        for choice in _memory(build_recipe(tree), fits, fixed):
            choices = [c for c in choices if c.key != choice.key]
            _set(tree, choice)
            choices.append(choice)
    recipe = build_recipe(tree)
    if recipe.prediction.tile:
        network_footprint(recipe.network).check_tile(recipe.prediction.tile, "prediction.tile")
    return Configuration(
        recipe, tuple(choices), tuple(_advice(survey, recipe)), base, tuple(sorted(fixed))
    )


def _memory(recipe: Recipe, fits: Fits, fixed: set[str]) -> Iterator[Choice]:
    section = recipe.training
    at_once = min(section.micro_batch or section.batch, section.batch)
    if fits(recipe, at_once):
        return
    if at_once > 1 and "training.micro_batch" not in fixed:
        at_once = 1
        yield Choice("training.micro_batch", 1, "more tiles at once do not fit into memory")
        if fits(recipe, 1):
            return
    footprint = network_footprint(recipe.network)
    tile = section.tile
    while "training.tile" not in fixed and tile - footprint.stride > footprint.minimum:
        tile -= footprint.stride
        smaller = recipe.model_copy(update={"training": section.model_copy(update={"tile": tile})})
        if fits(smaller, at_once):
            yield Choice("training.tile", tile, "the largest that fits into memory")
            return


def _advice(survey: Survey, recipe: Recipe) -> Iterator[str]:
    objects, footprint = survey.objects, network_footprint(recipe.network)
    seen = 2 * footprint.context + 1
    if objects is not None and objects.diameter is not None:
        median, times = objects.diameter.median, recipe.network.reduction
        if median > SEEN_SHARE * seen:
            told = (
                f"half of the objects are wider than {median:.0f} pixels, and a pixel's class is "
                f"told by {seen}"
            )
            wanted = math.ceil(times * median / (WELL_SEEN * seen))
            if recipe.network.architecture == "unet" and wanted <= HIGHEST_REDUCTION:
                yield f"{told}: for more, --set network.reduction={wanted}"
            else:
                yield f"{told}: train on images reduced by {wanted / times:.1f}"
        elif median < TINY:
            yield (
                f"half of the objects are narrower than {median:.1f} pixels: images of a higher "
                "magnification would show more of them"
            )
    meaning = survey.meaning
    if meaning is not None and meaning.kind == "binary" and meaning.object == "nonzero":
        share = meaning.shares[1]
        if share > MOSTLY_OBJECT:
            yield (
                f"what is not 0, {share:.0%} of the pixels, is learnt as the object; if it is the "
                "background: --set labels.object=zero"
            )
    if recipe.network.dimensions == 2 and any("Z" in image.axes for image in survey.images):
        yield "volumes are learnt slice by slice; as volumes: --set network.dimensions=3"
    if meaning is not None and survey.doubt:
        yield f"labels are taken for {meaning.kind}: {survey.doubt}"
    if len(survey.wholes) == 1 and not is_divisible(next(iter(survey.wholes.values()))):
        yield (
            "one image only, too small to be divided, so it is validated on as well: scores will "
            "flatter until a second one is annotated"
        )


def _get(tree: dict[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    return tree[section][name]


def _set(tree: dict[str, Any], choice: Choice) -> None:
    section, _, name = choice.key.partition(".")
    tree[section][name] = choice.value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
