"""Numbered objects from files: septum's own, other programs', a challenge's frames and planes."""

from __future__ import annotations

import numpy as np
import pytest

import drawn
from predictions import write_zarr
from septum.errors import AnnotationError, InputError
from septum.evaluation.files import evaluate_files
from septum.images.files import Image, write_image
from septum.recipe import Labels

AUTO, NUMBERED = Labels(), Labels(kind="instances")


def write(path, array, axes="YX"):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Image(np.asarray(array), axes))
    return path


def scores(summary, image=0):
    return {k: v for k, v in summary["images"][image].items() if k in drawn.BY_HAND}


def test_what_predict_wrote_has_both_groups(tmp_path):
    write(tmp_path / "out/a.instances.tif", drawn.segments())
    write(tmp_path / "out/a.mask.tif", (drawn.segments() > 0).astype(np.uint8))
    truth = write(tmp_path / "a.tif", drawn.truth())
    summary = evaluate_files(tmp_path / "out", truth, NUMBERED)
    assert scores(summary) == pytest.approx(drawn.BY_HAND)
    wrong = (drawn.segments() > 0) != (drawn.truth() > 0)
    assert summary["mean"]["pixel_error"] == pytest.approx(wrong.mean())
    assert summary["overall"]["seg"] == pytest.approx(drawn.BY_HAND["seg"])
    said = " | ".join(summary["chosen"])
    assert said.startswith("labels: instances: 1 images, 4 objects")
    assert "mask, two classes" in said
    assert "of the numbered objects" in said


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64, np.int32, np.int64, np.float64])
def test_ids_above_16_bits_of_every_type(tmp_path, dtype):
    predicted = write(tmp_path / "out/a.tif", drawn.segments().astype(dtype))
    truth = write(tmp_path / "truth/a.tif", drawn.truth().astype(dtype))
    summary = evaluate_files(predicted, truth, NUMBERED)
    assert scores(summary) == pytest.approx(drawn.BY_HAND)
    assert ("float64" in " ".join(summary["chosen"])) == (dtype is np.float64)
    assert "pixel_error" not in summary["mean"]


def test_label_images_in_stores_on_both_sides(tmp_path):
    for name in ("a", "b"):
        write_zarr(tmp_path / f"out/{name}.zarr", Image(drawn.segments(), "YX"))
        write_zarr(tmp_path / f"truth/{name}.zarr", Image(drawn.truth(), "YX"))
    by_folder = evaluate_files(tmp_path / "out", tmp_path / "truth", NUMBERED)
    assert [row["name"] for row in by_folder["images"]] == ["a", "b"]
    assert scores(by_folder, 1) == pytest.approx(drawn.BY_HAND)
    one = evaluate_files(tmp_path / "out/a.zarr", tmp_path / "truth/b.zarr", NUMBERED)
    assert scores(one) == pytest.approx(drawn.BY_HAND)


def test_a_frame_with_one_object_is_not_taken_for_a_mask_among_others(tmp_path):
    one = np.zeros((12, 16), np.uint16)
    one[2:4, 2:4] = one[7:9, 7:9] = 1  # in two pieces
    for name, array in (("a", one), ("b", drawn.segments())):
        write(tmp_path / f"out/{name}.tif", array)
        write(tmp_path / f"truth/{name}.tif", array)
    summary = evaluate_files(tmp_path / "out", tmp_path / "truth", NUMBERED)
    assert [row["objects"] for row in summary["images"]] == [1, 4]


def few_objects(folder, channels=1):
    """Truth of three objects, which look like classes, and what a model predicted of it."""
    ids = np.zeros((12, 16), np.uint16)
    ids[1:4, 1:4], ids[1:4, 6:9], ids[6:9, 6:9] = 1, 2, 3
    probability = np.repeat((ids > 0).astype(np.float32)[None], channels, axis=0) / channels
    write(folder / "out/a.probability.tif", probability, "CYX")
    write(folder / "out/a.mask.tif", (ids > 0).astype(np.uint8))
    return write(folder / "truth/a.tif", ids), ids


@pytest.mark.parametrize("channels", [1, 2])
def test_few_objects_are_no_classes_where_objects_were_numbered(tmp_path, channels):
    truth, ids = few_objects(tmp_path, channels)
    write(tmp_path / "out/a.instances.tif", np.where(ids, 4 - ids, 0).astype(np.uint16))
    summary = evaluate_files(tmp_path / "out", truth, AUTO)
    assert summary["mean"]["ap_95"] == summary["mean"]["dice" if channels == 1 else "seg"] == 1
    assert "numbers of objects" in summary["chosen"][0]
    assert "--set labels.kind=classes" in summary["chosen"][0]
    assert summary["chosen"][1].startswith("labels: instances: 1 images, 3 objects")
    with pytest.raises(InputError, match="4 classes; if the labels are object ids"):
        evaluate_files(tmp_path / "out", truth, Labels(kind="classes"))


