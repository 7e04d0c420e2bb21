"""septum inspect: in words, as JSON, as a page; status 2 where training could not begin."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from septum.images.files import Image, read_image, write_image
from septum.recipe import build_recipe, load_recipe

Septum = Callable[..., Any]


@pytest.fixture
def data(cells: Path, tmp_path: Path) -> Path:
    """A copy of the cells, to be spoilt."""
    return Path(shutil.copytree(cells, tmp_path / "data"))


def test_clean_data_in_words(cells: Path, septum: Septum) -> None:
    result = septum("inspect", cells)
    assert result.status == 0, result.err
    assert result.err == ""
    lines = result.out.splitlines()
    assert lines[0] == f"data         {cells}"
    assert "all 64 × 64 pixels" in result.out
    assert lines[lines.index("problems") + 1] == "  none found"
    assert any(line.startswith("  training.tile = ") for line in lines)
    assert max(map(len, lines)) <= max(100, len(lines[0]))


def test_what_cannot_be_trained_on_is_status_2_with_the_reason_last(
    data: Path, septum: Septum
) -> None:
    bad = data / "images" / "02.png"
    bad.write_bytes(b"\x89PNG\r\n")
    result = septum("inspect", data)
    assert result.status == 2
    assert f"ERROR: {bad}" in " ".join(result.out.split())
    last = result.err.splitlines()[-1]
    assert last.startswith(f"septum: {data}: training could not begin: {bad}: cannot be read")
    # And so it is.
    trained = septum("train", data, "--out", data.parent / "run")
    assert trained.status == 2
    assert str(bad) in trained.err
    assert not (data.parent / "run").exists()


def test_warnings_leave_status_0(data: Path, septum: Septum) -> None:
    path = data / "images" / "01.png"
    write_image(path, Image(np.full_like(read_image(path).array, 3), "YX"))
    result = septum("inspect", data)
    assert result.status == 0
    assert "WARNING" in result.out


def test_data_that_is_not_there(refused: Callable[..., None], tmp_path: Path) -> None:
    refused((tmp_path / "none", "does not exist"), "inspect", tmp_path / "none")
    refused(("cannot be written",), "inspect", tmp_path, "--json", tmp_path / "none" / "a.json")
    refused(("unknown key",), "inspect", tmp_path, "--set", "training.stps=1")


def test_the_json_holds_what_was_seen_and_chosen(
    data: Path, septum: Septum, tmp_path: Path
) -> None:
    shutil.copy(data / "images" / "00.png", data / "images" / "03.png")
    out = tmp_path / "seen.json"
    result = septum("inspect", data, "--json", out, "--set", "validation.last=1")
    assert result.status == 0, result.err
    tree = json.loads(out.read_text("utf-8"))
    assert tree["usable"]
    assert [image["name"] for image in tree["survey"]["images"]] == ["00", "01", "02", "03"]
    problems = {problem["kind"]: problem for problem in tree["survey"]["problems"]}
    assert problems["duplicates"]["files"] == [str(data / "images" / f"0{n}.png") for n in (0, 3)]
    assert "validation image 03" in problems["leak"]["text"]
    recipe = build_recipe(tree["recipe"])
    assert recipe.validation.last == 1
    for choice in tree["choices"]:
        section, key = choice["key"].split(".")
        assert tree["recipe"][section][key] == choice["value"]
        assert choice["reason"]


def test_the_page_is_written(cells: Path, septum: Septum, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert septum("inspect", cells, "--html", page).status == 0
    assert "cells: 4 annotated images" in page.read_text("utf-8")


def test_the_page_has_the_command_that_trains_as_was_looked_at(
    data: Path, septum: Septum, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    changes = ["--set", "labels.unlabelled=ignore", "--set", 'labels.names=["a", "b c"]']
    changes += ["--set", "labels.kind=instances"]
    septum("inspect", data, *changes, "--html", page)
    (command,) = re.findall(
        r"septum train [^<]*--out RUN[^<]*", html.unescape(page.read_text("utf-8"))
    )
    words = shlex.split(command)
    assert words[:5] == ["septum", "train", str(data), "--out", "RUN"]
    assert sorted(words[6::2]) == sorted(changes[1::2])
    next((data / "labels").iterdir()).unlink()
    assert septum("inspect", data, "--html", page).status == 2
    assert "--out RUN" not in page.read_text("utf-8")


def test_training_begins_only_where_inspect_says_that_it_could(
    data: Path, septum: Septum, tmp_path: Path
) -> None:
    """A recipe that goes by what was seen might not see again what was wrong with it."""
    for file in sorted((data / "labels").iterdir()):
        mask_YX = 255.0 * (read_image(file, labels=True).array > 0)
        smooth_YX = np.rint(gaussian_filter(mask_YX, 1.0)).astype(np.uint8)
        write_image(file, Image(smooth_YX, "YX"))
    seen = septum("inspect", data)
    assert seen.status == 2
    assert "smoothed edges" in seen.out
    result = septum("train", data, "--out", tmp_path / "run")
    assert result.status == 2
    assert "smoothed edges" in result.err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_training_chooses_what_inspect_says(
    cells: Path, septum: Septum, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("septum.report.page.write_report", lambda run, data: "none")
    changes = [
        *("--set", "network.width=2", "--set", "network.depth=1", "--set", "training.steps=2"),
        *("--set", "training.precision=float32"),
    ]
    seen = tmp_path / "seen.json"
    assert septum("inspect", cells, *changes, "--json", seen).status == 0
    result = septum("train", cells, "--out", tmp_path / "run", *changes)
    assert result.status == 0, result.err
    assert "chosen for these images: training.tile = " in result.err
    chosen = build_recipe(json.loads(seen.read_text("utf-8"))["recipe"])
    assert load_recipe(str(tmp_path / "run" / "recipe.toml")) == chosen
    assert chosen.training.steps == 2


def test_a_step_that_does_not_fit_however_small_is_status_2(
    cells: Path, septum: Septum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("septum.training.memory.available_memory", lambda: 1000)
    result = septum("inspect", cells)
    assert result.status == 2
    assert "training.micro_batch = 1" in result.out
    assert "does not fit into memory" in result.err.splitlines()[-1]
