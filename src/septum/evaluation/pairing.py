"""Which prediction belongs to which truth: by name, or by the frames of a challenge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from septum.annotation.pairs import Pair
from septum.errors import InputError
from septum.evaluation.predictions import Prediction
from septum.evaluation.truth import frame_of, is_challenge

_ENDING = re.compile(r"[-_. ](masks?|labels?|seg|segmentation|annotations?|gt)$", re.IGNORECASE)
_FRAME = re.compile(r"(?:man_seg|mask|t)_?(\d+)")


@dataclass(frozen=True)
class Match:
    """A prediction and its truth. ``plane``: the one plane of a volume that the truth is of."""

    prediction: Prediction
    truth: Pair
    plane: int | None = None


def match_predictions(
    predictions: Sequence[Prediction], truths: Sequence[Pair]
) -> tuple[list[Match], list[Prediction]]:
    """Pair predictions with truths; the second are predictions of frames that nobody annotated.

    One of each belong together whatever their names. Of a Cell Tracking Challenge's truth, t010,
    mask010 and man_seg010 are predictions of frame 10, and frames without truth are left over. Else
    names are equal, or the truth's has an ending more, such as NAME_labels or NAME-mask. Raises
    InputError naming those left over, on either side: scores of a part of the images must be asked
    for, not happen.
    """
    if len(predictions) == len(truths) == 1:
        return [Match(predictions[0], truths[0], frame_of(truths[0].labels)[1])], []
    frames = [_FRAME.fullmatch(prediction.name) for prediction in predictions]
    by_frame = {int(m[1]): p for m, p in zip(frames, predictions, strict=True) if m}
    if is_challenge(truths) and len(by_frame) == len(predictions):
        return _match_frames(predictions, truths, by_frame)
    return _match_names(predictions, truths), []


def _match_frames(
    predictions: Sequence[Prediction], truths: Sequence[Pair], by_frame: dict[int, Prediction]
) -> tuple[list[Match], list[Prediction]]:
    places = [frame_of(truth.labels) for truth in truths]
    if len(set(places)) < len(places):
        first, other = truths[0].labels.parent, truths[-1].labels.parent
        raise InputError(
            f"{first} and {other}: two sequences have frames of the same number; name the truth of "
            "the one that was predicted"
        )
    alone = [
        truth.name for truth, place in zip(truths, places, strict=True) if place[0] not in by_frame
    ]
    _refuse(predictions, truths, [], alone)
    annotated = {frame for frame, _ in places}
    return (
        [
            Match(by_frame[frame], truth, plane)
            for truth, (frame, plane) in zip(truths, places, strict=True)
        ],
        [prediction for frame, prediction in by_frame.items() if frame not in annotated],
    )


def _match_names(predictions: Sequence[Prediction], truths: Sequence[Pair]) -> list[Match]:
    by_name = {truth.name: truth for truth in truths}
    found = {p.name: by_name[p.name] for p in predictions if p.name in by_name}
    taken = {truth.name for truth in found.values()}
    by_key = {_ENDING.sub("", t.name): t for t in truths if t.name not in taken}
    found |= {p.name: by_key[p.name] for p in predictions if p.name in by_key.keys() - found.keys()}
    taken = {truth.name for truth in found.values()}
    _refuse(
        predictions,
        truths,
        [p.name for p in predictions if p.name not in found],
        [t.name for t in truths if t.name not in taken],
    )
    return [Match(prediction, found[prediction.name]) for prediction in predictions]


def _refuse(
    predictions: Sequence[Prediction],
    truths: Sequence[Pair],
    without: Sequence[str],
    alone: Sequence[str],
) -> None:
    problems = [
        _list("predicted", "truth", without),
        _list("in the truth", "prediction", alone),
    ]
    if any(problems):
        raise InputError(
            "; ".join(filter(None, problems)) + f" (predictions: {predictions[0].file.parent}, "
            f"truth: {truths[0].labels.parent}); expected equal names on both sides: predict what "
            "is missing, rename, or move the rest elsewhere"
        )


def _list(noun: str, other: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{len(names)} {noun} without {other}: {shown}"
