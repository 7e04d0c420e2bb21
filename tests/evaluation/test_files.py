from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from septum.annotation.labels import LabelMeaning
from septum.errors import InputError
from septum.evaluation.files import evaluate_files
from septum.evaluation.partitions import rand_error
from septum.evaluation.scores import score_image
from septum.images.files import Image, write_image
from septum.recipe import Labels

DATA = Path(os.environ.get("SEPTUM_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
BINARY = Labels(kind="binary")


def write(path, array, axes="YX"):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Image(np.asarray(array), axes))
    return path


def random_stack(count=3, seed=0):
    """Drawn labels of 0 and 255, the object's probability, and a mask at another threshold."""
    generator = np.random.default_rng(seed)
    truth = (generator.random((count, 18, 20)) < 0.7) * np.uint8(255)
    probability = np.clip(truth / 255 * 0.5 + generator.random(truth.shape) * 0.5, 0, 1)
    probability = probability.astype(np.float32)
    return truth, probability, (probability > 0.6).astype(np.uint8)


def two_channels(probability):
    return np.stack([1 - probability, probability])


def test_a_stack_is_scored_plane_by_plane(tmp_path):
    truth, probability, mask = random_stack()
    write(tmp_path / "out/train-volume.probability.tif", two_channels(probability), "CZYX")
    write(tmp_path / "out/train-volume.mask.tif", mask, "ZYX")
    file = write(tmp_path / "train-labels.tif", truth, "ZYX")
    summary = evaluate_files(tmp_path / "out", file, BINARY)
    assert [row["name"] for row in summary["images"]] == [f"train-volume[0{k}]" for k in range(3)]
    for k, row in enumerate(summary["images"]):
        target = (truth[k] > 0).astype(np.uint8)
        expected = score_image(probability[k], target)
        of_mask = score_image(mask[k], target)
        expected |= {f"mask_{name}": value for name, value in of_mask.items()}
        assert {name: row[name] for name in expected} == expected
    assert list(json.loads(json.dumps(summary))) == [
        *("images", "mean", "interval", "overall", "overall_interval", "measures", "chosen")
    ]


@pytest.mark.parametrize("wanted", ["train-volume[02]", "2"])
def test_only_the_images_asked_for_are_scored(tmp_path, wanted):
    truth, probability, _ = random_stack()
    write(tmp_path / "out/train-volume.probability.tif", two_channels(probability), "CZYX")
    file = write(tmp_path / "train-labels.tif", truth, "ZYX")
    all_rows = evaluate_files(tmp_path / "out", file, BINARY)["images"]
    assert evaluate_files(tmp_path / "out", file, BINARY, only=[wanted])["images"] == all_rows[2:]
    with pytest.raises(InputError, match=r"--only: no image 'train-volume\[9\]'"):
        evaluate_files(tmp_path / "out", file, BINARY, only=["train-volume[9]"])


def test_a_mask_alone_is_scored_and_a_stack_may_be_one_volume(tmp_path):
    truth, _, mask = random_stack()
    predicted = write(tmp_path / "p.mask.tif", mask, "ZYX")
    file = write(tmp_path / "t.tif", truth, "ZYX")
    (row,) = evaluate_files(predicted, file, BINARY, dimensions=3)["images"]
    expected = score_image(mask, (truth > 0).astype(np.uint8))
    assert {name: row[name] for name in expected} == expected
    assert row["name"] == "p"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("annotations.json", '{"images": [', "cut short"),
        ("annotations.json", '{"images": [{"file_name": "gone.tif"', "cut short"),
        ("c0.geojson", '{"type": "FeatureColl', "cut short"),
        ("c0.geojson", '{"type": "FeatureCollection", "features": []}', "c1"),
        ("c1.zip", "PK no archive", "cut short"),
    ],
)
def test_images_beside_drawings_are_no_truth(tmp_path, name, content, words):
    truth, _, mask = random_stack(2)
    for k in range(2):
        write(tmp_path / f"data/c{k}.tif", truth[k])
        write(tmp_path / f"out/c{k}.mask.tif", mask[k])
    evaluate_files(tmp_path / "out", tmp_path / "data", BINARY)  # label files alone are
    (tmp_path / "data" / name).write_text(content)
    with pytest.raises(InputError, match=words):
        evaluate_files(tmp_path / "out", tmp_path / "data", BINARY)


