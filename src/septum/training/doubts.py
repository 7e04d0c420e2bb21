"""What a run shows of itself when it goes wrong: one line for each, with advice, from its history.

Looked at while it runs, so that nobody waits for hours for a model of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LEVEL_STEPS = 200
"""By this step the loss must have begun to fall."""
FALLEN = 0.95
"""Share of the loss at the beginning below which it has."""
FAR = 2.0
"""Times the training loss at which the validation loss is far from it: the weights are the same,
and augmentation makes training images the harder ones."""
HARDLY = 0.01
"""Share of what is drawn below which what is predicted is nothing."""
EVERYTHING = 0.999
"""Share of a class in the prediction from which on it is everything."""


def find_doubts(history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What is to be doubted of a run by its records so far, in words, by a name that stays.

    ``history``: the lines of history.jsonl. Names: `nothing` and `everything` (what is predicted),
    `level` (the loss does not fall), `far` (validation is much worse than training, twice running).
    """
    losses = [record for record in history if record["kind"] == "training"]
    validations = [record for record in history if record["kind"] == "validation"]
    return {**_doubt_losses(losses), **_doubt_predictions(validations), **_doubt_gap(history)}


def _doubt_losses(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    early = [record["loss"] for record in records if record["step"] <= LEVEL_STEPS]
    third = len(early) // 3
    if not third or records[-1]["step"] < LEVEL_STEPS:
        return {}
    first, last = np.mean(early[:third]), np.mean(early[-third:])
    if last <= FALLEN * first:
        return {}
    return {
        "level": f"the loss has hardly fallen in {LEVEL_STEPS} steps ({first:.3g} → {last:.3g}): "
        "are the labels those of these images (septum inspect DATA)? If so, try another "
        "training.learning_rate"
    }


def _doubt_predictions(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    if not records or "predicted_share" not in records[-1]:  # of an older run
        return {}
    record = records[-1]
    predicted, drawn = record["predicted_share"], record["object_share"]
    if predicted < HARDLY * drawn:
        return {
            "nothing": f"at step {record['step']} {'all' if not predicted else 'nearly all'} of "
            f"the validation images is predicted as background, though {drawn:.1%} is drawn as "
            "object; should that stay so: --set training.object_share=0.5 (or more) shows objects "
            "more often, --set loss.class_weight=balanced counts them more"
        }
    if predicted > EVERYTHING > drawn:
        return {
            "everything": f"at step {record['step']} all of the validation images is predicted as "
            f"object, though only {drawn:.1%} is drawn; should that stay so: is the object's value "
            "the right one (labels.object), and is all drawn that should be (labels.unlabelled)?"
        }
    return {}


def _doubt_gap(history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Whether the last two validations were far worse than the training just before each."""
    far, loss, best = [], None, np.inf
    for record in history:
        if record["kind"] == "training":
            loss = record["loss"]
        elif record["kind"] == "validation" and loss is not None:
            far.append(record["loss"] > FAR * loss)
            best, last = min(best, record["loss"]), record["loss"]
    if far[-2:] != [True, True]:
        return {}
    said = f"the validation loss ({last:.3g}) is far above that of training ({loss:.3g})"
    if last > 1.2 * best:
        advice = (
            "and has been lower: the training images are learnt by heart; annotate more, or "
            "augment more; a model that is much better by training.keep_best is kept"
        )
    else:
        advice = (
            "do these images look otherwise, or are they drawn otherwise (septum inspect DATA)? "
            "If they are right, such images belong into training"
        )
    return {"far": f"{said}: {advice}" if last <= 1.2 * best else f"{said} {advice}"}
