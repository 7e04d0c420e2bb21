"""kill -9, for real, fifty times, at moments that nobody chose."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from septum.recipe import Recipe, load_recipe
from septum.training.loop import train
from septum.training.run_folder import RunFolder

KILLS, STEPS, PATIENCE = 50, 300, 240.0


def go_on(data: Path, out: Path, recipe: Path) -> None:
    """What a killed process did: start, or take up, the run."""
    torch.set_num_threads(1)
    train(data, out, load_recipe(str(recipe)), resume=True)


def saved(run: RunFolder) -> int:
    """When the state was saved last: at every step."""
    return run.state_file.stat().st_mtime_ns if run.state_file.exists() else 0


def is_saving(run: RunFolder) -> bool:
    """Whether there is half a file, of a process that saves or was killed while it did."""
    return any(
        name.startswith(".")
        for folder in (run.path, run.state_file.parent)
        if folder.exists()
        for name in os.listdir(folder)
    )


@pytest.mark.slow
def test_a_run_killed_fifty_times_has_the_bits_of_one_that_was_not(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    assert_same_run: Callable[[RunFolder, RunFolder], None],
) -> None:
    # The state is saved at every step, the best model at every validation: many kills hit a save.
    recipe = tiny(f"training.steps={STEPS}", "training.validate_every=6", "training.batch=1")
    expected = train(squares, tmp_path / "whole", recipe)
    run, chance = RunFolder(tmp_path / "run"), random.Random(20150518)
    processes = multiprocessing.get_context("forkserver")
    # What a process would import first, and the optimiser's import on its own: seconds each time.
    processes.set_forkserver_preload(["septum.training.loop", "torch._dynamo", "scipy.ndimage"])
    killed = hits = 0
    for number in range(KILLS):
        child = processes.Process(target=go_on, args=(squares, run.path, expected.recipe_file))
        child.start()
        # Every tenth is killed while it starts, the others within the steps after that, and of
        # these every other one when it is seen to save.
        before, end = saved(run), time.monotonic() + PATIENCE
        while number % 10 and saved(run) == before and child.is_alive():
            assert time.monotonic() < end, "no step for minutes"
            time.sleep(0.001)
        while number % 2 and not is_saving(run) and child.is_alive():
            assert time.monotonic() < end, "no save for minutes"
        if number % 2 == 0:
            time.sleep(chance.uniform(0, 0.02) if number % 10 else chance.uniform(0, 1))
        child.kill()
        child.join()
        killed += child.exitcode == -signal.SIGKILL
        hits += is_saving(run)
        assert child.exitcode in (0, -signal.SIGKILL)
    assert killed == KILLS, "too fast a machine: raise STEPS"
    assert hits > 5, "kills that were to hit a save did not"
    assert_same_run(train(squares, run.path, resume=True), expected)
    names = {path.name for path in run.path.rglob("*") if path.is_file()}
    assert names == {path.name for path in expected.path.rglob("*") if path.is_file()}
