"""Which measures fit, why, and their values."""

from __future__ import annotations

import numpy as np
import pytest

import drawn
from septum.annotation.labels import LabelMeaning
from septum.errors import InputError
from septum.evaluation.choices import score_plane
from septum.evaluation.measures import measure
from septum.evaluation.planes import Plane
from septum.evaluation.truth import make_truth

BINARY = LabelMeaning("binary", (0, 1))
NUMBERED = LabelMeaning("instances", (0, 1))
PARTIAL = LabelMeaning("instances", (0, 1), unlabelled_ignored=True)
CLASSES = LabelMeaning("classes", (0, 1, 2))

PIXELS = [
    *("pixel_error", "dice", "iou", "precision", "recall", "boundary_f1"),
    *("rand_error", "v_rand", "v_info", "warping_error", "warping_mergers", "warping_splits"),
    *("warping_hole_additions", "warping_hole_deletions"),
    *("warping_object_additions", "warping_object_deletions"),
]
OF_MAPS = [
    *("pixel_f_error", "map_average_precision"),
    *("rand_threshold", "v_rand_threshold", "v_info_threshold", "warping_threshold"),
]


def two_cells():
    """Binary, with a border of two pixels between them."""
    labels = np.ones((10, 20), np.uint8)
    labels[:, 9:11] = 0
    return labels


def score(plane, labels, meaning):
    scores, chosen, segments = score_plane(plane, make_truth(labels, meaning))
    for name in scores.values:
        assert measure(name).definition
    return scores.values, " | ".join(chosen), segments


def test_a_mask_of_binary_truth_by_hand():
    labels = two_cells()
    mask = labels.copy()
    mask[4, 9:11] = 1  # a bridge of two pixels
    mask[0, :6] = 0  # of the left cell, whose topology stays
    values, why, segments = score(Plane("", mask), labels, BINARY)
    assert list(values) == PIXELS
    assert why.startswith("mask, two classes: pixel measures")
    assert segments is None
    common, area, true = 180 - 6, 180 - 6 + 2, 180
    assert values["pixel_error"] == pytest.approx(8 / 200)
    assert values["dice"] == pytest.approx(2 * common / (area + true))
    assert values["iou"] == pytest.approx(common / (area + true - common))
    assert values["precision"] == pytest.approx(common / area)
    assert values["recall"] == pytest.approx(common / true)
    # Both cells are one: pairs of the 174 pixels, of which those within a cell are right.
    one, other = 84, 90
    pairs = 2 * 90 * 89
    both = one * (one - 1) + other * (other - 1)
    merged = (one + other) * (one + other - 1)
    assert values["rand_error"] == pytest.approx(1 - 2 * both / (pairs + merged))
    # The border may be warped to a width of one pixel: the other joins the cells.
    assert values["warping_error"] == pytest.approx(1 / 200)
    assert values["warping_mergers"] == 1
    assert all(values[name] == 0 for name in PIXELS if name.startswith("warping_hole"))


def test_a_map_is_scored_at_its_best_threshold():
    labels = two_cells()
    probability = np.where(labels, 0.9, 0.1).astype(np.float32)
    probability[4, 9:11] = 0.72  # a bridge, up to this threshold
    values, why, segments = score(Plane("", probability=probability[None]), labels, BINARY)
    assert sorted(values) == sorted(PIXELS + OF_MAPS)
    assert "at the best threshold of each image" in why
    assert segments is None
    assert values["pixel_error"] == pytest.approx(2 / 200)
    assert (values["rand_error"], values["rand_threshold"]) == (0.0, 0.75)
    assert (values["v_rand"], values["v_rand_threshold"]) == (1.0, 0.8)
    assert (values["warping_error"], values["warping_threshold"]) == (0.0, 0.8)
    assert values["warping_mergers"] == 0
    assert values["map_average_precision"] == 1.0


