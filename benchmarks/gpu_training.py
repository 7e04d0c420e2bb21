"""Training on a GPU: time of a step, share of the matrix rate, waiting for tiles; and a whole run.

    python benchmarks/gpu_training.py                 # measure, then train `paper-2015` fully
    python benchmarks/gpu_training.py --only measure  # a minute
    python benchmarks/gpu_training.py --device cpu --recipe quick --only measure --steps 3

One call stays under ten minutes: the run is interrupted, and saved, when --minutes are over, and
the same command goes on with it. Results go to docs/results/gpu-training*.json, and to --out too.
The data is looked for in $SEPTUM_DATA (default ../shared/data).
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from em_slices import DATA, summarize
from results import ROOT, write_result
from septum.devices import choose_device
from septum.errors import Interrupted
from septum.memory import peak_memory, raise_allocator_thresholds
from septum.recipe import Recipe, load_recipe
from septum.training.data import load_data
from septum.training.job import Job
from septum.training.loop import train
from septum.training.run_folder import RunFolder
from septum.training.step import train_step
from septum.training.step_graph import WARM_STEPS, StepGraph, can_capture
from training_waiting import fixed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["measure", "train"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--recipe", default="paper-2015")
    parser.add_argument("--steps", type=int, default=50, help="steps that are timed")
    parser.add_argument("--minutes", type=float, default=8.0, help="of training in this call")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "gpu-paper")
    parser.add_argument("--out", type=Path, help="a folder for copies of the results")
    arguments = parser.parse_args()
    raise_allocator_thresholds()
    device = choose_device(arguments.device)
    command = f"python benchmarks/gpu_training.py {shlex.join(sys.argv[1:])}".rstrip()
    if arguments.only != "train":
        numbers = measure(arguments.recipe, device, arguments.steps, arguments.run)
        keep(f"gpu-training-{device.type}", numbers, command, arguments.out)
    if arguments.only != "measure":
        recipe = load_recipe(arguments.recipe, ["validation.last=2"])
        run = train_for(arguments.minutes, DATA, arguments.run, recipe, device)
        if run is not None:
            keep(f"gpu-{arguments.recipe}", summarize(run), command, arguments.out)


def measure(name: str, device: torch.device, steps: int, run: Path) -> dict[str, Any]:
    """Seconds a step, as it is and without drawing tiles, and the arithmetic done in them."""
    recipe = load_recipe(name, ["validation.last=2"])
    data = load_data(DATA, recipe)
    numbers: dict[str, Any] = {"recipe": name, "matrix_flops": matrix_rate(device)}

    job = Job(RunFolder(run, writes=False), recipe, data, device)
    numbers["tiles"] = type(job.tiles).__name__
    numbers["step_flops"] = flops = count_flops(job)
    numbers["step_seconds"] = seconds(lambda: train_step(job), device, steps)
    if can_capture(job):
        numbers["graph_loss_difference"] = compare_graph(recipe, data, device, run)
        graph = StepGraph(Job(RunFolder(run, writes=False), recipe, data, device))
        numbers["graph_step_seconds"] = seconds(graph, device, steps)
    job.tiles = fixed(job)
    numbers["constant_tile_step_seconds"] = seconds(lambda: train_step(job), device, steps)
    numbers["waiting"] = numbers["step_seconds"] / numbers["constant_tile_step_seconds"] - 1
    best = min(numbers["step_seconds"], numbers.get("graph_step_seconds", float("inf")))
    numbers["share_of_matrix_rate"] = flops / best / numbers["matrix_flops"]
    numbers["peak_memory_bytes"] = peak_memory(device)
    for key, value in numbers.items():
        print(f"{key}: {value}", flush=True)
    return numbers


def compare_graph(recipe: Any, data: Any, device: torch.device, run: Path) -> float:
    """Largest relative difference of ten losses between steps and their graph, without dropout."""
    plain = recipe.model_copy(update={"network": recipe.network.model_copy(update={"dropout": 0})})
    losses = []
    for captured in (False, True):
        job = Job(RunFolder(run, writes=False), plain, data, device)
        step = StepGraph(job) if captured else None
        for _ in range(10):
            train_step(job) if step is None else step()
        job.losses.settle()
        losses.append(job.losses.values)
    return max(abs(a - b) / abs(a) for a, b in zip(*losses, strict=True))


def matrix_rate(device: torch.device, extent: int = 4096) -> float:
    """FLOP/s of a product of two bfloat16 matrices of 4096²."""
    left, right = (torch.randn(extent, extent, device=device).to(torch.bfloat16) for _ in range(2))
    return 2 * extent**3 / seconds(lambda: left @ right, device, 50 if device.type == "cuda" else 3)


def count_flops(job: Job) -> float:
    """Of one step: three times the forward pass, less the gradient of the image."""
    section = job.recipe.training
    shape = (section.batch, job.data.channels, *(section.tile,) * job.recipe.network.dimensions)
    image = torch.zeros(shape, device=job.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        job.network(image)
    first = next(job.network.parameters()).numel()  # kernel of the first convolution
    output = (section.tile - (2 if job.network.footprint.shrink else 0)) ** (image.ndim - 2)
    return 3 * counter.get_total_flops() - 2 * first * output * section.batch


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Mean time of ``work``, after calls to warm up; a graph is captured in one of them."""
    for _ in range(WARM_STEPS + 2):
        work()
    wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    wait(device)
    return (time.perf_counter() - start) / repeats


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def train_for(
    minutes: float, data: Path, run: Path, recipe: Recipe, device: torch.device
) -> RunFolder | None:
    """Train, or go on, for so long; the run's folder if it came to its end."""
    timer = threading.Timer(minutes * 60, os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()
    try:
        return train(data, run, recipe, resume=True, device=str(device))
    except Interrupted as stopped:
        print(stopped)
        return None
    finally:
        timer.cancel()


def keep(name: str, numbers: dict[str, Any], command: str, out: Path | None) -> None:
    write_result(name, numbers, command)
    if out is not None:
        # A folder that travels back from where the GPU is.
        shutil.copy(ROOT / "docs" / "results" / f"{name}.json", out)


if __name__ == "__main__":
    main()
