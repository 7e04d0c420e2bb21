"""All measures of an image, their mean over images, and a table of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from septum.errors import InputError
from septum.evaluation.contingency import Ids
from septum.evaluation.partitions import THRESHOLDS, rand_error
from septum.evaluation.pixels import (
    Bools,
    Numbers,
    check_shapes,
    class_dice,
    class_iou,
    dice,
    iou,
    mean_of_objects,
    pixel_error,
    pixel_f_error,
)

IGNORED = 255
"""The class id of pixels that are left out of every measure."""

RESAMPLES = 2000
BOOTSTRAP_SEED = 0


def score_image(
    prediction_S: Numbers,
    truth_S: npt.NDArray[np.uint8],
    instances_S: Ids | None = None,
    class_count: int = 2,
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[str, float]:
    """Every measure that this prediction allows, by its snake_case name, all lower = better but
    `dice` and `iou`.

    `truth_S` has class ids, 0 is background, 255 is ignored. `instances_S` are the objects' ids
    (0: none); without them the objects are the components of class 1.

    - A floating prediction is the object's probability, of a truth with two classes: pixel_error,
      dice and iou at 0.5; pixel_f_error; rand_error, the least over `thresholds`, and
      rand_threshold, where that is.
    - A boolean or integer prediction is a map of class ids: pixel_error, dice, iou, rand_error.
    - With more than two classes: pixel_error, iou_1, iou_2, …, and dice and iou as means over the
      classes above 0. No Rand error: touching objects of different classes have no one partition.

    Raises InputError where the prediction is not of that kind or the shapes differ.
    """
    check_shapes([a.shape for a in (prediction_S, truth_S, instances_S) if a is not None])
    valid_S = truth_S != IGNORED
    is_probability = prediction_S.dtype.kind == "f"
    if class_count > 2:
        if is_probability:
            raise InputError(
                f"{class_count} classes are compared as a map of class ids, "
                "found the probability of one object"
            )
        return _score_classes(prediction_S, truth_S, class_count, valid_S)

    object_S = valid_S & (truth_S != 0)
    scores = {"pixel_error": pixel_error(prediction_S, object_S, valid_S)}
    mask_S = prediction_S > 0.5 if is_probability else prediction_S != 0
    if is_probability:
        scores["pixel_f_error"] = pixel_f_error(prediction_S, object_S, valid_S)
    scores["dice"] = dice(mask_S, object_S, valid_S)
    scores["iou"] = iou(mask_S, object_S, valid_S)
    parts_S = object_S if instances_S is None else instances_S
    if is_probability:
        error, threshold = rand_error(prediction_S, parts_S, thresholds, valid_S)
        scores["rand_error"], scores["rand_threshold"] = error, threshold
    else:
        scores["rand_error"] = rand_error(mask_S, parts_S, [0.5], valid_S)[0]
    return scores


def summarize(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`{"images": rows, "mean": {...}, "interval": {...}}`, ready for JSON.

    A row has a "name" and numbers by measure. `mean` is over the images that have the measure,
    each counting alike whatever its size. `interval` is the mean's 95 % bootstrap interval
    (percentiles 2.5 and 97.5 of 2000 resamplings of the images, always the same ones), as
    `[low, high]`, and null for a measure of one image only. Raises InputError for no row.
    """
    if not rows:
        raise InputError("nothing to summarise: no image was scored")
    measures = list(dict.fromkeys(key for row in rows for key in row if key != "name"))
    values = {m: np.array([row[m] for row in rows if m in row], float) for m in measures}
    return {
        "images": [dict(row) for row in rows],
        "mean": {m: float(value_N.mean()) for m, value_N in values.items()},
        "interval": {m: _interval(value_N) for m, value_N in values.items()},
    }


def format_table(summary: Mapping[str, Any]) -> str:
    """The images below each other, the measures beside each other, then mean and interval."""
    measures = list(summary["mean"])
    intervals = summary["interval"]
    lines = [["image", *measures]]
    for row in [*summary["images"], {"name": "mean", **summary["mean"]}]:
        lines.append([str(row["name"]), *(_number(row.get(m)) for m in measures)])
    if any(intervals.values()):
        for k, label in enumerate(("95 % from", "95 % to")):
            ends = [intervals[m][k] if intervals[m] else None for m in measures]
            lines.append([label, *map(_number, ends)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])])
        for first, *rest in lines
    ]
    rule = "-" * len(text[0])
    end = 1 + len(summary["images"])
    return "\n".join([text[0], rule, *text[1:end], rule, *text[end:]])


def _score_classes(
    prediction_S: Numbers, truth_S: npt.NDArray[np.uint8], class_count: int, valid_S: Bools
) -> dict[str, float]:
    iou_of = class_iou(prediction_S, truth_S, class_count, valid_S)
    return {
        "pixel_error": pixel_error(prediction_S, truth_S, valid_S),
        "dice": mean_of_objects(class_dice(prediction_S, truth_S, class_count, valid_S)),
        "iou": mean_of_objects(iou_of),
        **{f"iou_{k}": value for k, value in iou_of.items() if k > 0},
    }


def _interval(value_N: npt.NDArray[np.float64]) -> list[float] | None:
    if value_N.size < 2:
        return None
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    chosen_RN = generator.integers(value_N.size, size=(RESAMPLES, value_N.size))
    low, high = np.percentile(value_N[chosen_RN].mean(axis=1), [2.5, 97.5])
    return [float(low), float(high)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
