"""One tiny run, trained once, that the tests of this folder look at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from septum.annotation.synthetic import write_example_data
from septum.recipe import Recipe, load_recipe
from septum.training.loop import train
from septum.training.run_folder import RunFolder

TINY = (
    "network.width=2",
    "network.depth=2",
    "training.tile=32",
    "training.steps=4",
    "training.validate_every=2",
    "training.warmup_steps=1",
    "validation.last=2",
    "training.precision=float32",
    "loss.border_weight=10",
)


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Path]:
    """A finished run and its data. Not to be changed: see ``run``."""
    folder = tmp_path_factory.mktemp("example")
    write_example_data(folder / "data", "cells", count=6, size=64)
    recipe = load_recipe("quick", (*TINY, "labels.kind=instances"))
    return train(folder / "data", folder / "run", recipe, device="cpu"), folder / "data"


@pytest.fixture
def run(example: tuple[RunFolder, Path], tmp_path: Path) -> RunFolder:
    """A copy of the finished run, to do anything to."""
    return RunFolder(Path(shutil.copytree(example[0].path, tmp_path / "run")))


@pytest.fixture
def data(example: tuple[RunFolder, Path]) -> Path:
    return example[1]


@pytest.fixture
def tiny() -> Recipe:
    return load_recipe("quick", TINY)