def test_a_json_file_of_another_kind_is_no_drawing(tmp_path):
    truth, _, mask = random_stack(1)
    write(tmp_path / "out/c0.mask.tif", mask[0])
    write(tmp_path / "data/c0.tif", truth[0])
    (tmp_path / "data/settings.json").write_text('{"exposure": 20}')
    (row,) = evaluate_files(tmp_path / "out", tmp_path / "data", BINARY)["images"]
    assert row["pixel_error"] == np.mean((truth[0] > 0) != (mask[0] > 0))


@pytest.mark.parametrize("ending", ["", "_labels", "-mask"])
def test_files_are_paired_by_name_with_or_without_an_ending(tmp_path, ending):
    truth, _, mask = random_stack(12)
    for k in range(12):
        write(tmp_path / f"out/c{k}.mask.tif", mask[k])
        write(tmp_path / f"truth/c{k}{ending}.png", truth[k])
    summary = evaluate_files(tmp_path / "out", tmp_path / "truth", BINARY)
    assert [row["name"] for row in summary["images"]] == [f"c{k}" for k in range(12)]
    for k, row in enumerate(summary["images"]):
        assert row["pixel_error"] == np.mean((truth[k] > 0) != (mask[k] > 0))


def test_the_truth_may_be_a_data_set(tmp_path):
    truth, _, mask = random_stack(2)
    for k in range(2):
        write(tmp_path / f"data/images/c{k}.tif", truth[k])
        write(tmp_path / f"data/labels/c{k}.tif", truth[k])
        write(tmp_path / f"out/c{k}.mask.tif", mask[k])
    by_set = evaluate_files(tmp_path / "out", tmp_path / "data", BINARY)
    assert by_set == evaluate_files(tmp_path / "out", tmp_path / "data/labels", BINARY)


def test_names_left_over_on_either_side_are_named(tmp_path):
    truth, _, mask = random_stack(2)
    for name in ("a", "b", "lonely"):
        write(tmp_path / f"out/{name}.mask.tif", mask[0])
    for name in ("a", "b", "forgotten", "lonely_too"):
        write(tmp_path / f"truth/{name}.tif", truth[0])
    with pytest.raises(
        InputError, match=r"without truth: lonely;.*prediction: forgotten, lonely_too"
    ):
        evaluate_files(tmp_path / "out", tmp_path / "truth", BINARY)


@pytest.mark.parametrize(
    ("cut", "message"),
    [((slice(2),), "number of planes: 2 and 3"), ((slice(None), slice(17)), "17 × 20 and 18 × 20")],
)
def test_what_does_not_fit_is_refused_naming_both_files(tmp_path, cut, message):
    truth, _, mask = random_stack()
    predicted = write(tmp_path / "p.mask.tif", mask[cut], "ZYX")
    file = write(tmp_path / "t.tif", truth, "ZYX")
    with pytest.raises(InputError, match=rf"p\.mask\.tif and .*t\.tif differ.*{message}"):
        evaluate_files(predicted, file, BINARY)


def classes_case():
    generator = np.random.default_rng(5)
    ids = generator.integers(0, 3, (12, 12))
    return ids, np.array([0, 128, 255], np.uint8)[ids]


def test_classes_are_compared_by_number_whatever_values_were_drawn(tmp_path):
    ids, drawn = classes_case()
    mask = ids.astype(np.uint8)
    mask[:6] = 1
    probability = np.eye(3, dtype=np.float32)[ids].transpose(2, 0, 1)
    write(tmp_path / "out/x.mask.tif", mask)
    write(tmp_path / "out/x.probability.tif", probability, "CYX")
    file = write(tmp_path / "x.png", drawn)
    (row,) = evaluate_files(tmp_path / "out", file, Labels(kind="classes"))["images"]
    assert (row["pixel_error"], row["iou"], row["iou_1"], row["iou_2"]) == (0, 1, 1, 1)
    assert row["mask_pixel_error"] == np.mean(mask != ids)
    assert "rand_error" not in row


