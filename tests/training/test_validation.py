"""Whole-image scores by known predictions, and the threshold that separates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from septum.annotation.labels import IGNORE, UNDRAWN, LabelMeaning, to_target
from septum.errors import TrainingError
from septum.evaluation.truth import make_truth
from septum.geometry import unet_footprint
from septum.images.intensity_range import IntensityRange
from septum.network.heads import softmax_probabilities
from septum.prediction.overlap_tile import Predictor
from septum.recipe import Loss
from septum.training import validation
from septum.training.validation import AnnotatedTarget, choose_threshold, validate

PLAIN = Loss(border_weight=0)


@pytest.fixture
def predictions(monkeypatch: pytest.MonkeyPatch) -> Predictor:
    """A fake network: an image is its own object probability."""

    def predict(predictor: Any, image_CS: np.ndarray) -> np.ndarray:
        return np.stack([1 - image_CS[0], image_CS[0]]).astype(np.float32)

    monkeypatch.setattr(validation, "predict_probabilities", predict)
    return Predictor(
        networks=(torch.nn.Identity(),),
        footprint=unet_footprint(1, "same"),
        intensities=(IntensityRange((0.0,), (1.0,)),),
        classes=2,
        finish=softmax_probabilities,
        dimensions=2,
        orientations=1,
        tile=8,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def ones(classes_S: np.ndarray, instances_S: np.ndarray, spacing: object) -> np.ndarray:
    return (classes_S != IGNORE).astype(np.float32)


def two_cells(wall: float, inside: float = 0.96) -> AnnotatedTarget:
    """Two cells side by side; the network thinks the wall between them an object by ``wall``."""
    probability_S = np.full((20, 21), 0.02)
    probability_S[5:15, 2:10] = probability_S[5:15, 11:19] = inside
    probability_S[5:15, 10] = wall
    instances_S = np.zeros((20, 21), np.int32)
    instances_S[5:15, 2:10], instances_S[5:15, 11:19] = 1, 2
    classes_S = (instances_S > 0).astype(np.uint8)
    return AnnotatedTarget(f"wall {wall}", probability_S[None], classes_S, instances_S)


def test_scores_are_means_over_images_of_loss_wrong_pixels_overlap_and_rand_error(
    predictions: Predictor,
) -> None:
    scores = validate(predictions, [two_cells(0.02), two_cells(0.7)], PLAIN, ones)
    # Right everywhere; and ten pixels of wall taken for cell, which a threshold of 0.75 mends.
    assert scores["pixel_error"] == pytest.approx((0 + 10 / 420) / 2)
    assert scores["iou"] == pytest.approx((1 + 160 / 170) / 2)
    assert scores["rand_error"] == pytest.approx(0, abs=1e-9)
    right = 160 * np.log(0.96) + 250 * np.log(0.98)
    losses = [-(right + 10 * np.log(p)) / 420 for p in (0.98, 0.3)]
    assert scores["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("wall", [0.02, 0.45, 0.65, 0.8])
def test_objects_are_scored_together_at_the_threshold_that_is_best(
    predictions: Predictor, wall: float
) -> None:
    numbered = LabelMeaning("instances", (0, 1))
    drawn = [two_cells(wall), two_cells(0.02)]
    targets = [replace(t, truth=make_truth(t.instances_S, numbered)) for t in drawn]
    scores = validate(predictions, targets, PLAIN, ones)
    # Joined, the first two are one segment that overlaps with either by less than half.
    joined = 1 - 2 / (2 + 2 + 1)
    assert scores["object_error"] == pytest.approx(joined if wall == 0.8 else 0.0)
    assert "object_error" not in validate(predictions, drawn, PLAIN, ones)


def test_specks_are_left_out_of_the_objects_while_training_goes_on(predictions: Predictor) -> None:
    """They are left out of the model's in the end; larger ones are mistakes."""
    target = two_cells(0.02)
    truth = make_truth(target.instances_S, LabelMeaning("instances", (0, 1)))

    def error_with_an_object_of(rows: int, columns: int) -> float:
        image_CS = target.image_CS.copy()
        image_CS[0, :rows, :columns] = 0.9
        noisy = replace(target, image_CS=image_CS, truth=truth)
        return validate(predictions, [noisy], PLAIN, ones)["object_error"]

    assert error_with_an_object_of(3, 3) == 0  # of the cells' 80 pixels less than half
    assert error_with_an_object_of(3, 13) == 0
    assert error_with_an_object_of(4, 10) == pytest.approx(1 / 3)


