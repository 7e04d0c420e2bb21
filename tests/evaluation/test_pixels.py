from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septum.errors import InputError
from septum.evaluation.pixels import (
    class_dice,
    class_iou,
    dice,
    iou,
    map_average_precision,
    mean_of_objects,
    pixel_error,
    pixel_f_error,
    precision_recall,
)

TRUTH = np.array([[0, 0, 1, 1], [0, 0, 1, 1]], bool)
MASK = np.array([[0, 1, 1, 1], [0, 0, 0, 1]], bool)  # 1 too many, 1 missing, 3 right


def random_case(seed, levels=6, shape=(5, 7)):
    generator = np.random.default_rng(seed)
    probability = generator.integers(0, levels, shape) / (levels - 1)
    return probability, generator.random(shape) < 0.4, generator.random(shape) < 0.7


def test_known_mask_has_the_values_counted_by_hand():
    assert pixel_error(MASK, TRUTH) == 2 / 8
    assert dice(MASK, TRUTH) == 6 / 8
    assert iou(MASK, TRUTH) == 3 / 5


def test_a_perfect_mask_has_no_error():
    assert pixel_error(TRUTH, TRUTH) == 0.0
    assert dice(TRUTH, TRUTH) == iou(TRUTH, TRUTH) == 1.0


def test_a_probability_at_the_threshold_is_background():
    probability = np.array([0.5, 0.50001])
    assert pixel_error(probability, np.array([False, True])) == 0.0
    assert pixel_error(probability, np.array([True, True])) == 0.5
    assert pixel_error(probability, np.array([True, True]), threshold=0.4) == 0.0


def test_a_mask_of_0_and_255_fits_a_boolean_truth():
    assert pixel_error(MASK.astype(np.uint8) * 255, TRUTH) == 2 / 8
    assert dice(MASK.astype(np.uint8) * 255, TRUTH) == 6 / 8


def test_class_ids_must_be_equal_not_just_not_zero():
    assert pixel_error(np.array([1, 2, 0, 2]), np.array([1, 1, 0, 2])) == 0.25


@pytest.mark.parametrize("measure", [dice, iou])
def test_overlap_is_1_if_both_are_empty_and_0_if_one_is(measure):
    empty = np.zeros_like(TRUTH)
    assert measure(empty, empty) == 1.0
    assert measure(empty, TRUTH) == measure(TRUTH, empty) == 0.0


def test_f_error_ignores_the_scale_of_a_map_that_ranks_right():
    assert pixel_f_error(np.where(TRUTH, 0.09, 0.08), TRUTH) == 0.0


def test_f_error_of_a_constant_map_is_that_of_calling_everything_object():
    for value in (0.0, 0.3, 1.0):
        assert pixel_f_error(np.full(TRUTH.shape, value), TRUTH) == pytest.approx(1 - 8 / 12)


