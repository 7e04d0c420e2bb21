"""What drawing tiles costs: steps on a constant tile, on tiles drawn in line, and drawn ahead.

Run by training_peers.py with recipes. Prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from septum.annotation.synthetic import write_example_data
from septum.memory import raise_allocator_thresholds
from septum.recipe import load_recipe
from septum.training.data import Data, load_data
from septum.training.job import Job
from septum.training.prefetch import Prefetched
from septum.training.run_folder import RunFolder
from septum.training.samples import Batch, Batches
from septum.training.step import train_step
from training_rounds import summarize
from training_step import DATA, seconds_of

WARM_UP = 3
ROUNDS = {"quick": 40, "default": 6}


def main() -> None:
    raise_allocator_thresholds()
    print(json.dumps({name: measure(name) for name in sys.argv[1:]}))


class Fixed:
    """The same tiles at every step: what a step costs when nothing has to be drawn."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def batch(self, step: int, indices: Sequence[int], device: torch.device) -> Batch:
        return self._batch


def measure(recipe: str) -> dict[str, Any]:
    """Seconds a step of the three, one step each in turn, and by how much drawing lengthens it."""
    with tempfile.TemporaryDirectory() as folder:
        path = DATA
        if not path.exists():
            path = Path(folder)
            write_example_data(path, "membranes", count=3, size=512)
        data = load_data(path, load_recipe(recipe, ["validation.last=1"]))
        ways = {
            "constant tile": step_of(recipe, data, fixed),
            "in line": step_of(recipe, data, lambda job: job.sampler),
            "a thread ahead": step_of(recipe, data, lambda job: Prefetched(job.sampler)),
        }
        for step in ways.values():
            for _ in range(WARM_UP):
                step()
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS.get(recipe, 3)):
            for name, step in ways.items():
                seconds[name].append(seconds_of(step))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "seconds": {name: summarize(values) for name, values in seconds.items()},
        "waiting": medians["in line"] / medians["constant tile"] - 1,
        "waiting_ahead": medians["a thread ahead"] / medians["constant tile"] - 1,
    }


def fixed(job: Job) -> Batches:
    """The tiles of the first step, drawn once."""
    return Fixed(job.tiles.batch(0, range(job.recipe.training.batch), job.device))


def step_of(recipe: str, data: Data, tiles: Callable[[Job], Batches]) -> Callable[[], None]:
    """A step of a run of its own, whose tiles come from ``tiles``."""
    section = load_recipe(recipe, ["validation.last=1"])
    job = Job(RunFolder(Path("unused"), writes=False), section, data, torch.device("cpu"))
    job.tiles = tiles(job)
    return lambda: train_step(job)


if __name__ == "__main__":
    main()