def test_a_guess_is_said_first_with_what_overrules_it(tmp_path):
    truth, ids = few_objects(tmp_path)
    plain = write(tmp_path / "plain/a.tif", ids)
    guessed = evaluate_files(plain, truth, AUTO)["chosen"][0]
    assert guessed.startswith("labels: classes: 0 → 0 ")
    assert guessed.endswith("if they are numbers of objects: --set labels.kind=instances)")
    set_by_hand = evaluate_files(plain, truth, NUMBERED)["chosen"][0]
    assert set_by_hand.startswith("labels: instances: ")
    assert "guess" not in set_by_hand


def test_objects_of_several_classes_are_no_reason_to_take_classes_for_objects(tmp_path):
    truth, ids = few_objects(tmp_path, channels=4)
    write(tmp_path / "out/a.instances.tif", ids)
    summary = evaluate_files(tmp_path / "out", truth, AUTO)
    assert summary["chosen"][0].startswith("labels: classes: ")
    assert "iou_3" in summary["mean"]


def challenge(folder, truth="02_GT", frames=(3, 7), images=True):
    """Frames 0 to 9 of which some are annotated; D is missing from the truth of all."""
    labels = np.where(drawn.truth() == drawn.D, 0, drawn.truth()).astype(np.uint16)
    for frame in frames:
        write(folder / f"{truth}/SEG/man_seg{frame:03d}.tif", labels)
    for frame in range(10) if images else ():
        write(folder / f"02/t{frame:03d}.tif", labels)
    return folder / truth


@pytest.mark.parametrize("name", ["t{:03d}", "mask{:03d}", "man_seg{:03d}", "t{:03d}.instances"])
@pytest.mark.parametrize("images", [True, False])
def test_a_challenges_gold_truth_names_its_frames_and_is_scored_by_seg(tmp_path, name, images):
    gold = challenge(tmp_path, images=images)
    for frame in range(10):
        array = drawn.segments() if frame == 7 else drawn.segments() * 0
        write(tmp_path / f"out/{name.format(frame)}.tif", array)
    summary = evaluate_files(tmp_path / "out", gold if images else gold / "SEG", AUTO)
    assert [row["name"][-3:] for row in summary["images"]] == ["003", "007"]
    assert [row["seg"] for row in summary["images"]] == [0, pytest.approx((0.5 + 0.5 + 0) / 3)]
    assert summary["overall"] == {"seg": pytest.approx(1 / 6), "true_objects": 6}
    assert summary["mean"].keys() == {"seg", "true_objects"}
    said = " | ".join(summary["chosen"])
    assert "8 predictions of frames without truth: not scored" in said
    assert "gold truth, in which not every object need be drawn" in said
    assert "det, ap_50 and what compares pixels would count" in said


def test_gold_truth_that_is_complete_is_scored_by_all(tmp_path):
    gold = challenge(tmp_path)
    for frame in (3, 7):
        write(tmp_path / f"out/t{frame:03d}.tif", drawn.segments())
    partial = evaluate_files(tmp_path / "out", gold, AUTO)
    whole = evaluate_files(tmp_path / "out", gold, AUTO, complete=True)
    assert "det" not in partial["mean"]
    assert whole["mean"]["seg"] == partial["mean"]["seg"]
    assert whole["mean"]["det"] == pytest.approx(1 - (10 * 1 + 3 + 5) / 30)


def test_silver_truth_is_complete(tmp_path):
    silver = challenge(tmp_path, "02_ST", range(10))
    for frame in range(10):
        write(tmp_path / f"out/t{frame:03d}.tif", drawn.segments())
    summary = evaluate_files(tmp_path / "out", silver, AUTO)
    assert summary["mean"]["det"] == pytest.approx(1 - (10 * 1 + 3 + 5) / 30)
    assert len(summary["images"]) == 10


