"""Images left in their files give the tiles, and the training, of images in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from septum.annotation.pairs import find_pairs
from septum.annotation.stored_pairs import open_pairs
from septum.errors import RunFolderError
from septum.geometry import unet_footprint
from septum.images.files import Image, write_image
from septum.images.stored import Box, StoredStack
from septum.recipe import Recipe
from septum.training import data as data_module
from septum.training import windows as windows_module
from septum.training.data import Data, load_data
from septum.training.images import StoredTrainingImage
from septum.training.job import Job
from septum.training.loop import train
from septum.training.prefetch import Prefetched
from septum.training.run_folder import RunFolder
from septum.training.samples import build_sampler
from septum.training.tracking import describe_job
from septum.training.validation import Targets
from septum.training.windows import StoredWindow, glimpse, spread_windows

PLENTY = 1 << 40


def write_cells(folder: Path, extents: tuple[int, ...], count: int = 3) -> Path:
    """Numbered blocks: instance labels, which mean the same in every part of an image."""
    for number in range(count):
        rng = np.random.default_rng([11, number])
        labels = np.zeros(extents, np.uint16)
        for cell in range(1, 40):
            corner = [int(rng.integers(max(extent - 6, 1))) for extent in extents]
            labels[tuple(slice(c, c + 5) for c in corner)] = cell
        image = (rng.normal(100, 20, extents) + 40 * (labels > 0)).clip(0, 255).astype(np.uint8)
        for part, array in (("images", image), ("labels", labels)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            axes = "ZYX"[-len(extents) :]
            write_image(folder / part / f"cells{number}.tif", Image(array, axes))
    return folder


@pytest.mark.parametrize("scope", ["set", "image"])
@pytest.mark.parametrize(("extents", "axes"), [((90, 80), 2), ((20, 40, 36), 3)])
def test_tiles_read_from_files_are_those_of_images_in_memory(
    tmp_path: Path, tiny: Callable[..., Recipe], extents: tuple[int, ...], axes: int, scope: str
) -> None:
    folder = write_cells(tmp_path, extents)
    recipe = tiny(
        f"network.dimensions={axes}",
        "training.tile=16",
        "training.object_share=0.5",
        f"intensity.scope={scope}",
    )
    whole, stored = load_data(folder, recipe, PLENTY), load_data(folder, recipe, 0)
    assert stored.stored
    assert not whole.stored
    assert stored.meaning.kind == whole.meaning.kind == "instances"
    assert stored.intensity == whole.intensity
    footprint = unet_footprint(1, "same")
    samplers = [build_sampler(data, recipe, footprint) for data in (whole, stored)]
    assert isinstance(samplers[1].images[0], StoredTrainingImage)
    assert [s.reads_files for s in samplers] == [False, True]
    np.testing.assert_array_equal(samplers[0].weights_K, samplers[1].weights_K)
    for step in range(12):
        one, other = (sampler.sample(step, 1) for sampler in samplers)
        assert one.name == other.name
        for part in ("image_CS", "classes_S", "weights_S"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part), part)
    for mine, theirs in zip(
        *(Targets(d.validation, d.meaning) for d in (whole, stored)), strict=True
    ):
        assert mine.name == theirs.name
        np.testing.assert_array_equal(mine.image_CS, theirs.image_CS)
        np.testing.assert_array_equal(mine.instances_S, theirs.instances_S)


def test_nothing_is_read_that_is_not_needed_and_nothing_twice(
    tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_data(write_cells(tmp_path / "cells", (60, 50), 4), tiny(), 0)
    paths: list[str] = []
    read = StoredStack.read

    def counted(stack: StoredStack, box: Box | None = None) -> np.ndarray:
        paths.append(stack.image.source.parent.name)
        return read(stack, box)

    monkeypatch.setattr(StoredStack, "read", counted)
    item = data.training[0]
    assert isinstance(item, StoredWindow)
    assert item.labels_S.any()
    assert paths == ["labels"]
    paths.clear()
    assert Targets(data.validation, data.meaning)[0].image_CS.size
    assert sorted(paths) == ["images", "labels"]
    paths.clear()
    build_sampler(data, tiny("loss.class_weight=balanced"), unet_footprint(1, "same"))
    assert paths == ["labels"] * len(data.examined)


def test_a_run_on_images_left_in_files_has_the_weights_of_one_in_memory(
    tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, recipe = write_cells(tmp_path / "cells", (60, 50), 4), tiny()
    in_memory = train(folder, tmp_path / "memory", recipe)
    monkeypatch.setattr(data_module, "available_memory", lambda: 0)
    stored = train(folder, tmp_path / "stored", recipe)
    with safe_open(in_memory.last, "pt") as one, safe_open(stored.last, "pt") as other:
        for name in one.keys():  # noqa: SIM118
            assert torch.equal(one.get_tensor(name), other.get_tensor(name)), name
    # It goes on as it began, whatever memory is free now: in files, and only with the same ones.
    monkeypatch.setattr(data_module, "available_memory", lambda: PLENTY)
    longer = tiny("training.steps=12")
    train(folder, stored.path, longer, resume=True)
    train(folder, in_memory.path, longer, resume=True)
    with safe_open(in_memory.last, "pt") as one, safe_open(stored.last, "pt") as other:
        for name in one.keys():  # noqa: SIM118
            assert torch.equal(one.get_tensor(name), other.get_tensor(name)), name
    image = folder / "images" / "cells0.tif"
    image.write_bytes(image.read_bytes() + b"more")
    longer = tiny("training.steps=16")
    with pytest.raises(RunFolderError, match="images or labels changed"):
        train(folder, stored.path, longer, resume=True)


def test_a_job_reads_files_in_a_thread_beside_the_network(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny()
    data = load_data(write_cells(tmp_path, (60, 50)), recipe, 0)
    job = Job(RunFolder(tmp_path), recipe, data, torch.device("cpu"))
    assert isinstance(job.tiles, Prefetched)
    assert any("read tile by tile" in line for line in describe_job(job))


@pytest.fixture
def large(tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch) -> Data:
    """Three images, each eight times what a window may hold."""
    monkeypatch.setattr(windows_module, "WINDOW_PIXELS", 1024)
    monkeypatch.setattr(data_module, "LARGEST_VALIDATED", 1024)
    return load_data(write_cells(tmp_path, (64, 128)), tiny(), 0)


def test_of_large_images_only_windows_are_looked_at(large: Data) -> None:
    assert large.stored
    assert len(large.examined) == len(large.training) * data_module.EXAMINED_EACH
    assert {math.prod(window.extents) for window in large.examined} == {1024}
    assert len({window.name for window in large.examined}) > 8
    assert len(large.validation) == data_module.SHOWN_EACH
    assert all(window.extents == (32, 32) for window in large.validation)
    first = large.examined[0]
    assert isinstance(first, StoredWindow)
    whole = first.pair.read()
    assert first.box is not None
    np.testing.assert_array_equal(first.image_CS, whole.image_CS[:, *first.box])
    np.testing.assert_array_equal(first.labels_S, whole.labels_S[first.box])
    inner = first.read((slice(2, 9), slice(0, 5)))
    np.testing.assert_array_equal(inner.image_CS, first.image_CS[:, 2:9, :5])
    assert glimpse(large.training[0]).labels_S.size == 1024


def test_windows_depend_on_the_names_alone(large: Data) -> None:
    items = [item for item in large.training if isinstance(item, StoredWindow)]
    one, other = (spread_windows(items, 2, 3) for _ in range(2))
    assert [window.name for window in one] == [window.name for window in other]
    assert len(one) == 6


def test_thin_volumes_are_windowed_over_their_long_axes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows_module, "WINDOW_PIXELS", 4000)
    folder = write_cells(tmp_path, (5, 90, 80), 1)
    (pair,) = open_pairs(find_pairs(folder), 3)
    (window,) = spread_windows([StoredWindow(pair)], 1)
    assert window.extents == (5, 28, 28)


def test_objects_of_large_images_are_found_in_windows(large: Data) -> None:
    item = large.training[0]
    assert isinstance(item, StoredWindow)
    image = StoredTrainingImage(item, large.meaning, large.intensity)
    (points,) = image.places
    labels = item.labels_S
    inside = [labels[tuple(point)] != 0 for point in points]
    assert len(points) > 10
    assert all(inside)
