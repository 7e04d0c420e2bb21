"""Tiny networks on images of bright squares, and what two runs must agree in to be the same."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from septum.images.files import Image, write_image
from septum.recipe import Recipe, load_recipe
from septum.training import job as job_module
from septum.training import step_graph
from septum.training.run_folder import RunFolder

TINY = """
base = "complete"
name = "tiny"
[validation]
last = 1
[augment]
elastic_sigma = 3
[network]
width = 2
depth = 1
padding = "same"
normalization = "batch"
dropout = 0.2
[loss]
border_weight = 2
border_sigma = 2
[training]
steps = 8
batch = 2
tile = 32
optimizer = "adamw"
learning_rate = 0.01
weight_average = 0.9
validate_every = 4
save_seconds = 0
precision = "float32"
"""


def draw_squares(extents: tuple[int, ...], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Noise with brighter squares (cubes) in it, and 255 where these are."""
    labels = np.zeros(extents, np.uint8)
    for _ in range(6 * len(extents)):
        corner = [int(rng.integers(0, extent - 5)) for extent in extents]
        labels[tuple(slice(c, c + 6 + int(rng.integers(6))) for c in corner)] = 255
    image = np.where(labels > 0, 140, 60) + rng.normal(0, 8, extents)
    return image.clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="session")
def write_squares() -> Callable[..., Path]:
    def write(folder: Path, count: int = 4, extents: tuple[int, ...] = (48, 56)) -> Path:
        suffix = ".png" if len(extents) == 2 else ".tif"
        for number in range(count):
            image, labels = draw_squares(extents, np.random.default_rng([7, number]))
            for part, array in (("images", image), ("labels", labels)):
                (folder / part).mkdir(parents=True, exist_ok=True)
                write_image(
                    folder / part / f"square{number}{suffix}", Image(array, "ZYX"[-len(extents) :])
                )
        return folder

    return write


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory, write_squares: Callable[..., Path]) -> Path:
    """Four annotated images. Not to be changed: a test that changes data writes its own."""
    return write_squares(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY, "utf-8")
    return path


@pytest.fixture(scope="session")
def tiny(tiny_file: Path) -> Callable[..., Recipe]:
    """``tiny("training.steps=4", …)``: the tiny recipe, changed."""
    return lambda *changes: load_recipe(str(tiny_file), changes)


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """``interrupt_after(5)``: Ctrl-C while step 5 is computed; None: none any more."""
    usual = step_graph.train_step

    def arrange(step: int | None) -> None:
        def train_step(job: Any) -> None:
            usual(job)
            if job.step == step:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(step_graph, "train_step", train_step)

    return arrange


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        header = {key: json.loads(text) for key, text in file.metadata().items()}
        return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118


def without_seconds(tree: Any) -> Any:
    """The clock is the one thing that two equal runs may differ in."""
    if isinstance(tree, dict):
        return {key: without_seconds(value) for key, value in tree.items() if key != "seconds"}
    return [without_seconds(item) for item in tree] if isinstance(tree, list) else tree


@pytest.fixture(scope="session")
def assert_same_run() -> Callable[[RunFolder, RunFolder], None]:
    """All bits of weights, averages, statistics, optimiser, models; and all records."""

    def check(run: RunFolder, expected: RunFolder) -> None:
        for one, other in (
            (run.state_file, expected.state_file),
            (run.best, expected.best),
            (run.last, expected.last),
        ):
            tensors, header = read_tensors(one)
            expected_tensors, expected_header = read_tensors(other)
            assert tensors.keys() == expected_tensors.keys()
            different = [n for n, v in tensors.items() if not torch.equal(v, expected_tensors[n])]
            assert not different, f"{one.name}: {different}"
            assert without_seconds(header) == without_seconds(expected_header)
        assert without_seconds(run.history()) == without_seconds(expected.history())
        assert run.recipe_file.read_text("utf-8") == expected.recipe_file.read_text("utf-8")

    return check


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder, by its path, byte for byte."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return read


@pytest.fixture
def validate_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], None]:
    """Let validations give these losses, and predict nothing."""

    def arrange(given: Sequence[float]) -> None:
        rest = iter(given)

        def validate(*_: object) -> dict[str, float]:
            loss = next(rest)
            names = ("loss", "pixel_error", "iou", "rand_error")
            return {**dict.fromkeys(names, loss), "object_share": 0.2, "predicted_share": 0.0}

        monkeypatch.setattr(job_module, "validate", validate)

    return arrange
