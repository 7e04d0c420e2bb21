"""Train, predict, evaluate, as a person does; Ctrl-C included."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from septum.images.files import Image, read_image, write_image
from septum.images.stored import open_image
from septum.model import load_model
from septum.recipe import load_recipe
from septum.training.loop import train as train_model


def test_train_predict_evaluate(
    cells: Path, tiny: Path, tmp_path: Path, septum: Callable[..., Any]
) -> None:
    out, predicted, scores = tmp_path / "run", tmp_path / "predicted", tmp_path / "scores.json"
    result = septum("train", cells, "--out", out, "--recipe", tiny, "--set", "training.steps=4")
    assert result.status == 0, result.err
    assert result.out == f"report: {out / 'report.html'}\n"
    assert {path.name for path in out.iterdir()} == {
        *("model.safetensors", "last.safetensors", "recipe.toml", "history.jsonl"),
        *("report.html", "resume"),
    }
    assert "finished in" in result.err

    result = septum("predict", out, cells / "images", "--out", predicted)
    assert result.status == 0, result.err
    names = [f"{n:02d}.{kind}.tif" for n in range(4) for kind in ("mask", "probability")]
    assert sorted(path.name for path in predicted.iterdir()) == names
    assert "00.png → 00.mask.tif, 00.probability.tif" in result.out
    threshold = load_model(out).threshold
    for number in range(4):
        mask = read_image(predicted / f"{number:02d}.mask.tif")
        probability = read_image(predicted / f"{number:02d}.probability.tif")
        assert (mask.axes, mask.array.shape, mask.array.dtype) == ("YX", (64, 64), np.uint8)
        assert (probability.axes, probability.array.shape) == ("CYX", (2, 64, 64))
        assert probability.array.dtype == np.float32
        np.testing.assert_allclose(probability.array.sum(0), 1, atol=1e-6)
        np.testing.assert_array_equal(mask.array, probability.array[1] > threshold)

    result = septum("evaluate", predicted, cells, "--json", scores)
    assert result.status == 0, result.err
    summary = json.loads(scores.read_text())
    assert summary.keys() == {
        *("images", "mean", "interval", "overall", "overall_interval", "measures", "chosen")
    }
    assert [row["name"] for row in summary["images"]] == ["00", "01", "02", "03"]
    for row in summary["images"]:
        labels = read_image(cells / "labels" / f"{row['name']}.png").array
        mask = read_image(predicted / f"{row['name']}.mask.tif").array
        assert row["mask_pixel_error"] == pytest.approx(np.mean(mask != (labels > 0)))
        assert f"{row['pixel_error']:.4f}" in result.out
    rows = summary["images"]
    for measure, mean in summary["mean"].items():
        assert mean == pytest.approx(np.mean([row[measure] for row in rows]))
        low, high = summary["interval"][measure]
        assert low <= mean <= high


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
def test_a_stack_is_predicted_page_by_page_and_keeps_its_pixel_size(
    axes: str, run: Path, cells: Path, tmp_path: Path, septum: Callable[..., Any]
) -> None:
    pages = [read_image(cells / "images" / f"{n:02d}.png").array[:40, :30] for n in range(3)]
    size = (0.5, 0.25, 0.125) if axes == "ZYX" else (0.25, 0.125)
    write_image(tmp_path / "stack.tif", Image(np.stack(pages), axes, size))
    for number, page in enumerate(pages):
        write_image(tmp_path / f"page{number}.tif", Image(page, "YX", (0.25, 0.125)))
    names = [tmp_path / f"{name}.tif" for name in ("stack", "page0", "page1", "page2")]
    assert septum("predict", run, *names, "--out", tmp_path / "out").status == 0
    mask = read_image(tmp_path / "out" / "stack.mask.tif")
    probability = read_image(tmp_path / "out" / "stack.probability.tif")
    assert (mask.axes, mask.pixel_size) == (axes, size)
    assert probability.pixel_size == size
    # The order of axes in files is TCZYX: channels come after T and before Z.
    assert probability.axes == {"ZYX": "CZYX", "TYX": "TCYX"}[axes]
    for number in range(3):
        alone = read_image(tmp_path / "out" / f"page{number}.mask.tif")
        np.testing.assert_array_equal(mask.array[number], alone.array)
        assert alone.pixel_size == (0.25, 0.125)
        page = probability.array.take(number, probability.axes.index(axes[0]))
        alone = read_image(tmp_path / "out" / f"page{number}.probability.tif")
        np.testing.assert_array_equal(page, alone.array)


def test_png_output_is_the_mask_and_the_probability_in_8_bits(
    run: Path, cells: Path, tmp_path: Path, septum: Callable[..., Any]
) -> None:
    image = cells / "images" / "00.png"
    assert septum("predict", run, image, "--out", tmp_path, "--format", "png").status == 0
    assert septum("predict", run, image, "--out", tmp_path).status == 0
    exact = read_image(tmp_path / "00.probability.tif").array
    with Picture.open(tmp_path / "00.probability.png") as picture:
        assert picture.mode == "L"
        np.testing.assert_allclose(np.asarray(picture) / 255, exact[1], atol=0.5001 / 255)
    with Picture.open(tmp_path / "00.mask.png") as picture:
        mask = read_image(tmp_path / "00.mask.tif").array
        np.testing.assert_array_equal(np.asarray(picture), mask)


def test_tiles_change_nothing_and_a_threshold_changes_the_mask_alone(
    run: Path, cells: Path, tmp_path: Path, septum: Callable[..., Any]
) -> None:
    image = cells / "images" / "01.png"
    for name, options in {"whole": (), "tiles": ("--tile", 64), "low": ("--threshold", 0)}.items():
        assert septum("predict", run, image, "--out", tmp_path / name, *options).status == 0
    probabilities = [
        read_image(tmp_path / name / "01.probability.tif").array
        for name in ("whole", "tiles", "low")
    ]
    np.testing.assert_allclose(probabilities[0], probabilities[1], atol=1e-6)
    np.testing.assert_array_equal(probabilities[0], probabilities[2])
    assert read_image(tmp_path / "low" / "01.mask.tif").array.all()


def test_resume_with_more_steps_takes_the_other_settings_from_the_run(
    run: Path, cells: Path, tmp_path: Path, septum: Callable[..., Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr("septum.report.page.write_report", lambda run, data: "none")
    shutil.copytree(run, tmp_path / "run")
    more = ("--resume", "--set", "training.steps=8")
    result = septum("train", cells, "--out", tmp_path / "run", *more)
    assert result.status == 0, result.err
    assert load_model(tmp_path / "run" / "last.safetensors").provenance["step"] == 8
    recipe = load_recipe(str(tmp_path / "run" / "recipe.toml"))
    assert (recipe.training.steps, recipe.network.width, recipe.name) == (8, 2, "tiny")


@pytest.mark.slow
def test_ctrl_c_saves_says_how_to_go_on_and_that_finishes_the_run(
    cells: Path, tiny: Path, tmp_path: Path, septum: Callable[..., Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr("septum.report.page.write_report", lambda run, data: "none")
    data, out = tmp_path / "my cells", tmp_path / "my run"
    shutil.copytree(cells, data)
    options = (
        "--recipe",
        tiny,
        "--set",
        "training.steps=150",
        "--set",
        "training.validate_every=25",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "septum", "train", data, "--out", out, *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 240
    while not (out / "history.jsonl").exists() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert last.startswith("septum: stopped at step ")
    command = shlex.split(last.split("go on with: septum ")[1])
    assert command == ["train", str(data), "--out", str(out), "--resume"]
    result = septum(*command)
    assert result.status == 0, result.err
    assert "resuming at step" in result.err
    whole = train_model(
        data, tmp_path / "whole", load_recipe(str(out / "recipe.toml"))
    )  # and not a bit is lost
    assert load_model(out).provenance["scores"].keys() == {
        *("epoch", "loss", "pixel_error", "iou", "rand_error", "object_error", "seconds"),
        *("iou_error", "object_share", "predicted_share"),
    }
    for name in ("model.safetensors", "last.safetensors"):
        tensors = load_model(out / name).network.state_dict()
        for key, value in load_model(whole.path / name).network.state_dict().items():
            assert (tensors[key] == value).all(), key


def test_objects_into_a_store_by_the_command(
    run: Path, cells: Path, tmp_path: Path, septum: Callable[..., Any]
) -> None:
    image = cells / "images" / "00.png"
    store = tmp_path / "cells.zarr"
    options = ("--instances", "--probability", "uint8", "--memory", "4 GB", "--minimum", "3")
    result = septum("predict", run, image, "--out", store, *options)
    assert result.status == 0, result.err
    numbers = open_image(store / "labels" / "instances").read().array
    assert f"({numbers.max()} objects, " in result.out
    model = load_model(run)
    told = f"threshold {model.threshold:g}, seeds none, minimum 3, fill {model.fill}"
    assert f"objects are told apart by: {told}\n" in result.out
    assert "00.png → cells.zarr, cells.objects.csv" in result.out
    rows = (tmp_path / "cells.objects.csv").read_text().splitlines()
    assert rows[0].startswith("id,class,area_px,")
    assert len(rows) == numbers.max() + 1
    # A store is an image too: the program reads what it wrote.
    result = septum("predict", run, store / "labels" / "mask", "--out", tmp_path / "again")
    assert result.status == 0, result.err
    result = septum("predict", run, image, "--out", store)
    assert result.status == 2
    assert "exists already" in result.err
