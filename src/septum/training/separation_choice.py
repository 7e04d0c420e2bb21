"""How objects are told apart best: threshold, seeds, smallest object and largest hole.

Validation images decide. Where they are few, training images help: one image's objects are all of
one size, and what suits them best may suit no other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from septum.annotation.meaning import LabelMeaning
from septum.evaluation.truth import make_truth
from septum.model import Model
from septum.prediction.overlap_tile import Predictor, predict_probabilities, prepare
from septum.prediction.separation import Separation
from septum.recipe import Recipe
from septum.training.data import Data, Item
from septum.training.object_scores import SMALL, SPECK, areas_of, quality
from septum.training.validation import Targets, choose_threshold
from septum.training.windows import in_memory, random_windows

THRESHOLDS = (0.5, 0.4, 0.6, 0.3, 0.7, 0.8, 0.9)
SEEDS = (None, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Object probabilities above which seeds lie; of equally good choices the first is taken."""
CORES = (None, 0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8)
"""The same, where the core of objects is learnt."""
MINIMUMS = (0.0, 0.25, 0.5, 1.0)
"""Smallest objects that are tried, in shares of a small true one."""
HOLES = (0.0, 0.03, 0.1, 0.3)
"""Largest holes that are tried to be filled, in shares of a middling true object."""
MOST_PIXELS, WINDOWED = 2**22, 8
"""Of so many pixels of images, evenly spread over them, objects are compared; where that is less
than so many images, in windows: the objects of one large image may be unlike those of others."""

TRIED = 4
"""Windows that are looked at for objects, for each that is taken."""


Asked = Sequence[tuple[Predictor, Item]]
"""Annotated images, each with the model that is to predict it."""


def with_choices(model: Model, recipe: Recipe, data: Data, device: torch.device) -> Model:
    """With the threshold, and how objects are told apart, that the recipe asks for."""
    predictor = prepare(model, device)
    learnt = [(predictor, item) for item in data.examined or data.training]
    held = [(predictor, item) for item in data.validation]
    if not _tells_objects(recipe, data.meaning):
        asked = held if recipe.training.threshold == "iou" else learnt
        return choose_objects(model, recipe, asked, data.meaning)
    more = [] if data.validates_on_training else learnt
    return choose_objects(model, recipe, held, data.meaning, more)


def choose_objects(
    model: Model, recipe: Recipe, asked: Asked, meaning: LabelMeaning, more: Asked = ()
) -> Model:
    """``model`` with what the recipe wants to be chosen, as suits the images in ``asked`` best.

    ``more``: images that help where objects are to be told apart, and ``asked`` are few.
    """
    if recipe.training.threshold == "half" or model.classes != 2 or model.maps == "overlapping":
        return model
    if _tells_objects(recipe, meaning):
        best = tune_separation(asked, meaning, more)
        return model.replace(
            threshold=best.threshold, seeds=best.seeds, minimum=best.minimum, fill=best.fill
        )
    predictors, items = zip(*asked, strict=True)
    walls = recipe.training.threshold != "iou"
    return model.replace(threshold=choose_threshold(predictors, Targets(items, meaning), walls))


def _tells_objects(recipe: Recipe, meaning: LabelMeaning) -> bool:
    wish = recipe.training.threshold
    return wish == "objects" or (wish == "auto" and meaning.kind == "instances")


def describe_choices(model: Model) -> str:
    """What `with_choices` chose, in a few words."""
    seeds = "" if model.seeds is None else f", seeds {model.seeds:g}"
    minimum = f", objects of {model.minimum} pixels or more" if model.minimum else ""
    holes = f", holes of up to {model.fill} pixels filled" if model.fill else ""
    return f"threshold {model.threshold:g}{seeds}{minimum}{holes}"


def tune_separation(asked: Asked, meaning: LabelMeaning, more: Asked = ()) -> Separation:
    """The choice with the best objects in images spread over ``asked``, of MOST_PIXELS at most.

    Of large images there are windows. What ``asked`` leaves over is taken from ``more``.

    The best have the largest mean of the average precisions at IoU 0.5, 0.55 … 0.9, over all
    objects; where not every object was drawn, over those and what is found beside them. Threshold
    and seeds are chosen first, among all pairs of THRESHOLDS and SEEDS (or CORES) and without
    specks, then the smallest object, then the largest hole that is filled.
    """
    pairs = []
    chosen = _spread(asked, MOST_PIXELS)
    if len(chosen) < min(len(asked), WINDOWED):
        chosen = _windows(asked)
    room = MOST_PIXELS - sum(math.prod(item.extents) for _, item in chosen)
    for predictor, item in [*chosen, *_spread(more, room)]:
        annotated = in_memory(item)
        truth = make_truth(annotated.labels_S, meaning, annotated.name)
        pairs.append((predict_probabilities(predictor, annotated.image_CS), truth))
    maps = asked[0][0].maps
    core = maps == "core"
    areas = areas_of([truth for _, truth in pairs])
    small, middling = np.percentile(areas, (SMALL, 50)) if len(areas) else (0.0, 0.0)
    specks = int(SPECK * small)  # which would speak for a high threshold, and go by the minimum
    choices = [
        Separation(threshold, seeds, specks, maps=maps)
        for threshold, seeds in itertools.product(THRESHOLDS, CORES if core else SEEDS)
        if core or seeds is None or seeds > threshold
    ]
    best = max(choices, key=lambda choice: quality(pairs, choice))
    # What is invented far from what was drawn is not seen: of equally good ones the largest leaves
    # out most of it.
    partial = any(truth.partial for _, truth in pairs)
    shares = sorted(MINIMUMS, reverse=partial)
    smallest = [replace(best, minimum=int(share * small)) for share in shares]
    best = max(smallest, key=lambda choice: quality(pairs, choice))
    largest = [replace(best, fill=int(share * middling)) for share in HOLES]
    return max(largest, key=lambda choice: quality(pairs, choice))


def _spread(asked: Asked, room: int) -> Asked:
    """As many images, evenly spread, as so many pixels have room for."""
    for count in range(len(asked), 0, -1):
        chosen = [asked[round(place)] for place in np.linspace(0, len(asked) - 1, count)]
        if sum(math.prod(item.extents) for _, item in chosen) <= room:
            return chosen
    return []


def _windows(asked: Asked) -> Asked:
    """WINDOWED windows in as many images, or several in each; of empty ones another is tried."""
    count = min(len(asked), WINDOWED)
    each = WINDOWED // count
    found: list[tuple[Predictor, Item]] = []
    for place in np.linspace(0, len(asked) - 1, count):
        predictor, item = asked[round(place)]
        drawn: list[Item] = []
        empty: list[Item] = []
        for window in random_windows(item, TRIED * each, MOST_PIXELS // (count * each)):
            if len(drawn) < each:
                (drawn if (window.labels_S > 0).any() else empty).append(window)
        found += [(predictor, window) for window in [*drawn, *empty][:each]]
    return found
