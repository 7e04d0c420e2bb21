"""Train on 100 GB: memory, and the cost of reading tile by tile (not of the disk).

    python benchmarks/large_set.py

Makes an OME-Zarr stack of 200 planes of 16384² with labels, 54 GB of pixels each, of which one
chunk in 64 is written (once; the others are links to it, or absent), opens it as `septum train`
does, and takes steps of `quick`: on a constant tile, on tiles drawn anywhere, and with half of them
drawn around objects (which are looked for in each plane when it is first drawn). What is read lies
in the system's cache of the disk: the waiting is that of decoding, not of a slow disk.
docs/results/large-set.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import zarr

from results import write_result
from septum.devices import choose_device
from septum.memory import peak_memory, raise_allocator_thresholds
from septum.recipe import load_recipe
from septum.training.data import load_data
from septum.training.job import Job
from septum.training.run_folder import RunFolder
from septum.training.step import train_step
from training_waiting import fixed

PLANES, EXTENT, CHUNK, EVERY = 200, 16384, 256, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--planes", type=int, default=PLANES)
    arguments = parser.parse_args()
    raise_allocator_thresholds()
    torch.set_num_threads(min(torch.get_num_threads(), 2))
    recipe = load_recipe("quick")
    with tempfile.TemporaryDirectory() as folder:
        store = write_stack(Path(folder) / "stack.zarr", arguments.planes)
        before, start = peak_memory(torch.device("cpu")), time.perf_counter()
        data = load_data(store, recipe)
        opened = time.perf_counter() - start
        assert data.stored
        job = Job(RunFolder(store, writes=False), recipe, data, choose_device("cpu"))
        anywhere = seconds(job, arguments.steps)
        half = load_recipe("quick", ["training.object_share=0.5"])
        around = seconds(
            Job(RunFolder(store, writes=False), half, data, choose_device("cpu")), arguments.steps
        )
        peak = peak_memory(torch.device("cpu"))
        job.tiles = fixed(job)
        constant = seconds(job, arguments.steps)
    numbers = {
        "pixels": 2 * arguments.planes * EXTENT**2,
        "seconds_to_open": opened,
        "constant_tile_step_seconds": constant,
        "step_seconds": anywhere,
        "waiting": anywhere / constant - 1,
        "object_centred_step_seconds": around,
        "object_centred_waiting": around / constant - 1,
        "peak_rss_bytes": peak,
        "peak_rss_bytes_before": before,
    }
    write_result("large-set", numbers, "python benchmarks/large_set.py")


def seconds(job: Job, steps: int) -> float:
    """Mean time of a step, after three to warm up."""
    for _ in range(3):
        train_step(job)
    start = time.perf_counter()
    for _ in range(steps):
        train_step(job)
    return (time.perf_counter() - start) / steps


def write_stack(path: Path, planes: int) -> Path:
    """The stack, with its labels inside; one chunk of each is written, and linked to."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:CHUNK, :CHUNK]
    disks = ((y % 32 - 16) ** 2 + (x % 32 - 16) ** 2 < 100).astype(np.uint8)
    noise = rng.normal(100 + 60 * disks, 15).clip(0, 255).astype(np.uint8)
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    for group, chunk in ((path, noise), (path / "labels" / "cells", disks)):
        array = zarr.create_array(
            group / "0",
            shape=(planes, EXTENT, EXTENT),
            chunks=(1, CHUNK, CHUNK),
            dtype="uint8",
            fill_value=0,
            zarr_format=2,
        )
        array[0, :CHUNK, :CHUNK] = chunk
        scale = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
        levels = [{"path": "0", "coordinateTransformations": scale}]
        (group / ".zgroup").write_text('{"zarr_format": 2}')
        metadata = {"multiscales": [{"version": "0.4", "axes": axes, "datasets": levels}]}
        (group / ".zattrs").write_text(json.dumps(metadata))
        written = next(p for p in (group / "0").rglob("*") if p.is_file() and p.name[0] != ".")
        separator = "/" if written.parent != group / "0" else "."
        for z in range(planes):
            for row in range(0, EXTENT // CHUNK, EVERY):
                for column in range(0, EXTENT // CHUNK, EVERY):
                    name = group / "0" / separator.join(map(str, (z, row, column)))
                    name.parent.mkdir(parents=True, exist_ok=True)
                    if not name.exists():
                        os.link(written, name)
    (path / "labels" / ".zgroup").write_text('{"zarr_format": 2}')
    (path / "labels" / ".zattrs").write_text('{"labels": ["cells"]}')
    return path


if __name__ == "__main__":
    main()
