"""Predictions as files against truth as files: pair them, score each plane, summarise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from septum.annotation.labels import LabelMeaning, find_meaning, to_target
from septum.annotation.pairs import Annotated, Pair, find_names, find_pairs, load_pairs
from septum.errors import InputError
from septum.evaluation.contingency import Ids
from septum.evaluation.pixels import Numbers
from septum.evaluation.predictions import (
    Dimensions,
    Plane,
    Prediction,
    find_predictions,
    read_prediction,
    show,
)
from septum.evaluation.scores import IGNORED, score_image, summarize
from septum.images.files import image_files
from septum.recipe import Labels

_ENDING = re.compile(r"[-_. ](masks?|labels?|seg|segmentation|annotations?|gt)$", re.IGNORECASE)


def evaluate_files(
    prediction: Path,
    truth: Path,
    section: Labels,
    dimensions: Dimensions = 2,
    meaning: LabelMeaning | None = None,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Score predictions against truth; `{"images": [...], "mean": {...}, "interval": {...}}`.

    `prediction` is what `find_predictions` takes and `truth` what `find_truth` takes; they are
    paired by `match_names`. With 2 dimensions each plane of a stack is an image of its own, a row
    named NAME[07]. `meaning` says what label values are; without it, it is found in the truth by
    `section`, which is right where the truth shows every class that the model knows. `only`
    names the images or planes to score, or counts them from 0; without it, all.
    Raises InputError (naming both files, where two do not fit) and AnnotationError.
    """
    matches = match_names(find_predictions(prediction), find_truth(truth))
    drawn = {pair.name: load_pairs([pair], dimensions) for _, pair in matches}
    if meaning is None:
        parts = [part for planes in drawn.values() for part in planes]
        meaning = find_meaning([(part.name, part.labels_S) for part in parts], section)
    names = [
        predicted.name + part.name.removeprefix(pair.name)
        for predicted, pair in matches
        for part in drawn[pair.name]
    ]
    chosen = {names[index] for wanted in only for index in find_names(wanted, names, "--only")}
    rows: list[dict[str, Any]] = []
    for predicted, pair in matches:
        parts = drawn[pair.name]
        wanted = [not only or name in chosen for name in names[: len(parts)]]
        del names[: len(parts)]
        rows += _score_file(predicted, parts, wanted, meaning, dimensions)
    return summarize(rows)


def truth_maps(part: Annotated, meaning: LabelMeaning) -> tuple[npt.NDArray[np.uint8], Ids]:
    """Class map (255 is ignored) and object ids to score against.

    As `to_target` makes them for training, but for one thing: touching objects keep the pixels
    where they touch, which are only taken from them to be learnt. Scores are against what was
    drawn.
    """
    classes_S, instances_S = to_target(part.labels_S, meaning, str(part.label_path))
    if meaning.kind == "instances":
        kept_S = classes_S != IGNORED
        instances_S = np.where(kept_S, part.labels_S, 0)
        classes_S = np.where(kept_S, instances_S != 0, IGNORED).astype(np.uint8)
    return classes_S, instances_S


def find_truth(path: Path) -> list[Pair]:
    """Label files, with their images where `path` is a data set, in natural order.

    `path` is a data set in one of the layouts of `find_pairs`, one label file (or stack), or a
    folder of label files. Without images a label file stands as its own. Raises InputError.
    """
    if path.is_file() and path.suffix.lower() != ".csv":
        return [_alone(path)]
    files = image_files(path) if path.is_dir() else []
    try:
        return find_pairs(path)
    except InputError:
        if not files:
            raise
    return [_alone(file) for file in files]


