"""What each part of a recipe is to be, by what was seen in the images; and why.

Each function takes the survey and the recipe as it is so far, and gives choices for its keys.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from septum.annotation.pairs import split_validation
from septum.geometry import Footprint
from septum.model import network_footprint
from septum.recipe import Recipe, Validation, load_recipe
from septum.survey.objects import REACH
from septum.survey.survey import Survey

ROOM, MANY = 1.5, 2.5
"""Of the diameter of a large object: what a tile is to show of it; and what is enough of small
numbered ones, of which more tiles a batch then show more images."""
SMALLEST_TILE = 128
LARGEST_TILE, VOLUME_TILE, VOLUME_DEPTH = 700, 100, 2
"""Pixels an axis beyond which a tile is not enlarged for large objects; and, of volumes, of a tile
that three axes can have, and poolings that fit into it."""
RARE = 0.02
"""Share of the pixels below which a class is rare."""
SPARSE, OBJECT_SHARE = 0.05, 0.5
"""Share of object pixels below which so many of the tiles are drawn around objects."""
PASSES, FEWEST_STEPS, MOST_STEPS, STEP = 12, 4000, 10_000, 250
"""Every tile of a large set is seen so often, but for no more steps than these; in steps of so
many. And where there is more to be told than foreground, for no fewer (decision 26)."""
VALIDATIONS_IN_ALL, PATIENCE = 10, 4
"""In a whole run; and so many of them in a row that were no better end it."""
VALIDATED, SHARES = 3, (0.2, 0.3, 0.4, 0.5)
"""So many images validate, of fewer than twelve one of four; and larger shares that are tried."""
VARIED = 2.0
"""Times that the grey values of bright images (at 95 %) may span those of dim ones (at 5 %)."""
NEAR = 0.05
"""Share of the objects below which nobody minds that they are near each other."""
NARROW = 3.0
"""d1 + d2 in pixels, of the narrowest walls (5 %) of the set on which the default weight was tuned;
and of the seam between labels that touch."""
WIDEST_SIGMA = 5.0
SEAM_WEIGHT, SEAM_SIGMA = 10.0, 3.0
"""Weights of the walls between numbered objects (decision 21); those of `default` were tuned on
membranes."""


@dataclass(frozen=True)
class Choice:
    """A key of the recipe, ``section.key``, its value, and why."""

    key: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.key} = {self.shown}: {self.reason}"

    @property
    def shown(self) -> str:
        """The value as `--set` takes it."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value)


