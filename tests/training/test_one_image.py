"""One annotated image is enough: a part of it trains, another validates, and that is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from septum.images.files import Image, write_image
from septum.images.intensity_range import fit_intensity_range
from septum.model import load_model
from septum.recipe import Recipe
from septum.report.contents import gather
from septum.training import data as data_module
from septum.training import windows as windows_module
from septum.training.data import LEAST_QUARTER, Data, load_data
from septum.training.loop import train
from septum.training.windows import StoredWindow, in_memory

PLENTY = 1 << 40
MEMORY = pytest.mark.parametrize("memory", [PLENTY, 0], ids=["in memory", "in its file"])


def write_one(folder: Path, labels: np.ndarray) -> Path:
    """An image, brighter from place to place, and its labels."""
    image = np.arange(labels.size, dtype=np.uint16).reshape(labels.shape)
    for part, array in (("images", image), ("labels", labels)):
        (folder / part).mkdir(parents=True)
        write_image(folder / part / "cells.tif", Image(array, "ZYX"[-labels.ndim :]))
    return folder


def chequered(extents: tuple[int, ...]) -> np.ndarray:
    """Objects everywhere."""
    return (np.indices(extents).sum(0) % 2).astype(np.uint8)


def sides(data: Data) -> tuple[np.ndarray, np.ndarray]:
    (training,), (validation,) = data.training, data.validation
    return in_memory(training).image_CS[0], in_memory(validation).image_CS[0]


@MEMORY
@pytest.mark.parametrize(
    ("extents", "axis"), [((40, 128), 1), ((131, 50), 0), ((140, 140), 0), ((10, 30, 128), 2)]
)
def test_the_last_quarter_along_the_longest_axis_validates_and_the_rest_trains(
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    memory: int,
    extents: tuple[int, ...],
    axis: int,
) -> None:
    folder = write_one(tmp_path, chequered(extents))
    recipe = tiny(f"network.dimensions={len(extents)}")
    data = load_data(folder, recipe, memory)
    training, validation = sides(data)
    whole = np.arange(np.prod(extents)).reshape(extents)
    np.testing.assert_array_equal(np.concatenate([training, validation], axis), whole)
    assert validation.shape[axis] == extents[axis] // 4
    assert data.divided
    assert not data.validates_on_training
    assert data.training[0].name != data.validation[0].name
    box = ", ".join(f"0:{n}" if a != axis else f"{n - n // 4}:{n}" for a, n in enumerate(extents))
    assert data.validation[0].name == f"cells[{box}]"
    # What is learnt of grey values is learnt from the part that trains.
    assert data.intensity == fit_intensity_range([training[None]], recipe.intensity)


@MEMORY
@pytest.mark.parametrize(
    ("objects", "first"),
    [((0, 3), True), ((0, 128), False), ((127, 128), False), ((60, 61), False)],
)
def test_the_first_quarter_validates_if_the_last_alone_is_empty(
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    memory: int,
    objects: tuple[int, int],
    first: bool,
) -> None:
    labels = np.zeros((40, 128), np.uint8)
    labels[::2, slice(*objects)] = 1
    data = load_data(write_one(tmp_path, labels), tiny(), memory)
    assert data.validation[0].name == f"cells[0:40, {'0:32' if first else '96:128'}]"
    assert data.training[0].name == f"cells[0:40, {'32:128' if first else '0:96'}]"


@MEMORY
def test_an_image_too_small_to_be_divided_is_on_both_sides(
    tmp_path: Path, tiny: Callable[..., Recipe], memory: int
) -> None:
    labels = chequered((40, 4 * LEAST_QUARTER - 1))
    data = load_data(write_one(tmp_path, labels), tiny(), memory)
    assert not data.divided
    assert data.validates_on_training
    np.testing.assert_array_equal(*sides(data))


def test_of_an_image_too_large_to_be_predicted_windows_of_its_part_validate(
    tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_module, "LARGEST_VALIDATED", 500)
    monkeypatch.setattr(windows_module, "WINDOW_PIXELS", 400)
    data = load_data(write_one(tmp_path, chequered((40, 160))), tiny(), 0)
    assert len(data.validation) > 1
    for item in data.validation:
        assert isinstance(item, StoredWindow)
        assert item.box is not None
        assert item.box[1].start >= 120
        assert item.box[1].stop <= 160
        assert item.extents == (20, 20)
    for item in data.examined:
        assert item.box is not None
        assert item.box[1].stop <= 120


def test_in_memory_windows_of_its_part_validate_too(
    tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_data(write_one(tmp_path, chequered((40, 160))), tiny())
    (whole,) = data.validation
    monkeypatch.setattr(data_module, "LARGEST_VALIDATED", 500)
    monkeypatch.setattr(windows_module, "WINDOW_PIXELS", 400)
    parts = load_data(data.path, tiny()).validation
    assert len(parts) == data_module.SHOWN_EACH
    for part in parts:
        assert part.name.startswith(f"{whole.name}[")
        y, x = (int(side.partition(":")[0]) for side in part.name[:-1].split("[")[-1].split(", "))
        np.testing.assert_array_equal(part.image_CS, whole.image_CS[:, y : y + 20, x : x + 20])
        np.testing.assert_array_equal(part.labels_S, whole.labels_S[y : y + 20, x : x + 20])


def test_training_on_one_image_says_so_and_its_model_names_the_parts(
    tmp_path: Path,
    squares: Path,
    write_squares: Callable[..., Path],
    tiny: Callable[..., Recipe],
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = write_squares(tmp_path / "data", 1, (64, 136))
    run = train(data, tmp_path / "run", tiny("training.steps=2", "training.validate_every=2"))
    assert "there is one image: a quarter of it validates" in capsys.readouterr().err
    provenance = load_model(run.best).provenance
    assert provenance["training_images"] == ["square0[0:64, 0:102]"]
    assert provenance["validation_images"] == ["square0[0:64, 102:136]"]
    notes = gather(run, None).notes
    assert any("a quarter of it was kept from training" in note for note in notes)
    assert not any("not those that this model was trained on" in note for note in notes)
