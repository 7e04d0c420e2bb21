"""What torch.compile gains a training step on this processor, and what its warm-up costs.

Run by training_peers.py with recipes. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from septum.annotation.synthetic import write_example_data
from septum.memory import raise_allocator_thresholds
from septum.recipe import load_recipe
from septum.training.data import load_data
from septum.training.job import Job
from septum.training.run_folder import RunFolder
from septum.training.step import train_step
from training_rounds import summarize
from training_step import DATA, seconds_of

ROUNDS = 8


def main() -> None:
    raise_allocator_thresholds()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # as a user's first run, without a cache
        print(json.dumps({name: measure(name) for name in sys.argv[1:]}))


def measure(name: str) -> dict[str, Any]:
    """Seconds a step as it is and compiled, in turn; seconds of the first compiled one."""
    recipe = load_recipe(name, ["validation.last=1"])
    with tempfile.TemporaryDirectory() as folder:
        path = DATA
        if not path.exists():
            path = Path(folder)
            write_example_data(path, "membranes", count=3, size=512)
        data = load_data(path, recipe)
    plain, compiled = (
        Job(RunFolder(Path("unused"), writes=False), recipe, data, torch.device("cpu"))
        for _ in range(2)
    )
    compiled.parallel = torch.compile(compiled.network)
    warm_up = seconds_of(lambda: train_step(compiled))
    jobs = {"as it is": plain, "compiled": compiled}
    seconds: dict[str, list[float]] = {way: [] for way in jobs}
    for _ in range(1 + ROUNDS):
        for way, job in jobs.items():
            seconds[way].append(seconds_of(lambda job=job: train_step(job)))
    return {
        "warm_up_seconds": warm_up,
        "seconds": {way: summarize(values[1:]) for way, values in seconds.items()},
    }


if __name__ == "__main__":
    main()
