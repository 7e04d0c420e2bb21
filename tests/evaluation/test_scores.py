from __future__ import annotations

import json

import numpy as np
import pytest

from septum.errors import InputError
from septum.evaluation.partitions import rand_error
from septum.evaluation.pixels import dice, iou, pixel_error, pixel_f_error
from septum.evaluation.scores import format_table, score_image, summarize


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


def test_a_summary_has_mean_and_interval_by_measure():
    rows = [{"name": f"{k}", "dice": v} for k, v in enumerate([0.2, 0.4, 0.9, 0.9])]
    summary = summarize(rows)
    assert summary["images"] == rows
    assert summary["mean"] == {"dice": pytest.approx(0.6)}
    low, high = summary["interval"]["dice"]
    assert 0.2 < low < 0.45
    assert 0.75 < high <= 0.9
    assert summarize(rows) == summary
    assert list(json.loads(json.dumps(summary))) == ["images", "mean", "interval"]


def test_the_interval_is_as_wide_as_theory_says():
    values = np.random.default_rng(1).normal(0.5, 0.1, 400)
    low, high = summarize([{"name": "x", "iou": v} for v in values])["interval"]["iou"]
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_one_image_has_no_interval():
    assert summarize([{"name": "a", "iou": 0.5}])["interval"] == {"iou": None}


def test_a_measure_that_some_images_lack_is_averaged_over_the_others():
    summary = summarize([{"name": "a", "iou": 0.5, "dice": 0.1}, {"name": "b", "dice": 0.3}])
    assert summary["mean"] == {"iou": 0.5, "dice": pytest.approx(0.2)}
    assert summary["interval"]["iou"] is None
    assert len(summary["interval"]["dice"]) == 2


def test_nothing_to_summarise_is_an_error():
    with pytest.raises(InputError, match="no image"):
        summarize([])


def test_the_table_is_aligned_and_complete():
    rows = [{"name": "a", "iou": 0.25, "rand_error": 0.1}, {"name": "longer", "iou": 0.75}]
    lines = format_table(summarize(rows)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["image", "iou", "rand_error"]
    assert lines[2].split() == ["a", "0.2500", "0.1000"]
    assert lines[3].split() == ["longer", "0.7500"]
    assert lines[5].split() == ["mean", "0.5000", "0.1000"]
    assert [line[:9] for line in lines[6:]] == ["95 % from", "95 % to  "]
    assert len(format_table(summarize(rows[:1])).splitlines()) == 5
