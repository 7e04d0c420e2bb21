"""A step that does not fit into memory says what does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from septum.errors import TrainingError
from septum.recipe import Recipe, dump_recipe
from septum.training import loop, step_graph
from septum.training.data import load_data
from septum.training.job import Job
from septum.training.memory import explain_out_of_memory, is_out_of_memory, largest_tile
from septum.training.run_folder import RunFolder


def small_memory(job: Job, most: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A network that holds at most ``most`` pixels an axis; the extents that were tried."""
    tried: list[int] = []
    forward = job.network.forward

    def limited(image: torch.Tensor) -> torch.Tensor:
        tried.append(image.shape[-1])
        if image.shape[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(image)

    monkeypatch.setattr(job.network, "forward", limited)
    return tried


@pytest.mark.parametrize(("most", "expected"), [(95, 94), (94, 94), (93, 92), (3, 2), (1, None)])
def test_the_largest_tile_that_fits_is_found_in_few_trials(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    expected: int | None,
) -> None:
    recipe = tiny("training.tile=96")
    job = Job(RunFolder(tmp_path), recipe, load_data(squares, recipe), torch.device("cpu"))
    before = {k: v.clone() for k, v in job.network.state_dict().items()}
    tried = small_memory(job, most, monkeypatch)
    assert largest_tile(job, 2) == expected
    assert len(tried) <= 7
    assert all(torch.equal(value, before[k]) for k, value in job.network.state_dict().items())
    said = str(explain_out_of_memory(job))
    assert "2 tiles of 96 pixels" in said
    assert "--set training.micro_batch=1" in said
    assert (f"--set training.tile={expected}," in said) == (expected is not None)


def test_training_ends_in_that_line_and_other_errors_pass(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(job: Job) -> None:
        raise failure

    monkeypatch.setattr(step_graph, "train_step", fail)
    failure: Exception = RuntimeError("DefaultCPUAllocator: not enough memory: you tried to …")
    with pytest.raises(TrainingError, match="not fit into memory; try"):
        loop.train(squares, tmp_path / "a", tiny())
    failure = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        loop.train(squares, tmp_path / "b", tiny())


def test_messages_of_torch_are_known() -> None:
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(ValueError("not enough memory"))
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**46)
    assert is_out_of_memory(found.value)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits address space by ulimit")
def test_a_real_shortage_of_memory_names_a_tile_that_then_trains(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny("training.tile=2048", "network.width=4", "training.batch=1", "training.steps=1")
    file = tmp_path / "recipe.toml"
    file.write_text(dump_recipe(recipe), "utf-8")

    def run(name: str, *changes: str) -> subprocess.CompletedProcess[str]:
        command = f"ulimit -v 2000000; exec {sys.executable} -m septum train {squares} " + (
            f"--out {tmp_path / name} --recipe {file} {' '.join(changes)}"
        )
        return subprocess.run(
            ["bash", "-c", command],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    done = run("large")
    assert done.returncode == 1, done.stderr
    line = done.stderr.splitlines()[-1]
    found = re.search(r"training\.tile=(\d+), the largest that fits", line)
    assert found, done.stderr
    smaller = run("small", "--set", f"training.tile={found[1]}")
    assert smaller.returncode == 0, smaller.stderr
