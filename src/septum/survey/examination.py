"""take_survey(): everything that can be said of a set of annotated images before training."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from septum.annotation.census import take_census
from septum.annotation.drawn_labels import open_labels
from septum.annotation.drawn_remarks import describe_drawn
from septum.annotation.interpretation import doubt_of, interpret, settle_labels
from septum.annotation.labels import LabelMeaning, ignored_values
from septum.annotation.layouts import UnpairedError
from septum.annotation.meaning import DRAWN_IGNORED
from septum.annotation.pairs import Pair, find_pairs
from septum.errors import AnnotationError, InputError
from septum.images.stored import StoredImage, open_image
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
from septum.survey.seen import OVERLAP, Reader, Seen, explain
from septum.survey.survey import ImageFacts, Problem, Survey

Watch = Callable[[int, int], None]


def take_survey(data: Path | str, recipe: Recipe, watch: Watch | None = None) -> Survey:
    """Read every file once, and say what is there and what is wrong; the same for the same files.

    Of ``recipe`` the sections ``labels`` and ``network.dimensions`` count. ``watch`` is told how
    many pairs of files are read, of how many. What cannot be read is a problem of the survey.
    Raises InputError where there is nothing to read: no such path, no known layout.
    """
    data = Path(data)
    survey = _survey(data, recipe, watch)
    overlaps = [problem for problem in survey.problems if problem.kind == OVERLAP]
    if not overlaps or recipe.labels.kind != "auto":
        return survey
    labels = recipe.labels.model_copy(update={"kind": "overlapping"})
    again = _survey(data, recipe.model_copy(update={"labels": labels}), watch)
    text = f"classes overlap, first in {overlaps[0].files[0]}: each is learnt on its own"
    remedy = 'if one lies above another: --set \'labels.classes=["below", "above"]\''
    note = Problem(OVERLAP, "note", overlaps[0].files, text, remedy)
    return dataclasses.replace(again, problems=(*again.problems, note))


def _survey(data: Path, recipe: Recipe, watch: Watch | None) -> Survey:
    problems = []
    try:
        pairs = find_pairs(data, recipe.labels)
    except UnpairedError as error:
        problems.append(_unpaired(error, data))
        pairs = error.matched
    pairs, recipe = settle_labels(pairs, recipe)
    dimensions = recipe.network.dimensions
    seen: list[Seen] = []
    ignored = (DRAWN_IGNORED, *ignored_values(recipe.labels))
    for found in Reader(dimensions, ignored).read(pairs, watch):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            seen += found
    problems += [Problem("drawn", "note", (), line, "") for line in describe_drawn(_opened(pairs))]
    meaning, drawn = _understand(pairs, seen, data, recipe.labels, problems)
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
        doubt=doubt_of(meaning, recipe.labels, pairs) if meaning is not None else "",
        ignored=_ignored(drawn),
        objects=join_objects(drawn, sizes, dimensions) if meaning is not None else None,
        duplicates=find_duplicates(names, [item.digest for item in seen], prints, series),
        series=series,
        problems=tuple(problems),
    )
    return find_problems(survey, seen)


def _understand(
    pairs: Sequence[Pair],
    seen: Sequence[Seen],
    data: Path,
    section: Labels,
    problems: list[Problem],
) -> tuple[LabelMeaning | None, Sequence[Drawn]]:
    """The labels' meaning, and the objects of each image, if they have one."""
    if not seen:
        return None, []
    files = _files(seen, data)

    def labels() -> Iterator[tuple[str, np.ndarray]]:
        return ((file, item.read_labels()) for file, item in files.items())

    refused = False
    try:
        meaning = interpret(pairs, labels(), section)
    except AnnotationError as error:
        problem = explain(error)
        census = take_census(labels(), (DRAWN_IGNORED, *ignored_values(section)), pieces=False)
        strays = census.strays() | census.in_between()
        named = dict.fromkeys(str(files[f].label_path) for f, _, _ in census.where(strays))
        refused, kind = True, "strays" if strays else "meaning"
        problems.append(Problem(kind, "error", tuple(named), problem.text, problem.remedy))
        try:  # what could be said, were it not for them
            without = section.model_copy(update={"strays": "ignore"})
            meaning = interpret(pairs, labels(), without)
        except AnnotationError:
            return None, [NOTHING] * len(seen)
    shown = {round(place) for place in np.linspace(0, len(seen) - 1, min(len(seen), GAP_IMAGES))}

    def measure(index: int) -> Drawn:
        item = seen[index]
        drawn = measure_objects(item.read_labels(), meaning, item.name, gaps=index in shown)
        if refused:  # strays, which are not ignored as long as nobody says so
            drawn.ignored.pop("strays", None)
        return drawn

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        return meaning, list(threads.map(measure, range(len(seen))))


def _files(seen: Sequence[Seen], data: Path) -> dict[str, Seen]:
    """By what a message calls the labels: the file below the data, where it is of one image."""
    counts = Counter(item.label_path for item in seen)

    def name_of(item: Seen) -> str:
        path = item.label_path
        if counts[path] > 1:
            return item.name
        return str(path.relative_to(data)) if path.is_relative_to(data) else str(path)

    return {name_of(item): item for item in seen}


def _same_channels(seen: Sequence[Seen]) -> list[np.ndarray]:
    """The samples of all images with as many channels as most; equal channels are one."""
    counts = [1 if item.grey else item.channels for item in seen]
    if not counts:
        return []
    most = max(sorted(set(counts)), key=counts.count)
    return [i.samples[:most] for i, count in zip(seen, counts, strict=True) if count == most]


def _facts(item: Seen, drawn: Drawn, ceiling: float) -> ImageFacts:
    low, high = np.percentile(item.samples, (1, 99.8), axis=1)
    pixels, ignored = int(drawn.counts.sum()), sum(drawn.ignored.values())
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
        ignored=ignored / max(pixels + ignored, 1),
    )


def _ignored(drawn: Sequence[Drawn]) -> dict[str, float]:
    counts = sum((Counter(item.ignored) for item in drawn), Counter[str]())
    pixels = sum(int(item.counts.sum()) for item in drawn) + sum(counts.values())
    return {words: count / pixels for words, count in counts.most_common()}


def _opened(pairs: Sequence[Pair]) -> Iterator[StoredImage]:
    """What was drawn, of the images that can be read."""
    for pair in pairs:
        if pair.drawing is not None:
            try:
                yield open_labels(pair, open_image(pair.image))
            except InputError:  # which is a problem already
                continue


def _unpaired(error: UnpairedError, data: Path) -> Problem:
    found = explain(error)
    return Problem("unpaired", "error", (str(data),), found.text, found.remedy)
