from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import adapted_rand_error
from skimage.metrics import variation_of_information as skimage_variation

from septum.errors import InputError
from septum.evaluation.components import components
from septum.evaluation.partitions import (
    Variation,
    best_threshold,
    rand_error,
    rand_f_score,
    variation_of_information,
)

SEEDS = st.integers(0, 10_000)
SHAPES = st.sampled_from([(6, 9), (4, 5, 6), (40,)])
HALVES = np.repeat([[1], [2]], 8, axis=0).repeat(8, axis=1)  # two objects of 64 pixels
WHOLE = np.ones_like(HALVES)


def random_labels(seed, shape, ids=5):
    generator = np.random.default_rng(seed)
    return generator.integers(0, ids, shape), generator.integers(0, ids, shape)


def pairs_by_hand(segmentation, truth, unassigned):
    """(pairs in one segment, in one object, in both) over the truth's foreground."""
    keep = truth.ravel() != 0
    pixels = list(zip(segmentation.ravel()[keep], truth.ravel()[keep], strict=True))
    same_segment = same_object = both = 0
    for (s, t), (other_s, other_t) in itertools.combinations(pixels, 2):
        together = s == other_s and not (unassigned and s == 0)
        same_segment += together
        same_object += t == other_t
        both += together and t == other_t
    return same_segment, same_object, both


@given(SEEDS, SHAPES)
@settings(max_examples=60, deadline=None)
def test_rand_agrees_with_scikit_image(seed, shape):
    segmentation, truth = random_labels(seed, shape)
    error, second, third = adapted_rand_error(truth, segmentation)
    score = rand_f_score(segmentation, truth)
    assert 1 - score.f_score == pytest.approx(error, abs=1e-6)
    # scikit-image names them precision and recall; the next test says which is which.
    assert (score.recall, score.precision) == pytest.approx((second, third), abs=1e-6)


@pytest.mark.parametrize("background", ["segment", "unassigned"])
@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_rand_is_what_counting_every_pair_gives(background, seed):
    segmentation, truth = random_labels(seed, (5, 6), ids=3)
    in_segment, in_object, both = pairs_by_hand(
        segmentation, truth, unassigned=background == "unassigned"
    )
    score = rand_f_score(segmentation, truth, background)
    assert score.precision == pytest.approx(both / in_segment if in_segment else 1.0)
    assert score.recall == pytest.approx(both / in_object if in_object else 1.0)
    assert score.f_score == pytest.approx(2 * both / (in_segment + in_object))


def test_a_merge_costs_precision_and_a_split_costs_recall():
    merge, split = rand_f_score(WHOLE, HALVES), rand_f_score(HALVES, WHOLE)
    ratio = (2 * 64 * 63) / (128 * 127)
    assert (merge.precision, merge.recall) == pytest.approx((ratio, 1.0))
    assert (split.precision, split.recall) == pytest.approx((1.0, ratio))
    assert merge.f_score == pytest.approx(2 * ratio / (1 + ratio))


@given(SEEDS, SHAPES)
@settings(max_examples=30, deadline=None)
def test_only_the_partition_counts_not_the_ids(seed, shape):
    segmentation, truth = random_labels(seed, shape)
    renamed = np.array([0, 40_000_000_000, 7, 3, 12])[segmentation]
    renamed_truth = np.array([0, 5, 2**40, 1, 900])[truth]
    for background in ("segment", "unassigned"):
        plain = rand_f_score(segmentation, truth, background)
        assert rand_f_score(renamed, renamed_truth, background) == plain
    assert rand_f_score(truth, truth).f_score == 1.0


@given(SEEDS, SHAPES, st.sampled_from([2, 5, 3000]))
@settings(max_examples=60, deadline=None)
def test_variation_of_information_agrees_with_scikit_image(seed, shape, ids):
    segmentation, truth = random_labels(seed, shape, ids)
    found = variation_of_information(segmentation, truth)
    expected = skimage_variation(truth, segmentation, ignore_labels=(0,))
    assert (found.split, found.merge) == pytest.approx(tuple(expected), abs=1e-6)


def test_variation_of_information_by_hand():
    assert variation_of_information(WHOLE, HALVES) == Variation(split=0.0, merge=1.0)
    assert variation_of_information(HALVES, WHOLE) == Variation(split=1.0, merge=0.0)
    assert variation_of_information(HALVES * 7, HALVES) == Variation(0.0, 0.0)
    assert variation_of_information(HALVES, np.zeros_like(HALVES)) == Variation(0.0, 0.0)
    assert variation_of_information(np.zeros_like(HALVES), HALVES).merge == 1.0


def test_empty_truth_scores_1_and_empty_segmentation_0():
    empty = np.zeros_like(HALVES)
    assert rand_f_score(HALVES, empty).f_score == 1.0
    nothing_found = rand_f_score(empty, HALVES, "unassigned")
    assert (nothing_found.f_score, nothing_found.recall) == (0.0, 0.0)
    assert rand_f_score(empty, HALVES, "segment") == rand_f_score(WHOLE, HALVES)
    one_pixel = np.eye(1, 9, dtype=int)
    assert rand_f_score(np.zeros((1, 9), int), one_pixel, "unassigned").f_score == 1.0


@pytest.mark.parametrize("bad", [np.full((16, 8), -1), np.ones((16, 8))])
def test_ids_that_are_none_are_refused(bad):
    with pytest.raises(InputError, match="segmentation"):
        rand_f_score(bad, HALVES)
    with pytest.raises(InputError, match="truth"):
        rand_f_score(HALVES, bad)


