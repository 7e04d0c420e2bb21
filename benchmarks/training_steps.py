"""Training steps of septum and its peers in turn, each in a fresh process: training_step.py.

Run by training_peers.py with a recipe and the peers' names. Prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from asked_process import AskedProcess
from training_rounds import summarize

SCRIPT = Path(__file__).with_name("training_step.py")
WARM_UP, ROUNDS = 2, 2
GEMM_FLOP = 2 * 4096**3


def main() -> None:
    print(json.dumps(measure(sys.argv[1], sys.argv[2:])))


def measure(recipe: str, peers: list[str]) -> dict[str, Any]:
    """Seconds a step of septum and of ``peers``, and how well septum uses the processor."""
    workers = {name: AskedProcess(SCRIPT, [name, recipe]) for name in ("septum", *peers)}
    try:
        about = {name: worker.read() for name, worker in workers.items()}
        missing = {name: each["missing"] for name, each in about.items() if "missing" in each}
        present = {name: worker for name, worker in workers.items() if name not in missing}
        peak, rounds = run_rounds(present)
        flop = {name: worker.ask("flop") for name, worker in present.items()}
    finally:
        for worker in workers.values():
            worker.end()
    shares = [flop["septum"] / each["septum"] * each["gemm"] / GEMM_FLOP for each in rounds]
    return {
        "missing": missing,
        "about": {name: about[name] for name in present},
        "seconds": {name: summarize([each[name] for each in rounds]) for name in present},
        "flop": flop,
        "peak_bytes": peak,
        "gemm_flop_per_second": GEMM_FLOP / statistics.median(each["gemm"] for each in rounds),
        "share_of_gemm_rate": statistics.median(shares),
    }


def run_rounds(workers: dict[str, AskedProcess]) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Warm up; then the memory that training took, and the seconds of each round."""
    for _ in range(WARM_UP):
        for worker in workers.values():
            worker.ask("step")
    peak = {name: worker.ask("peak") for name, worker in workers.items()}
    return peak, [run_round(workers) for _ in range(ROUNDS)]


def run_round(workers: dict[str, AskedProcess]) -> dict[str, float]:
    """Seconds of one step of each, and of the matrix product in septum's process after its own."""
    seconds = {}
    for name, worker in workers.items():
        seconds[name] = worker.ask("step")
        if name == "septum":
            seconds["gemm"] = worker.ask("gemm")
    return seconds


if __name__ == "__main__":
    main()
