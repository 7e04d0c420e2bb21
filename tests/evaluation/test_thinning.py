"""V_rand and V_info as the challenge defines them: the watershed, the sums, the thresholds."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septum.errors import InputError
from septum.evaluation.components import components
from septum.evaluation.contingency import contingency
from septum.evaluation.thinning import (
    mean_thinned_scores,
    thin_borders,
    thinned_scores,
    v_scores,
)

SEEDS = st.integers(0, 10_000)
SHAPES = st.sampled_from([(9, 12), (1, 15), (5, 6, 4), (14, 3)])


def random_objects(seed, shape, share=0.5):
    return np.random.default_rng(seed).random(shape) < share


def neighbours(place, shape):
    """By faces: from the first axis to the last, and back."""
    steps = [(axis, -1) for axis in range(len(shape))]
    steps += [(axis, 1) for axis in reversed(range(len(shape)))]
    for axis, step in steps:
        other = list(place)
        other[axis] += step
        if 0 <= other[axis] < shape[axis]:
            yield tuple(other)


def flood_slowly(objects):
    """The watershed as it is written down, with names for states in place of numbers."""
    ids = components(objects).astype(object)
    ids[~objects] = "dry"
    queue = deque()
    for place in np.ndindex(objects.shape):
        if ids[place] == "dry" and any(
            isinstance(ids[n], int) for n in neighbours(place, objects.shape)
        ):
            ids[place] = "waits"
            queue.append(place)
    while queue:
        place = queue.popleft()
        around = []
        for other in neighbours(place, objects.shape):
            around.append(ids[other])
            if ids[other] == "dry":
                ids[other] = "waits"
                queue.append(other)
        own = [value for value in around if isinstance(value, int)]
        ids[place] = own[0] if len(set(own)) == 1 else "line"
    return np.where([[isinstance(v, int) for v in ids.ravel()]], ids.ravel(), 0).reshape(
        objects.shape
    )


@given(SEEDS, SHAPES, st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0]))
@settings(max_examples=80, deadline=None)
def test_borders_are_thinned_as_by_a_slow_watershed(seed, shape, share):
    objects = random_objects(seed, shape, share)
    np.testing.assert_array_equal(thin_borders(objects), flood_slowly(objects).astype(int))


@given(SEEDS, SHAPES)
@settings(max_examples=40, deadline=None)
def test_objects_stay_whole_and_apart(seed, shape):
    objects = random_objects(seed, shape, 0.4)
    before, after = components(objects), thin_borders(objects)
    np.testing.assert_array_equal(after[objects], before[objects])
    assert set(np.unique(after)) <= {0, *np.unique(before)}
    for place in np.ndindex(shape):
        for other in neighbours(place, shape):
            if not (objects[place] and objects[other]):
                assert 0 in (after[place], after[other]) or after[place] == after[other]


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7])
def test_of_a_wide_border_a_line_is_left(width):
    objects = np.ones((6, 12 + width), bool)
    objects[:, 6 : 6 + width] = False
    thinned = thin_borders(objects)
    assert (thinned == 0).sum() == 6
    assert set(thinned[:, 0]) == {1}
    assert set(thinned[:, -1]) == {2}


def test_without_objects_there_is_nothing_to_grow():
    assert not thin_borders(np.zeros((4, 5), bool)).any()
    assert (thin_borders(np.ones((4, 5), bool)) == 1).all()


def scores_by_hand(segmentation, truth):
    """Every pixel of the foreground, its own segment where it is on a line."""
    places = [p for p in np.ndindex(truth.shape) if truth[p]]
    total = len(places)
    pairs = [(int(truth[p]), int(segmentation[p]) or p) for p in places]
    joint = np.array(list(Counter(pairs).values())) / total
    of_truth = np.array(list(Counter(t for t, _ in pairs).values())) / total
    of_segment = np.array(list(Counter(s for _, s in pairs).values())) / total

    def entropy(share):
        return -(share * np.log(share)).sum()

    v_rand = (joint**2).sum() / (0.5 * (of_truth**2).sum() + 0.5 * (of_segment**2).sum())
    halves = 0.5 * entropy(of_truth) + 0.5 * entropy(of_segment)
    information = entropy(of_truth) + entropy(of_segment) - entropy(joint)
    return v_rand, information / halves if halves else 1.0


@given(SEEDS, SHAPES, st.sampled_from([2, 3, 6]))
@settings(max_examples=60, deadline=None)
def test_scores_are_those_of_the_formulas(seed, shape, ids):
    generator = np.random.default_rng(seed)
    segmentation, truth = generator.integers(0, ids, (2, *shape))
    found = v_scores(contingency(segmentation, truth))
    expected = scores_by_hand(segmentation, truth) if truth.any() else (1.0, 1.0)
    assert found == pytest.approx(expected, abs=1e-6)


def two_cells(wide=2, gap=0.1):
    truth = np.ones((20, 30), bool)
    truth[:, 14:16] = False
    probability = np.full(truth.shape, 0.9, np.float32)
    middle = slice(15 - wide // 2, 15 + wide // 2)
    probability[:, middle] = gap
    return probability, truth


@pytest.mark.parametrize("wide", [2, 6, 10])
def test_how_wide_a_border_is_drawn_costs_next_to_nothing(wide):
    probability, truth = two_cells(wide)
    found = thinned_scores(probability, truth)
    assert found.v_rand > 0.97
    assert found.v_info > 0.9
    assert found == thinned_scores(*two_cells(2))


def test_a_merge_and_a_split_cost():
    probability, truth = two_cells(gap=0.9)
    merged = thinned_scores(probability, truth, [0.5])
    assert merged.v_rand == pytest.approx(0.5 / (0.25 + 0.5))
    assert merged.v_info == 0.0
    probability, truth = two_cells()
    probability[9:11, :14] = 0.0
    assert thinned_scores(probability, truth).v_rand < 0.9
    assert thinned_scores(probability, truth).v_info < 0.9


def test_the_threshold_is_the_best_and_that_nearest_to_half():
    probability, truth = two_cells(gap=0.55)
    found = thinned_scores(probability, truth)
    assert (found.v_rand_threshold, found.v_info_threshold) == (0.6, 0.6)
    probability, truth = two_cells(gap=0.0)
    assert thinned_scores(probability, truth).v_rand_threshold == 0.5
    assert thinned_scores(probability, truth, [0.3, 0.4, 0.6]).v_rand_threshold == 0.4


def test_over_images_one_threshold_serves_all():
    low, truth = two_cells(gap=0.55)
    high = np.where(truth, 0.65, 0.1)
    both = mean_thinned_scores([low, high], [truth, truth])
    assert both.v_rand_threshold == 0.6
    one = [thinned_scores(p, truth, [0.6]).v_rand for p in (low, high)]
    assert both.v_rand == pytest.approx(np.mean(one))
    with pytest.raises(InputError, match="found 1 and 2"):
        mean_thinned_scores([low], [truth, truth])
    with pytest.raises(InputError, match="found 0 and 0"):
        mean_thinned_scores([], [])


def test_edge_cases():
    probability, truth = two_cells()
    nothing = np.zeros(truth.shape)
    found = thinned_scores(nothing, truth, [0.5])
    total = truth.sum()
    assert found.v_rand == pytest.approx((1 / total) / (0.25 + 0.5 / total))
    assert thinned_scores(probability, np.zeros(truth.shape, bool)).v_rand == 1.0
    assert thinned_scores(probability, np.zeros(truth.shape, bool)).v_info == 1.0
    one = np.ones((5, 5), bool)
    assert thinned_scores(one, one, [0.5]).v_info == 1.0
    ids = components(truth) * 70_000
    assert thinned_scores(probability, ids) == thinned_scores(probability, truth)


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_what_is_predicted_at_ignored_pixels_changes_nothing(seed):
    generator = np.random.default_rng(seed)
    probability, truth = generator.random((9, 10)), generator.random((9, 10)) < 0.7
    valid = generator.random((9, 10)) < 0.8
    other = np.where(valid, probability, generator.random((9, 10)))
    expected = thinned_scores(probability, truth, valid_S=valid)
    assert thinned_scores(other, np.where(valid, truth, ~truth), valid_S=valid) == expected


def test_what_cannot_be_scored_is_refused():
    probability, truth = two_cells()
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        thinned_scores(probability * 255, truth)
    with pytest.raises(InputError, match="at least one threshold"):
        thinned_scores(probability, truth, [])
    with pytest.raises(InputError, match="one shape"):
        thinned_scores(probability, truth[1:])
