"""The tutorials, followed to the letter on a few of their images, training cut short."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from typer.main import get_command

import tutorial
from septum import cli
from septum.images.files import read_image
from septum.images.stored import open_image
from septum.model import load_model
from septum.recipe import load_recipe

GOLD = (17, 20, 35, 41, 51, 59, 74, 106)
"""Frames of U373 with gold truth: five before 58, and one of each name that is put away."""
STRAY = "034"
"""Of the blood cells' masks that are trained on, one with stray values: a few are strays, many
would be a class."""


def lay_out_cells(data: Path, here: Path, whole: bool) -> None:
    for part, prefix in (("02", "t"), ("02_GT/SEG", "man_seg"), ("02_ST/SEG", "man_seg")):
        folder = here / "PhC-C2DH-U373" / part
        folder.mkdir(parents=True)
        for file in sorted((data / "PhC-C2DH-U373" / part).glob("*.tif")):
            if whole or int(file.stem.removeprefix(prefix)) in GOLD:
                (folder / file.name).symlink_to(file)
    if not whole:  # a cell that is not drawn, covered, as the tutorial says
        covered = here / "PhC-C2DH-U373" / "02_GT" / "SEG" / "man_seg035.tif"
        labels_YX = tifffile.imread(covered)
        labels_YX[:40, :40] = 65535
        covered.unlink()
        tifffile.imwrite(covered, labels_YX)


def extents(file: Path) -> tuple[int, ...]:
    return open_image(file).shape[-2:]


def lay_out_nuclei(data: Path, here: Path, whole: bool) -> None:
    from heads import hash_of  # of benchmarks/: which images are scored

    files = sorted((data / "dsb2018" / "fluorescence" / "images").glob("*.png"))
    for side, few in (("train", 7), ("test", 3)):
        chosen = [file for file in files if (hash_of(file.stem) < 0.1) == (side == "test")]
        if not whole:
            small = [file for file in chosen if extents(file) == (256, 256)]
            other = [file for file in chosen if extents(file) == (360, 360)]
            chosen = small[:few] + other[:1]
        for file in chosen:
            for part, kind in (("images", "images"), ("masks", "labels")):
                link = here / "dsb2018" / side / part / file.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.parents[1] / kind / file.name)


def lay_out_slices(data: Path, here: Path, whole: bool) -> None:
    (here / "isbi2012").mkdir()
    for file in (data / "isbi2012-em").glob("*.tif"):
        if whole:
            (here / "isbi2012" / file.name).symlink_to(file)
        else:
            part_ZYX = tifffile.imread(file)[:, :160, :160]
            tifffile.imwrite(here / "isbi2012" / file.name, part_ZYX, photometric="minisblack")


def lay_out_blood(data: Path, here: Path, whole: bool) -> None:
    """As in the public repository: BMP images with their masks beside them."""
    (here / "Dataset 2").mkdir()
    for file in sorted((data / "white-blood-cells" / "images").glob("*.png")):
        number = int(file.stem)
        if whole or number < 17 or number >= 98 or 71 <= number < 80 or file.stem == STRAY:
            with PIL.Image.open(file) as picture:
                picture.convert("RGB").save(here / "Dataset 2" / f"{file.stem}.bmp")
            labels = file.parents[1] / "labels" / file.name
            shutil.copy(labels, here / "Dataset 2" / file.name)


LAYOUTS: dict[str, Callable[[Path, Path, bool], None]] = {
    "phase-contrast": lay_out_cells,
    "nuclei": lay_out_nuclei,
    "membranes": lay_out_slices,
    "blood-cells": lay_out_blood,
}


@pytest.fixture
def here(data_folder: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_tutorial_can_be_followed(name: str, here: Path, root: Path, data_folder: Path) -> None:
    LAYOUTS[name](data_folder.resolve(), here, False)
    text = tutorial.page(root, name)
    for block in tutorial.blocks_of(text):
        printed = tutorial.follow(block)
        missing = tutorial.missing_quotes(block.quoted, printed, numbers=False)
        assert not missing, f"{block.lines} did not print {missing}, but:\n{printed}"
    for file in tutorial.named_files(text):
        assert Path(file).exists(), f"{name}.md names {file}, which is not there"
    FACTS[name]()


def facts_of_cells() -> None:
    model = load_model(Path("runs/cells"))
    assert model.meaning.kind == "instances"
    assert model.provenance["validation_images"] == ["t051"]
    assert not {"t059", "t074", "t106"} & set(model.provenance["training_images"])
    assert model.provenance["step"] == tutorial.MORE_STEPS or len(history("runs/cells")) > 2
    objects = read_image("found/t059.instances.tif").array
    with Path("found/t059.objects.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(np.unique(objects)) - (0 in objects)
    assert load_model(Path("runs/borders")).recipe.network.head == "border"
    few, covered = (load_model(Path(f"runs/{name}")) for name in ("few", "covered"))
    assert len(few.provenance["training_images"]) == 4
    assert covered.meaning.ignore == (65535,)
    assert covered.meaning.objects == few.meaning.objects - 1


def facts_of_nuclei() -> None:
    model = load_model(Path("runs/nuclei"))
    count = len(model.provenance["training_images"]) + len(model.provenance["validation_images"])
    assert count == len(list(Path("dsb2018/train/images").iterdir())) == 8
    assert model.meaning.kind == "instances"
    assert load_model(Path("runs/walls")).recipe.loss.border_weight == 20
    for image in Path("dsb2018/test/images").iterdir():
        kinds = ("instances.tif", "objects.csv", "mask.tif", "probability.tif")
        assert all((Path("found") / f"{image.stem}.{kind}").exists() for kind in kinds)


def facts_of_slices() -> None:
    model = load_model(Path("runs/em"))
    assert model.provenance["validation_images"] == ["train-volume[28]", "train-volume[29]"]
    mask, image = (read_image(p) for p in ("out/test-volume.mask.tif", "isbi2012/test-volume.tif"))
    assert mask.array.shape == image.array.shape
    assert set(np.unique(mask.array)) <= {0, 1}
    assert read_image("out/test-volume.probability.tif").channels == 2
    one, eight = (
        read_image(f"{folder}/train-volume.probability.tif").array
        for folder in ("out-train", "out-eight")
    )
    assert not np.array_equal(one, eight)
    low, high = (
        read_image(f"{folder}/train-volume.mask.tif").array for folder in ("out-train", "out-high")
    )
    if model.threshold <= 0.9:
        assert (high <= low).all()


def facts_of_blood() -> None:
    model = load_model(Path("runs/blood"))
    assert model.meaning.class_count == 3
    assert model.meaning.stray_pixels > 0
    assert set(np.unique(read_image("found/075.mask.tif").array)) <= {0, 1, 2}
    probability = read_image("found/075.probability.tif")
    assert probability.channel_names == ("background", "cytoplasm", "nucleus")
    with Path("counted/075.objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(int(row["area_px"]) >= 200 for row in rows)


def history(run: str) -> list[str]:
    return (Path(run) / "history.jsonl").read_text("utf-8").splitlines()


FACTS = {
    "phase-contrast": facts_of_cells,
    "nuclei": facts_of_nuclei,
    "membranes": facts_of_slices,
    "blood-cells": facts_of_blood,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_quoted_of_inspect_is_what_it_says_of_all_images(
    name: str, here: Path, root: Path, data_folder: Path
) -> None:
    LAYOUTS[name](data_folder.resolve(), here, True)
    checked = 0
    for block in tutorial.blocks_of(tutorial.page(root, name)):
        if not block.is_septum:
            tutorial.follow(block)
        elif block.lines[0].startswith("septum inspect"):
            printed = tutorial.follow(block)
            assert not tutorial.missing_quotes(block.quoted, printed, numbers=True), printed
            checked += len(block.quoted)
            break
    assert checked > 3


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_running_text_advises_exists(name: str, root: Path) -> None:
    text = tutorial.page(root, name)
    commands: dict[str, Any] = vars(get_command(cli.app))["commands"]
    known = {o for each in commands.values() for p in each.params for o in p.opts}
    for script in ("tutorials.py", "partly_drawn.py"):
        code = (root / "benchmarks" / script).read_text("utf-8")
        known |= set(re.findall(r'add_argument\("(--\w+)"', code))
    options = re.findall(r"`[^`\n]*?(--[a-z]+)[^`\n]*`", tutorial.BLOCK.sub("", text))
    assert options
    assert set(options) <= known
    for change in re.findall(r"`(?:--set )?([a-z]+\.[a-z_]+=[^`\s]+)`", text):
        load_recipe("default", [change])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("septum train few --out run --spede 2", "No such option: --spede"),
        ("septum train few --out run --set training.stepps=2", "training.stepps"),
        ("septum predict run few --out found --instance", "No such option: --instance"),
    ],
)
def test_an_option_that_does_not_exist_is_found(line: str, reason: str) -> None:
    (block,) = tutorial.blocks_of(f"```sh\n{line}\n```\n")
    with pytest.raises(AssertionError, match=reason):
        tutorial.follow(block)


def test_what_was_not_printed_is_found() -> None:
    quoted = ("labels  58 images, … objects", "…", "  done in …")
    assert (
        tutorial.missing_quotes(quoted, "labels 6 images, 9 objects\nx\ndone in 3 s", False) == []
    )
    assert tutorial.missing_quotes(quoted, "labels 6 images, 9 objects\nx\ndone in 3 s", True) != []
    assert tutorial.missing_quotes(quoted, "done in 3 s\nlabels 6 images, 9 objects", False) != []
    assert tutorial.missing_quotes(("a b c",), "a b\n             c", False) == []
    assert tutorial.missing_quotes(("a b",), "a b\n\n             c", False) == []


def test_every_tutorial_is_followed_and_linked(root: Path) -> None:
    pages = {path.stem for path in (root / "docs" / "tutorials").glob("*.md")}
    assert pages == set(LAYOUTS) == set(FACTS)
    readme = (root / "README.md").read_text("utf-8")
    for name in pages:
        assert f"(docs/tutorials/{name}.md)" in readme
        blocks = tutorial.blocks_of(tutorial.page(root, name))
        said = " ".join(line for block in blocks for line in block.lines)
        for command in ("inspect", "train", "predict", "evaluate"):
            assert f"septum {command} " in said