def test_annotated_planes_of_volumes_are_found_by_frame_and_plane(tmp_path):
    volume = np.zeros((4, 12, 16), np.uint32)
    volume[2] = drawn.segments()
    for frame in (0, 1):
        write(tmp_path / f"out/t{frame:03d}.instances.tif", volume * np.uint32(frame), "ZYX")
    write(tmp_path / "02_GT/SEG/man_seg_000_1.tif", drawn.truth())
    write(tmp_path / "02_GT/SEG/man_seg_001_2.tif", drawn.truth())
    for place in ("02_GT", "02_GT/SEG"):
        summary = evaluate_files(tmp_path / "out", tmp_path / place, AUTO)
        assert summary["images"] == [
            {"name": "t000[01]", "seg": 0.0, "true_objects": 4.0},
            {"name": "t001[02]", "seg": pytest.approx(0.25), "true_objects": 4.0},
        ]
    write(tmp_path / "02_GT/SEG/man_seg_001_9.tif", drawn.truth())
    with pytest.raises(InputError, match=r"plane 9, counted from 0, but the prediction has 4"):
        evaluate_files(tmp_path / "out", tmp_path / "02_GT", AUTO)


def test_frames_without_prediction_and_two_sequences_are_refused(tmp_path):
    gold = challenge(tmp_path)
    write(tmp_path / "out/t003.tif", drawn.segments())
    with pytest.raises(InputError, match="1 in the truth without prediction: t007"):
        evaluate_files(tmp_path / "out", gold, AUTO)
    other = challenge(tmp_path / "more")
    for part in (other, tmp_path / "more/02"):
        part.rename(part.with_name(part.name.replace("02", "01")))
    challenge(tmp_path / "more")
    write(tmp_path / "out/t007.tif", drawn.segments())
    with pytest.raises(InputError, match="two sequences have frames of the same number"):
        evaluate_files(tmp_path / "out", tmp_path / "more", AUTO)


def test_partly_annotated_truth_is_asked_for_by_the_recipes_section(tmp_path):
    labels = np.where(drawn.truth() == drawn.D, 0, drawn.truth())
    truth = write(tmp_path / "a.tif", labels)
    predicted = write(tmp_path / "a.mask.tif", (drawn.segments() > 0).astype(np.uint8))
    section = Labels(kind="instances", unlabelled="ignore")
    summary = evaluate_files(predicted, truth, section)
    assert summary["mean"] == {"seg": pytest.approx((0.5 + 0.5 + 1) / 3), "true_objects": 3}
    assert "connected components (no NAME.instances given)" in summary["chosen"][-1]


def test_truth_that_is_complete_though_training_was_not_has_every_measure(tmp_path):
    truth = write(tmp_path / "a.tif", drawn.truth())
    predicted = write(tmp_path / "a.instances.tif", drawn.segments())
    section = Labels(kind="instances", unlabelled="ignore")
    partly = evaluate_files(predicted, truth, section)
    assert "if all were drawn: --complete" in partly["chosen"][-1]
    whole = evaluate_files(predicted, truth, section, complete=True)
    assert whole["mean"] == evaluate_files(predicted, truth, NUMBERED)["mean"]
    assert "ap_50" in whole["mean"]


def test_a_truth_without_any_object_is_refused(tmp_path):
    truth = write(tmp_path / "truth/a.tif", drawn.truth() * 0)
    predicted = write(tmp_path / "a.instances.tif", drawn.segments())
    with pytest.raises(AnnotationError, match=r"truth/a\.tif.*nothing is annotated"):
        evaluate_files(predicted, truth, AUTO)
    # Among others it is an image without objects.
    write(tmp_path / "truth/b.tif", drawn.truth())
    for name in "ab":
        write(tmp_path / f"out/{name}.instances.tif", drawn.segments())
    summary = evaluate_files(tmp_path / "out", tmp_path / "truth", NUMBERED)
    assert ["seg" in row for row in summary["images"]] == [False, True]
    assert summary["overall"]["det"] == pytest.approx(max(0, 1 - (10 * 2 + 3 + 4 + 5) / 40))


def test_a_map_where_labels_are_expected_and_the_reverse(tmp_path):
    chances = (drawn.truth() > 0) * np.float32(0.7)
    truth = write(tmp_path / "truth.tif", drawn.truth())
    with pytest.raises(InputError, match=r"a\.instances\.tif: labels are integer object ids"):
        evaluate_files(write(tmp_path / "a.instances.tif", chances), truth, NUMBERED)
    with pytest.raises(InputError, match=r"b\.probability\.tif: .*found uint32; name a mask"):
        evaluate_files(write(tmp_path / "b.probability.tif", drawn.truth()), truth, NUMBERED)
    with pytest.raises(AnnotationError, match=r"c\.tif: value 0\.7.*is this a probability map"):
        evaluate_files(truth, write(tmp_path / "c.tif", chances), NUMBERED)