def test_ignored_pixels_count_in_no_score(predictions: Predictor) -> None:
    target = two_cells(0.02)
    expected = validate(predictions, [target], PLAIN, ones)
    classes_S, image_CS = target.classes_S.copy(), target.image_CS.copy()
    classes_S[:3], image_CS[:, :3] = IGNORE, 0.99  # wrong, but nobody asked
    ignored = AnnotatedTarget("ignored", image_CS, classes_S, target.instances_S)
    scores = validate(predictions, [ignored], PLAIN, ones)
    for measure in ("pixel_error", "rand_error"):
        assert scores[measure] == expected[measure] == 0
    assert scores["iou"] == expected["iou"] == 1


def test_of_partly_drawn_truth_the_loss_is_that_of_training(predictions: Predictor) -> None:
    """Where nobody drew is background of little weight in training, and in no other score."""
    target = two_cells(0.02)
    labels_S = target.instances_S.astype(np.uint16)
    meaning = LabelMeaning("instances", (0, 1), unlabelled_ignored=True)
    classes_S, instances_S = to_target(labels_S, meaning)
    truth = make_truth(labels_S, meaning)
    image_CS = target.image_CS.copy()
    image_CS[:, classes_S == IGNORE] = 0.9

    def weigh(classes_S: np.ndarray, instances_S: np.ndarray, spacing: object) -> np.ndarray:
        return np.where(classes_S == UNDRAWN, 0.25, classes_S != IGNORE).astype(np.float32)

    partly = AnnotatedTarget("a", image_CS, classes_S, instances_S, truth=truth)
    scores = validate(predictions, [partly], PLAIN, weigh)
    right = np.where(classes_S == 1, image_CS[0], 1 - image_CS[0])
    weights = np.where(classes_S == IGNORE, 0.25, 1.0)
    assert scores["loss"] == pytest.approx(-(weights * np.log(right)).mean(), rel=1e-4)
    assert scores["pixel_error"] == 0


def test_a_network_gone_to_nan_is_a_training_error_and_the_image_named(
    predictions: Predictor,
) -> None:
    target = two_cells(np.nan)
    with pytest.raises(TrainingError, match=r"wall nan.*diverged"):
        validate(predictions, [target], PLAIN, ones)


def test_the_threshold_is_the_one_at_which_the_cells_come_apart(predictions: Predictor) -> None:
    assert 0.86 <= choose_threshold([predictions] * 22, [two_cells(0.86)]) < 0.96
    assert choose_threshold([predictions] * 22, [two_cells(0.02)]) == 0.5
    # One threshold for all: the mean decides, and the faint cells of the second are lost above.
    both = choose_threshold([predictions] * 22, [two_cells(0.62), two_cells(0.1, inside=0.68)])
    assert both == 0.65


def test_without_walls_the_threshold_is_that_of_the_best_mask(predictions: Predictor) -> None:
    # Cells with a faint rim, and as faint something that is none, which Rand error does not see.
    target = two_cells(0.02, inside=0.75)
    target.image_CS[0, 14, 2:10] = target.image_CS[0, 14, 11:19] = 0.25
    target.image_CS[0, 17, :20] = 0.25
    assert choose_threshold([predictions], [target]) <= 0.25
    assert choose_threshold([predictions], [target], walls=False) == 0.5
    target.image_CS[0, 17, :20] = 0.62
    assert choose_threshold([predictions], [target], walls=False) == 0.65
    # All images together: what is invented in an empty one counts.
    empty = two_cells(0.02)
    empty.instances_S[:], empty.classes_S[:], empty.image_CS[:] = 0, 0, 0.69
    both = [two_cells(0.02, inside=0.75), empty]
    assert choose_threshold([predictions] * 2, both, walls=False) == 0.7
    empty.image_CS[:], empty.classes_S[:] = 0.9, IGNORE
    assert choose_threshold([predictions] * 2, both, walls=False) == 0.5
    assert choose_threshold([predictions], both[1:], walls=False) == 0.5