def choose_labels(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """The kind of labels, and the output that goes with it."""
    meaning = survey.meaning
    assert meaning is not None
    yield Choice("labels.kind", meaning.kind, f"taken for {meaning.describe()}")
    if meaning.kind == "overlapping":
        reason = f"{meaning.class_count - 1} classes that overlap, each learnt on its own"
        yield Choice("network.head", "sigmoid", reason)
        return
    reason = f"one probability for each of {meaning.class_count} classes"
    yield Choice("network.head", "softmax", reason)


def choose_depth(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """Fewer poolings for volumes."""
    if recipe.network.dimensions == 3 and recipe.network.architecture == "unet":
        reason = "of volumes, tiles that fit into memory are too small for more poolings"
        yield Choice("network.depth", min(recipe.network.depth, VOLUME_DEPTH), reason)


def choose_tile(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """The tile: no larger than the images, no smaller than their objects; and tiles a batch."""
    footprint = network_footprint(recipe.network)
    usual = VOLUME_TILE if recipe.network.dimensions == 3 else recipe.training.tile
    longest = max(max(image.extents) for image in survey.images)
    cover = _legal(footprint, longest + footprint.shrink, recipe)
    tile = _legal(footprint, usual, recipe)
    large = survey.objects.diameter.high if survey.objects and survey.objects.diameter else 0.0
    wanted = _legal(footprint, round(ROOM * large) + footprint.shrink, recipe)
    inner = footprint.output_extent
    enough = _legal(footprint, max(round(MANY * large), SMALLEST_TILE) + footprint.shrink, recipe)
    numbered = survey.meaning is not None and survey.meaning.kind == "instances"
    if numbered and large and enough < min(tile, cover) and not footprint.shrink:
        yield Choice(
            "training.batch",
            recipe.training.batch * round((tile / enough) ** recipe.network.dimensions),
            "as many pixels as the recipe has in its tiles, of more images at once",
        )
        tile = enough
        reason = f"shows objects ({large:.0f} pixels at 95 %) and what is around them"
    elif cover <= tile:
        tile = cover
        reason = f"predicts {inner(tile)} pixels an axis, which the largest image has: {longest}"
    elif wanted > tile and recipe.network.dimensions == 2:
        tile = max(tile, min(wanted, cover, _legal(footprint, LARGEST_TILE, recipe)))
        reason = f"predicts {inner(tile)} pixels an axis: objects are up to {large:.0f} wide"
    else:
        seen = f" objects ({large:.0f} pixels at 95 %)" if large else " images"
        reason = f"predicts {inner(tile)} pixels an axis, enough for these{seen}"
    yield Choice("training.tile", tile, reason)


def choose_intensity(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """How grey values are brought to one range."""
    kind = f"{survey.bits}-bit" if survey.bits else "real"
    drawn = [image.high - image.low for image in survey.images if not image.empty]
    dim, bright = np.percentile([span for span in drawn if span > 0] or [1.0], (5, 95))
    if bright > VARIED * dim:
        times = f"{bright / dim:.0f} times"
        reason = f"its own range for each: bright ones span {times} the grey values of dim ones"
        yield Choice("intensity.scope", "image", reason)
    else:
        yield Choice("intensity.scope", "set", "images are about equally bright: one range for all")
        if survey.bits in range(1, 9) or recipe.network.normalization == "none":
            reason = (
                f"{kind} grey values, brought to mean 0 and deviation 1, each channel for itself"
            )
            yield Choice("intensity.method", "zscore", reason)
            return
    section = recipe.intensity
    low, high = section.low_percentile, section.high_percentile
    reason = (
        f"{kind} grey values, each channel from its {low:g} % to its {high:g} %: a few bright "
        "pixels do not set the scale"
    )
    yield Choice("intensity.method", "percentile", reason)
    spans = [c.percentiles["99.8"] - c.percentiles["1"] for c in survey.channels]
    parts = [c.deviation / span for c, span in zip(survey.channels, spans, strict=True) if span > 0]
    if parts:
        value = round(min(recipe.augment.brightness * min(*parts, 1.0), 1.0), 3)
        unit = "in units of that range, of which the deviation is a part only"
        yield Choice("augment.brightness", value, unit)


def choose_loss(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """Weights of rare classes, and of the walls between objects."""
    meaning, objects = survey.meaning, survey.objects
    assert meaning is not None
    assert objects is not None
    if meaning.kind == "overlapping":
        reason = "each class has an output of its own"
        yield Choice("loss.class_weight", "none", reason)
        yield Choice("loss.border_weight", 0.0, "classes that overlap have no walls between them")
        return
    least = min(range(len(meaning.shares)), key=lambda k: meaning.shares[k])
    share = meaning.shares[least]
    rare = share < RARE and (meaning.class_count > 2 or least == 0)
    which = f"class {least} has {100 * share:.1f} % of the pixels"
    if rare:
        yield Choice("loss.class_weight", "balanced", f"{which}: rare, and would be forgotten")
    else:
        yield Choice("loss.class_weight", "none", f"the rarest class, {least}: {100 * share:.1f} %")
    if objects.near < NEAR and not objects.touching_pairs:
        words = f"{objects.near:.0%} of the objects have another within {REACH:.0f} pixels"
        yield Choice("loss.border_weight", 0.0, f"no walls are to be learnt: {words}")
        return
    words = f"{objects.near:.0%} of the objects have another within {REACH:.0f} pixels"
    if objects.touching_pairs:
        words += f", {objects.touching:.0%} touch another"
    usual = load_recipe("default").loss  # other recipes may do without
    weight = recipe.loss.border_weight or usual.border_weight
    own = recipe.loss.border_sigma if recipe.loss.border_weight else usual.border_sigma
    if meaning.kind == "instances":
        weight, own = max(weight, SEAM_WEIGHT), max(own, SEAM_SIGMA)
    yield Choice("loss.border_weight", weight, f"walls are to be learnt: {words}")
    narrow = objects.gap.low if objects.gap is not None else NARROW
    sigma = own * max(1.0, narrow / NARROW)
    value = min(round(2 * sigma) / 2, max(WIDEST_SIGMA, own))
    reason = f"of the walls, the narrowest (5 %) measure {narrow - 1:.1f} pixels"
    yield Choice("loss.border_sigma", value, reason)


def choose_sampling(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """Tiles around objects, where there are few."""
    meaning = survey.meaning
    assert meaning is not None
    share = 1 - meaning.shares[0]
    words = f"{100 * share:.1f} % of the pixels are object"
    if share < SPARSE and recipe.augment.shift:
        reason = f"{words}: tiles drawn anywhere would mostly be empty"
        yield Choice("training.object_share", OBJECT_SHARE, reason)
    else:
        yield Choice("training.object_share", recipe.training.object_share, words)


def choose_steps(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """More steps for more images."""
    section = recipe.training
    if not section.steps:
        return  # counted in epochs, as the user wants it
    footprint = network_footprint(recipe.network)
    footprint.check(section.tile, "training.tile")
    inner = footprint.output_extent(section.tile) ** recipe.network.dimensions
    tiles = sum(math.prod(extents) for extents in survey.wholes.values()) / inner
    needed = STEP * round(PASSES * tiles / section.batch / STEP)
    plain = survey.meaning is not None and survey.meaning.kind == "binary"
    least = section.steps if plain else max(section.steps, FEWEST_STEPS)
    steps = min(max(least, needed), max(MOST_STEPS, least))
    count = len(survey.images)
    images = f"{count} image{'s' * (count != 1)}, {tiles:.0f} tiles' worth of pixels"
    yield Choice("training.steps", steps, f"for {images}")


def choose_schedule(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """As many in any run, an end where they show no gain, and what that goes by."""
    section, meaning = recipe.training, survey.meaning
    if meaning is not None and meaning.kind == "instances":
        reason = "the model that finds objects best; few pixels decide how well they are kept apart"
        yield Choice("training.keep_best", "object_error", reason)
    if not section.steps:
        return
    every = max(section.steps // VALIDATIONS_IN_ALL, 1)
    yield Choice("training.validate_every", every, "ten times in all")
    reason = "ends by itself when so many validations in a row were no better"
    yield Choice("training.patience", PATIENCE, reason)


def choose_validation(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """What is kept from training: series of images in one block."""
    names = survey.names
    section = recipe.validation
    stacks = {row.stack: row for row in survey.series}
    covered = sum(len(row.names) for row in survey.series)
    least = max(min(VALIDATED, len(survey.wholes) // 4), 1)
    if survey.windows or len(survey.wholes) < 2:
        return
    if len(stacks) == 1 and covered == len(names):
        count = max(least, round(section.fraction * len(names)))
        reason = "the end of the series: neighbours look alike, so a block is kept, not single ones"
        yield Choice("validation.last", count, reason)
    elif len(stacks) > 1 and covered == len(names):
        own = sorted({_stack(row.names[0]) for row in survey.series})
        if len(own) == len(stacks):  # else their names do not tell them apart
            _, held = split_validation(own, Validation(fraction=section.fraction))
            reason = "whole stacks: slices of one stack look alike"
            yield Choice("validation.names", tuple(own[index] for index in held), reason)
    else:
        own = list(survey.wholes)
        for share in (section.fraction, *SHARES):
            _, held = split_validation(own, Validation(fraction=share))
            if len(held) >= least:
                break
        drawn = {image.whole for image in survey.images if not image.empty}
        if len(drawn) > 1 and drawn.isdisjoint(own[index] for index in held):
            rest = [name for name in own if name in drawn]
            _, one = split_validation(rest, Validation(fraction=share))
            names = [*(rest[index] for index in one), *(own[index] for index in held)]
            reason = "a share by a hash of the names, and one that has objects, which they have not"
            yield Choice("validation.names", tuple(names), reason)
            return
        reason = "this share, by a hash of the names"
        if share > section.fraction:
            reason += f", so large that {len(held)} validate: one alone would decide much"
        yield Choice("validation.fraction", share, reason)


CHOOSERS = (
    choose_labels,
    choose_depth,
    choose_tile,
    choose_intensity,
    choose_loss,
    choose_sampling,
    choose_steps,
    choose_schedule,
    choose_validation,
)
"""In this order: a later one builds on those before it, as the steps on the tile."""


def _legal(footprint: Footprint, extent: int, recipe: Recipe) -> int:
    """The smallest legal tile not below ``extent`` that batch normalisation can learn of."""
    least = footprint.minimum
    if recipe.network.normalization == "batch":
        least += footprint.stride
    return footprint.legal_at_least(max(extent, least))


def _stack(name: str) -> str:
    return name.rpartition("[")[0] if name.endswith("]") else name
