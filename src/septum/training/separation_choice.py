"""How objects are told apart best in validation images: threshold, seeds and smallest object."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from septum.annotation.meaning import LabelMeaning
from septum.evaluation.contingency import contingency
from septum.evaluation.objects import ObjectCounts, add_counts, count_objects
from septum.evaluation.truth import Truth, make_truth
from septum.model import Model
from septum.prediction.instances import label_objects
from septum.prediction.overlap_tile import Predictor, predict_probabilities, prepare
from septum.prediction.separation import Separation
from septum.recipe import Recipe
from septum.training.data import Data, Item
from septum.training.validation import Targets, choose_threshold
from septum.training.windows import in_memory

THRESHOLDS = (0.5, 0.4, 0.6, 0.3, 0.7, 0.8, 0.9)
SEEDS = (None, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Object probabilities above which seeds lie; of equally good choices the first is taken."""
CORES = (None, 0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8)
"""The same, where the core of objects is learnt."""
MINIMUMS = (0.0, 0.25, 0.5, 1.0)
"""Smallest objects that are tried, in shares of a small true one."""
HOLES = (0.0, 0.03, 0.1, 0.3)
"""Largest holes that are tried to be filled, in shares of a middling true object."""
SMALL = 5
"""Percentile of the pixels of true objects that is a small one."""
LARGEST_TAU = 0.9
"""IoU up to which pairs of objects are counted: beyond it, how labels were drawn decides."""
MOST_PIXELS = 2**22
"""Of so many pixels of validation images, evenly spread over them, objects are compared."""


Asked = Sequence[tuple[Predictor, Item]]
"""Annotated images, each with the model that is to predict it."""


def with_choices(model: Model, recipe: Recipe, data: Data, device: torch.device) -> Model:
    """With the threshold, and how objects are told apart, that the recipe asks for."""
    predictor = prepare(model, device)
    of_objects = _tells_objects(recipe, data.meaning)
    items = data.validation if of_objects else data.examined or data.training
    return choose_objects(model, recipe, [(predictor, item) for item in items], data.meaning)


def choose_objects(model: Model, recipe: Recipe, asked: Asked, meaning: LabelMeaning) -> Model:
    """``model`` with what the recipe wants to be chosen, as suits the images in ``asked`` best."""
    if recipe.training.threshold == "half" or model.classes != 2 or model.maps == "overlapping":
        return model
    if _tells_objects(recipe, meaning):
        best = tune_separation(asked, meaning)
        return model.replace(
            threshold=best.threshold, seeds=best.seeds, minimum=best.minimum, fill=best.fill
        )
    predictors, items = zip(*asked, strict=True)
    return model.replace(threshold=choose_threshold(predictors, Targets(items, meaning)))


def _tells_objects(recipe: Recipe, meaning: LabelMeaning) -> bool:
    wish = recipe.training.threshold
    return wish == "objects" or (wish == "auto" and meaning.kind == "instances")


def describe_choices(model: Model) -> str:
    """What `with_choices` chose, in a few words."""
    seeds = "" if model.seeds is None else f", seeds {model.seeds:g}"
    minimum = f", objects of {model.minimum} pixels or more" if model.minimum else ""
    holes = f", holes of up to {model.fill} pixels filled" if model.fill else ""
    return f"threshold {model.threshold:g}{seeds}{minimum}{holes}"


def tune_separation(asked: Asked, meaning: LabelMeaning) -> Separation:
    """The choice with the best objects in images spread over ``asked``, of MOST_PIXELS at most.

    The best have the largest mean of the average precisions at IoU 0.5, 0.55 … 0.9, over all
    objects; where not every object was drawn, the largest SEG. Threshold and seeds are chosen
    first, among all pairs of THRESHOLDS and SEEDS (or CORES), then the smallest object, then the
    largest hole that is filled.
    """
    pairs = []
    for predictor, item in _spread(asked):
        annotated = in_memory(item)
        truth = make_truth(annotated.labels_S, meaning, annotated.name)
        pairs.append((predict_probabilities(predictor, annotated.image_CS), truth))
    maps = asked[0][0].maps
    core = maps == "core"
    choices = [
        Separation(threshold, seeds, maps=maps)
        for threshold, seeds in itertools.product(THRESHOLDS, CORES if core else SEEDS)
        if core or seeds is None or seeds > threshold
    ]
    best = max(choices, key=lambda choice: quality(pairs, choice))
    drawn = [truth.instances_S[truth.instances_S != 0] for _, truth in pairs]
    areas = np.concatenate([np.unique(ids, return_counts=True)[1] for ids in drawn])
    small, middling = np.percentile(areas, (SMALL, 50)) if len(areas) else (0.0, 0.0)
    # SEG does not count what is invented: of equally good ones the largest leaves out most of it.
    partial = any(truth.partial for _, truth in pairs)
    shares = sorted(MINIMUMS, reverse=partial)
    smallest = [replace(best, minimum=int(share * small)) for share in shares]
    best = max(smallest, key=lambda choice: quality(pairs, choice))
    largest = [replace(best, fill=int(share * middling)) for share in HOLES]
    return max(largest, key=lambda choice: quality(pairs, choice))


def quality(pairs: Sequence[tuple[np.ndarray, Truth]], separation: Separation) -> float:
    """How good the objects are that maps give with ``separation``, in [0, 1]."""
    return of_counts(add_counts([_count(*pair, separation) for pair in pairs]))


def of_counts(counts: ObjectCounts) -> float:
    """Mean average precision up to LARGEST_TAU; of partly drawn truth SEG, 0 without objects."""
    if counts.partial:
        return counts.scores().get("seg", 0.0)
    chosen = [m.average_precision for tau, m in counts.matchings.items() if tau <= LARGEST_TAU]
    return float(np.mean(chosen))


def _count(map_MS: np.ndarray, truth: Truth, separation: Separation) -> ObjectCounts:
    segments_S, _ = label_objects(map_MS, separation)
    table = contingency(segments_S, truth.instances_S, truth.known_S)
    return count_objects(table, truth.partial)


def _spread(asked: Asked) -> Asked:
    """As many images, evenly spread, as MOST_PIXELS has room for; at least one."""
    count = len(asked)
    while True:
        chosen = [asked[round(place)] for place in np.linspace(0, len(asked) - 1, count)]
        if count == 1 or sum(math.prod(item.extents) for _, item in chosen) <= MOST_PIXELS:
            return chosen
        count -= 1
