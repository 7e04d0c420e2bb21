"""take_survey(): everything that can be said of a set of annotated images before training."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from septum.annotation.census import take_census
from septum.annotation.labels import LabelMeaning, find_meaning
from septum.annotation.layouts import UnpairedError
from septum.annotation.pairs import find_pairs
from septum.errors import AnnotationError
from septum.recipe import Labels, Recipe
from septum.survey.grey import join_channels, used_bits
from septum.survey.likeness import find_duplicates, find_series
from septum.survey.objects import (
    GAP_IMAGES,
    NOTHING,
    Drawn,
    join_objects,
    measure_objects,
    without_specks,
)
from septum.survey.problems import find_problems
from septum.survey.seen import Reader, Seen, explain
from septum.survey.survey import ImageFacts, Problem, Survey

Watch = Callable[[int, int], None]


def take_survey(data: Path | str, recipe: Recipe, watch: Watch | None = None) -> Survey:
    """Read every file once, and say what is there and what is wrong; the same for the same files.

    Of ``recipe`` the sections ``labels`` and ``network.dimensions`` count. ``watch`` is told how
    many pairs of files are read, of how many. What cannot be read is a problem of the survey.
    Raises InputError where there is nothing to read: no such path, no known layout.
    """
    data, problems = Path(data), []
    try:
        pairs = find_pairs(data)
    except UnpairedError as error:
        problems.append(_unpaired(error, data))
        pairs = error.matched
    dimensions = recipe.network.dimensions
    seen: list[Seen] = []
    for found in Reader(dimensions, recipe.labels.ignore).read(pairs, watch):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            seen += found
    meaning, drawn = _understand(seen, data, recipe.labels, problems)
    names = [item.name for item in seen]
    prints = [item.fingerprint for item in seen]
    series = find_series(names, [str(item.image_path) for item in seen], prints)
    highest = max((item.highest for item in seen), default=0.0)
    bits = max((used_bits(highest, item.dtype) for item in seen), default=0)
    ceiling = 2**bits - 1 if bits else np.inf
    drawn = without_specks(drawn)
    images = tuple(_facts(item, part, ceiling) for item, part in zip(seen, drawn, strict=True))
    sizes = [item.pixel_size for item in seen]
    survey = Survey(
        data=str(data),
        dimensions=dimensions,
        images=images,
        windows=not all(item.whole for item in seen),
        bits=bits,
        channels=join_channels(_same_channels(seen)),
        meaning=meaning,
        objects=join_objects(drawn, sizes, dimensions) if meaning is not None else None,
        duplicates=find_duplicates(names, [item.digest for item in seen], prints, series),
        series=series,
        problems=tuple(problems),
    )
    return find_problems(survey, seen)


def _understand(
    seen: Sequence[Seen], data: Path, section: Labels, problems: list[Problem]
) -> tuple[LabelMeaning | None, Sequence[Drawn]]:
    """The labels' meaning, and the objects of each image, if they have one."""
    if not seen:
        return None, []
    strays: set[int] = set()
    files = {_file_of(item, data): item for item in seen}
    try:
        meaning = find_meaning(((f, item.read_labels()) for f, item in files.items()), section)
    except AnnotationError as error:
        problem = explain(error)
        labels = ((file, item.read_labels()) for file, item in files.items())
        census = take_census(labels, section.ignore, pieces=False)
        strays = census.strays()
        named = dict.fromkeys(str(files[f].label_path) for f, _, _ in census.where(strays))
        kind = "strays" if strays else "meaning"
        problems.append(Problem(kind, "error", tuple(named), problem.text, problem.remedy))
        try:  # what could be said, were it not for them
            meaning = find_meaning(
                ((item.name, _without(item.read_labels(), strays)) for item in seen), section
            )
        except AnnotationError:
            return None, [NOTHING] * len(seen)
    shown = {round(place) for place in np.linspace(0, len(seen) - 1, min(len(seen), GAP_IMAGES))}

    def measure(index: int) -> Drawn:
        item = seen[index]
        labels_S = _without(item.read_labels(), strays)
        return measure_objects(labels_S, meaning, item.name, gaps=index in shown)

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        return meaning, list(threads.map(measure, range(len(seen))))


def _file_of(item: Seen, data: Path) -> str:
    """What a message calls the labels: the file below the data, or the plane of a stack."""
    if item.name.endswith("]"):
        return item.name
    path = item.label_path
    return str(path.relative_to(data)) if path.is_relative_to(data) else str(path)


def _without(labels_S: np.ndarray, strays: set[int]) -> np.ndarray:
    """The labels, strays taken for background."""
    if not strays:
        return labels_S
    return np.where(np.isin(labels_S, sorted(strays)), labels_S.dtype.type(0), labels_S)


def _same_channels(seen: Sequence[Seen]) -> list[np.ndarray]:
    """The samples of all images with as many channels as most; equal channels are one."""
    counts = [1 if item.grey else item.channels for item in seen]
    if not counts:
        return []
    most = max(sorted(set(counts)), key=counts.count)
    return [i.samples[:most] for i, count in zip(seen, counts, strict=True) if count == most]


def _facts(item: Seen, drawn: Drawn, ceiling: float) -> ImageFacts:
    low, high = np.percentile(item.samples, (1, 99.8), axis=1)
    pixels = int(drawn.counts.sum())
    return ImageFacts(
        name=item.name,
        image=str(item.image_path),
        labels=str(item.label_path),
        axes=item.axes,
        extents=item.extents,
        channels=item.channels,
        dtype=item.dtype.name,
        pixel_size=item.pixel_size,
        low=float(low.min()),
        high=float(high.max()),
        saturated=float(np.mean(item.samples >= ceiling)),
        objects=len(drawn.areas),
        foreground=float(drawn.counts[1:].sum() / max(pixels, 1)),
        ignored=drawn.ignored / max(pixels + drawn.ignored, 1),
    )


def _unpaired(error: UnpairedError, data: Path) -> Problem:
    found = explain(error)
    return Problem("unpaired", "error", (str(data),), found.text, found.remedy)
