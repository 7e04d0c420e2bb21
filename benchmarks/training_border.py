"""Border weights of many cells: septum beside one distance transform a cell, two threads.

Run by training_peers.py in a process of its own. Prints one line of JSON.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import expand_labels, find_boundaries

from septum.loss.border_weight import border_weight
from septum.memory import raise_allocator_thresholds
from training_rounds import Contestant, build_all, time_in_turn

W0, SIGMA = 10.0, 5.0
CASES = {"50": (512, 512), "200": (512, 512), "1000": (512, 512), "100": (128, 128, 128)}
"""Extents of the image by the number of cells in it."""
ROUNDS, SECONDS = 3, 0.05
LONG = 1e8
"""Cells times pixels from which the peers, at many seconds a call, take part in one round only."""
STACK_AT_MOST = 200
"""Cells: the stack of 1000 distance maps of 512² is 2 GB of float64, and sorting it a minute."""


def main() -> None:
    raise_allocator_thresholds()
    print(json.dumps({key: measure(int(key), extents) for key, extents in CASES.items()}))


def measure(count: int, extents: tuple[int, ...]) -> dict[str, Any]:
    """Seconds of ours and theirs on ``count`` cells, and our largest error."""
    labels = make_cells(count, extents)
    builders: dict[str, Callable[[], Callable[[], Any]]] = {
        "septum": lambda: functools.partial(border_weight, labels, W0, SIGMA),
        "edt, two nearest": lambda: edt_running(labels, 1),
        "edt, two nearest, 2 threads": lambda: edt_running(labels, 2),
    }
    contestants, missing = build_all(builders)
    if count * labels.size > LONG:
        contestants |= {
            name: replace(contestant, rounds=1)
            for name, contestant in contestants.items()
            if name != "septum"
        }
    if len(extents) == 2 and count <= STACK_AT_MOST:
        stack = functools.partial(scipy_stack, labels)
        contestants["SciPy, stacked and sorted"] = Contestant(stack, rounds=1)
    else:
        missing["SciPy, stacked and sorted"] = "its memory and minutes are out of proportion"
    error = None if "edt, two nearest" in missing else largest_error(labels)
    return {
        "extents": extents,
        "cells": int(labels.max()),
        "seconds": time_in_turn(contestants, ROUNDS, SECONDS),
        "missing": missing,
        "largest_error": error,
    }


def make_cells(count: int, extents: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Ids (int32) of convex cells about seeds on a shaken grid, with thin background between."""
    rng = np.random.default_rng(seed)
    places = math.ceil(round(count ** (1 / len(extents)), 6))
    step = np.array(extents) / places
    labels = np.zeros(extents, np.int32)
    for number, place in enumerate(np.ndindex(*[places] * len(extents))):
        if number < count:
            point = (np.array(place) + 0.5 + rng.uniform(-0.3, 0.3, len(extents))) * step
            labels[tuple(point.astype(int).clip(0, np.array(extents) - 1))] = number + 1
    labels = expand_labels(labels, distance=step[0] * 0.62).astype(np.int32)
    labels[find_boundaries(labels, mode="thick")] = 0
    return labels


def weigh(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Equation 2 of Ronneberger et al. 2015, without the class weight."""
    weight: np.ndarray = W0 * np.exp(-((first + second) ** 2) / (2 * SIGMA**2)) * (labels == 0)
    return weight


def scipy_stack(labels: np.ndarray) -> np.ndarray:
    """The widely copied recipe: a distance map of the whole image for each cell, all sorted."""
    ids = np.unique(labels)[1:]
    distances = np.zeros((*labels.shape, len(ids)))
    for index, number in enumerate(ids):
        distances[..., index] = distance_transform_edt(labels != number)
    distances = np.sort(distances, axis=-1)
    return weigh(distances[..., 0], distances[..., 1], labels)


def edt_running(labels: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    """The package edt for each cell, keeping the two smallest distances of each pixel."""
    transform = importlib.import_module("edt").edt

    def call() -> np.ndarray:
        first, second = two_smallest(labels, lambda mask: transform(mask, parallel=threads))
        return weigh(first, second, labels)

    return call


def two_smallest(
    labels: np.ndarray, transform: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel the smallest and the second smallest ``transform`` over the cells."""
    first = np.full(labels.shape, np.inf, np.float32)
    second = first.copy()
    for number in np.unique(labels)[1:]:
        distance = transform(labels != number)
        np.minimum(second, np.maximum(distance, first), out=second)
        np.minimum(first, distance, out=first)
    return first, second


def largest_error(labels: np.ndarray) -> float:
    """Of our weights, against every cell's squared distances: whole numbers, hence exact."""
    squares = two_smallest(labels, importlib.import_module("edt").edtsq)
    first, second = (np.sqrt(square.astype(np.float64)) for square in squares)
    return float(np.abs(border_weight(labels, W0, SIGMA) - weigh(first, second, labels)).max())


if __name__ == "__main__":
    main()