def match_names(
    predictions: Sequence[Prediction], truths: Sequence[Pair]
) -> list[tuple[Prediction, Pair]]:
    """Pair by name: equal, or the truth's has an ending more, such as NAME_labels or NAME-mask.

    One of each belong together whatever their names. Raises InputError naming those left over, on
    either side: scores of a part of the images must be asked for, not happen.
    """
    if len(predictions) == len(truths) == 1:
        return [(predictions[0], truths[0])]
    by_name = {truth.name: truth for truth in truths}
    found = {p.name: by_name[p.name] for p in predictions if p.name in by_name}
    taken = {truth.name for truth in found.values()}
    by_key = {_ENDING.sub("", t.name): t for t in truths if t.name not in taken}
    found |= {p.name: by_key[p.name] for p in predictions if p.name in by_key.keys() - found.keys()}
    taken = {truth.name for truth in found.values()}
    problems = [
        _list("predicted", "truth", [p.name for p in predictions if p.name not in found]),
        _list("in the truth", "prediction", [t.name for t in truths if t.name not in taken]),
    ]
    if any(problems):
        raise InputError(
            "; ".join(filter(None, problems)) + f" (predictions: {predictions[0].file.parent}, "
            f"truth: {truths[0].labels.parent}); expected equal names on both sides"
        )
    return [(prediction, found[prediction.name]) for prediction in predictions]


def score_plane(
    plane: Plane, classes_S: npt.NDArray[np.uint8], instances_S: Ids, class_count: int
) -> dict[str, float]:
    """The measures of `score_image`, from the probabilities if there are any, else from the mask.

    With both, `mask_pixel_error` and `mask_rand_error` say what the mask has, whose threshold is
    the model's own; the probabilities' pixel error is at 0.5 and their Rand error at its best.
    Two classes: the object is the second channel of two, or the only one. More: the class is the
    channel with the largest value, the first of equals. Raises InputError where channels or class
    ids are not those of the truth.
    """
    if plane.mask is not None:
        _check_mask(plane.mask, class_count)
    if plane.probability is None:
        assert plane.mask is not None
        return score_image(plane.mask, classes_S, instances_S, class_count)
    channels = plane.probability.shape[0]
    if class_count == 2 and channels <= 2:
        scores = score_image(plane.probability[-1], classes_S, instances_S)
    elif class_count == channels:
        chosen_S = plane.probability.argmax(0).astype(np.uint8)
        scores = score_image(chosen_S, classes_S, instances_S, class_count)
    else:
        raise InputError(
            f"{channels} channels of probabilities, but the truth has {class_count} classes"
        )
    if plane.mask is not None:
        of_mask = score_image(plane.mask, classes_S, instances_S, class_count)
        for measure in ("pixel_error", "rand_error"):
            if measure in of_mask:
                scores[f"mask_{measure}"] = of_mask[measure]
    return scores


def _alone(labels: Path) -> Pair:
    return Pair(labels.stem.removesuffix(".ome"), labels, labels)


def _score_file(
    predicted: Prediction,
    drawn: Sequence[Annotated],
    wanted: Sequence[bool],
    meaning: LabelMeaning,
    dimensions: Dimensions,
) -> Iterator[dict[str, Any]]:
    planes = list(read_prediction(predicted, dimensions))
    both = f"{predicted.file} and {drawn[0].label_path}"
    if len(planes) != len(drawn):
        raise InputError(
            f"{both} differ in their number of planes: {len(planes)} and {len(drawn)}; "
            "predict the images that the truth was drawn on"
        )
    for plane, part, is_wanted in zip(planes, drawn, wanted, strict=True):
        if not is_wanted:
            continue
        if plane.shape != part.labels_S.shape:
            raise InputError(
                f"{both} differ in size: {show(plane.shape)} and {show(part.labels_S.shape)}"
            )
        classes_S, instances_S = truth_maps(part, meaning)
        try:
            scores = score_plane(plane, classes_S, instances_S, meaning.class_count)
        except InputError as error:
            raise InputError(f"{both} cannot be compared: {error}") from error
        yield {"name": predicted.name + plane.suffix, **scores}


def _check_mask(mask_S: Numbers, class_count: int) -> None:
    """A mask of three classes must not pass for one of two."""
    if class_count > 2:
        return  # the class scores check their ids
    found = [int(value) for value in np.unique(mask_S) if value != 0]
    if found not in ([], [1], [255]):
        shown = ", ".join(map(str, found[:5])) + (" …" if len(found) > 5 else "")
        raise InputError(
            f"the mask holds the values {shown} beside 0, but the truth has two classes; "
            "expected 0 and 1, or 0 and 255"
        )


def _list(noun: str, other: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{len(names)} {noun} without {other}: {shown}"
