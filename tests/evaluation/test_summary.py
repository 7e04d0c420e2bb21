from __future__ import annotations

import json

import numpy as np
import pytest

import drawn
from septum.annotation.labels import LabelMeaning
from septum.errors import InputError
from septum.evaluation.choices import Scored, score_plane
from septum.evaluation.planes import Plane
from septum.evaluation.summary import summarize, summarize_scored
from septum.evaluation.truth import make_truth

BINARY = LabelMeaning("binary", (0, 1))
NUMBERED = LabelMeaning("instances", (0, 1))


def scored(name, plane, labels, meaning):
    truth = make_truth(labels, meaning)
    scores, chosen, segments = score_plane(plane, truth)
    return Scored(name, scores, chosen, plane, truth, segments)


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
        *("images", "mean", "interval", "overall", "measures", "chosen")
    ]


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
