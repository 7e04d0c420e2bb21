"""Septum's prediction beside its peers', in turn on the same machine, with the same weights.

    make bench-prediction MODEL=runs/em-quick
    .venv-peers/bin/python benchmarks/prediction_peers.py --only 2048 --model runs/em-quick
    .venv-peers/bin/python benchmarks/prediction_peers.py --try     (768² at width 4; keeps nothing)

Each row is measured in fresh processes and goes to docs/results/prediction-ROW.json; the tables are
those of docs/prediction-speed.md. Without --model one of the recipe `quick` is trained for 200
steps, which is enough to be compared on; give one that was trained fully to learn how many labels
differ where it matters. A peer that is not installed is named as missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prediction_rounds import measure
from prediction_scene import check_model, describe, make_image, read_slices, train_model
from results import ROOT, print_tables, versions, write_result
from septum.model import load_model, model_path

SIZES = ("2048", "8192")
CLAIMS = ("paper", "arithmetic", "bf16", "memory", "workers")
SCRIPTS = {"memory": "prediction_memory.py", "workers": "prediction_workers.py"}
PEERS = ("monai", "nnunetv2", "numpy", "torch")
LIBRARIES = ("OMP", "MKL", "OPENBLAS", "NUMBA")
THREADS = 2
WIDTH, STEPS = 16, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help=f"a row: {', '.join((*SIZES, *CLAIMS))}")
    parser.add_argument("--model", type=Path, help="a run's folder or a model file")
    parser.add_argument("--try", action="store_true", dest="small", help="768², width 4, unkept")
    arguments = parser.parse_args()
    rows = [name for name in (*SIZES, *CLAIMS) if name.startswith(arguments.only)]
    if not rows:
        parser.error(f"no row begins with {arguments.only!r}; use {', '.join((*SIZES, *CLAIMS))}")
    torch.set_num_threads(min(torch.get_num_threads(), THREADS))
    variables = {f"{library}_NUM_THREADS": str(torch.get_num_threads()) for library in LIBRARIES}
    environment = {**os.environ, **variables}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.small:
            model = train_model(folder / "run", width=4, steps=10)
            print(json.dumps(measure_size(768, model, environment, most=1), indent=1))
            return
        model = given_model(arguments.model) or train_model(folder / "run", WIDTH, STEPS)
        for row in rows:
            print(f"measuring {row} …", flush=True)
            if row in SIZES:
                numbers = measure_size(int(row), model, environment)
            else:
                numbers = measure_claim(row, model, environment)
            numbers["versions"] = versions(PEERS)
            write_result(f"prediction-{row}", numbers, command(row, arguments.model))
    print_tables("prediction-")


def given_model(given: Path | None) -> Path | None:
    """The file of the model that was given; ends the program if the peers could not run it."""
    if given is None:
        return None
    check_model(load_model(given), given)
    return model_path(given)


def measure_size(
    extent: int, model: Path, environment: Mapping[str, str], most: int = 3
) -> dict[str, Any]:
    """All contestants on a square image."""
    what, slices_CYX = read_slices()
    about = {"extent": extent, "image": what, "network": describe(load_model(model))}
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.npy"
        np.save(image, make_image(extent, slices_CYX))
        return about | measure(extent, model, image, environment, most)


def measure_claim(row: str, model: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """What prediction_claims.py, or the row's own script, prints, in a process of its own."""
    script = str(ROOT / "benchmarks" / SCRIPTS.get(row, "prediction_claims.py"))
    words = [str(model)] if row in SCRIPTS else [row, str(model)] if row == "bf16" else [row]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, *words],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    numbers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def command(row: str, model: Path | None) -> str:
    """The command line that gave the numbers, with the run's folder under runs/."""
    words = ["python", "benchmarks/prediction_peers.py", "--only", row]
    if model is not None and row not in ("paper", "arithmetic"):
        run = model if model.is_dir() else model.parent
        words += ["--model", f"runs/{run.resolve().name}"]
    return shlex.join(words)


if __name__ == "__main__":
    main()
