"""What training is to be: loss, samples, steps, validation; by what was seen, and why.

The functions are as those of `septum.training.choices`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from septum.annotation.pairs import split_validation
from septum.model import network_footprint
from septum.recipe import Recipe, Validation, load_recipe
from septum.survey.objects import REACH
from septum.survey.survey import Survey
from septum.training.choices import Choice

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
SMALL = 0.1
"""Share of the pixels of a class below which the share of wrong pixels says little of its mask."""
NEAR = 0.05
"""Share of the objects below which nobody minds that they are near each other."""
NARROW = 3.0
"""d1 + d2 in pixels, of the narrowest walls (5 %) of the set on which the default weight was tuned;
and of the seam between labels that touch."""
WIDEST_SIGMA = 5.0
SEAM_WEIGHT, SEAM_SIGMA = 10.0, 3.0
"""Weights of the walls between numbered objects (decision 21); those of `default` were tuned on
membranes."""


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
    """As many validations in any run, and an end where they show no gain."""
    section = recipe.training
    if not section.steps:
        return
    every = max(section.steps // VALIDATIONS_IN_ALL, 1)
    yield Choice("training.validate_every", every, "ten times in all")
    reason = "ends after so many validations in a row that were no better, and two more to settle"
    yield Choice("training.patience", PATIENCE, reason)


def choose_goal(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """What the best model and its threshold go by."""
    meaning = survey.meaning
    assert meaning is not None
    key, least = "training.keep_best", min(meaning.shares)
    if meaning.kind == "instances":
        reason = "the model that finds objects best; few pixels decide how well they are kept apart"
        yield Choice(key, "object_error", reason)
        return
    if meaning.class_count > 2:
        reason = "the model with the best masks, of which each class counts alike"
        yield Choice(key, "iou_error", reason)
    elif least < SMALL:
        words = f"of {100 * least:.1f} % of the pixels few are wrong if none of them is found"
        yield Choice(key, "iou_error", f"the model with the best mask: {words}")
    walls = recipe.loss.border_weight > 0 or recipe.training.threshold != "auto"
    if meaning.class_count == 2 and not walls:
        reason = "no walls are to be kept: that of the best mask of validation images"
        yield Choice("training.threshold", "iou", reason)


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
        start = _block_start([not image.empty for image in survey.images], count)
        reason = "neighbours look alike, so a block is kept, not single ones"
        if start + count == len(names):
            yield Choice("validation.last", count, f"the end of the series: {reason}")
        else:
            block = tuple(names[start : start + count])
            why = "a part of the series that has objects and leaves some, as its end does not"
            yield Choice("validation.names", block, f"{why}: {reason}")
    elif len(stacks) > 1 and covered == len(names):
        own = sorted({_stack(row.names[0]) for row in survey.series})
        if len(own) == len(stacks):  # else their names do not tell them apart
            _, held = split_validation(own, Validation(fraction=section.fraction))
            drawn = {_stack(image.name) for image in survey.images if not image.empty}
            if len(drawn) > 1 and drawn.isdisjoint(own[index] for index in held):
                own = sorted(drawn)
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


def _block_start(drawn: Sequence[bool], count: int) -> int:
    """Where so many neighbours begin that validate: at the end, unless no object is there, or most
    are; then the last ones among which objects are no rarer than among all.
    """
    inside = np.convolve(drawn, np.ones(count), "valid")
    total, end = sum(drawn), len(drawn) - count
    divides = (inside > 0) & (inside <= total / 2)
    usual = divides & (inside >= count * total / len(drawn))
    if divides[end]:
        return end
    if not divides.any():  # one image has objects, which trains
        return int(np.flatnonzero(inside == inside.min())[-1])
    return int(np.flatnonzero(usual if usual.any() else divides)[-1])


def _stack(name: str) -> str:
    return name.rpartition("[")[0] if name.endswith("]") else name