def two_cells(gap):
    """Two cells and a membrane of 2 pixels, in which the object's probability is `gap`."""
    probability = np.full((9, 12), 0.95, np.float32)
    probability[:, 5:7] = gap
    truth = np.ones((9, 12), bool)
    truth[:, 5:7] = False
    return probability, truth


def test_components_touch_by_faces_only():
    corner = np.array([[1, 0], [0, 1]], bool)
    assert components(corner).max() == 2
    assert components(np.stack([corner, corner])).max() == 2


def test_rand_error_finds_the_threshold_that_parts_the_cells():
    probability, truth = two_cells(gap=0.72)
    assert rand_error(probability, truth, [0.3, 0.5, 0.8]) == (0.0, 0.8)
    merged = 1 - rand_f_score(np.ones((9, 12), int), components(truth)).f_score
    assert rand_error(probability, truth, [0.3, 0.5]) == (pytest.approx(merged), 0.5)


def test_of_equal_thresholds_the_middle_one_is_taken():
    probability, truth = two_cells(gap=0.0)
    assert rand_error(probability, truth, [0.1, 0.4, 0.6, 0.9]) == (0.0, 0.4)
    assert rand_error(probability, truth)[1] == 0.5


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_rand_error_is_the_best_f_score_over_thresholds(seed):
    generator = np.random.default_rng(seed)
    probability, truth = generator.random((12, 13)), generator.random((12, 13)) < 0.7
    thresholds = [0.2, 0.35, 0.5, 0.65]
    for background in ("segment", "unassigned"):
        errors = [
            1 - rand_f_score(components(probability > t), components(truth), background).f_score
            for t in thresholds
        ]
        error, threshold = rand_error(probability, truth, thresholds, background=background)
        assert error == min(errors)
        assert errors[thresholds.index(threshold)] == error


def test_a_wide_membrane_is_no_merge_unless_asked():
    probability, truth = two_cells(gap=0.0)
    probability[:, 4:8] = 0.0  # one pixel too wide on each side
    alone, _ = rand_error(probability, truth, [0.5])
    one_segment, _ = rand_error(probability, truth, [0.5], background="segment")
    assert alone == pytest.approx(1 - 2 * (36 * 35) / (45 * 44 + 36 * 35))
    both = 2 * 36 * 35 + 2 * 9 * 8
    assert one_segment == pytest.approx(1 - 2 * both / (2 * 45 * 44 + 2 * 36 * 35 + 18 * 17))


def test_integer_truth_is_taken_as_objects_and_boolean_truth_is_taken_apart():
    touching = np.ones((9, 12), np.uint16)
    touching[:, 6:] = 2
    everything = np.ones((9, 12), np.float32)
    assert rand_error(everything, touching, [0.5])[0] > 0.3
    assert rand_error(everything, touching > 0, [0.5])[0] == 0.0


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_what_is_predicted_at_ignored_pixels_changes_nothing(seed):
    generator = np.random.default_rng(seed)
    probability, truth = generator.random((9, 10)), generator.random((9, 10)) < 0.7
    valid = generator.random((9, 10)) < 0.8
    other = np.where(valid, probability, generator.random((9, 10)))
    other_truth = np.where(valid, truth, ~truth)
    expected = rand_error(probability, truth, valid_S=valid)
    assert rand_error(other, truth, valid_S=valid) == expected
    assert rand_error(probability, other_truth, valid_S=valid) == expected


def test_constant_maps_score_as_one_segment_or_none():
    _, truth = two_cells(gap=0.0)
    assert rand_error(np.zeros(truth.shape), truth, [0.5])[0] == 1.0
    one = 1 - rand_f_score(np.ones(truth.shape, int), components(truth)).f_score
    assert rand_error(np.ones(truth.shape), truth, [0.5])[0] == pytest.approx(one)


def test_a_stack_is_one_volume():
    probability, truth = two_cells(gap=0.0)
    volume, truth_volume = np.stack([probability] * 3), np.stack([truth] * 3)
    assert rand_error(volume, truth_volume, [0.5])[0] == 0.0
    volume[1] = 0.0  # the cells break into two pieces each
    assert rand_error(volume, truth_volume, [0.5])[0] > 0.3


def test_best_threshold_serves_all_images_at_once():
    low, truth = two_cells(gap=0.55)
    high = np.where(truth, 0.65, 0.1)  # lost above 0.65
    wide, wide_truth = np.pad(low, 1, mode="edge"), np.pad(truth, 1, mode="edge")
    threshold, error = best_threshold(
        [low, high, wide], [truth, truth, wide_truth], [0.3, 0.6, 0.9]
    )
    assert (threshold, error) == (0.6, 0.0)


def test_best_threshold_is_the_best_mean_not_the_mean_of_the_best():
    generator = np.random.default_rng(4)
    maps = list(generator.random((3, 20, 20)))
    truths = list(generator.random((3, 20, 20)) < 0.6)
    thresholds = [0.3, 0.4, 0.5, 0.6]
    means = {
        t: np.mean([rand_error(m, g, [t])[0] for m, g in zip(maps, truths, strict=True)])
        for t in thresholds
    }
    threshold, error = best_threshold(maps, truths, thresholds)
    assert error == pytest.approx(min(means.values()))
    assert means[threshold] == pytest.approx(error)


def test_what_cannot_be_scored_is_refused():
    probability, truth = two_cells(gap=0.0)
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        rand_error(probability * 255, truth)
    with pytest.raises(InputError, match="at least one threshold"):
        rand_error(probability, truth, [])
    with pytest.raises(InputError, match="one shape"):
        rand_error(probability, truth[1:])
    with pytest.raises(InputError, match="found 1 and 2"):
        best_threshold([probability], [truth, truth])
    with pytest.raises(InputError, match="found 0 and 0"):
        best_threshold([], [])
