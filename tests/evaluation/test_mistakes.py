"""Each object is judged as a person would."""

from __future__ import annotations

import numpy as np
import pytest

import drawn
from septum.evaluation.contingency import contingency
from septum.evaluation.mistakes import find_mistakes

EMPTY = np.zeros((12, 16), np.uint32)


def judged(segmentation, truth, partial=False):
    found = find_mistakes(contingency(segmentation, truth), partial)
    groups = {name: ids for name, ids in vars(found).items() if name != "partial"}
    return {name: ids.tolist() for name, ids in groups.items() if len(ids)}


def test_merged_split_missed_invented():
    assert judged(drawn.segments(), drawn.truth()) == {
        "missed": [drawn.D],
        "joined": sorted([drawn.A, drawn.B]),
        "divided": [drawn.C],
        "merging": [drawn.MERGING],
        "parts": [drawn.LEFT, drawn.RIGHT],
        "invented": [drawn.INVENTED],
    }


def test_what_is_right_is_found_whatever_its_id():
    truth = drawn.truth()
    ids = sorted([drawn.A, drawn.B, drawn.C, drawn.D])
    other = np.where(truth, truth + 3, 0)
    assert judged(other, truth) == {"found": ids, "right": [i + 3 for i in ids]}


def test_half_of_an_object_is_not_enough_and_a_pixel_more_is():
    truth = drawn.truth()
    half = np.where(truth == drawn.D, 1, 0)
    half[:, 13:] = 0
    assert judged(half, truth)["missed"] == sorted([drawn.A, drawn.B, drawn.C, drawn.D])
    assert judged(half, truth)["invented"] == [1]
    half[1, 13] = 1
    assert judged(half, truth)["found"] == [drawn.D]
    assert judged(half, truth)["right"] == [1]


def test_a_segment_that_reaches_a_little_over_into_a_neighbour_splits_nothing():
    segmentation = drawn.truth()
    segmentation[1:5, 5] = drawn.A  # a quarter of B
    found = judged(segmentation, drawn.truth())
    assert found["found"] == sorted([drawn.A, drawn.B, drawn.C, drawn.D])
    assert found.keys() == {"found", "right"}


def test_an_object_in_three_parts_is_split_not_missed():
    segmentation = EMPTY.copy()
    segmentation[7:11, 1:4], segmentation[7:11, 4:6], segmentation[7:11, 6:9] = 4, 5, 6
    found = judged(segmentation, drawn.truth())
    assert found["divided"] == [drawn.C]
    assert found["parts"] == [4, 5, 6]
    assert drawn.C not in found["missed"]


def test_an_object_can_be_merged_and_split():
    truth, segmentation = EMPTY.copy(), EMPTY.copy()
    truth[:, :10], truth[:, 10:12] = 1, 2
    segmentation[:, :12], segmentation[:3, :10] = 7, 8  # 7 is mostly in 1, and covers 2
    assert judged(segmentation, truth) == {
        "joined": [1, 2],
        "divided": [1],
        "merging": [7],
        "parts": [7, 8],
    }


def test_in_partial_truth_nothing_is_invented():
    found = judged(drawn.segments(), drawn.truth(), partial=True)
    assert found["unjudged"] == [drawn.INVENTED]
    assert "invented" not in found


@pytest.mark.parametrize("partial", [False, True])
def test_nothing_on_either_side(partial):
    assert judged(EMPTY, EMPTY, partial) == {}
    assert judged(EMPTY, drawn.truth(), partial).keys() == {"missed"}
    lone = judged(drawn.segments(), EMPTY, partial)
    assert lone.keys() == {"unjudged" if partial else "invented"}


def test_in_words():
    found = find_mistakes(contingency(drawn.segments(), drawn.truth()))
    assert found.in_words() == "0 found, 1 missed, 1 invented, 2 merged, 1 split"
    found = find_mistakes(contingency(drawn.segments(), drawn.truth()), partial=True)
    assert "1 not judged" in found.in_words()
    assert "invented" not in found.in_words()
