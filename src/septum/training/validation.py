"""How good a model is on images that it does not train on, and which threshold suits it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch

from septum.annotation.labels import IGNORE, UNDRAWN, LabelMeaning, to_target
from septum.annotation.pairs import Annotated
from septum.annotation.targets import kept_apart
from septum.devices import Ranks
from septum.errors import TrainingError
from septum.evaluation.objects import ObjectCounts
from septum.evaluation.partitions import best_threshold, rand_error
from septum.evaluation.pixels import count_classes, iou
from septum.evaluation.truth import Truth, make_truth
from septum.loss.losses import segmentation_loss
from septum.loss.targets import encode_image
from septum.network.heads import HeadKind, scores_of
from septum.prediction.overlap_tile import Predictor, predict_mask, predict_probabilities
from septum.recipe import Loss
from septum.training.object_scores import count_at_thresholds, object_error
from septum.training.windows import StoredWindow, in_memory

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98)
"""Object probabilities that are tried; walls are thin, so most of them lie above one half."""

Weigh = Callable[[np.ndarray, np.ndarray, tuple[float, ...] | None], np.ndarray]
"""Pixel weights from classes, instances and spacing; see ``Sampler.weigh``."""

THRESHOLD_IMAGES = 8
"""At most so many training images are predicted to choose the threshold."""

KEPT_IOU = 0.95
"""Share of the best IoU that a threshold must keep."""


@dataclass(frozen=True, eq=False)
class AnnotatedTarget:
    """An annotated image as it is in the file, with the meaning of its labels."""

    name: str
    image_CS: np.ndarray
    classes_S: np.ndarray
    instances_S: np.ndarray
    spacing: tuple[float, ...] | None = None
    truth: Truth | None = None
    """Of numbered objects: what objects that are found are compared with."""


@dataclass(frozen=True, eq=False)
class Targets(Sequence[AnnotatedTarget]):
    """Annotated images whose labels become classes and instances when one is asked for.

    So no more than one need be in memory, where the images are left in their files.
    """

    annotated: Sequence[Annotated | StoredWindow]
    meaning: LabelMeaning

    def __len__(self) -> int:
        return len(self.annotated)

    @overload
    def __getitem__(self, index: int) -> AnnotatedTarget: ...
    @overload
    def __getitem__(self, index: slice) -> Targets: ...
    def __getitem__(self, index: int | slice) -> AnnotatedTarget | Targets:
        if isinstance(index, slice):
            return Targets(self.annotated[index], self.meaning)
        item = in_memory(self.annotated[index])
        maps = to_target(item.labels_S, self.meaning, item.name)
        maps = maps[0], kept_apart(*maps, self.meaning)
        numbered = self.meaning.kind == "instances"
        truth = make_truth(item.labels_S, self.meaning, item.name) if numbered else None
        return AnnotatedTarget(item.name, item.image_CS, *maps, item.spacing, truth)


def validate(
    predictor: Predictor,
    targets: Sequence[AnnotatedTarget],
    section: Loss,
    weigh: Weigh,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
    head: HeadKind = "softmax",
) -> dict[str, float]:
    """Mean over whole images of loss, pixel_error, iou and, for two classes, rand_error; of all
    images together iou_error, and, of numbered objects, object_error.

    ``loss`` is the training loss, with its weights, so that the two curves can be compared;
    ``pixel_error`` the share of wrong pixels, at probability 0.5 for two classes and overlapping
    ones, of which all have to be right; ``iou`` the mean over the classes above 0; ``iou_error``
    is 1 − mean IoU of all classes there are, class 0 too, and counts what is invented in images
    without a class, of which ``iou`` is 1 or 0; ``rand_error``
    the smallest over ``THRESHOLDS``, of the object's probability or, if there is one, its core;
    ``object_error`` is that of `septum.training.object_scores`, 1 − mean average precision;
    ``object_share`` and ``predicted_share`` what of the pixels is above class 0. ``head`` is what
    the network learns by. Ignored pixels are left out everywhere. Each rank scores its share of the
    images, and all ranks return the mean over all images. Raises TrainingError where the network's
    output is not finite.
    """
    mine = ranks.share(len(targets))
    scored = ranks.gather([_score(predictor, targets[i], section, weigh, head) for i in mine])
    rows = [row for parts in scored for row, *_ in parts]
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    both_K, either_K = np.sum([pixels for parts in scored for *_, pixels in parts], axis=0)
    there_K = either_K > 0
    means["iou_error"] = 1 - float(np.mean(both_K[there_K] / either_K[there_K]))
    counts = [found for parts in scored for _, found, _ in parts if found]
    return {**means, "object_error": object_error(counts)} if counts else means


def _score(
    predictor: Predictor, target: AnnotatedTarget, section: Loss, weigh: Weigh, head: HeadKind
) -> tuple[dict[str, float], list[ObjectCounts], np.ndarray]:
    """Scores of one image's pixels; of numbered objects those found at each threshold; and
    `_both_and_either`.
    """
    probability_KS = predict_probabilities(predictor, target.image_CS)
    if not np.isfinite(probability_KS).all():  # a step from a finite loss can end in such weights
        raise TrainingError(
            f"validation image {target.name}: the network's output is not finite, training has "
            "diverged; the models saved so far are kept; lower training.learning_rate"
        )
    classes_S = learnt_S = target.classes_S
    if target.truth is not None and target.truth.partial:  # as training images are
        learnt_S = np.where((classes_S == IGNORE) & target.truth.known_S, UNDRAWN, classes_S)
        learnt_S = learnt_S.astype(np.uint8)
    targets_S = encode_image(learnt_S, target.instances_S, head, target.spacing)
    weights_S = weigh(learnt_S, target.instances_S, target.spacing)
    loss = segmentation_loss(
        torch.from_numpy(scores_of(probability_KS, head))[None],
        torch.from_numpy(targets_S)[None],
        torch.from_numpy(weights_S)[None],
        section,
        head,
    )
    valid_S = classes_S != IGNORE
    mask_S = predict_mask(probability_KS, 0.5, predictor.maps)
    wrong = (mask_S != classes_S) & valid_S
    overlapping = predictor.maps == "overlapping"
    pixels = _both_and_either(mask_S, classes_S, predictor.classes, overlapping, valid_S)
    both_K, either_K = pixels if overlapping else pixels[:, 1:]  # of classes above 0
    row = {
        "loss": float(loss),
        "pixel_error": float(wrong.sum() / max(int(valid_S.sum()), 1)),
        "iou": float(np.mean(np.where(either_K > 0, both_K / np.maximum(either_K, 1), 1))),
        "object_share": _share(classes_S, valid_S),
        "predicted_share": _share(mask_S, valid_S),
    }
    if predictor.classes == 2 and not overlapping:
        row["rand_error"], _ = rand_error(
            probability_KS[-1], target.instances_S, THRESHOLDS, valid_S
        )
    if target.truth is None or "rand_error" not in row:
        return row, [], pixels
    return row, count_at_thresholds(probability_KS, target.truth, predictor.maps), pixels


def _share(classes_S: np.ndarray, valid_S: np.ndarray) -> float:
    return float(((classes_S > 0) & valid_S).sum() / max(int(valid_S.sum()), 1))


def _both_and_either(
    mask_S: np.ndarray, classes_S: np.ndarray, classes: int, overlapping: bool, valid_S: np.ndarray
) -> np.ndarray:
    """Pixels of each class in both maps, and in either, (2, classes): 0, 1, … or 1, 2, … of
    overlapping ones, of which class 0 is none.
    """
    if overlapping:
        bits_K1 = np.arange(classes - 1)[:, np.newaxis]
        found_KN = (mask_S[valid_S] >> bits_K1) & 1
        drawn_KN = (classes_S[valid_S] >> bits_K1) & 1
        return np.stack([(found_KN & drawn_KN).sum(1), (found_KN | drawn_KN).sum(1)])
    table_KK = count_classes(mask_S, classes_S, classes, valid_S)
    both_K = np.diag(table_KK)
    return np.stack([both_K, table_KK.sum(0) + table_KK.sum(1) - both_K])


def choose_threshold(
    predictors: Sequence[Predictor], targets: Sequence[AnnotatedTarget], walls: bool = True
) -> float:
    """The best threshold for at most THRESHOLD_IMAGES images, evenly spread over ``targets``, each
    predicted by its own of ``predictors``.

    With ``walls`` that with the smallest mean Rand error; only thresholds whose mean IoU is at
    least KEPT_IOU of the best one count: a mask that separates everything because it has shrunk to
    specks is none. These should be training images: a threshold chosen on validation images would
    flatter the scores there. Without walls Rand error, which does not see what is invented in the
    background, speaks for a threshold as low as is allowed: then it is that with the best IoU of
    all images together, of equal ones the nearest to one half.
    """
    count = min(THRESHOLD_IMAGES, len(targets))
    places = [round(i) for i in np.linspace(0, len(targets) - 1, count)]
    chosen = [targets[place] for place in places]
    probabilities = [
        predict_probabilities(predictors[place], target.image_CS)[1]
        for place, target in zip(places, chosen, strict=True)
    ]
    valids = [target.classes_S != IGNORE for target in chosen]
    if not walls:
        return max(
            sorted(THRESHOLDS, key=lambda threshold: abs(threshold - 0.5)),
            key=lambda threshold: _joint_iou(probabilities, chosen, threshold),
        )
    ious = [
        np.mean(
            [
                iou(probability_S > threshold, target.classes_S == 1, valid_S)
                for probability_S, target, valid_S in zip(
                    probabilities, chosen, valids, strict=True
                )
            ]
        )
        for threshold in THRESHOLDS
    ]
    good = [t for t, value in zip(THRESHOLDS, ious, strict=True) if value >= KEPT_IOU * max(ious)]
    truths = [target.instances_S for target in chosen]
    threshold, _ = best_threshold(probabilities, truths, good, valids)
    return threshold


def _joint_iou(
    probabilities: Sequence[np.ndarray], targets: Sequence[AnnotatedTarget], threshold: float
) -> float:
    """IoU of the object in all images together, so that empty ones count by what is invented."""
    both, either = 0, 0
    for probability_S, target in zip(probabilities, targets, strict=True):
        valid_S, object_S = target.classes_S != IGNORE, target.classes_S == 1
        found_S = (probability_S > threshold) & valid_S
        both += int((found_S & object_S).sum())
        either += int((found_S | object_S).sum())
    return both / max(either, 1)
