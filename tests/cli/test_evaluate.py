"""septum evaluate: what it prints, the files it writes, and what it refuses."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drawn
from septum.images.files import Image, write_image

Refused = Callable[..., None]
Septum = Callable[..., Any]
KIND = ("--set", "labels.kind=instances")


def write(path: Path, array: np.ndarray, axes: str = "YX") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Image(np.asarray(array), axes))
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions of two images, with their truth: one with every mistake, one without."""
    for name, array in (("a", drawn.segments()), ("b", drawn.truth())):
        write(tmp_path / f"out/{name}.instances.tif", array)
        write(tmp_path / f"out/{name}.mask.tif", (array > 0).astype(np.uint8))
        write(tmp_path / f"truth/images/{name}.tif", np.asarray(array % 251, np.uint8))
        write(tmp_path / f"truth/labels/{name}.tif", drawn.truth())
    return tmp_path / "out", tmp_path / "truth"


def test_the_table_fits_a_terminal_and_says_what_was_chosen(
    folders: tuple[Path, Path], septum: Septum
) -> None:
    result = septum("evaluate", *folders, *KIND)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= 120
    assert lines[0].startswith("labels: instances: 2 images, 8 objects")
    assert lines[1].startswith("mask, two classes: pixel measures")
    assert lines[2].startswith("objects, as the truth numbers them: seg, det, ap, ")
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    heading = next(line for line in lines if line.startswith("image")).split()
    assert heading[1:] == [
        *("error", "dice", "error", "v_rand", "error"),
        *("seg", "det", "ap_50", "quality", "objects", "objects"),
    ]
    assert rows["a"][5:] == ["0.2500", "0.3000", "0.3333", "0.2500", "4", "4"]
    assert rows["b"][5:] == ["1.0000", "1.0000", "1.0000", "1.0000", "4", "4"]
    assert rows["mean"][5:] == ["0.6250", "0.6500", "0.6667", "0.6250", "4", "4"]
    # 4 of 8 objects are found, with 4 segments and 4 objects left over, two of them matched by half
    assert rows["overall"] == ["0.6250", "0.6500", "0.6000", "0.6250", "8", "8"]
    assert result.out.count("95 %") == 5  # of the mean, of overall, and what they are


def test_all_measures_on_request_with_what_they_are(
    folders: tuple[Path, Path], septum: Septum
) -> None:
    result = septum("evaluate", *folders, *KIND, "--all")
    assert max(map(len, result.out.splitlines())) <= 120
    assert "vi_split: variation of information, bits: how far objects are divided" in result.out
    assert "warping_hole_additions: holes made, at the warping error" in result.out


def test_json_csv_and_page_hold_the_same_numbers(
    folders: tuple[Path, Path], tmp_path: Path, septum: Septum
) -> None:
    files = [tmp_path / name for name in ("s.json", "s.csv", "s.html")]
    options = [
        part
        for kind, file in zip(("json", "csv", "html"), files, strict=True)
        for part in (f"--{kind}", file)
    ]
    result = septum("evaluate", *folders, *KIND, *options)
    assert result.status == 0, result.err
    summary = json.loads(files[0].read_text("utf-8"))
    by_name = {row["name"]: row for row in summary["images"]}
    for name, value in drawn.BY_HAND.items():
        assert by_name["a"][name] == pytest.approx(value), name
    assert summary["measures"]["seg"].startswith("mean IoU of true objects")
    low, high = summary["interval"]["seg"]
    assert (low, high) == (0.25, 1.0)  # one of two images, twice
    with files[1].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["name"]) for row in rows] == [
        *(("image", "a"), ("image", "b"), ("mean", "")),
        *(("interval_low", ""), ("interval_high", ""), ("overall", "")),
        *(("overall_interval_low", ""), ("overall_interval_high", "")),
    ]
    assert [float(row["seg"]) for row in rows[:3]] == pytest.approx([0.25, 1, 0.625])
    assert float(rows[5]["det"]) == summary["overall"]["det"]
    assert rows[5]["vi_split"] == ""
    assert summary["overall_interval"]["ap_50"] == pytest.approx([1 / 3, 1])
    assert float(rows[6]["ap_50"]) == summary["overall_interval"]["ap_50"][0]
    page = html.unescape(re.sub(r"<[^>]+>", " ", files[2].read_text("utf-8")))
    words = " ".join(page.split())
    assert "out against truth: 2 images" in words
    assert "a: 0 found, 1 missed, 1 invented, 2 merged, 1 split" in words
    assert "b: 4 found, 0 missed, 0 invented, 0 merged, 0 split" in words
    assert words.index("a: 0 found") < words.index("b: 4 found")  # worst first
    row = "seg 0.6250 0.2500 … 1.0000 0.6250 0.2500 … 1.0000 mean IoU of true objects"
    assert row in words
    assert result.out.rstrip().endswith(f"written: {', '.join(map(str, files))}")


