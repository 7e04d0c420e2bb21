"""kill -9, for real, at moments that nobody chose."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from septum.recipe import Recipe
from septum.training.loop import train
from septum.training.run_folder import RunFolder

RUN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from septum.recipe import load_recipe
from septum.training.loop import train
train(Path(sys.argv[1]), Path(sys.argv[2]), load_recipe(sys.argv[3]), resume=True)
"""
STEPS, PATIENCE = 150, 240.0


def reached(run: RunFolder) -> int:
    """The last step in the history, which another process is writing at this moment."""
    try:
        lines = run.history_file.read_text("utf-8").splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, IndexError, ValueError, KeyError):
        return 0


@pytest.mark.slow
def test_a_run_killed_again_and_again_has_the_bits_of_one_that_was_not(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    assert_same_run: Callable[[RunFolder, RunFolder], None],
) -> None:
    recipe = tiny(f"training.steps={STEPS}")
    expected = train(squares, tmp_path / "whole", recipe)
    run, chance = RunFolder(tmp_path / "run"), random.Random(20150518)
    command = [sys.executable, "-c", RUN, str(squares), str(run.path), str(expected.recipe_file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = 0
    for step in (chance.randrange(1, 20), *(40 * k + chance.randrange(20) for k in range(1, 4))):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        end = time.monotonic() + PATIENCE
        while reached(run) < step and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))  # anywhere in what comes next: a step, a save
        process.kill()
        _, said = process.communicate()
        killed += process.returncode == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL), said.decode()
    assert killed >= 3, "too fast a machine: raise STEPS"
    assert_same_run(train(squares, run.path, resume=True), expected)