def test_predictions_of_other_classes_are_refused(tmp_path):
    ids, drawn = classes_case()
    three = write(tmp_path / "three.mask.tif", ids.astype(np.uint8))
    maps = write(tmp_path / "maps.probability.tif", np.zeros((3, 12, 12), np.float32), "CYX")
    two_values = write(tmp_path / "two.png", drawn // 255)
    three_values = write(tmp_path / "values.png", drawn)
    with pytest.raises(InputError, match=r"three\.mask\.tif and .*two\.png.*values 1, 2"):
        evaluate_files(three, two_values, BINARY)
    with pytest.raises(InputError, match="3 channels of probabilities, but the truth has 2"):
        evaluate_files(maps, two_values, BINARY)
    other = write(tmp_path / "raw.tif", drawn // 2)  # neither label values nor class numbers
    with pytest.raises(InputError, match="class ids 0 … 127, expected 0 … 2"):
        evaluate_files(other, three_values, Labels(kind="classes"))


def test_a_mask_with_the_label_values_of_the_truth_is_one_of_these_classes(tmp_path):
    ids, drawn = classes_case()
    found = np.where(ids == 2, 1, ids)
    truth = write(tmp_path / "t.png", drawn)
    by_number = write(tmp_path / "n.png", found.astype(np.uint8))
    by_value = write(tmp_path / "v.png", np.array([0, 128, 255], np.uint8)[found])
    numbers, values = (
        evaluate_files(file, truth, Labels(kind="classes")) for file in (by_number, by_value)
    )
    assert values["mean"] == numbers["mean"]
    assert values["mean"]["iou_2"] == 0
    assert "label values, as the truth does: 0, 128, 255" in " ".join(values["chosen"])
    assert "label values" not in " ".join(numbers["chosen"])


def test_a_label_value_that_may_be_the_number_of_another_class_is_refused(tmp_path):
    ids, _ = classes_case()
    drawn = (2 * ids).astype(np.uint8)  # 2 is class 1, or is it class 2?
    truth, found = write(tmp_path / "t.png", drawn), write(tmp_path / "f.png", drawn)
    with pytest.raises(InputError, match="class ids 0 … 4, expected 0 … 2"):
        evaluate_files(found, truth, Labels(kind="classes"))


def test_a_known_meaning_is_not_guessed_anew(tmp_path):
    ids, drawn = classes_case()
    drawn[ids == 1] = 0  # this truth happens to have no cytoplasm
    predicted = write(tmp_path / "p.mask.tif", np.where(ids == 1, 0, ids).astype(np.uint8))
    file = write(tmp_path / "t.png", drawn)
    meaning = LabelMeaning("classes", (0, 128, 255))
    (row,) = evaluate_files(predicted, file, meaning)["images"]
    assert (row["pixel_error"], row["iou_2"]) == (0, 1)


def touching_cells():
    drawn = np.zeros((10, 12), np.uint16)
    drawn[1:9, 1:6], drawn[1:9, 6:11] = 7, 9
    return drawn


def test_touching_objects_are_scored_as_drawn(tmp_path):
    drawn = touching_cells()
    file = write(tmp_path / "t.tif", drawn)
    predicted = write(tmp_path / "p.mask.tif", (drawn > 0).astype(np.uint8))
    (row,) = evaluate_files(predicted, file, Labels(kind="instances"))["images"]
    assert (row["pixel_error"], row["dice"]) == (0.0, 1.0)
    assert row["rand_error"] == rand_error(drawn > 0, drawn, [0.5])[0] > 0.3


def test_ignored_pixels_change_nothing(tmp_path):
    drawn = touching_cells()
    drawn[:, 6] = 99
    section = Labels(kind="instances", ignore=99)
    file = write(tmp_path / "t.tif", drawn)
    rows = []
    for elsewhere in (0, 1):
        mask = np.where(drawn == 99, elsewhere, drawn == 7).astype(np.uint8)
        predicted = write(tmp_path / "p.mask.tif", mask)
        rows += evaluate_files(predicted, file, section)["images"]
    assert rows[0] == rows[1]
    assert rows[0]["pixel_error"] == pytest.approx(32 / 110)  # cell 9, less its ignored column


def test_a_drawn_stack_has_no_error_against_itself(tmp_path):
    file = DATA / "isbi2012-em" / "train-labels.tif"
    if not file.exists():
        pytest.skip(f"{file.name} is not under {DATA}; set SEPTUM_DATA to the folder of real data")
    summary = evaluate_files(file, file.parent, BINARY)
    assert len(summary["images"]) == 30
    for measure, best in {"pixel_error": 0, "rand_error": 0, "dice": 1, "iou": 1}.items():
        assert summary["mean"][measure] == best
        assert summary["interval"][measure] == [best, best]
