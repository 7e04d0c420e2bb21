"""Predictions of one image by all contestants in turn, each in a process: prediction_worker.py."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asked_process import AskedProcess
from prediction_contestants import CONTESTANTS, WHOLE, WHOLE_IMAGE
from training_rounds import summarize

SCRIPT = Path(__file__).with_name("prediction_worker.py")
CORNER = 1024
"""What contestants of one round are warmed up on, pixels an axis."""


def measure(
    extent: int, model: Path, image: Path, environment: Mapping[str, str], most: int
) -> dict[str, Any]:
    """Seconds, memory and, up to ``WHOLE``, differences of each; and those that are missing.

    ``most``: rounds at most.
    """
    rounds = {name: min(each.rounds_at(extent), most) for name, each in CONTESTANTS.items()}
    files = [str(model), str(image)]
    workers: dict[str, AskedProcess] = {}
    try:
        about = {}
        for name in [name for name, count in rounds.items() if count]:
            workers[name] = AskedProcess(SCRIPT, [name, *files], environment)
            about[name] = workers[name].read()  # one after the other: starting takes both cores
        missing = {name: each["missing"] for name, each in about.items() if "missing" in each}
        present = {name: worker for name, worker in workers.items() if name not in missing}
        seconds = run_rounds(present, rounds, extent)
        peak = {name: worker.ask("peak") for name, worker in present.items()}
        difference = compare(present, image.parent) if extent <= WHOLE else {}
    finally:
        for worker in workers.values():
            worker.end()
    contestants = {
        name: {
            "seconds": summarize(seconds[name]),
            "mpixel_per_second": extent**2 / summarize(seconds[name])["median"] / 1e6,
            "rss_before_bytes": about[name]["before"],
            "rss_peak_bytes": peak[name],
            "difference": difference.get(name),
        }
        for name in present
    }
    return {"missing": missing, "contestants": contestants}


def run_rounds(
    workers: Mapping[str, AskedProcess], rounds: Mapping[str, int], extent: int
) -> dict[str, list[float]]:
    """Warm up; then seconds of A, B, C, A, B, C, …, each in as many rounds as it has."""
    for name, worker in workers.items():
        worker.ask(f"warm {min(extent, CORNER if rounds[name] == 1 else WHOLE)}")
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(max(rounds[name] for name in workers)):
        for name, worker in workers.items():
            if number < rounds[name]:
                seconds[name].append(worker.ask("predict"))
                print(f"  {name}: {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    return seconds


def compare(workers: Mapping[str, AskedProcess], folder: Path) -> dict[str, dict[str, float]]:
    """Each one's last prediction beside what the whole image gives at once."""
    workers[WHOLE_IMAGE].ask(f"references {folder}")
    return {name: worker.ask(f"compare {folder}") for name, worker in workers.items()}
