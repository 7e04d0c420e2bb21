"""What all tests share: checked annotations, one thread, and the folder of real data."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numba
import pytest
import torch
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]

# Before septum is imported: from here on every annotation, shapes included, is checked at every
# call. As annotations are read elsewhere, an int may stand where a float is asked for.
install_import_hook("septum", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

_njit = numba.njit


def _njit_unchecked(*args: Any, **options: Any) -> Callable[..., Any]:
    """Compile what was written: numba cannot compile the checks that the hook wraps around it."""
    if args and callable(args[0]):
        return _njit(inspect.unwrap(args[0]), **options)
    return lambda function: _njit(*args, **options)(inspect.unwrap(function))


numba.njit = _njit_unchecked

# The networks here are tiny: waiting for a second thread takes longer than doing its work.
torch.set_num_threads(1)

# The same examples every time, so that a failure is the change's and not the day's; no deadline,
# because a busy machine is slow and not wrong.
hypothesis.settings.register_profile(
    "septum", deadline=None, derandomize=True, max_examples=40, database=None
)
hypothesis.settings.load_profile("septum")


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data sets, which are not part of this repository."""
    folder = Path(os.environ.get("SEPTUM_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data under {folder}; set SEPTUM_DATA to their folder")
    return folder
