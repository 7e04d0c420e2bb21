"""Two processes beside one with as many threads in all: `septum predict --workers 2` and without.

    python benchmarks/prediction_workers.py MODEL [EXTENT]

The same OME-Zarr image is predicted in turn, A, B, A, B, …, each time by a program of its own. Says
MPixel/s as the program does, from its first look at the image to the finished store, and of the
whole program, its start and that of its workers included; and whether the stores are the same,
byte for byte. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from prediction_memory import write_image
from prediction_scene import describe, read_slices
from septum.model import load_model
from septum.prediction.manifest import NAME

EXTENT, ROUNDS = 8192, 3
CASES = {"one process": [], "two workers": ["--workers", "2"]}


def main() -> None:
    model, *words = sys.argv[1:]
    print(json.dumps(workers(model, *map(int, words))))


def workers(model: str, extent: int = EXTENT) -> dict[str, Any]:
    """MPixel/s of both, and whether they leave the same bytes."""
    what, slices_CYX = read_slices()
    rates: dict[str, list[float]] = {name: [] for name in CASES}
    whole: dict[str, list[float]] = {name: [] for name in CASES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_image(folder / "image.zarr", extent, slices_CYX)
        for number in range(ROUNDS):
            for case, options in CASES.items():
                out = folder / case / "out.zarr"
                shutil.rmtree(out, ignore_errors=True)
                rate, seconds = measure(model, folder / "image.zarr", out, options)
                rates[case].append(rate)
                whole[case].append(extent**2 / seconds / 1e6)
                print(f"  {number} {case}: {rate:.2f} MPixel/s", file=sys.stderr, flush=True)
        stores = [contents(folder / case / "out.zarr") for case in CASES]
    return {
        "image": what,
        "network": describe(load_model(Path(model))),
        "extent": extent,
        "threads": torch.get_num_threads(),
        "rounds": ROUNDS,
        "mpixel_per_second": {case: median(values) for case, values in rates.items()},
        "whole_program": {case: median(values) for case, values in whole.items()},
        "ratio": median(
            two / one for one, two in zip(rates["one process"], rates["two workers"], strict=True)
        ),
        "same_bytes": stores[0] == stores[1],
        "files": len(stores[0]),
    }


def measure(model: str, image: Path, out: Path, options: list[str]) -> tuple[float, float]:
    """MPixel/s as the program says it, and seconds until it has ended."""
    words = [sys.executable, "-m", "septum", "predict", model, str(image), "--out", str(out)]
    start = time.perf_counter()
    done = subprocess.run(
        [*words, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
    )
    seconds = time.perf_counter() - start
    found = re.search(r"\(([\d.]+) megapixels/s\)", done.stdout)
    assert found is not None, done.stdout
    return float(found[1]), seconds


def contents(store: Path) -> dict[str, bytes]:
    """All files but the manifest, whose lines have another order."""
    return {
        os.path.relpath(path, store): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.name != NAME
    }


if __name__ == "__main__":
    main()
