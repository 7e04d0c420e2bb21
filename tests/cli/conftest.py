"""The command line, run in this process, and tiny data and models to run it on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from septum import cli
from septum.annotation.synthetic import write_example_data
from septum.recipe import load_recipe
from septum.training.loop import train

TINY = """
base = "complete"
name = "tiny"
[validation]
last = 1
[augment]
elastic_sigma = 3
[network]
width = 2
depth = 2
padding = "same"
normalization = "batch"
dropout = 0
[loss]
border_weight = 0
[training]
steps = 6
batch = 2
tile = 32
optimizer = "adamw"
learning_rate = 0.01
validate_every = 3
threshold = "rand"
precision = "float32"
"""


@pytest.fixture
def septum(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """``septum("predict", …)``: its exit status, standard output and standard error."""
    # Set and taken away, so that what --debug sets is gone after the test.
    monkeypatch.setenv("SEPTUM_DEBUG", "")
    monkeypatch.delenv("SEPTUM_DEBUG")

    def run(*arguments: object) -> Any:
        capsys.readouterr()
        os.environ.pop("SEPTUM_DEBUG", None)
        monkeypatch.setattr(sys, "argv", ["septum", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return SimpleNamespace(status=end.value.code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def refused(septum: Callable[..., Any]) -> Callable[..., None]:
    """``refused(parts, "train", …)``: status 2 and one line that has all the parts."""

    def check(parts: tuple[object, ...], *arguments: object) -> None:
        result = septum(*arguments)
        assert result.status == 2, result.err
        assert result.out == ""
        lines = result.err.splitlines()
        assert len(lines) == 1, result.err
        assert lines[0].startswith("septum: ")
        for part in parts:
            assert str(part) in lines[0], f"{part!r} is not in: {lines[0]}"

    return check


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four annotated images of 64 × 64 pixels. Not to be changed: copy it first."""
    folder = tmp_path_factory.mktemp("cells") / "cells"
    write_example_data(folder, "cells", count=4, size=64)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY, "utf-8")
    return path


@pytest.fixture(scope="session")
def run(cells: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run. Not to be changed."""
    out = tmp_path_factory.mktemp("run") / "run"
    train(cells, out, load_recipe(str(tiny)))
    return out


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
