"""The warping error: topology alone, each kind of mistake counted once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from septum.errors import InputError
from septum.evaluation.warping import (
    RING,
    Warping,
    _sides,
    warp,
    warping_error,
    warping_places,
    warps,
)

SEEDS = st.integers(0, 10_000)
EIGHT = np.ones((3, 3), bool)


def topology(mask):
    """Objects, and holes: parts of the background less the one around it all."""
    padded = np.pad(mask, 1)
    return ndimage.label(padded)[1], ndimage.label(~padded, EIGHT)[1] - 1


def cells():
    """Four cells with borders of 2 pixels between them."""
    mask = np.ones((22, 22), bool)
    mask[10:12] = mask[:, 10:12] = False
    return mask


def counts(warping):
    return {k: v for k, v in vars(warping).items() if k != "error" and v}


def test_simple_points_are_those_that_change_no_topology():
    ring = np.array([y * 5 + x for y, x in RING])
    for pattern in range(256):
        image = np.zeros((5, 5), np.uint8)
        for bit, (y, x) in enumerate(RING):
            image[2 + y, 2 + x] = pattern >> bit & 1
        without, with_it = image.copy(), image.copy()
        with_it[2, 2] = 1
        # In a neighbourhood that joins nothing outside of it, all is decided inside.
        inner = [a[1:4, 1:4] > 0 for a in (without, with_it)]
        same = topology(inner[0]) == topology(inner[1])
        joined = parts_that_touch(inner[0])
        assert (_sides(image.reshape(-1), 12, ring) == 1) == (same and joined == (1, 1))


def parts_that_touch(mask):
    """Objects that touch the middle by a side, and parts of the background that touch it."""
    objects, _ = ndimage.label(mask)
    sides = {int(objects[p]) for p in ((0, 1), (1, 0), (1, 2), (2, 1))} - {0}
    around = ~mask
    around[1, 1] = False
    parts, count = ndimage.label(around, EIGHT)
    del parts
    return len(sides), count


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("step", [-2, -1, 1, 2])
def test_a_border_that_lies_elsewhere_costs_nothing(axis, step):
    truth = cells()
    moved = np.ones_like(truth)
    moved[10 + step * (axis == 0) : 12 + step * (axis == 0)] = False
    moved[:, 10 + step * (axis == 1) : 12 + step * (axis == 1)] = False
    assert warp(moved, truth) == Warping(0.0, 0, 0, 0, 0, 0, 0)
    assert warp(truth, moved).error == 0.0


@pytest.mark.parametrize("width", [1, 4, 6])
def test_a_border_of_another_width_costs_nothing(width):
    thick = np.ones((22, 22), bool)
    thick[11 - width // 2 : 11 - width // 2 + width] = False
    thick[:, 11 - width // 2 : 11 - width // 2 + width] = False
    assert warp(thick, cells()).error == 0.0


def test_one_merge():
    joined = cells()
    joined[4:6, 10:12] = True
    found = warp(joined, cells())
    assert counts(found) == {"mergers": 1}
    assert 0 < found.error * joined.size <= 4


def test_one_split():
    divided = cells()
    divided[4, :10] = False
    found = warp(divided, cells())
    assert counts(found) == {"splits": 1}
    assert found.error * divided.size == 1


def test_one_hole_and_one_hole_gone():
    pierced = cells()
    pierced[3:5, 3:5] = False
    assert counts(warp(pierced, cells())) == {"hole_additions": 1}
    assert counts(warp(cells(), pierced)) == {"hole_deletions": 1}
    assert warp(pierced, cells()).error * pierced.size == 4


def test_one_object_and_one_object_gone():
    truth = np.zeros((20, 20), bool)
    truth[2:6, 2:6] = True
    more = truth.copy()
    more[10:14, 10:15] = True
    assert counts(warp(more, truth)) == {"object_additions": 1}
    assert counts(warp(truth, more)) == {"object_deletions": 1}


def test_a_second_bridge_between_two_cells_is_a_hole():
    joined = cells()
    joined[2:4, 10:12] = joined[6:8, 10:12] = True
    assert counts(warp(joined, cells())) == {"mergers": 1, "hole_additions": 1}


def test_a_hole_that_opens_to_the_outside_is_gone():
    ring = np.zeros((12, 12), bool)
    ring[2:10, 2:10] = True
    ring[4:8, 4:8] = False
    opened = ring.copy()
    opened[5:7, 8:10] = False
    assert counts(warp(opened, ring)) == {"hole_deletions": 1}
    assert counts(warp(ring, opened)) == {"hole_additions": 1}


@given(SEEDS, st.sampled_from([0.3, 0.5, 0.7]), st.sampled_from([0.05, 0.3]))
@settings(max_examples=120, deadline=None)
def test_the_counts_lead_from_one_topology_to_the_other(seed, share, noise):
    generator = np.random.default_rng(seed)
    truth = generator.random((14, 17)) < share
    prediction = truth ^ (generator.random(truth.shape) < noise)
    found = warp(prediction, truth)
    (objects, holes), (wanted, wanted_holes) = topology(truth), topology(prediction)
    changed = found.splits + found.object_additions - found.mergers - found.object_deletions
    assert objects + changed == wanted
    assert holes + found.hole_additions - found.hole_deletions == wanted_holes
    assert (found.error == 0) == (not counts(found))
    assert found.error <= (prediction != truth).mean()


def warp_slowly(prediction, truth):
    """Any simple point of those that differ, until there is none, by labels of the whole."""
    warped, goal = np.pad(truth, 1), np.pad(prediction, 1)
    changed = True
    while changed:
        changed = False
        for place in zip(*np.nonzero(warped != goal), strict=True):
            y, x = place
            around = warped[y - 1 : y + 2, x - 1 : x + 2].copy()
            around[1, 1] = False
            if parts_that_touch(around) == (1, 1):
                warped[place] = goal[place]
                changed = True
    return (warped != goal).mean() * goal.size / prediction.size


def test_the_error_is_that_of_the_slow_way():
    """The order of flipping differs, so here and there a pixel does."""
    generator = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(generator.random((40, 50)), 2)
    truth = smooth > np.median(smooth)
    shifted = np.roll(smooth, 1, 0) + generator.normal(0, 0.02, smooth.shape)
    prediction = shifted > np.median(shifted)
    fast, slow = warp(prediction, truth).error, warp_slowly(prediction, truth)
    assert 0 < fast == pytest.approx(slow, rel=0.1)


def test_pixels_that_may_not_move_count():
    truth, moved = cells(), np.roll(cells(), 1, axis=0)
    assert warp(moved, truth, movable_YX=np.zeros_like(truth)).error == (moved != truth).mean()
    near = np.zeros_like(truth)
    near[:, :5] = True
    assert 0 < warp(moved, truth, movable_YX=near).error < (moved != truth).mean()


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_what_is_predicted_at_ignored_pixels_differs_nowhere(seed):
    generator = np.random.default_rng(seed)
    truth, prediction = generator.random((2, 9, 10)) < 0.6
    valid = generator.random((9, 10)) < 0.7
    found = warp(prediction, truth, valid_YX=valid)
    assert found == warp(prediction, np.where(valid, truth, ~truth), valid_YX=valid)
    assert warp(truth, truth, valid_YX=valid).error == 0.0
    nowhere = np.zeros_like(valid)
    assert warp(prediction, truth, valid_YX=nowhere).error == 0.0


def test_the_threshold_is_the_best_and_that_nearest_to_half():
    probability = np.where(cells(), 0.9, 0.55)
    found, threshold = warping_error(probability, cells())
    assert (found.error, threshold) == (0.0, 0.6)
    assert warping_error(probability, cells(), [0.5])[0].mergers > 0
    assert warping_error(np.where(cells(), 0.9, 0.1), cells())[1] == 0.5


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (0, 4)])
def test_images_of_any_extents(shape):
    mask = np.ones(shape, bool)
    assert warp(mask, mask).error == 0.0
    empty = np.zeros(shape, bool)
    assert counts(warp(mask, empty)) == ({"object_additions": 1} if mask.size else {})


def test_what_cannot_be_scored_is_refused():
    truth = cells()
    with pytest.raises(InputError, match="plane by plane"):
        warp(truth[None], truth[None])
    with pytest.raises(InputError, match="one shape"):
        warp(truth, truth[1:])
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        warping_error(truth * 255.0, truth)
    with pytest.raises(InputError, match="at least one threshold"):
        warping_error(truth * 1.0, truth, [])


def test_a_border_that_lies_beside_where_it_was_is_a_split_and_a_merger():
    """No chain of simple points leads from one to the other; Jain's measure is of small shifts."""
    apart = np.ones((22, 22), bool)
    apart[5:7] = False
    truth = np.ones((22, 22), bool)
    truth[12:14] = False
    assert counts(warp(apart, truth)) == {"mergers": 1, "splits": 1}


