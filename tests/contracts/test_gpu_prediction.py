"""What benchmarks/gpu_prediction.py measures is what is predicted; it runs on a processor too."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest
import torch

from septum.prediction.overlap_tile import predict_probabilities, predict_tiles, prepare
from septum.recipe import load_recipe

SMALL = ["network.width=2", "network.depth=1"]
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture
def bench(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    return importlib.import_module("gpu_prediction")


@pytest.fixture
def scene(bench):
    """A small network, and an image of several tiles of two kinds."""
    image_CYX = np.random.default_rng(0).integers(0, 256, (1, 90, 90)).astype(np.uint8)
    model = bench.untrained_model(load_recipe("default", SMALL), [image_CYX])
    return bench.Scene(model, image_CYX, torch.device("cpu"), rounds=1)


def in_tiles(scene, precision="float32", device="cpu"):
    return prepare(scene.model, device, precision, tile=64, orientations=1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
def test_the_parts_measured_alone_give_together_what_is_predicted(bench, scene, precision, device):
    predictor = in_tiles(scene, precision, device)
    found = []
    for batch in bench.read(predictor, scene.image_CYX):
        window_NCYX, keep = bench.to_device(predictor, batch)
        found += bench.to_host(predictor.probabilities(window_NCYX, keep))
    expected = [part_KYX for _, part_KYX in predict_tiles(predictor, scene.image_CYX)]
    assert len(found) == len(expected) > 1
    for found_KYX, expected_KYX in zip(found, expected, strict=True):
        np.testing.assert_array_equal(found_KYX, expected_KYX)


def test_the_mask_alone_is_that_of_the_probabilities(bench, scene):
    probability_KYX = predict_probabilities(in_tiles(scene), scene.image_CYX)
    with torch.no_grad():  # such that there is about as much object as background
        scene.model.network.score.bias[0] += float(
            np.median(np.diff(np.log(probability_KYX), axis=0))
        )
    probability_KYX = predict_probabilities(in_tiles(scene), scene.image_CYX)
    found_YX = bench.predict_mask_alone(in_tiles(scene), scene.image_CYX)
    np.testing.assert_array_equal(found_YX, probability_KYX[1] > 0.5)
    assert found_YX.mean() == pytest.approx(0.5, abs=0.01)


def test_tiles_are_counted_one_by_one(bench, scene):
    predictor = in_tiles(scene)
    extents = scene.image_CYX.shape[1:]
    tiles = bench.tile_grid(extents, 64, predictor.footprint)
    assert len({tile.crop for tile in tiles}) > 1
    whole = [
        bench.count_flop(scene.model.network, tuple(b - a for a, b in tile.read)) for tile in tiles
    ]
    found = bench.count_tiles(scene.model, predictor, extents)
    assert 0.4 * sum(whole) < found <= sum(whole)  # what is cropped is not computed


@pytest.mark.parametrize(
    ("whole", "share"),
    [(10.0, 0.0), (6.0, 1.0), (8.0, 0.5), (12.0, -0.5), (5.0, 1.25)],
)
def test_the_share_that_overlaps_is_of_what_is_beside_the_longest_part(bench, whole, share):
    assert bench.overlapped_share(whole, [1, 2, 6, 1]) == pytest.approx(share)


def test_nothing_overlaps_where_there_is_one_part(bench):
    assert bench.overlapped_share(7, [0, 0, 6, 0]) is None
    assert bench.overlapped_share(0, [0, 0, 0, 0]) is None


def test_labels_that_differ_are_counted(bench):
    found_KYX = np.float32([[[0.1, 0.6, 0.2, 0.9]], [[0.9, 0.4, 0.8, 0.1]]])
    expected_KYX = np.float32([[[0.1, 0.4, 0.25, 0.9]], [[0.9, 0.6, 0.75, 0.1]]])
    row = bench.difference(found_KYX, expected_KYX)
    assert row == {"labels": 0.25, "object": 0.75, "largest": pytest.approx(0.2)}


def test_rows_are_asked_for_by_the_beginning_of_their_name(bench):
    everything = bench.wanted(512, "", [])
    assert len(everything) == len(bench.RECIPES) * len(bench.KINDS)
    assert bench.wanted(512, "paper-2015-p", ["paper-2015-parts-512"]) == {
        "paper-2015-probabilities-512": ("paper-2015", "probabilities"),
        "paper-2015-processor-512": ("paper-2015", "processor"),
    }
    assert "paper-2015-parts-512" in bench.wanted(512, "paper", ["paper-2015-parts-8192"])
    assert bench.wanted(512, "", everything) == {}
    with pytest.raises(SystemExit, match="default-mask-512"):
        bench.wanted(512, "nothing", [])


@pytest.fixture
def call(bench, monkeypatch, tmp_path, capsys):
    """Run it with small networks, on a processor; what it prints."""
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "MATRIX", {"cpu": (64, 1)})
    monkeypatch.setattr(bench, "load_recipe", lambda name: load_recipe(name, SMALL))
    made = np.random.default_rng(0).integers(0, 256, (1, 64, 64)).astype(np.uint8)
    monkeypatch.setattr(bench, "read_slices", lambda: ("made up", [made]))
    monkeypatch.setattr(bench, "raise_allocator_thresholds", lambda bounded: None)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    (tmp_path / "docs" / "results").mkdir(parents=True)

    def run(*words):
        given = ["--device", "cpu", "--extent", "64", "--rounds", "1", *words]
        monkeypatch.setattr(sys, "argv", ["gpu_prediction.py", *given])
        with pytest.raises(SystemExit) as ended:
            bench.main()
        return ended.value.code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_each_row_is_measured_once_and_kept(bench, call, tmp_path, monkeypatch):
    code, printed = call("--only", "default")
    assert code == 0
    assert [row["name"] for row in printed] == [f"default-{kind}-64" for kind in bench.KINDS]
    written = tmp_path / "out" / "gpu-prediction-cpu.json"
    assert list(json.loads(written.read_text())["numbers"]["rows"].values()) == printed
    by_kind = dict(zip(bench.KINDS, printed, strict=True))
    assert by_kind["parts"]["seconds"]["to_device"] == by_kind["parts"]["seconds"]["to_host"] == 0
    assert by_kind["parts"]["share_of_matrix_rate"]["network"] > 0
    assert by_kind["processor"]["largest"] == 0

    assert call("--only", "default") == (0, [])
    assert len(call("--only", "default-mask", "--again")[1]) == 1
    # A new $OUT begins with what docs/results holds.
    written.rename(tmp_path / "docs" / "results" / written.name)
    assert call("--only", "default") == (0, [])
    assert len(call("--only", "paper-2015-mask")[1]) == 1
    assert len(json.loads(written.read_text())["numbers"]["rows"]) == len(bench.KINDS) + 1


def test_a_row_that_fails_leaves_the_others(bench, call, monkeypatch):
    def fail(scene):
        raise torch.OutOfMemoryError("too little")

    monkeypatch.setitem(bench.KINDS, "mask", fail)
    code, printed = call("--only", "default")
    assert code == "1 rows failed"
    assert len(printed) == len(bench.KINDS) - 1


def test_no_row_is_begun_when_the_time_is_over(call):
    code, printed = call("--minutes", "0")
    assert "go on again" in code
    assert printed == []