def test_with_map_and_mask_the_masks_measures_have_a_name_of_their_own():
    labels = two_cells()
    mask = labels.copy()
    mask[4, 9:11] = 1
    probability = np.stack([1 - labels, labels]).astype(np.float32)
    values, why, _ = score(Plane("", mask, probability), labels, BINARY)
    alone, _, _ = score(Plane("", mask), labels, BINARY)
    assert {k: v for k, v in values.items() if k.startswith("mask_")} == {
        f"mask_{name}": value for name, value in alone.items()
    }
    assert values["pixel_error"] == 0 < values["mask_pixel_error"]
    assert "as mask_…" in why


def test_numbered_objects_against_numbered_truth_by_hand():
    plane = Plane("", instances=drawn.segments())
    values, why, segments = score(plane, drawn.truth(), NUMBERED)
    assert values == pytest.approx(drawn.BY_HAND)
    assert why.startswith("objects, as the truth numbers them: ")
    assert "of the numbered objects" in why
    np.testing.assert_array_equal(segments, drawn.segments())


def test_with_both_both_are_scored():
    plane = Plane("", (drawn.segments() > 0).astype(np.uint8), instances=drawn.segments())
    values, why, _ = score(plane, drawn.truth(), NUMBERED)
    assert values.keys() == {*PIXELS, *drawn.BY_HAND}
    assert {k: values[k] for k in drawn.BY_HAND} == pytest.approx(drawn.BY_HAND)
    assert "mask, two classes" in why
    assert "numbered objects" in why


@pytest.mark.parametrize("kind", ["mask", "probability"])
def test_the_components_of_a_mask_stand_in_for_numbered_objects(kind):
    mask = drawn.segments() > 0
    if kind == "mask":
        plane = Plane("", mask.astype(np.uint8) * np.uint8(255))
    else:
        plane = Plane("", probability=mask[None].astype(np.float32) * np.float32(0.6))
    values, why, segments = score(plane, drawn.truth(), NUMBERED)
    assert "connected components" in why
    # A and B are one, C is whole now, one is invented.
    assert segments.max() == 3
    assert values["seg"] == pytest.approx((0.5 + 0.5 + 1 + 0) / 4)
    assert values["ap_50"] == pytest.approx(2 / (2 + 1 + 2))


def test_touching_objects_kept_apart_by_a_seam_have_no_warping_error():
    labels = np.zeros((10, 14), np.uint16)
    labels[1:9, 1:7], labels[1:9, 7:13] = 3, 8
    seam = (labels > 0).astype(np.uint8)
    seam[:, 7] = 0
    values, _, _ = score(Plane("", seam), labels, NUMBERED)
    assert values["warping_error"] == 0
    assert values["warping_mergers"] == 0
    values, _, _ = score(Plane("", (labels > 0).astype(np.uint8)), labels, NUMBERED)
    assert values["pixel_error"] == 0
    assert values["warping_mergers"] == 1
    assert values["seg"] == 0.5


def test_numbered_objects_against_the_components_of_a_binary_truth():
    labels = two_cells()
    numbered = np.where(labels, 1 + (np.arange(20) > 9)[None], 0).astype(np.uint16)
    values, why, _ = score(Plane("", instances=numbered), labels, BINARY)
    assert (values["seg"], values["det"], values["panoptic_quality"]) == (1, 1, 1)
    assert "as the prediction numbers them" in why
    assert "against the connected components of the truth" in why
    assert "pixel_error" not in values


def test_partly_drawn_truth_is_scored_by_seg_alone():
    labels = np.where(drawn.truth() == drawn.D, 0, drawn.truth())  # and D was not drawn
    segments = np.where(drawn.truth() == drawn.D, 77, drawn.segments())
    mask = (segments > 0).astype(np.uint8)
    probability = mask[None].astype(np.float32)
    values, why, _ = score(Plane("", mask, probability, segments), labels, PARTIAL)
    assert values == {"seg": pytest.approx(1 / 3), "true_objects": 3.0}
    assert "not every object was drawn" in why
    assert "det" in why
    # What lies beyond an object counts, though it was not drawn: so does the challenge.
    wide = segments.copy()
    wide[0:6, 0:9] = drawn.MERGING
    values, _, _ = score(Plane("", instances=wide), labels, PARTIAL)
    assert values["seg"] == pytest.approx(2 * 16 / 54 / 3)


