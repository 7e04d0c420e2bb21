"""Annotation of every kind through the whole way, and real annotations in other forms."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import septum
from outlines import coco, feature, write_geojson, write_json
from septum.annotation.drawn_remarks import describe_drawn
from septum.annotation.labels import LabelMeaning, find_meaning
from septum.annotation.pairs import find_pairs, load_pairs
from septum.annotation.stored_pairs import open_pairs
from septum.annotation.targets import to_target
from septum.errors import AnnotationError
from septum.evaluation.files import evaluate_files
from septum.evaluation.truth import make_truth
from septum.images.files import Image, write_image
from septum.recipe import Labels, load_recipe
from septum.training.data import load_data

DATA = Path(os.environ.get("SEPTUM_DATA", Path(__file__).parents[3] / "shared/data")).resolve()
REAL = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA} (set SEPTUM_DATA)")
SHAPE = (64, 64)
TINY = ["network.width=2", "network.depth=1", "training.tile=32", "training.steps=2"]


def box(x: int, y: int, side: int) -> list[tuple[int, int]]:
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]


def write_pixels(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Image(pixels, "YX"))


def write_geojson_set(data: Path) -> None:
    for number, name in enumerate("abc"):
        pixels = np.random.default_rng(number).integers(0, 99, SHAPE).astype(np.uint8)
        write_pixels(data / f"{name}.png", pixels)
        drawn = [feature(box(4 + 9 * k, 6, 8)) for k in range(number + 1)]
        write_geojson(data / f"{name}.geojson", *drawn, feature(box(8, 8, 9)))


def test_outlines_are_trained_on_scored_and_reported(tmp_path: Path, capsys: Any) -> None:
    write_geojson_set(tmp_path / "data")
    recipe = load_recipe("quick", [*TINY, 'validation.names=["c"]'])
    run = septum.train(tmp_path / "data", tmp_path / "run", recipe)
    said = capsys.readouterr()
    text = said.out + said.err
    assert "labels: instances: 3 images, 9 objects" in text
    assert "labels: pixels of several objects, given to the smallest: " in text
    from septum.report.page import write_report

    assert write_report(run, tmp_path / "data").exists()
    meaning = septum.load_model(tmp_path / "run").meaning
    for part in load_pairs(find_pairs(tmp_path / "data", recipe.labels)):
        write_pixels(tmp_path / f"out/{part.name}.instances.png", part.labels_S.astype(np.uint8))
    for labels in (recipe.labels, meaning):
        summary = evaluate_files(tmp_path / "out", tmp_path / "data", labels)
        assert summary["mean"]["seg"] == 1
        assert summary["mean"]["objects"] == 3
        assert any("given to the smallest" in note for note in summary["chosen"])


def test_outlines_of_a_set_left_in_its_files_are_the_same(tmp_path: Path) -> None:
    write_geojson_set(tmp_path)
    recipe = load_recipe("quick", TINY)
    held, stored = load_data(tmp_path, recipe), load_data(tmp_path, recipe, memory=0)
    assert stored.stored
    assert stored.meaning == held.meaning
    assert stored.remarks == held.remarks != []
    for first, second in zip(held.training, stored.training, strict=True):
        np.testing.assert_array_equal(first.labels_S, second.labels_S)


def test_classes_keep_their_names_and_numbers_in_the_model(tmp_path: Path) -> None:
    for name in "ab":
        write_pixels(tmp_path / f"data/{name}.png", np.eye(64, dtype=np.uint8))
    drawn = [
        {"image_id": n, "category_id": k, "segmentation": [np.ravel(box(20 * k, 6, 9)).tolist()]}
        for n, k in ((1, 1), (1, 2), (2, 2))
    ]
    content = coco({"a.png": SHAPE, "b.png": SHAPE}, drawn, "wall", "cell")
    write_json(tmp_path / "data/all.json", content)
    recipe = load_recipe("quick", [*TINY, 'labels.classes=["wall", "cell"]'])
    septum.train(tmp_path / "data", tmp_path / "run", recipe)
    meaning = septum.load_model(tmp_path / "run").meaning
    assert meaning.class_names == ("background", "wall", "cell")
    # Truth in which one class is missing is numbered as the model is.
    del content["annotations"][0]
    write_json(tmp_path / "data/all.json", content)
    parts = load_pairs(find_pairs(tmp_path / "data", meaning))
    assert set(np.unique(parts[0].labels_S)) == {0, 2}


def test_scribbles_leave_what_is_not_drawn_out(tmp_path: Path) -> None:
    scribble = np.zeros(SHAPE, np.uint8)
    scribble[5, 5:50], scribble[30:33, 5:50], scribble[40, 9:60] = 1, 2, 2
    labels = [("a", scribble), ("b", scribble[::-1])]
    found = find_meaning(labels, Labels(unlabelled="ignore"))
    assert found.describe().endswith("; value 0 is ignored")
    assert (found.kind, found.class_values) == ("classes", (1, 2))
    classes, _ = to_target(scribble, found)
    np.testing.assert_array_equal(classes, np.array([255, 0, 1])[scribble])
    np.testing.assert_array_equal(make_truth(scribble, found).valid, scribble > 0)
    with pytest.raises(AnnotationError, match=r"leaves one class, value 1: .* draw some of it"):
        find_meaning([("a", scribble // 2)], Labels(unlabelled="ignore"))


def test_drawn_objects_of_which_some_are_missing(tmp_path: Path) -> None:
    write_geojson_set(tmp_path)
    data = load_data(tmp_path, load_recipe("quick", [*TINY, "labels.unlabelled=ignore"]))
    assert data.meaning.unlabelled_ignored
    classes, _ = to_target(data.training[0].labels_S, data.meaning)
    drawn = data.training[0].labels_S != 0
    assert not (classes[drawn] == 255).any()
    assert 0.1 < (classes[~drawn] == 255).mean() < 1  # but for what is beside an object


def test_several_values_are_ignored_in_training_and_in_scores() -> None:
    labels = np.array([[0, 0, 1, 1, 7, 9]], np.uint8)
    found = find_meaning([("a", labels)], Labels(ignore=(7, 9)))
    assert found.describe().endswith("; values 7, 9 are ignored")
    assert to_target(labels, found)[0].tolist() == [[0, 0, 1, 1, 255, 255]]
    truth = make_truth(labels, found)
    assert truth.known_S.tolist() == [[True] * 4 + [False] * 2]


def test_the_meaning_of_older_models_is_read() -> None:
    old: dict[str, Any] = {
        **{"kind": "classes", "class_values": [0, 3], "object": "nonzero", "object_values": []},
        **{"ignore": None, "unlabelled_ignored": False, "shares": [0.5, 0.5]},
        **{"images": 2, "objects": 0},
    }
    for ignore, known in ((None, ()), (7, (7,)), ([7, 9], (7, 9))):
        meaning = LabelMeaning.from_dict(json.loads(json.dumps(old | {"ignore": ignore})))
        assert meaning.ignore == known
        assert LabelMeaning.from_dict(json.loads(json.dumps(meaning.to_dict()))) == meaning


@REAL
def test_real_strays_are_ignored_with_one_option() -> None:
    labels = [(p.name, p.labels_S) for p in load_pairs(find_pairs(DATA / "white-blood-cells"))]
    with pytest.raises(AnnotationError) as caught:
        find_meaning(labels, Labels())
    message = str(caught.value)
    assert message.startswith("034: value 2 at 2 pixels is a stray, as has 4 other files (035, ")
    assert message.endswith("or ignore the 304 pixels of strays: --set labels.strays=ignore")
    found = find_meaning(labels, Labels(strays="ignore"))
    assert found.class_values == (0, 128, 255)
    assert found.describe().endswith("; strays (304 pixels of other values) are ignored")
    ignored = sum(int((to_target(array, found)[0] == 255).sum()) for _, array in labels)
    assert ignored == 304


@REAL
def test_real_nuclei_as_one_file_an_object_are_what_they_were(tmp_path: Path) -> None:
    """DSB 2018's original layout, made again of the instance labels; none of them overlap."""
    pairs = find_pairs(DATA / "dsb2018/fluorescence")[:3]
    loaded = load_pairs(pairs)
    for part in loaded:
        folder = tmp_path / part.name
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        (folder / "images" / part.image_path.name).symlink_to(part.image_path)
        for number in np.unique(part.labels_S[part.labels_S > 0]).tolist():
            mask = np.where(part.labels_S == number, 255, 0).astype(np.uint8)
            write_image(folder / f"masks/{number:05d}.png", Image(mask, "YX"))
    found = find_pairs(tmp_path)
    again = load_pairs(found)
    assert [part.name for part in again] == [part.name for part in loaded]
    for first, second in zip(loaded, again, strict=True):
        rank = np.unique(first.labels_S, return_inverse=True)[1].reshape(first.labels_S.shape)
        np.testing.assert_array_equal(second.labels_S, rank)
    assert describe_drawn(part.labels.image for part in open_pairs(found)) == []
