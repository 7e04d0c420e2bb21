from __future__ import annotations

import json

import numpy as np
import pytest

import drawn
from septum.annotation.labels import LabelMeaning
from septum.errors import InputError
from septum.evaluation.choices import Compared, Scored, score_plane
from septum.evaluation.planes import Plane
from septum.evaluation.summary import summarize, summarize_scored
from septum.evaluation.truth import make_truth

BINARY = LabelMeaning("binary", (0, 1))
NUMBERED = LabelMeaning("instances", (0, 1))


def scored(name, plane, labels, meaning):
    truth = make_truth(labels, meaning)
    scores, chosen, segments = score_plane(plane, truth)
    return Scored(name, scores, chosen, labels.size, Compared(plane, truth, segments))


def test_of_several_images_all_objects_count_alike():
    one = np.zeros((12, 16), np.uint16)
    one[2:6, 2:6] = 1
    summary = summarize_scored(
        [
            scored("many", Plane("", instances=drawn.segments()), drawn.truth(), NUMBERED),
            scored("one", Plane("", instances=one), one, NUMBERED),
        ]
    )
    assert summary["mean"]["seg"] == pytest.approx((0.25 + 1) / 2)
    overall = summary["overall"]
    assert overall["seg"] == pytest.approx((0.5 + 0.5 + 0 + 0 + 1) / 5)
    assert overall["det"] == pytest.approx(1 - (10 * 2 + 3 + 5) / 50)
    assert overall["ap_50"] == pytest.approx(3 / (3 + 2 + 2))
    assert overall["panoptic_quality"] == pytest.approx(2 / (3 + 1 + 1))
    assert (overall["objects"], overall["true_objects"]) == (5, 5)
    assert "vi_split" not in overall
    assert summary["measures"].keys() == summary["mean"].keys()
    assert list(json.loads(json.dumps(summary))) == [
        *("images", "mean", "interval", "overall", "overall_interval", "measures", "chosen")
    ]


def with_objects(name, right, wrong):
    """An image of so many objects that were found exactly, and so many that were missed."""
    truth = np.zeros((3, 3 * (right + wrong) + 1), np.uint16)
    for number in range(right + wrong):
        truth[1, 3 * number + 1] = number + 1
    found = np.where(truth <= right, truth, 0)
    return scored(name, Plane("", instances=found), truth, NUMBERED)


def test_the_interval_of_all_objects_is_that_of_pooled_sums_over_resampled_images():
    right, wrong = np.array([9, 1, 4, 0, 6]), np.array([0, 1, 8, 3, 2])
    items = [with_objects(f"{k}", *pair) for k, pair in enumerate(zip(right, wrong, strict=True))]
    summary = summarize_scored(items)
    assert summary["overall"]["ap_50"] == 20 / 34
    drawn_RN = np.random.default_rng(0).integers(5, size=(2000, 5))
    pooled_R = right[drawn_RN].sum(1) / (right + wrong)[drawn_RN].sum(1)
    expected = pytest.approx(np.percentile(pooled_R, [2.5, 97.5]).tolist())
    intervals = summary["overall_interval"]
    assert intervals["seg"] == intervals["ap_50"] == intervals["det"] == expected
    assert intervals["seg"] != pytest.approx(summary["interval"]["seg"])  # images weigh differently
    assert intervals["objects"] is intervals["true_objects"] is None
    assert intervals.keys() == summary["overall"].keys()
    assert summarize_scored(items) == summary


def test_the_interval_of_all_objects_holds_the_truth_as_often_as_it_says():
    """Objects of one image are alike: counted one by one they would promise too much."""
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(20):
        chances = generator.choice([0.3, 0.9], size=24)  # 0.6 of all objects on the long run
        found = generator.binomial(10, chances)
        items = [with_objects("x", count, 10 - count) for count in found]
        low, high = summarize_scored(items)["overall_interval"]["ap_50"]
        held += low <= 0.6 <= high
    assert 17 <= held <= 20


def test_one_image_has_no_interval_of_all_objects():
    one = summarize_scored([with_objects("a", 3, 1)])["overall_interval"]
    assert set(one.values()) == {None}
    labels, plane = bridged(0.2)
    mixed = [with_objects("a", 3, 1), scored("b", plane, labels, BINARY)]
    assert set(summarize_scored(mixed)["overall_interval"].values()) == {None}


def test_images_without_objects_are_resampled_too():
    nothing = with_objects("none", 0, 0)
    summary = summarize_scored([with_objects("a", 1, 1), nothing, nothing, nothing])
    assert summary["overall"]["seg"] == 0.5
    assert summary["overall_interval"]["seg"] == [0.5, 0.5]  # where there are objects at all
    assert summary["overall_interval"]["ap_50"] == [0.5, 1.0]  # of nothing it is 1


def bridged(at):
    """Two cells, the border between them open up to this threshold, and closed from 0.85 on."""
    labels = np.ones((10, 20), np.uint8)
    labels[:, 9:11] = 0
    probability = np.where(labels, 0.95, 0.05).astype(np.float32)
    probability[4, 9:11] = at
    return labels, Plane("", probability=probability[None])


def test_maps_have_one_threshold_for_all_images_together():
    labels, low = bridged(0.12)
    _, high = bridged(0.87)
    rows = [scored("a", low, labels, BINARY), scored("b", high, labels, BINARY)]
    own = [item.scores.values["rand_threshold"] for item in rows]
    assert own == [0.5, 0.9]
    overall = summarize_scored(rows)["overall"]
    assert (overall["rand_error"], overall["rand_threshold"]) == (0, 0.9)
    assert (overall["v_rand"], overall["v_rand_threshold"]) == (1, 0.9)
    # None is good for both: where the second is open, the first has no pixel any more.
    probability = low.probability.copy()
    probability[probability > 0.9] = 0.8
    rows[0] = scored("a", Plane("", probability=probability), labels, BINARY)
    summary = summarize_scored(rows)
    assert summary["mean"]["rand_error"] == 0
    assert summary["overall"]["rand_error"] > 0.1
    # Drawn alone, each image has its own best threshold.
    intervals = summary["overall_interval"]
    assert intervals["rand_error"] == [0, summary["overall"]["rand_error"]]
    assert intervals["v_rand"] == [summary["overall"]["v_rand"], 1]
    assert intervals["rand_threshold"] is None


def test_masks_are_not_put_together():
    labels, plane = bridged(0.2)
    mask = (plane.probability[0] > 0.5).astype(np.uint8)
    assert summarize_scored([scored("a", Plane("", mask), labels, BINARY)])["overall"] == {}


def test_reasons_are_given_once_with_the_number_of_images_that_they_hold_for():
    labels, plane = bridged(0.2)
    mask = Plane("", labels)
    chosen = summarize_scored(
        [scored(name, p, labels, BINARY) for name, p in (("a", plane), ("b", mask), ("c", mask))]
    )["chosen"]
    assert len(chosen) == 2
    assert chosen[0].endswith("(1 of 3 images)")
    assert chosen[1].endswith("(2 of 3 images)")
    again = summarize_scored([scored(name, mask, labels, BINARY) for name in "ab"])["chosen"]
    assert len(again) == 1
    assert "images)" not in again[0]


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
