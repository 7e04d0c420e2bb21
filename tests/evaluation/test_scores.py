from __future__ import annotations

import numpy as np
import pytest

from septum.errors import InputError
from septum.evaluation.partitions import rand_error
from septum.evaluation.pixels import dice, iou, pixel_error, pixel_f_error
from septum.evaluation.scores import score_image


@pytest.fixture
def case():
    generator = np.random.default_rng(3)
    probability = generator.random((20, 24)).astype(np.float32)
    truth = (generator.random((20, 24)) < 0.7).astype(np.uint8)
    truth[3:6, 4:9] = 255
    return probability, truth


def test_a_probability_map_has_every_measure_of_an_object(case):
    probability, truth = case
    valid, is_object = truth != 255, truth == 1
    error, threshold = rand_error(probability, is_object, valid_S=valid)
    assert score_image(probability, truth) == {
        "pixel_error": pixel_error(probability, is_object, valid),
        "pixel_f_error": pixel_f_error(probability, is_object, valid),
        "dice": dice(probability > 0.5, is_object, valid),
        "iou": iou(probability > 0.5, is_object, valid),
        "rand_error": error,
        "rand_threshold": threshold,
    }


def test_a_mask_is_scored_as_it_is(case):
    probability, truth = case
    mask = probability > 0.3
    scores = score_image(mask.astype(np.uint8), truth)
    valid, is_object = truth != 255, truth == 1
    assert list(scores) == ["pixel_error", "dice", "iou", "rand_error"]
    assert scores["pixel_error"] == pixel_error(mask, is_object, valid)
    assert scores["rand_error"] == rand_error(probability, is_object, [0.3], valid)[0]
    assert scores == score_image(mask, truth)


def test_ignored_pixels_change_nothing(case):
    probability, truth = case
    other = np.where(truth == 255, 1 - probability, probability)
    assert score_image(other, truth) == score_image(probability, truth)
    instances = np.where(truth == 255, 9, truth)
    assert score_image(other, truth, instances) == score_image(probability, truth, truth % 255)


def test_instances_part_what_touches():
    truth = np.ones((8, 8), np.uint8)
    instances = np.repeat([1, 2], 4)[None].repeat(8, axis=0)
    assert score_image(truth, truth)["rand_error"] == 0.0
    assert score_image(truth, truth, instances)["rand_error"] > 0.3


def test_several_classes_have_an_iou_each():
    truth = np.array([[0, 0, 1, 1, 2, 2, 255]], np.uint8)
    prediction = np.array([[0, 1, 1, 1, 2, 0, 99]], np.uint8)
    scores = score_image(prediction, truth, class_count=3)
    assert scores == {
        "pixel_error": pytest.approx(2 / 6),
        "dice": pytest.approx((4 / 5 + 2 / 3) / 2),
        "iou": pytest.approx((2 / 3 + 1 / 2) / 2),
        "iou_1": pytest.approx(2 / 3),
        "iou_2": pytest.approx(1 / 2),
    }
    with pytest.raises(InputError, match="3 classes"):
        score_image(prediction.astype(float), truth, class_count=3)


def test_different_sizes_are_refused(case):
    probability, truth = case
    with pytest.raises(InputError, match="20 × 24, 19 × 24"):
        score_image(probability, truth[1:])
