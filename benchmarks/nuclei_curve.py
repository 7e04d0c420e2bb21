"""How good the model of all nuclei images is after so many minutes of training, up to 90.

    python benchmarks/nuclei_curve.py --minutes 90

As `septum train DATA --hours 1.5` on the images of `python benchmarks/tutorials.py nuclei`. Each
time that a validation keeps a new best model, that model is put aside; at the end each is scored on
the images that neither training nor its choices have seen: what one has who stops there. Threshold,
seeds and smallest object are chosen for the last of them, on validation images, and used for all.

Resumable: the same command goes on. The result goes to docs/results/nuclei-curve-M-minutes.json.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import heads
from results import ROOT, print_tables, write_result
from septum.annotation.pairs import Pair
from septum.model import load_model
from septum.training.loop import train
from septum.training.run_folder import RunFolder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--run", type=Path, help="default: runs/ and the result's name")
    arguments = parser.parse_args()
    name = f"nuclei-curve-{arguments.minutes:g}-minutes"
    run = RunFolder(arguments.run or ROOT / "runs" / name)
    kept = run.path.with_suffix(".kept")
    learnt, scored = heads.split("dsb")
    if not run.last.exists():
        resume = run.holds_a_run()
        pairs = heads.write_pairs(run.path.with_suffix(".csv"), learnt)
        with each_best_kept(run, kept):
            train(pairs, run.path, resume=resume, hours=None if resume else arguments.minutes / 60)
    numbers = heads.summarize(run, scored, "dsb")
    numbers |= {"planned_minutes": arguments.minutes, "curve": curve(run, kept, scored)}
    write_result(
        name, numbers, f"python benchmarks/nuclei_curve.py --minutes {arguments.minutes:g}"
    )
    print_tables("tutorial-nuclei")


@contextmanager
def each_best_kept(run: RunFolder, folder: Path) -> Iterator[None]:
    """Link every best model, which the run replaces whole, into ``folder``, named by its number."""
    folder.mkdir(parents=True, exist_ok=True)
    over = threading.Event()

    def watch() -> None:
        seen = {path.stat().st_ino for path in folder.iterdir()}
        while not over.wait(0.5):
            if run.best.exists() and run.best.stat().st_ino not in seen:
                path = folder / f"{len(seen):04d}.safetensors"
                os.link(run.best, path)
                seen.add(path.stat().st_ino)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        time.sleep(1)  # the last of them
        over.set()
        watcher.join()


def curve(run: RunFolder, folder: Path, scored: list[Pair]) -> list[dict[str, Any]]:
    """Scores of the model kept at each step, with the choices of the last one."""
    final = load_model(run.best)
    minutes_of = {r["step"]: r["seconds"] / 60 for r in run.history() if r["kind"] == "validation"}
    path_of = {load_model(path).provenance["step"]: path for path in sorted(folder.iterdir())}
    points = []
    for step, path in sorted(path_of.items()):
        model = replace(
            load_model(path),
            threshold=final.threshold,
            seeds=final.seeds,
            minimum=final.minimum,
            fill=final.fill,
        )
        found = heads.count(heads.compare(model, scored))
        points.append(
            {
                "step": step,
                "minutes": minutes_of[step],
                **{key: found["scores"][key] for key in ("ap_50", "ap_90")},
                **{key: found[key] for key in ("ap_50_to_90", "merged", "split")},
            }
        )
    return points


if __name__ == "__main__":
    main()