def test_places_of_mergers_and_splits_are_where_they_are():
    truth, prediction = cells(), cells()
    prediction[4, 10:12] = True  # joins the upper cells
    prediction[15, 12:] = False  # divides the lower right one
    mergers, splits = warping_places(prediction, truth)
    assert mergers.shape == splits.shape == truth.shape
    (merger,) = np.argwhere(mergers)
    assert merger[0] == 4
    assert merger[1] in (10, 11)
    split = np.argwhere(splits)
    assert set(split[:, 0]) == {15}
    assert len(split) >= 1
    found = warp(prediction, truth)
    assert (found.mergers, found.splits) == (1, 1)
    assert not any(places.any() for places in warping_places(truth, truth))


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_there_is_a_place_for_every_kind_of_mistake_and_none_without(seed):
    generator = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(generator.normal(size=(14, 15)), 1.5) > 0
    prediction = ndimage.gaussian_filter(generator.normal(size=(14, 15)), 1.5) > 0
    valid = generator.random(truth.shape) < 0.8
    found = warp(prediction, truth, valid)
    mergers, splits = warping_places(prediction, truth, valid)
    assert mergers.any() == (found.mergers > 0)
    assert splits.any() == (found.splits > 0)
    assert not (mergers | splits)[~valid].any()


def test_a_map_is_warped_at_each_threshold():
    probability = np.where(cells(), 0.8, 0.2)
    probability[4, 10:12] = 0.5
    assert [each.mergers for each in warps(probability, cells(), [0.4, 0.6])] == [1, 0]
    assert warping_error(probability, cells(), [0.4, 0.6])[1] == 0.6
