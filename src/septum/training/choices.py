"""What labels, network, tiles and grey values are to be, by what was seen in the images; and why.

Each function takes the survey and the recipe as it is so far, and gives choices for its keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from septum.geometry import Footprint
from septum.model import network_footprint
from septum.recipe import Recipe
from septum.survey.survey import Survey

ROOM, MANY = 1.5, 2.5
"""Of the diameter of a large object: what a tile is to show of it; and what is enough of small
numbered ones, of which more tiles a batch then show more images."""
SMALLEST_TILE = 128
RESOLVED, MOST_REDUCED = 16.0, 4
"""Pixels that a small object (at 5 %) is wide at the resolution at which the network works, and
times that this is lower at most."""
BAND, MOST_OF_CLASSES = 8.0, 3
"""The same two of bands, of the narrowest of several classes; a disc counts half its width."""
LARGEST_TILE, VOLUME_TILE, VOLUME_DEPTH = 700, 100, 2
"""Pixels an axis beyond which a tile is not enlarged for large objects; and, of volumes, of a tile
that three axes can have, and poolings that fit into it."""
VARIED = 2.0
"""Times that the grey values of bright images (at 95 %) may span those of dim ones (at 5 %)."""


COLOURS = 3
"""Channels of images in colour (decision 31)."""


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


def choose_reduction(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """Large numbered objects, and wide classes, at a lower resolution (decision 27)."""
    objects, kind = survey.objects, survey.meaning.kind if survey.meaning is not None else ""
    unet = recipe.network.architecture == "unet" and recipe.network.dimensions == 2
    if objects is None or objects.diameter is None or not unet:
        return
    times, wide = 1, ""
    if kind == "instances":
        times = min(int(objects.diameter.low / RESOLVED), MOST_REDUCED)
        wide = f"objects are {objects.diameter.low:.0f} pixels wide and more (5 % are below)"
    elif kind == "classes" and objects.narrowest is not None and _begins_with_background(survey):
        times = min(int(objects.narrowest / BAND), MOST_OF_CLASSES)
        wide = f"of each class three quarters are {objects.narrowest:.0f} pixels wide and more"
    if times > 1:
        reason = f"{wide}: seen with more of what is around them, and in less time"
        yield Choice("network.reduction", times, reason)


def _begins_with_background(survey: Survey) -> bool:
    """Whether class 0, of which no pieces are measured, is value 0."""
    return survey.meaning is not None and survey.meaning.class_values[0] == 0


def choose_tile(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """The tile: no larger than the images, no smaller than their objects; and tiles a batch."""
    footprint = network_footprint(recipe.network)
    times = recipe.network.reduction
    usual = VOLUME_TILE if recipe.network.dimensions == 3 else times * recipe.training.tile
    longest = max(max(image.extents) for image in survey.images)
    cover = _legal(footprint, longest + footprint.shrink, recipe)
    tile = _legal(footprint, usual, recipe)
    large = survey.objects.diameter.high if survey.objects and survey.objects.diameter else 0.0
    wanted = _legal(footprint, round(ROOM * large) + footprint.shrink, recipe)
    inner = footprint.output_extent
    enough = _legal(
        footprint, max(round(MANY * large), times * SMALLEST_TILE) + footprint.shrink, recipe
    )
    numbered = survey.meaning is not None and survey.meaning.kind == "instances"
    small = min(enough, cover)
    if numbered and large and small < tile and not footprint.shrink:
        more = round((tile / max(small, times * SMALLEST_TILE)) ** recipe.network.dimensions)
        if more > 1:
            yield Choice(
                "training.batch",
                recipe.training.batch * more,
                "as many pixels as the recipe has in its tiles, of more images at once",
            )
        tile = small
    if tile == enough < cover and numbered and large:
        reason = f"shows objects ({large:.0f} pixels at 95 %) and what is around them"
    elif cover <= tile:
        tile = cover
        reason = f"predicts {inner(tile)} pixels an axis, which the largest image has: {longest}"
    elif wanted > tile and recipe.network.dimensions == 2:
        tile = max(tile, min(wanted, cover, _legal(footprint, times * LARGEST_TILE, recipe)))
        reason = f"predicts {inner(tile)} pixels an axis: objects are up to {large:.0f} wide"
    else:
        seen = f" objects ({large:.0f} pixels at 95 %)" if large else " images"
        reason = f"predicts {inner(tile)} pixels an axis, enough for these{seen}"
    yield Choice("training.tile", tile, reason)


def choose_scope(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """Whether each image has its own range of grey values (decisions 25 and 31)."""
    drawn = [image.high - image.low for image in survey.images if not image.empty]
    dim, bright = np.percentile([span for span in drawn if span > 0] or [1.0], (5, 95))
    scope, reason = "set", "images are about equally bright: one range for all"
    if bright > VARIED * dim:
        times = f"{bright / dim:.0f} times"
        reason = f"its own range for each: bright ones span {times} the grey values of dim ones"
        scope = "image"
    elif len(survey.channels) == COLOURS:
        reason = "each channel of each image has its own range: lamps, stains and cameras differ"
        scope = "image"
    yield Choice("intensity.scope", scope, reason)


def choose_method(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """How grey values are brought to that range."""
    kind = f"{survey.bits}-bit" if survey.bits else "real"
    plain = survey.bits in range(1, 9) or recipe.network.normalization == "none"
    if recipe.intensity.scope == "set" and plain:
        reason = f"{kind} grey values, brought to mean 0 and deviation 1, each channel for itself"
        yield Choice("intensity.method", "zscore", reason)
        return
    low, high = recipe.intensity.low_percentile, recipe.intensity.high_percentile
    reason = (
        f"{kind} grey values, each channel from its {low:g} % to its {high:g} %: a few bright "
        "pixels do not set the scale"
    )
    yield Choice("intensity.method", "percentile", reason)


def choose_brightness(survey: Survey, recipe: Recipe) -> Iterator[Choice]:
    """How much brightness varies in training, where its unit is not the deviation."""
    if recipe.intensity.method != "percentile":
        return
    spans = [c.percentiles["99.8"] - c.percentiles["1"] for c in survey.channels]
    parts = [c.deviation / span for c, span in zip(survey.channels, spans, strict=True) if span > 0]
    if parts:
        value = round(min(recipe.augment.brightness * min(*parts, 1.0), 1.0), 3)
        unit = "in units of that range, of which the deviation is a part only"
        yield Choice("augment.brightness", value, unit)


def _legal(footprint: Footprint, extent: int, recipe: Recipe) -> int:
    """The smallest legal tile not below ``extent`` that batch normalisation can learn of."""
    least = footprint.minimum
    if recipe.network.normalization == "batch":
        least += footprint.stride
    return footprint.legal_at_least(max(extent, least))