def test_complete_says_that_gold_truth_is_whole(tmp_path: Path, septum: Septum) -> None:
    write(tmp_path / "02_GT/SEG/man_seg004.tif", drawn.truth().astype(np.uint16) % 60000)
    write(tmp_path / "out/mask004.tif", drawn.segments())
    result = septum("evaluate", tmp_path / "out", tmp_path / "02_GT/SEG")
    assert result.status == 0, result.err
    assert "--complete" in result.out
    heading = next(line for line in result.out.splitlines() if line.startswith("image"))
    assert heading.split()[1:] == ["seg", "objects"]
    result = septum("evaluate", tmp_path / "out", tmp_path / "02_GT/SEG", "--complete")
    assert " det " in result.out


BAD: dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray], tuple[str, ...]]] = {
    "other sizes": (
        {"a.mask.tif": np.ones((9, 9), np.uint8)},
        {"a.tif": np.eye(9, 8, dtype=np.uint8)},
        ("a.mask.tif", "a.tif", "9 × 9 and 9 × 8", "predict the images"),
    ),
    "odd names": (
        {"a.mask.tif": np.eye(9, dtype=np.uint8), "c.mask.tif": np.eye(9, dtype=np.uint8)},
        {"a.tif": np.eye(9, dtype=np.uint8), "b.tif": np.eye(9, dtype=np.uint8)},
        ("1 predicted without truth: c", "1 in the truth without prediction: b", "rename"),
    ),
    "other numbers of planes": (
        {"a.mask.tif": np.ones((3, 9, 9), np.uint8)},
        {"a.tif": np.stack([np.eye(9, dtype=np.uint8)] * 2)},
        ("a.mask.tif", "a.tif", "number of planes: 3 and 2", "predict the images"),
    ),
    "a map for a mask": (
        {"a.mask.tif": np.full((9, 9), 0.3, np.float32)},
        {"a.tif": np.eye(9, dtype=np.uint8)},
        ("a.mask.tif", "integer class ids, found float32", "a.probability.tif"),
    ),
    "labels for a map": (
        {"a.probability.tif": np.eye(9, dtype=np.uint16)},
        {"a.tif": np.eye(9, dtype=np.uint8)},
        ("a.probability.tif", "found uint16", "NAME.mask.tif"),
    ),
    "a map that is none": (
        {"a.tif": np.full((9, 9), 3.5, np.float32)},
        {"a.tif": np.eye(9, dtype=np.uint8)},
        ("a.tif", "in [0, 1], found 3.5 … 3.5", "scale them"),
    ),
    "a map as truth": (
        {"a.mask.tif": np.eye(9, dtype=np.uint8)},
        {"a.tif": np.full((9, 9), 0.3, np.float32)},
        ("truth", "a.tif: value 0.3 at 81 pixels", "Threshold it first"),
    ),
    "maps as truth": (
        {"a.mask.tif": np.eye(9, dtype=np.uint8)},
        {"a.tif": np.linspace(0, 1, 162, dtype=np.float32).reshape(2, 9, 9)},
        ("truth", "a.tif: labels in 2 differing channels", "is this a probability map"),
    ),
    "empty truth": (
        {"a.mask.tif": np.eye(9, dtype=np.uint8)},
        {"a.tif": np.zeros((9, 9), np.uint8)},
        ("truth", "nothing is annotated", "expected at least two values"),
    ),
    "float labels": (
        {"a.instances.tif": np.eye(9, dtype=np.float32) * np.float32(1.5)},
        {"a.tif": np.eye(9, dtype=np.uint8)},
        ("a.instances.tif", "found float32 from 0 to 1.5", "uint16 or uint32"),
    ),
    "ids for a mask": (
        {"a.mask.tif": np.arange(81, dtype=np.uint16).reshape(9, 9)},
        {"a.tif": np.eye(9, dtype=np.uint8)},
        ("a.mask.tif", "a.tif", "1, 2, 3, 4, 5 …", "NAME.instances.tif"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_scored_is_one_line_that_says_what_mends_it(
    case: str, tmp_path: Path, refused: Refused
) -> None:
    predictions, truth, parts = BAD[case]
    for folder, arrays in (("out", predictions), ("truth", truth)):
        for name, array in arrays.items():
            axes = "CYX" if case == "maps as truth" else "ZYX"
            write(tmp_path / folder / name, array, axes[-array.ndim :])
    refused(parts, "evaluate", tmp_path / "out", tmp_path / "truth")


def test_files_that_could_not_be_written_are_refused_before_anything_is_scored(
    tmp_path: Path, refused: Refused
) -> None:
    for option in ("--json", "--csv", "--html"):
        file = tmp_path / "none" / "scores"
        parts = (file, "cannot be written", "there is no folder")
        refused(parts, "evaluate", tmp_path / "nothing", tmp_path / "nothing", option, file)
