"""Shared pixels are counted as by hand, whatever the ids, the blocks, and the way of counting."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import contingency_table

from septum.errors import InputError
from septum.evaluation import contingency as counting
from septum.evaluation.contingency import contingency, join
from septum.images.blocks import blocks

SEEDS = st.integers(0, 10_000)
SHAPES = st.sampled_from([(6, 9), (4, 5, 6), (40,)])


def random_labels(seed, shape, ids=5):
    """Two label images with runs, as images have them."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, ids, (2, *shape))
    return np.maximum(images, np.roll(images, 1, axis=-1))


def as_dict(table):
    entries = zip(table.truth.tolist(), table.segment.tolist(), strict=True)
    return dict(zip(entries, table.count.tolist(), strict=True))


def by_hand(segmentation, truth):
    return Counter(zip(truth.ravel().tolist(), segmentation.ravel().tolist(), strict=True))


@pytest.mark.parametrize("dense", [0, 1 << 22])
@given(seed=SEEDS, shape=SHAPES, ids=st.sampled_from([2, 5, 3000]))
@settings(max_examples=30, deadline=None)
def test_the_entries_are_those_of_counting_and_of_scikit_image(dense, seed, shape, ids):
    segmentation, truth = random_labels(seed, shape, ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "DENSE", dense)
        table = contingency(segmentation, truth)
    assert as_dict(table) == by_hand(segmentation, truth)
    order = list(zip(table.truth.tolist(), table.segment.tolist(), strict=True))
    assert order == sorted(order)
    theirs = contingency_table(truth, segmentation, ignore_labels=[0]).toarray()
    ours = np.zeros_like(theirs)
    foreground = table.foreground()
    ours[foreground.truth, foreground.segment] = foreground.count
    np.testing.assert_array_equal(ours, theirs)


@given(SEEDS, SHAPES)
@settings(max_examples=20, deadline=None)
def test_ids_may_be_as_large_as_they_like(seed, shape):
    segmentation, truth = random_labels(seed, shape)
    ids, true_ids = np.array([0, 40_000_000_000, 7, 3, 12]), np.array([0, 5, 2**40, 1, 900])
    expected = {
        (int(true_ids[t]), int(ids[s])): n for (t, s), n in by_hand(segmentation, truth).items()
    }
    assert as_dict(contingency(ids[segmentation], true_ids[truth])) == expected
    as_uint = ids[segmentation].astype(np.uint64)
    assert as_dict(contingency(as_uint, true_ids[truth])) == expected


def test_more_pairs_than_the_first_table_holds(monkeypatch):
    monkeypatch.setattr(counting, "DENSE", 0)
    segmentation = np.arange(100_000).reshape(100, 1000)
    table = contingency(segmentation, np.ones((100, 1000), int))
    assert sorted(table.segment) == list(range(100_000))
    assert set(table.count) == {1}


@given(SEEDS, st.tuples(st.integers(1, 9), st.integers(1, 12)))
@settings(max_examples=30, deadline=None)
def test_block_by_block_it_is_that_of_the_whole(seed, block):
    segmentation, truth = random_labels(seed, (8, 11), 30)
    whole = contingency(segmentation, truth)
    boxes = blocks(truth.shape, block)
    by_block = join([contingency(segmentation[box], truth[box]) for box in boxes])
    assert as_dict(by_block) == as_dict(whole)
    np.testing.assert_array_equal(by_block.count, whole.count)


def test_areas_and_overlaps_by_hand():
    truth = np.array([[0, 7, 7, 7], [0, 9, 9, 0]])
    segmentation = np.array([[3, 3, 3, 0], [5, 0, 0, 0]])
    table = contingency(segmentation, truth)
    assert [a.tolist() for a in table.truth_areas()] == [[7, 9], [3, 2]]
    assert [a.tolist() for a in table.segment_areas()] == [[3, 5], [3, 1]]
    overlaps = table.overlaps()
    assert overlaps.truth_P.tolist() == [0]
    assert overlaps.segment_P.tolist() == [0]
    assert overlaps.iou.tolist() == [2 / (3 + 3 - 2)]


def test_pixels_that_are_not_valid_are_not_counted():
    segmentation, truth = random_labels(3, (9, 10))
    valid = np.random.default_rng(0).random((9, 10)) < 0.7
    table = contingency(segmentation, truth, valid)
    assert as_dict(table) == by_hand(segmentation[valid], truth[valid])


def test_nothing_is_counted_of_nothing():
    empty = np.zeros((0, 5), int)
    assert as_dict(contingency(empty, empty)) == {}
    assert as_dict(join([])) == {}


@pytest.mark.parametrize("bad", [np.full((2, 3), -1), np.ones((2, 3))])
def test_what_are_no_ids_is_refused(bad):
    good = np.ones((2, 3), int)
    for arguments in ((bad, good), (good, bad)):
        with pytest.raises(InputError, match=r"integer object ids|must not be negative"):
            contingency(*arguments)
    with pytest.raises(InputError, match="one shape"):
        contingency(good, good.T)
