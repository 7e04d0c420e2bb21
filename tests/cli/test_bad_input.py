"""Every bad input: one line that names the file and the way out, status 2, nothing written."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import save_file

from full_disk import FullDisk
from septum.images.files import Image, read_image, write_image
from septum.training.job import Job

Refused = Callable[..., None]
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def data(cells: Path, tmp_path: Path) -> Path:
    """A copy of the cells, to be spoilt."""
    shutil.copytree(cells, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def train_refused(data: Path, tiny: Path, tmp_path: Path, refused: Refused) -> Refused:
    """``train_refused(parts, "--set", …)``: no training on ``data``, and no folder for it."""

    def check(parts: tuple[object, ...], *options: object, recipe: object = tiny) -> None:
        arguments = ("train", data, "--out", tmp_path / "out", "--recipe", recipe, *options)
        refused(parts, *arguments)
        assert not (tmp_path / "out").exists()

    return check


def spoil(path: Path, change: Callable[[np.ndarray], Any]) -> None:
    """Change the pixels of a file in place."""
    array = np.array(read_image(path, labels=True).array)
    changed = change(array)
    write_image(path, Image(array if changed is None else changed, "YX"))


# ---------------------------------------------------------------- septum train


def test_data_that_is_not_there(refused: Refused, tmp_path: Path) -> None:
    refused(
        (tmp_path / "none", "does not exist", "images/ and labels/"),
        *("train", tmp_path / "none", "--out", tmp_path / "out"),
    )
    assert not (tmp_path / "out").exists()


def test_an_empty_folder(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(
        (tmp_path / "empty", "empty folder", "images/ and labels/"),
        *("train", tmp_path / "empty", "--out", tmp_path / "out"),
    )


def test_images_without_labels(data: Path, train_refused: Refused) -> None:
    (data / "labels" / "01.png").unlink()
    (data / "labels" / "03.png").unlink()
    train_refused(
        (data / "images", "2 files (01.png, 03.png) without labels", "add what is missing")
    )


def test_labels_without_images(data: Path, train_refused: Refused) -> None:
    (data / "images" / "02.png").unlink()
    train_refused((data / "labels", "1 file (02.png) without an image", "add what is missing"))


def test_no_label_folder(data: Path, train_refused: Refused) -> None:
    shutil.rmtree(data / "labels")
    train_refused((data, "no labels/ folder"))


def test_sizes_that_differ(data: Path, train_refused: Refused) -> None:
    spoil(data / "labels" / "01.png", lambda array: array[:-1])
    train_refused(
        (data / "images" / "01.png", "64 × 64", data / "labels" / "01.png", "63 × 64", "crop")
    )


def test_a_stray_label_value(data: Path, train_refused: Refused) -> None:
    for number in range(4):
        spoil(data / "labels" / f"{number:02d}.png", lambda array: (array > 0).astype(np.uint8))
    # A smudge in one of 12 files: 8 pixels of 49152.
    for number in range(4, 12):
        shutil.copy(data / "images" / "00.png", data / "images" / f"{number:02d}.png")
        shutil.copy(data / "labels" / "00.png", data / "labels" / f"{number:02d}.png")

    def smudge(array: np.ndarray) -> None:
        array[0, :8] = 77

    spoil(data / "labels" / "02.png", smudge)
    parts = ("02", "value 77 at 8 pixels", "0, 1", "labels.strays=ignore")
    train_refused(parts, "--set", "labels.kind=classes")


def test_a_label_value_out_of_range(data: Path, train_refused: Refused) -> None:
    array = read_image(data / "labels" / "02.png").array.astype(np.uint32)
    array[3, 3] = 2**32 - 1
    (data / "labels" / "02.png").unlink()
    tifffile.imwrite(data / "labels" / "02.tif", array)
    train_refused((data / "labels" / "02.tif", "4.29497e+09", "at most 2147483647", "number"))


def test_labels_that_are_no_whole_numbers(data: Path, train_refused: Refused) -> None:
    (data / "labels" / "02.png").unlink()
    tifffile.imwrite(data / "labels" / "02.tif", np.full((64, 64), 0.25, np.float32))
    train_refused((data / "labels" / "02.tif", "0.25", "4096 pixels", "whole numbers"))


def test_labels_that_are_all_background(data: Path, train_refused: Refused) -> None:
    for number in range(4):
        spoil(data / "labels" / f"{number:02d}.png", np.zeros_like)
    train_refused(("all 4 label images", "00", "value 0", "nothing is annotated"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_not_finite(value: float, data: Path, train_refused: Refused) -> None:
    array = np.ones((64, 64), np.float32)
    array[5, 5:8] = value
    (data / "images" / "01.png").unlink()
    tifffile.imwrite(data / "images" / "01.tif", array)
    train_refused((data / "images" / "01.tif", "3 of 4096 pixels are NaN or infinite", "replace"))


def test_a_tiff_that_is_cut_short(data: Path, train_refused: Refused) -> None:
    (data / "images" / "01.png").unlink()
    path = data / "images" / "01.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:2000])
    train_refused((path, "cut short"))


def test_a_text_that_is_called_tiff(data: Path, train_refused: Refused) -> None:
    (data / "images" / "01.png").unlink()
    (data / "images" / "01.tif").write_text("Dear colleague, the images will follow.")
    train_refused((data / "images" / "01.tif", "cannot be read as TIFF", "another type"))


def test_an_unknown_key(train_refused: Refused, tmp_path: Path) -> None:
    parts = ("unknown key 'training.lerning_rate'", "did you mean 'training.learning_rate'?")
    train_refused(parts, "--set", "training.lerning_rate=1")
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[trainig]\nsteps = 5\n")
    train_refused((recipe, "unknown key 'trainig.steps'", "training"), recipe=recipe)


def test_an_unknown_recipe(train_refused: Refused) -> None:
    train_refused(("'defualt'", "did you mean 'default'?", "quick"), recipe="defualt")


def test_a_value_out_of_range(train_refused: Refused) -> None:
    train_refused(("network.depth", "less than or equal to 8", "20"), "--set", "network.depth=20")


def test_a_change_without_a_value(train_refused: Refused) -> None:
    train_refused(("--set training.steps", "section.key=value"), "--set", "training.steps")


def test_an_illegal_training_tile(train_refused: Refused) -> None:
    train_refused(("training.tile = 50", "use 48 or 52"), "--set", "training.tile=50")
    train_refused(
        ("training.tile = 30", "at least 44", "use 44"),
        *("--set", "training.tile=30", "--set", "network.padding=valid"),
    )


def test_sigmoid_for_three_classes(data: Path, train_refused: Refused) -> None:
    for number in range(4):
        spoil(
            data / "labels" / f"{number:02d}.png",
            lambda array: (np.indices(array.shape).sum(0) // 8 % 3).astype(np.uint8),
        )
    options = ("--set", "labels.kind=classes", "--set", "network.head=sigmoid")
    train_refused(("network.head", "3", "network.head=softmax"), *options)


def test_images_of_different_channels(data: Path, train_refused: Refused) -> None:
    rng = np.random.default_rng(0)
    write_image(
        data / "images" / "02.png", Image(rng.integers(0, 255, (3, 64, 64), np.uint8), "CYX")
    )
    train_refused(
        (data / "images" / "02.png", "3 channels", data / "images" / "00.png", "has 1", "convert")
    )


def test_an_out_that_holds_a_run(
    run: Path, cells: Path, tiny: Path, refused: Refused, contents: Contents
) -> None:
    before = contents(run)
    refused(
        (run, "holds a run already", "--resume", "another --out"),
        *("train", cells, "--out", run, "--recipe", tiny),
    )
    assert contents(run) == before


def test_another_recipe_on_resume(
    run: Path, cells: Path, refused: Refused, contents: Contents
) -> None:
    before = contents(run)
    refused(
        (run, "network.width = 2, not 4", "another --out"),
        *("train", cells, "--out", run, "--resume", "--set", "network.width=4"),
    )
    assert contents(run) == before


def test_an_out_that_is_a_file(cells: Path, tiny: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "out").write_text("mine")
    refused(
        (tmp_path / "out", "is a file", "folder"),
        *("train", cells, "--out", tmp_path / "out", "--recipe", tiny),
    )
    assert (tmp_path / "out").read_text() == "mine"


def test_a_disk_that_is_full_while_training(
    cells: Path, tiny: Path, tmp_path: Path, septum: Callable[..., Any], monkeypatch: Any
) -> None:
    opened = Path.open

    def fill_up(path: Path, mode: str = "r", **options: Any) -> Any:
        if path.suffix == ".safetensors" and mode == "wb":
            return FullDisk(path, "w")
        return opened(path, mode, **options)

    monkeypatch.setattr(Path, "open", fill_up)
    result = septum("train", cells, "--out", tmp_path / "out", "--recipe", tiny)
    assert result.status == 2
    assert "Traceback" not in result.err
    last = result.err.splitlines()[-1]
    model = tmp_path / "out" / "model.safetensors"
    assert (
        last
        == f"septum: {model}: cannot be written: No space left on device; nothing was changed there"
    )
    assert not model.exists()


# -------------------------------------------------------------- septum predict


@pytest.fixture
def predict_refused(run: Path, tmp_path: Path, refused: Refused) -> Refused:
    """``predict_refused(parts, images…, options…)``: nothing predicted into ``out``."""

    def check(parts: tuple[object, ...], *arguments: object, model: Path = run) -> None:
        refused(parts, "predict", model, *arguments, "--out", tmp_path / "out")
        assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())

    return check


def test_images_that_are_not_there(predict_refused: Refused, tmp_path: Path) -> None:
    predict_refused((tmp_path / "none.tif", "does not exist"), tmp_path / "none.tif")
    predict_refused(("*.tif", "no image file matches"), tmp_path / "*.tif")
    predict_refused((tmp_path, "no image files in this folder"), tmp_path)


def test_a_folder_whose_images_are_in_a_folder_of_it(predict_refused: Refused, cells: Path) -> None:
    predict_refused((cells, f"did you mean {cells / 'images'}?"), cells)


def test_a_model_that_is_not_there(predict_refused: Refused, cells: Path, tmp_path: Path) -> None:
    images = cells / "images"
    predict_refused((tmp_path / "no", "no such model file"), images, model=tmp_path / "no")
    predict_refused((cells, "model.safetensors", "septum train"), images, model=cells)


def test_a_model_of_another_program(predict_refused: Refused, cells: Path, tmp_path: Path) -> None:
    images, model = cells / "images", tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, model)
    predict_refused((model, "another program", "septum train"), images, model=model)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    predict_refused(
        (tmp_path / "other.pt", "not a model of septum", "septum train"),
        *(images,),
        model=tmp_path / "other.pt",
    )


def test_a_model_that_is_cut_short(
    predict_refused: Refused, run: Path, cells: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes((run / "model.safetensors").read_bytes()[:-20])
    predict_refused((model, "not a model of septum"), cells / "images", model=model)


def test_a_tile_that_validation_could_not_take_is_said_before_a_step(
    train_refused: Refused,
) -> None:
    train_refused(("prediction.tile = 50", "use 52"), "--set", "prediction.tile=50")
    train_refused(("prediction.tile = 48", "use 52"), "--set", "prediction.tile=48")


def test_an_illegal_prediction_tile(predict_refused: Refused, cells: Path) -> None:
    predict_refused(("tile = 58", "use 56 or 60"), cells / "images", "--tile", "58")
    # 4 to 48 are legal for the network, but all context.
    predict_refused(("tile = 48", "use 52"), cells / "images", "--tile", "48")
    predict_refused(("tile = -3", "use 52"), cells / "images", "--tile", "-3")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--format", "jpg"), ("--format jpg", "tif, png or zarr")),
        (("--probability", "int8"), ("--probability int8", "uint8, float16 or float32")),
        (("--memory", "much"), ("--memory much", "2GB")),
        (("--memory", "1MB"), ("--memory", "give more")),
        (("--seeds", "0.9"), ("--seeds", "--instances")),
        (("--orientations", "3"), ("--orientations 3", "1 or 8")),
        (("--precision", "half"), ("--precision half", "float32")),
        (("--device", "cuda:7"), ("cuda:7", "--device cpu")),
        (("--device", "gpu"), ("'gpu'", "cuda:N")),
    ],
)
def test_an_option_that_does_not_exist(
    options: tuple[str, ...],
    parts: tuple[str, ...],
    predict_refused: Refused,
    cells: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    predict_refused(parts, cells / "images", *options)


def test_the_wrong_number_of_channels(predict_refused: Refused, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_image(tmp_path / "colour.png", Image(rng.integers(0, 255, (3, 9, 9), np.uint8), "CYX"))
    predict_refused((tmp_path / "colour.png", "3 channels", "on 1"), tmp_path / "colour.png")


def test_a_plane_for_a_3d_model_is_named_once(
    septum: Callable[..., Any],
    refused: Refused,
    cells: Path,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("septum.report.page.write_report", lambda run, data: "none")
    for part in ("images", "labels"):
        planes = [read_image(path).array[:16, :16] for path in sorted((cells / part).iterdir())]
        for number in range(2):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            volume = np.stack(planes * 4)[number : number + 16]
            write_image(tmp_path / "data" / part / f"{number}.tif", Image(volume, "ZYX"))
    changes = ("network.dimensions=3", "training.steps=1", "training.tile=16", "network.depth=1")
    options = [word for change in changes for word in ("--set", change)]
    out = tmp_path / "run"
    result = septum("train", tmp_path / "data", "--out", out, "--recipe", tiny, *options)
    assert result.status == 0, result.err
    image = cells / "images" / "00.png"
    refused((image, "no Z"), "predict", out, image, "--out", tmp_path / "out")
    result = septum("predict", out, image, "--out", tmp_path / "out")
    assert result.err.count(str(image)) == 1


@pytest.mark.parametrize("kind", ["nan", "cut", "text"])
def test_an_image_that_cannot_be_used(kind: str, predict_refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    parts = {
        "nan": (path, "1 of 144 pixels", "replace"),
        "cut": (path, "cut short"),
        "text": (path, "cannot be read as TIFF"),
    }
    array = np.ones((12, 12), np.float32)
    array[2, 2] = np.nan if kind == "nan" else 2
    tifffile.imwrite(path, array)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:500])
    if kind == "text":
        path.write_text("not an image")
    predict_refused(parts[kind], path)


def test_two_images_of_one_name(predict_refused: Refused, cells: Path, tmp_path: Path) -> None:
    other = tmp_path / "00.png"
    shutil.copy(cells / "images" / "00.png", other)
    predict_refused(
        (other, cells / "images" / "00.png", "same name", "different folders"),
        *(cells / "images", other),
    )


def test_results_that_exist_are_kept_unless_overwrite_says_so(
    run: Path,
    cells: Path,
    tmp_path: Path,
    refused: Refused,
    septum: Callable[..., Any],
    contents: Contents,
) -> None:
    (tmp_path / "02.probability.tif").write_bytes(b"mine")
    arguments = ("predict", run, cells / "images", "--out", tmp_path)
    refused((tmp_path / "02.probability.tif", "exists already", "--overwrite"), *arguments)
    assert contents(tmp_path) == {"02.probability.tif": b"mine"}
    assert septum(*arguments, "--overwrite").status == 0
    assert read_image(tmp_path / "02.probability.tif").array.shape == (2, 64, 64)


def test_a_stack_as_png_is_refused_before_it_is_predicted(
    predict_refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("septum.prediction.files.predict_into", None)
    write_image(tmp_path / "stack.tif", Image(np.zeros((3, 9, 9), np.uint8), "ZYX"))
    predict_refused(
        (tmp_path / "stack.tif", "ZYX", "--format tif"), tmp_path / "stack.tif", "--format", "png"
    )


def test_a_disk_that_is_full_while_predicting(
    run: Path, cells: Path, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "00.mask.tif").write_bytes(b"mine")

    def no_room(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", no_room)
    refused(
        (tmp_path / "00.mask.tif", "No space left on device"),
        *("predict", run, cells / "images" / "00.png", "--out", tmp_path, "--overwrite"),
    )
    assert (tmp_path / "00.mask.tif").read_bytes() == b"mine"


def test_an_out_that_cannot_be_made(
    run: Path, cells: Path, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "out"
    refused((out, "cannot be made"), "predict", run, cells / "images", "--out", out)
    assert (tmp_path / "file").read_text() == "mine"


# ------------------------------------------------------------- septum evaluate


def test_predictions_without_truth(cells: Path, tmp_path: Path, refused: Refused) -> None:
    shutil.copytree(cells / "labels", tmp_path / "masks")
    (tmp_path / "masks" / "03.png").rename(tmp_path / "masks" / "09.png")
    refused(("09", "03", "expected equal names"), "evaluate", tmp_path / "masks", cells)


def test_scores_into_a_folder_that_is_not_there(
    cells: Path, run: Path, tmp_path: Path, refused: Refused, septum: Callable[..., Any]
) -> None:
    image = cells / "images" / "00.png"
    assert septum("predict", run, image, "--out", tmp_path / "out").status == 0
    scores = tmp_path / "none" / "scores.json"
    mask, truth = tmp_path / "out" / "00.mask.tif", cells / "labels" / "00.png"
    refused(
        (scores, "cannot be written"),
        *("evaluate", mask, truth, "--set", "labels.kind=instances", "--json", scores),
    )


def test_the_report_of_no_run(tmp_path: Path, refused: Refused) -> None:
    refused((tmp_path / "none",), "report", tmp_path / "none")


# ------------------------------------------------------------------- our fault


def test_a_fault_of_ours_is_one_line_and_status_1_with_debug_a_traceback(
    cells: Path,
    tiny: Path,
    tmp_path: Path,
    septum: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(job: Job) -> None:
        raise ZeroDivisionError("by nought\nand on two lines")

    monkeypatch.setattr(Job, "log_training", fail)
    arguments = ("train", cells, "--recipe", tiny, "--out")
    result = septum(*arguments, tmp_path / "a")
    assert result.status == 1
    assert "Traceback" not in result.err
    last = result.err.splitlines()[-1]
    assert last.startswith("septum: a fault in septum: ZeroDivisionError: by nought and on two")
    assert "septum --debug" in last

    with pytest.raises(ZeroDivisionError):  # which Python shows, and exits with 1
        septum("--debug", *arguments, tmp_path / "b")


def test_debug_shows_the_traceback_of_a_users_error_and_the_line_after_it(
    tmp_path: Path, septum: Callable[..., Any]
) -> None:
    result = septum("--debug", "train", tmp_path / "none", "--out", tmp_path / "out")
    assert result.status == 2
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith(f"septum: {tmp_path / 'none'}: does not exist")


def test_version_and_help(septum: Callable[..., Any]) -> None:
    from septum import __version__

    result = septum("--version")
    assert (result.status, result.out, result.err) == (0, f"{__version__}\n", "")
    result = septum("--help")
    assert result.status == 0
    for command in ("train", "predict", "evaluate", "report", "demo"):
        assert f"  {command} " in result.out
        assert septum(command, "--help").status == 0


def test_a_wrong_command_line_is_status_2_without_a_traceback(septum: Callable[..., Any]) -> None:
    for arguments, named in ((("trian",), "trian"), (("train", "data"), "--out"), (("-q",), "-q")):
        result = septum(*arguments)
        assert result.status == 2
        assert named in result.err
        assert "Traceback" not in result.err
