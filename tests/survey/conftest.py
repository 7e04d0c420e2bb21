"""Annotated images without a fault, to be spoilt one way at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from septum.annotation.synthetic import write_example_data
from septum.images.files import Image, read_image, write_image
from septum.recipe import load_recipe
from septum.survey.examination import take_survey
from septum.survey.survey import Problem, Survey


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight annotated images of touching cells, 160 × 160. Not to be changed: see ``data``."""
    folder = tmp_path_factory.mktemp("clean") / "cells"
    write_example_data(folder, "cells", count=8, size=160)
    return folder


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    """A copy of the cells, to be spoilt."""
    return Path(shutil.copytree(clean, tmp_path / "data"))


@pytest.fixture
def spoil(data: Path) -> Callable[..., Path]:
    """``spoil("labels/03.png", change)``: the array changed, in place or by what is returned."""

    def change_file(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Path:
        path = data / name
        array = np.array(read_image(path, labels="labels" in name).array)
        changed = change(array)
        array = array if changed is None else changed
        write_image(path, Image(array, "CYX" if array.ndim == 3 else "YX"))
        return path

    return change_file


def survey_of(data: Path, *changes: str) -> Survey:
    return take_survey(data, load_recipe("default", changes))


@pytest.fixture(scope="session")
def look() -> Callable[..., Survey]:
    """``look(data, "labels.kind=instances")``."""
    return survey_of


@pytest.fixture
def only(data: Path) -> Callable[..., Problem]:
    """The one problem of ``data``, which must be of this kind and level."""

    def check(kind: str, level: str, *changes: str) -> Problem:
        found = survey_of(data, *changes).problems
        assert [(problem.kind, problem.level) for problem in found] == [(kind, level)], found
        return found[0]

    return check
