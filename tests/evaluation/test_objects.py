"""Objects found, missed, invented, merged and split: counted as the challenges count them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septum.errors import InputError
from septum.evaluation.contingency import contingency
from septum.evaluation.objects import (
    TAUS,
    Detection,
    Matching,
    ObjectCounts,
    add_counts,
    add_detections,
    average_precision,
    count_objects,
    detection,
    match_objects,
    object_scores,
    seg,
    seg_of_objects,
)

SEEDS = st.integers(0, 10_000)


def overlaps(segmentation, truth):
    return contingency(segmentation, truth).overlaps()


def random_labels(seed, ids=5, shape=(7, 9)):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, ids, shape)
    segmentation = np.where(generator.random(shape) < 0.7, truth, generator.integers(0, ids, shape))
    return segmentation, truth


def iou_by_hand(segmentation, truth):
    """IoU of each true object (row) with each segment, by their pixels as sets."""
    objects = [set(np.flatnonzero(truth == i).tolist()) for i in np.unique(truth) if i]
    segments = [
        set(np.flatnonzero(segmentation == i).tolist()) for i in np.unique(segmentation) if i
    ]
    table = np.array([[len(o & s) / len(o | s) for s in segments] for o in objects])
    return table.reshape(len(objects), len(segments)), objects, segments


def best_by_trying(iou, tau):
    """The most pairs, then the largest sum of IoU, over every way to pair rows and columns."""
    rows, columns = iou.shape
    if rows > columns:
        return best_by_trying(iou.T, tau)
    best = (0, 0.0)
    for chosen in itertools.permutations(range(columns), rows):
        good = [iou[r, c] for r, c in enumerate(chosen) if iou[r, c] >= tau]
        best = max(best, (len(good), sum(good)))
    return best


@given(SEEDS, st.sampled_from([0.1, 0.3, 0.5, 0.55, 0.75, 1.0]))
@settings(max_examples=100, deadline=None)
def test_objects_are_matched_as_by_trying_every_way(seed, tau):
    segmentation, truth = random_labels(seed)
    iou, objects, segments = iou_by_hand(segmentation, truth)
    found = match_objects(overlaps(segmentation, truth), tau)
    count, total = best_by_trying(iou, tau)
    assert found.true_positives == count
    assert found.iou_sum == pytest.approx(total, abs=1e-9)
    assert found.false_negatives == len(objects) - count
    assert found.false_positives == len(segments) - count


def two_squares():
    truth = np.zeros((10, 20), int)
    truth[1:9, 1:9] = 4
    truth[1:9, 11:19] = 90_000
    return truth


def test_a_perfect_segmentation_under_other_names_scores_1():
    truth = two_squares()
    scores = object_scores(contingency(truth * 3, truth))
    assert scores.pop("objects") == scores.pop("true_objects") == 2
    assert set(scores.values()) == {1.0}


def test_by_hand():
    truth = two_squares()
    found = np.zeros_like(truth)
    found[1:9, 1:7] = 1  # 48 of 64 pixels
    found[1:9, 12:20] = 2  # 56 in common, 8 beside
    found[9, 0] = 3
    matching = match_objects(overlaps(found, truth), 0.5)
    assert (matching.true_positives, matching.false_positives, matching.false_negatives) == (
        2,
        1,
        0,
    )
    assert matching.iou_sum == pytest.approx(0.75 + 56 / 72)
    assert matching.average_precision == pytest.approx(2 / 3)
    assert (matching.precision, matching.recall) == (pytest.approx(2 / 3), 1.0)
    assert matching.panoptic_quality == pytest.approx((0.75 + 56 / 72) / 2.5)
    assert matching.mean_matched_iou == pytest.approx((0.75 + 56 / 72) / 2)
    scores = object_scores(contingency(found, truth))
    assert scores["seg"] == pytest.approx((0.75 + 56 / 72) / 2)
    assert scores["det"] == pytest.approx(1 - 1 / 20)
    assert scores["ap_75"] == pytest.approx(2 / 3)
    assert scores["ap_80"] == 0.0
    assert scores["ap_mean"] == pytest.approx(np.mean([2 / 3] * 6 + [0.0] * 4))
    assert (scores["objects"], scores["true_objects"]) == (3, 2)
    assert average_precision(found, truth) == scores["ap_50"]


def test_a_merge_and_a_split():
    truth = two_squares()
    merged = (truth > 0).astype(int)
    assert seg(merged, truth) == pytest.approx(64 / 128)
    assert detection(overlaps(merged, truth)) == Detection(2, 0, 0, 1)
    assert detection(overlaps(merged, truth)).det == pytest.approx(1 - 5 / 20)
    split = truth.copy()
    split[5:, :10] *= 2  # its halves cover 32 of 64 each: not more than half
    assert seg(split, truth) == pytest.approx(0.5)
    assert detection(overlaps(split, truth)) == Detection(2, 1, 2, 0)
    assert detection(overlaps(split, truth)).det == pytest.approx(1 - 12 / 20)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_seg_and_det_are_what_going_through_all_objects_gives(seed):
    segmentation, truth = random_labels(seed)
    _, objects, segments = iou_by_hand(segmentation, truth)
    expected, covered = [], []
    for true in objects:
        cover = [s for s in segments if 2 * len(true & s) > len(true)]
        expected.append(len(true & cover[0]) / len(true | cover[0]) if cover else 0.0)
        covered += [segments.index(s) for s in cover]
    found = overlaps(segmentation, truth)
    np.testing.assert_allclose(seg_of_objects(found), expected, atol=1e-12)
    unused = len(segments) - len(set(covered))
    divisions = len(covered) - len(set(covered))
    cost = 10 * expected.count(0.0) + unused + 5 * divisions
    assert detection(found).det == pytest.approx(1 - min(cost / (10 * len(objects)), 1))


def test_segments_beside_a_truth_of_some_objects_cost_no_seg():
    truth = two_squares()
    some = np.where(truth == 4, 4, 0)
    assert seg(truth, some) == 1.0
    assert detection(overlaps(truth, some)).invented == 1


def test_edge_cases():
    truth, nothing = two_squares(), np.zeros((10, 20), int)
    assert np.isnan(seg(truth, nothing))
    assert seg(nothing, truth) == 0.0
    assert detection(overlaps(nothing, truth)).det == 0.0
    assert detection(overlaps(nothing, nothing)).det == 1.0
    assert detection(overlaps(truth, nothing)).det == 0.0
    empty = object_scores(contingency(nothing, nothing))
    assert empty["ap_50"] == empty["panoptic_quality"] == 1.0
    assert "seg" not in empty
    assert "det" not in empty
    assert "mean_matched_iou" not in empty
    assert average_precision(truth, nothing) == average_precision(nothing, truth) == 0.0
    none = match_objects(overlaps(nothing, nothing), 0.5)
    assert (none.precision, none.recall, none.mean_matched_iou) == (1.0, 1.0, 0.0)
    with pytest.raises(InputError, match=r"tau = 0 is not a share"):
        match_objects(overlaps(truth, truth), 0)


def test_of_several_images_all_objects_count_alike():
    truth = two_squares()
    one = np.where(truth == 4, 4, 0)
    counts = [count_objects(contingency(found, truth)) for found in (one, truth, one)]
    together = add_counts(counts)
    assert together.matchings.keys() == set(TAUS)
    assert set(together.matchings.values()) == {Matching(4, 0, 2, 4.0)}
    assert together.detection == Detection(6, 2, 0, 0)
    assert add_detections([count.detection for count in counts]) == together.detection
    assert add_detections([]).det == 1.0
    assert together.scores()["seg"] == 4 / 6
    assert not together.partial
    some = count_objects(contingency(truth, one), partial=True)
    assert add_counts([*counts, some]).partial


@given(seed=SEEDS)
def test_what_is_made_of_sums_is_what_they_were_taken_of(seed):
    counts = count_objects(contingency(*random_labels(seed)))
    again = ObjectCounts.from_sums(counts.to_sums())
    assert again.scores() == counts.scores()
    assert (again.detection, again.matchings) == (counts.detection, counts.matchings)
