"""Septum's training beside its peers', in turn on the same machine; keeps and prints the ratios.

    make bench-training
    .venv-peers/bin/python benchmarks/training_peers.py --only augmentation    (border, step, …)

Each row is measured in fresh processes by a script of its own and goes to
docs/results/training-ROW.json; the table is that of docs/training-speed.md. A peer that is not
installed is named as missing. Ends with status 1 if septum's deformation is not elasticdeform's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from results import ROOT, print_tables, versions, write_result

SAME_FIELD = 1e-3
"""Largest difference from elasticdeform's image, in the interior, as a share of its range."""
THREADS = ("OMP", "MKL", "OPENBLAS", "NUMBA")


@dataclass(frozen=True)
class Row:
    """A script beside this one, its arguments, and how many threads it may use."""

    script: str
    arguments: tuple[str, ...] = ()
    threads: int = 2


NETWORKS = ("MONAI BasicUNet", "segmentation-models-pytorch Unet")
ROWS = {
    "augmentation": Row("training_augmentation.py", threads=1),
    "border": Row("training_border.py"),
    "step": Row("training_steps.py", ("blog-2018", "same network", *NETWORKS)),
    "step-paper": Row("training_steps.py", ("paper-2015", "same network")),
    "compile": Row("training_compile.py", ("default",)),
    "waiting": Row("training_waiting.py", ("quick", "default")),
}
PEERS = (
    *("albumentations", "batchgeneratorsv2", "edt", "elasticdeform", "monai", "scipy"),
    *("segmentation-models-pytorch", "torch", "torchio"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help=f"begin of a row's name: {', '.join(ROWS)}")
    only = parser.parse_args().only
    chosen = {name: row for name, row in ROWS.items() if name.startswith(only)}
    if not chosen:
        parser.error(f"no row begins with {only!r}; there are {', '.join(ROWS)}")
    for name, row in chosen.items():
        print(f"measuring {name} …", flush=True)
        numbers = {**measure(row), "versions": versions(PEERS)}
        command = f"python benchmarks/training_peers.py --only {name}"
        write_result(f"training-{name}", numbers, command, row.threads)
    print_tables("training-")
    if "augmentation" in chosen:
        return check_field()
    return 0


def measure(row: Row) -> dict[str, Any]:
    """Run the row's script; the numbers are the last line that it prints."""
    variables = {f"{library}_NUM_THREADS": str(row.threads) for library in THREADS}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / row.script), *row.arguments],
        env={**os.environ, **variables, "NO_ALBUMENTATIONS_UPDATE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    numbers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def check_field() -> int:
    """1 if the two deformed images differ, or could not be compared; else 0."""
    path = ROOT / "docs" / "results" / "training-augmentation.json"
    check = json.loads(path.read_text("utf-8"))["numbers"]["same_field"]
    if check is None:
        print("elasticdeform is missing: the deformation was not compared")
        return 1
    print(f"largest difference from elasticdeform, share of the range: {check['interior']:.1e}")
    return int(check["interior"] > SAME_FIELD)


if __name__ == "__main__":
    sys.exit(main())
