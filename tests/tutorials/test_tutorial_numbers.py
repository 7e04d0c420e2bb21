"""benchmarks/tutorials.py does for each tutorial what it says, in a few steps on a few images."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

SHORT = (
    *("network.width=2", "network.depth=1", "training.tile=44", "training.steps=2"),
    *("training.validate_every=1", "training.precision=float32", "augment.elastic_sigma=0"),
)
Measure = Callable[..., dict[str, Any]]


@pytest.fixture
def bench(root: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, as if started on data of its usual size cut down to a few images."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    monkeypatch.syspath_prepend(str(root / "docs"))
    bench = importlib.import_module("tutorials")
    if not bench.EM.is_dir():
        pytest.skip(f"no data under {bench.EM.parent}")
    return bench


@pytest.fixture
def measure(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """``measure("nuclei", "--images", "2")``: the numbers that the script writes."""
    monkeypatch.setattr(sys.modules["results"], "FOLDER", tmp_path / "results")

    def run(*words: str) -> dict[str, Any]:
        short = [word for change in SHORT for word in ("--set", change)]
        monkeypatch.setattr(
            sys, "argv", ["tutorials.py", *words, "--run", str(tmp_path / "run"), *short]
        )
        bench.main()
        (file,) = (tmp_path / "results").glob("*.json")
        result: dict[str, Any] = json.loads(file.read_text("utf-8"))
        assert result["name"] == file.stem
        assert result["command"].startswith(
            f"python benchmarks/tutorials.py {words[0]} --run runs/run"
        )
        numbers: dict[str, Any] = result["numbers"]
        assert numbers["steps"] == 2
        told = " ".join(numbers["inspect"]["problems"])
        assert not [word for word in told.split() if word.lstrip("(").startswith("/")], told
        assert [point["minutes"] > 0 for point in numbers["curve"]] == [True, True]
        tables = importlib.import_module("tutorial_tables")
        kinds = (tables.phase_contrast, tables.nuclei, tables.membranes, tables.blood_cells)
        rows = "".join(table({result["name"]: result}.get) for table in (*kinds, tables.nuclei_few))
        row = f"| 2 | {numbers['minutes']:.1f}, {result['device']} |"
        if "-images-draw-" in result["name"]:
            row = f"| {numbers['minutes']:.1f} | {numbers['scores']['ap_50']:.4f} |"
        assert rows.count(row) == 1
        assert rows.count(result["command"]) == 1
        return {"name": result["name"], **numbers}

    return run


@pytest.mark.slow
def test_frames_of_gold_truth_train_and_later_ones_are_scored(
    bench: Any, measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [17, 20, 35, 41, 51, 59, 74]
    monkeypatch.setattr(sys.modules["u373"], "labelled", lambda truth: frames)
    found = measure("phase-contrast", "--frames", "5", "--undrawn", "ignore")
    assert found["name"] == "tutorial-phase-contrast-5-frames-undrawn-ignored"
    assert found["frames"] == frames[:5]
    assert found["training_images"] + found["validation_images"] == 5
    assert found["set"] == ["labels.unlabelled=ignore"]
    assert found["scored_frames"] == [59, 74]
    assert 0 <= found["seg"] <= 1
    silver = [tifffile.imread(sys.modules["u373"].labels_of(n, "silver")) for n in (59, 74)]
    cells = sum(len(np.unique(labels_YX)) - 1 for labels_YX in silver)
    assert found["silver"]["true_objects"] == cells
    assert any("gold truth" in problem for problem in found["inspect"]["problems"])


@pytest.mark.slow
def test_silver_frames_before_58_train_without_a_setting(
    bench: Any, measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [17, 20, 35, 41, 59]
    monkeypatch.setattr(sys.modules["u373"], "labelled", lambda truth: frames)
    monkeypatch.setattr(bench, "USEFUL", -1.0)  # so that the first validation is useful
    found = measure("phase-contrast")
    assert (found["name"], found["set"]) == ("tutorial-phase-contrast", [])
    assert found["training_images"] + found["validation_images"] == 4
    assert found["seconds_to_useful"] == pytest.approx(60 * found["curve"][0]["minutes"])


@pytest.mark.slow
def test_drawn_images_of_nuclei_train(
    bench: Any, measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = sys.modules["heads"]
    learnt, scored = heads.split("dsb")
    assert {heads.hash_of(pair.name) < 0.1 for pair in scored} == {True}
    monkeypatch.setattr(heads, "split", lambda data: (learnt[:9], scored[:2]))
    found = measure("nuclei", "--images", "5", "--draw", "2")
    assert found["name"] == "tutorial-nuclei-5-images-draw-2"
    assert found["training_images"] + found["validation_images"] == 5
    assert found["scored_images"] == 2
    assert 0 <= found["scores"]["ap_90"] <= found["scores"]["ap_50"] <= 1


@pytest.mark.slow
def test_a_part_of_the_slices_trains_and_the_last_two_are_scored(
    bench: Any, measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / "isbi2012"
    part.mkdir()
    for name in ("train-volume.tif", "train-labels.tif"):
        slices_ZYX = tifffile.imread(bench.EM / name)[:, :96, :96]
        tifffile.imwrite(part / name, slices_ZYX, photometric="minisblack")
    monkeypatch.setattr(bench, "EM", part)
    monkeypatch.setattr(sys.modules["systems"], "DATA", part)
    found = measure("membranes", "--slices", "2")
    assert found["name"] == "tutorial-membranes-2-slices"
    assert (found["training_images"], found["validation_images"]) == (2, 2)
    assert found["slices"] == [7, 21]
    trained = tifffile.imread(tmp_path / "run.stack" / "train-labels.tif")
    np.testing.assert_array_equal(
        trained, tifffile.imread(part / "train-labels.tif")[[7, 21, 28, 29]]
    )
    for orientations in (1, 8):
        scores = found[f"scores_{orientations}_orientations"]
        assert (scores["orientations"], scores["slices"]) == (orientations, 2)


@pytest.mark.slow
def test_blood_cells_are_scored_by_class_without_strays(
    bench: Any, measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = sys.modules["heads"]
    pairs = bench.find_pairs(bench.BLOOD)
    dirty = [pair for pair in pairs if pair.name in ("034", "035", "047", "050", "076")]
    clean = [pair for pair in pairs if pair not in dirty]
    chosen = [*clean[:24], *dirty[:1]]
    monkeypatch.setattr(bench, "find_pairs", lambda folder: chosen)
    found = measure("blood-cells")
    scored = [pair for pair in chosen if heads.hash_of(pair.name) < 0.3]
    assert found["scored_images"] == len(scored) > 0
    assert found["training_images"] + found["validation_images"] == len(chosen) - len(scored)
    assert found["set"] == ["labels.strays=ignore"]
    assert len(found["iou"]) == 3
    values = list(found["iou"].values())
    assert found["mean_iou_with_background"] == pytest.approx(np.mean(values))
    assert found["mean_iou_without_background"] == pytest.approx(np.mean(values[1:]))


def test_what_trains_is_spread_evenly(bench: Any) -> None:
    assert bench.evenly(list(range(28)), 28) == list(range(28))
    assert bench.evenly(list(range(28)), 2) == [7, 21]
    gold = [10, 17, 19, 20, 22, 26, 35, 36, 41, 49, 51, 52]
    assert bench.evenly(gold, 5) == [17, 20, 35, 41, 51]  # those of the tutorial
    with pytest.raises(SystemExit, match="12 to choose from"):
        bench.evenly(gold, 13)
