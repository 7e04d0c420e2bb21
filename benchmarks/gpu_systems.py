"""The systems of systems.py and u373.py trained fully, on a GPU: one call after another.

    python benchmarks/gpu_systems.py                        # all of them, as far as 8 minutes go
    python benchmarks/gpu_systems.py default u373-silver    # these
    python benchmarks/gpu_systems.py default --steps 4 --device cpu        (a trial)

One call stays under ten minutes: the run in hand is interrupted, and saved, when --minutes are
over; the same command goes on with it and leaves out what is scored already. Results go to
docs/results/gpu-systems-NAME.json and gpu-u373-*.json, and to --out too. Let --runs be a folder
that lasts from call to call. The data is looked for in $SEPTUM_DATA (default ../shared/data).
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

import torch

import systems
import u373
from em_slices import DATA
from gpu_training import keep, train_for
from results import ROOT, print_tables
from septum.atomic_file import replace_file
from septum.devices import choose_device
from septum.memory import raise_allocator_thresholds
from septum.training.run_folder import RunFolder

U373 = ("u373-silver", "u373-gold")
LEFT = 45.0
"""Seconds that scoring may take: with less left, no run is begun."""


def main() -> None:
    names = [*systems.SYSTEMS, *U373]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, default=8.0, help="of this call")
    parser.add_argument("--steps", type=int, help="of each run, instead of its recipe's")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "gpu")
    parser.add_argument("--out", type=Path, help="a folder for copies of the results")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(names)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(names)}")
    raise_allocator_thresholds()
    device, end = choose_device(arguments.device), time.monotonic() + 60 * arguments.minutes
    command = f"python benchmarks/gpu_systems.py {shlex.join(sys.argv[1:])}".rstrip()
    for name in arguments.names or names:
        done = arguments.runs / f"{name}.done"
        left = end - time.monotonic()
        if done.exists():
            continue
        if left < LEFT or not run_one(name, arguments, device, left - LEFT, command):
            print(f"{name}: not at its end; the same command goes on")
            break
        with replace_file(done) as temporary:
            temporary.write_text("scored\n", "utf-8")
    print_tables("systems")


def run_one(
    name: str, arguments: argparse.Namespace, device: torch.device, seconds: float, command: str
) -> bool:
    """Train and score one; whether it came to its end in the time."""
    run = RunFolder(arguments.runs / name)
    truth = name.removeprefix("u373-")
    if name in U373:
        recipe = u373.recipe_for(truth, steps=arguments.steps)
        frames = u373.training_frames(truth)
        data = u373.write_pairs(run.path.with_suffix(".csv"), frames, truth)
    else:
        recipe, data = systems.recipe_of(systems.SYSTEMS[name], steps=arguments.steps), DATA
    if train_for(seconds / 60, data, run.path, recipe, device) is None:
        return False
    if name in U373:
        keep(f"gpu-{name}", u373.summarize(run, frames, truth, device), command, arguments.out)
    else:
        keep(f"gpu-systems-{name}", systems.summarize(run, name, device), command, arguments.out)
    return True


if __name__ == "__main__":
    main()
