"""Predictions as files against truth as files: pair them, score each plane, summarise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from septum.annotation.drawn_remarks import describe_drawn
from septum.annotation.interpretation import describe_meaning
from septum.annotation.labels import LabelMeaning
from septum.annotation.pairs import Pair, find_names, interpret
from septum.annotation.stored_pairs import StoredAnnotated, open_pairs
from septum.errors import AnnotationError, InputError
from septum.evaluation.by_block import score_by_block
from septum.evaluation.choices import Compared, Scored, score_plane
from septum.evaluation.large import is_large, read_blocks
from septum.evaluation.pairing import Match, match_predictions
from septum.evaluation.planes import Dimensions, StoredPlane, open_prediction, show
from septum.evaluation.predictions import (
    are_numbered_only,
    are_of_overlapping,
    find_predictions,
    number_objects,
)
from septum.evaluation.summary import summarize_scored
from septum.evaluation.truth import Truth, find_truth, is_challenge, is_gold, make_truth
from septum.images.stored import Box
from septum.recipe import Labels


@dataclass(frozen=True)
class Task:
    """A prediction, its truth plane by plane, and which of the planes are to be scored."""

    match: Match
    parts: tuple[StoredAnnotated, ...]
    names: tuple[str, ...]
    wanted: tuple[bool, ...]
    dimensions: Dimensions


@dataclass(frozen=True)
class Comparison:
    """Predictions and truth, paired and not yet read but for the labels' values.

    ``notes``: what the labels were taken for, and what is left out.
    """

    tasks: tuple[Task, ...]
    meaning: LabelMeaning
    notes: tuple[str, ...]

    @property
    def pixels(self) -> int:
        """Of all images that are to be scored."""
        return sum(
            math.prod(part.extents)
            for task in self.tasks
            for part, wanted in zip(task.parts, task.wanted, strict=True)
            if wanted
        )

    def score(self) -> Iterator[Scored]:
        """Read and score one image after the other. Raises InputError as `evaluate_files`."""
        for task in self.tasks:
            if any(task.wanted):
                yield from _score_file(task, self.meaning)

    def summarize(self, scored: Iterator[Scored]) -> dict[str, Any]:
        """What `evaluate_files` returns, of what `score` yields."""
        summary = summarize_scored(scored)
        return summary | {"chosen": [*self.notes, *summary["chosen"]]}


def evaluate_files(
    prediction: Path,
    truth: Path,
    labels: Labels | LabelMeaning,
    dimensions: Dimensions = 2,
    only: Sequence[str] = (),
    complete: bool = False,
) -> dict[str, Any]:
    """Score predictions against truth: `summarize_scored`, with what the labels were taken for.

    See `compare`. Raises InputError (naming both files, where two do not fit) and AnnotationError.
    """
    comparison = compare(prediction, truth, labels, dimensions, only, complete)
    return comparison.summarize(comparison.score())


def compare(
    prediction: Path,
    truth: Path,
    labels: Labels | LabelMeaning,
    dimensions: Dimensions = 2,
    only: Sequence[str] = (),
    complete: bool = False,
) -> Comparison:
    """Pair predictions with truth, and find what the labels mean.

    `prediction` is what `find_predictions` takes and `truth` what `find_truth` takes; they are
    paired by `match_predictions`. With 2 dimensions each plane of a stack is an image of its own, a
    row named NAME[07]. `labels` says what label values are; a section of a recipe is a way to find
    it in the truth, which is right where the truth shows every class that the model knows. `only`
    names the images or planes to score, or counts them from 0; without it, all. Labels overlap
    where masks of several channels were predicted; they are numbers of objects, though they look
    like classes, where objects of one class were.

    The Cell Tracking Challenge's label files are numbered objects; in its gold truth not every
    object need be drawn, unless `complete` says so. Raises InputError and AnnotationError.
    """
    predictions = find_predictions(prediction)
    if isinstance(labels, Labels) and labels.kind == "auto" and are_of_overlapping(predictions):
        labels = labels.model_copy(update={"kind": "overlapping"})
    truths = find_truth(truth, labels)
    matches, left = match_predictions(predictions, truths)
    opened = [_open(match, dimensions) for match in matches]
    notes = []
    if isinstance(labels, Labels):
        if is_gold(truths) and labels.kind in ("auto", "instances") and not complete:
            labels = labels.model_copy(update={"kind": "instances", "unlabelled": "ignore"})
            notes.append(
                "truth: the Cell Tracking Challenge's gold truth, in which not every object need "
                "be drawn; if they all are: --complete"
            )
        elif is_challenge(truths) and labels.kind == "auto":
            labels = labels.model_copy(update={"kind": "instances"})
        elif complete:
            labels = labels.model_copy(update={"unlabelled": "background"})
        pairs = [match.truth for match in matches]
        parts = [part for each in opened for part in each]
        meaning = _find_meaning(pairs, parts, labels, truth)
        guessed = labels.kind == "auto" and not meaning.class_names
        if guessed and meaning.class_count > 2 and are_numbered_only(predictions):
            labels = labels.model_copy(update={"kind": "instances"})
            meaning = _find_meaning(pairs, parts, labels, truth)
            notes.append(
                "labels: taken for numbers of objects, as the predictions number objects of one "
                "class; if they are classes: --set labels.kind=classes"
            )
        notes.append(f"labels: {describe_meaning(meaning, labels, pairs)}")
    else:
        meaning = labels
        notes.append(f"labels: {meaning.describe()}")
    drawn = (part.labels.image for each in opened for part in each)
    notes += [f"labels: {remark}" for remark in describe_drawn(drawn)]
    types = {part.labels.dtype for parts in opened for part in parts}
    notes += [f"labels are stored as {t}; all are whole" for t in types if t.kind == "f"]
    if left:
        noun = "prediction" if len(left) == 1 else "predictions"
        notes.append(f"{len(left)} {noun} of frames without truth: not scored")
    if meaning.kind == "instances":
        numbered = number_objects([match.prediction for match in matches])
        matches = [
            Match(p, match.truth, match.plane) for p, match in zip(numbered, matches, strict=True)
        ]
    tasks = _choose(matches, opened, only, dimensions)
    return Comparison(tuple(tasks), meaning, tuple(notes))


def _open(match: Match, dimensions: Dimensions) -> list[StoredAnnotated]:
    return open_pairs([match.truth], 2 if match.plane is not None else dimensions)


def _find_meaning(
    pairs: Sequence[Pair], parts: Sequence[StoredAnnotated], section: Labels, truth: Path
) -> LabelMeaning:
    """The labels are read a file at a time, and again when they are scored."""
    try:
        blocks = ((part.name, read_blocks(part.read_labels, part.extents)) for part in parts)
        return interpret(pairs, blocks, section)
    except AnnotationError as error:
        message = str(error)
        if str(truth) not in message:  # it names an image, not the file that its labels are in
            message = f"{truth}: {message}"
        if "probability" not in message and any(p.labels.dtype.kind == "f" for p in parts):
            message += "; or is this a probability map? Threshold it first"
        raise AnnotationError(message) from error


def _choose(
    matches: Sequence[Match],
    opened: Sequence[Sequence[StoredAnnotated]],
    only: Sequence[str],
    dimensions: Dimensions,
) -> Iterator[Task]:
    names = [
        tuple(
            match.prediction.name
            + (part.name.removeprefix(match.truth.name) if match.plane is None else "")
            + (f"[{match.plane:02d}]" if match.plane is not None else "")
            for part in parts
        )
        for match, parts in zip(matches, opened, strict=True)
    ]
    flat = [name for each in names for name in each]
    chosen = {flat[index] for wanted in only for index in find_names(wanted, flat, "--only")}
    for match, parts, own in zip(matches, opened, names, strict=True):
        wanted = tuple(not only or name in chosen for name in own)
        yield Task(match, tuple(parts), own, wanted, 2 if match.plane is not None else dimensions)


def _score_file(task: Task, meaning: LabelMeaning) -> Iterator[Scored]:
    predicted = task.match.prediction
    both = f"{predicted.file} and {task.match.truth.labels}"
    planes = _planes(task, both, meaning.kind == "overlapping")
    if len(planes) != len(task.parts):
        raise InputError(
            f"{both} differ in their number of planes: {len(planes)} and {len(task.parts)}; "
            "predict the images that the truth was drawn on"
        )
    for plane, part, name, wanted in zip(planes, task.parts, task.names, task.wanted, strict=True):
        if not wanted:
            continue
        if plane.extents != part.extents:
            raise InputError(
                f"{both} differ in size: {show(plane.extents)} and {show(part.extents)}; predict "
                "the images that the truth was drawn on"
            )
        try:
            yield _score_part(plane, part, name, meaning)
        except AnnotationError:
            raise
        except InputError as error:
            if str(predicted.file) in str(error):
                raise
            raise InputError(f"{both} cannot be compared: {error}") from error


def _score_part(
    stored: StoredPlane, part: StoredAnnotated, name: str, meaning: LabelMeaning
) -> Scored:
    pixels = math.prod(part.extents)

    def read_truth(box: Box | None = None) -> Truth:
        return make_truth(part.read_labels(box), meaning, str(part.label_path))

    if is_large(pixels, stored.probability is not None):
        scores, chosen = score_by_block(stored, read_truth)
        return Scored(name, scores, chosen, pixels)
    plane, truth = stored.read(), read_truth()
    scores, chosen, segments_S = score_plane(plane, truth)
    read = part.image.read if part.image_path != part.label_path else None
    return Scored(name, scores, chosen, pixels, Compared(plane, truth, segments_S, read))


def _planes(task: Task, both: str, overlapping: bool) -> list[StoredPlane]:
    planes = open_prediction(task.match.prediction, task.dimensions, overlapping)
    number = task.match.plane
    if number is None:
        return planes
    if number >= len(planes):
        raise InputError(
            f"{both}: the truth is of plane {number}, counted from 0, but the prediction has "
            f"{len(planes)}"
        )
    return [planes[number]]