def test_iou_error_is_of_all_images_together_so_that_nothing_found_is_not_the_best(
    predictions: Predictor,
) -> None:
    """Of ten images seven are empty, in four of which a good model invents a pixel."""
    drawn = [two_cells(0.02, inside=0.6) for _ in range(3)]
    for target in drawn:
        target.image_CS[0, 5:7, 2:10] = 0.1  # it misses 16 of 160
    empty = []
    for number in range(7):
        target = two_cells(0.02)
        target.instances_S[:], target.classes_S[:], target.image_CS[:] = 0, 0, 0.02
        if number < 4:
            target.image_CS[0, 0, 0] = 0.9
        empty.append(target)
    found = validate(predictions, [*drawn, *empty], PLAIN, ones)
    none = [replace(target, image_CS=0 * target.image_CS + 0.02) for target in [*drawn, *empty]]
    nothing = validate(predictions, none, PLAIN, ones)
    assert found["iou"] < nothing["iou"] == 0.7
    object_iou, background_iou = 3 * 144 / (3 * 160 + 4), 1 - (48 + 4) / (4200 - 3 * 144)
    assert found["iou_error"] == pytest.approx(1 - (object_iou + background_iou) / 2)
    assert nothing["iou_error"] > 0.5
    # Ignored pixels are in neither, and a class that nobody drew or found does not count.
    target = two_cells(0.02)
    target.classes_S[:], target.image_CS[:, 0] = 0, 0.9
    target.classes_S[0] = IGNORE
    target.image_CS[0, 5:] = 0.02
    target.image_CS[0, 1:5] = 0.02
    assert validate(predictions, [target], PLAIN, ones)["iou_error"] == 0


def test_each_of_overlapping_classes_has_an_iou_of_its_own() -> None:
    drawn, found = np.array([[0, 1, 3, 2, 2, 255]]), np.array([[1, 1, 1, 2, 0, 3]])
    valid = drawn != 255
    pixels = validation._both_and_either(found, drawn, 3, True, valid)
    assert pixels.tolist() == [[2, 1], [3, 3]]
    drawn = np.array([[0, 1, 2, 2, 2, 255]])
    pixels = validation._both_and_either(np.array([[0, 1, 1, 2, 0, 1]]), drawn, 4, False, valid)
    assert pixels.tolist() == [[1, 1, 1, 0], [2, 2, 3, 0]]


def test_at_most_eight_images_evenly_spread_are_asked_for_the_threshold(
    predictions: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []

    def best(probabilities: list[np.ndarray], *_: Any) -> tuple[float, float]:
        seen.extend(probabilities)
        return 0.5, 0.0

    monkeypatch.setattr(validation, "best_threshold", best)
    choose_threshold([predictions] * 22, [two_cells(number / 100) for number in range(22)])
    walls = [round(float(probability_S[10, 10]) * 100) for probability_S in seen]
    assert walls == [0, 3, 6, 9, 12, 15, 18, 21]


def test_a_threshold_that_shrinks_the_objects_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The gap is likelier than the cells' rims, their cores likelier than both: above 0.92 the two
    # are apart, at the price of a fifth of their pixels.
    instances = np.zeros((20, 43), np.int32)
    instances[:, :20], instances[:, 23:] = 1, 2
    object_S = np.full(instances.shape, 0.92, np.float32)
    object_S[instances > 0] = 0.91
    object_S[:, :16], object_S[:, 27:] = 0.96, 0.96
    probability = np.stack([1 - object_S, object_S])
    monkeypatch.setattr(validation, "predict_probabilities", lambda *_: probability)
    classes = (instances > 0).astype(np.uint8)
    unused = Predictor.__new__(Predictor)  # what it would predict is given above
    target = AnnotatedTarget("a", np.zeros((1, 20, 43)), classes, instances)
    assert choose_threshold([unused] * 22, [target]) < 0.91
    monkeypatch.setattr(validation, "KEPT_IOU", 0.0)
    assert choose_threshold([unused] * 22, [target]) > 0.92