def test_f_error_of_an_empty_truth_is_0():
    assert pixel_f_error(np.full((3, 3), 0.9), np.zeros((3, 3), bool)) == 0.0


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_f_error_is_the_best_of_all_thresholds(seed):
    probability, truth, valid = random_case(seed)
    best = 0.0
    for value in np.unique(probability):
        mask = (probability >= value) & valid
        common = int((mask & truth).sum())
        total = int(mask.sum()) + int((truth & valid).sum())
        best = max(best, 2 * common / total if total else 1.0)
    if not (truth & valid).any():
        best = 1.0
    assert pixel_f_error(probability, truth, valid) == pytest.approx(1 - best, abs=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_what_is_predicted_at_ignored_pixels_changes_nothing(seed):
    probability, truth, valid = random_case(seed)
    other = np.where(valid, probability, 1 - probability)
    for measure in (pixel_error, pixel_f_error):
        assert measure(probability, truth, valid) == measure(other, truth, valid)
    for measure in (dice, iou):
        assert measure(probability > 0.5, truth, valid) == measure(other > 0.5, truth, valid)
    ids, true_ids = (probability * 5).astype(int), truth.astype(int)
    other_ids = np.where(valid, ids, 77)  # not even a class
    for measure in (class_iou, class_dice):
        assert measure(ids, true_ids, 6, valid) == measure(other_ids, true_ids, 6, valid)


def test_no_pixel_that_counts_is_no_error():
    nothing = np.zeros(TRUTH.shape, bool)
    assert pixel_error(MASK, TRUTH, nothing) == 0.0
    assert pixel_f_error(MASK.astype(float), TRUTH, nothing) == 0.0
    assert dice(MASK, TRUTH, nothing) == iou(MASK, TRUTH, nothing) == 1.0


def test_classes_are_scored_one_by_one():
    truth = np.array([0, 0, 1, 1, 2, 2])
    prediction = np.array([0, 1, 1, 1, 2, 0])
    assert class_iou(prediction, truth, 4) == {0: 1 / 3, 1: 2 / 3, 2: 1 / 2, 3: 1.0}
    assert class_dice(prediction, truth, 4) == {0: 1 / 2, 1: 4 / 5, 2: 2 / 3, 3: 1.0}


def test_class_scores_agree_with_binary_scores():
    ids = class_iou(MASK.astype(np.uint8), TRUTH.astype(np.uint8), 2)
    assert ids == {0: iou(~MASK, ~TRUTH), 1: iou(MASK, TRUTH)}
    assert mean_of_objects(ids) == iou(MASK, TRUTH)


def test_an_unknown_class_is_refused():
    with pytest.raises(InputError, match="truth has class ids 0 … 3, expected 0 … 2"):
        class_iou(np.array([0, 1]), np.array([0, 3]), 3)
    with pytest.raises(InputError, match="map of class ids"):
        class_iou(np.array([0.0, 1.0]), np.array([0, 1]), 2)


@pytest.mark.parametrize("wrong", [-0.1, 1.5, 255.0, np.nan])
def test_what_is_no_probability_is_refused(wrong):
    probability = np.array([0.2, wrong])
    for measure in (pixel_error, pixel_f_error):
        with pytest.raises(InputError, match=r"in \[0, 1\]"):
            measure(probability, np.array([True, False]))


def test_different_shapes_are_refused_and_named():
    with pytest.raises(InputError, match="2 × 4, 4 × 2"):
        pixel_error(MASK, TRUTH.T)


def test_precision_and_recall_by_hand():
    assert precision_recall(MASK, TRUTH) == (3 / 4, 3 / 4)
    empty = np.zeros_like(TRUTH)
    assert precision_recall(empty, TRUTH) == (1.0, 0.0)
    assert precision_recall(TRUTH, empty) == (0.0, 1.0)
    assert precision_recall(empty, empty) == (1.0, 1.0)
    left = np.zeros_like(TRUTH)
    left[:, :2] = True
    assert precision_recall(MASK, TRUTH, left) == (0.0, 1.0)


@given(st.integers(0, 10_000), st.sampled_from([2, 6, 1000]))
@settings(max_examples=40, deadline=None)
def test_average_precision_of_a_map_is_the_sum_over_thresholds(seed, levels):
    probability, truth, valid = random_case(seed, levels)
    values, objects = probability[valid], truth[valid]
    area, before = 0.0, 0.0
    for threshold in sorted(set(values.tolist()), reverse=True):
        precision, recall = precision_recall(values >= threshold, objects)
        area, before = area + (recall - before) * precision, recall
    expected = area if objects.any() else 1.0
    assert map_average_precision(probability, truth, valid) == pytest.approx(expected, abs=1e-9)


def test_average_precision_of_a_perfect_and_of_a_useless_map():
    assert map_average_precision(TRUTH * 0.5, TRUTH) == 1.0
    assert map_average_precision(np.full(TRUTH.shape, 0.3), TRUTH) == TRUTH.mean()
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        map_average_precision(TRUTH * 255.0, TRUTH)