def test_a_partly_drawn_image_without_objects_says_nothing():
    values, _, _ = score(Plane("", instances=drawn.segments()), drawn.truth() * 0, PARTIAL)
    assert values == {"true_objects": 0.0}


@pytest.mark.parametrize("found", [True, False])
def test_an_image_without_objects_among_others(found):
    segments = drawn.segments() * np.uint32(found)
    values, _, _ = score(Plane("", instances=segments), drawn.truth() * 0, NUMBERED)
    assert "seg" not in values
    assert values["ap_50"] == values["panoptic_quality"] == float(not found)
    assert values["objects"] == 4.0 * found


def test_pixels_of_the_ignored_value_count_for_no_measure():
    labels = drawn.truth().astype(np.int32)
    labels[6:, 10:] = 99  # where a segment was invented
    meaning = LabelMeaning("instances", (0, 1), ignore=(99,))
    plane = Plane("", (drawn.segments() > 0).astype(np.uint8), instances=drawn.segments())
    without = drawn.segments()
    without[6:, 10:] = 0
    other = Plane("", (without > 0).astype(np.uint8), instances=without)
    assert score(plane, labels, meaning)[0] == score(other, labels, meaning)[0]
    assert score(plane, labels, meaning)[0]["objects"] == 3


def test_several_classes_by_hand():
    labels = np.array([[0, 0, 1, 1, 2, 2]], np.uint8)
    mask = np.array([[0, 1, 1, 1, 2, 0]], np.uint8)
    values, why, _ = score(Plane("", mask), labels, CLASSES)
    assert values == pytest.approx(
        {"pixel_error": 2 / 6, "dice": (4 / 5 + 2 / 3) / 2, "iou": 7 / 12}
        | {"iou_1": 2 / 3, "iou_2": 1 / 2}
    )
    assert "3 classes" in why
    probability = np.eye(3, dtype=np.float32)[labels].transpose(2, 0, 1)
    values, _, _ = score(Plane("", mask, probability), labels, CLASSES)
    assert (values["iou"], values["mask_iou"]) == (1, pytest.approx(7 / 12))
    _, why, segments = score(Plane("", mask, instances=mask), labels, CLASSES)
    assert "numbered objects left out" in why
    assert "labels.kind=instances" in why
    assert segments is None


def test_volumes_have_no_warping_error_and_it_is_said():
    labels = np.repeat(two_cells()[None], 3, axis=0)
    values, why, _ = score(Plane("", labels), labels, BINARY)
    assert not [name for name in values if name.startswith("warping")]
    assert "no warping error" in why
    assert (values["v_rand"], values["rand_error"], values["boundary_f1"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("plane", "meaning", "message"),
    [
        (Plane("", np.full((12, 16), 7, np.uint8)), BINARY, "values 7 beside 0.*NAME.instances"),
        (Plane("", drawn.segments()), NUMBERED, "the truth has numbered objects.*NAME.instances"),
        (Plane("", probability=np.zeros((3, 12, 16), np.float32)), BINARY, "3 channels.*2 classes"),
        (Plane("", probability=np.zeros((2, 12, 16), np.float32)), CLASSES, "kind=instances"),
        (Plane("", np.full((12, 16), 7, np.uint8)), CLASSES, "class ids 7 … 7, expected 0 … 2;"),
        (Plane("", instances=drawn.segments()), CLASSES, "3 classes; .*kind=instances"),
        (Plane("", instances=-drawn.segments().astype(int)), NUMBERED, "not be negative"),
    ],
)
def test_what_cannot_be_compared_says_what_mends_it(plane, meaning, message):
    truth = make_truth(drawn.truth() % 3 if meaning == CLASSES else drawn.truth(), meaning)
    with pytest.raises(InputError, match=message):
        score_plane(plane, truth)
