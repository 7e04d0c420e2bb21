"""Train on the first frames of PhC-C2DH-U373, score SEG on the gold frames from 58 on.

    python benchmarks/u373.py silver --run runs/u373-silver --minutes 30
    python benchmarks/u373.py gold --run runs/u373-gold --minutes 30

`silver`: all frames before 58, with the challenge's silver truth; `gold`: only the frames before 58
that have gold truth, which is partial: what was not drawn is ignored. Threshold, seeds and smallest
object are those with the best SEG on the validation frames, none of which is scored. Resumable. The
result goes to docs/results/u373-*.json.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from em_slices import DATA as EM
from results import print_tables, write_result
from septum.evaluation.contingency import contingency
from septum.evaluation.objects import add_detections, detection, seg_of_objects
from septum.images.files import read_image
from septum.model import load_model
from septum.prediction.instances import label_objects
from septum.prediction.overlap_tile import predict_probabilities, prepare
from septum.prediction.separation import Separation
from septum.recipe import Recipe, load_recipe
from septum.training.loop import train
from septum.training.run_folder import RunFolder

DATA = EM.parent / "PhC-C2DH-U373"
FIRST_SCORED = 58
VALIDATION = 8
"""The last frames before those that are scored."""
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
SEEDS = (None, 0.8, 0.9, 0.95)
SMALLEST = (0, 100, 300, 600)
HOLES = (0, 2000)
"""Pixels of the largest hole that is filled: a cell's bright middle looks like background."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("truth", choices=("silver", "gold"))
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--recipe", default="default")
    arguments = parser.parse_args()
    run = RunFolder(arguments.run)
    frames = training_frames(arguments.truth)
    resume = run.holds_a_run()
    recipe = None if resume else recipe_for(arguments.truth, arguments.recipe)
    pairs = write_pairs(arguments.run.with_suffix(".csv"), frames, arguments.truth)
    hours = None if arguments.minutes is None or resume else arguments.minutes / 60
    train(pairs, arguments.run, recipe, resume=resume, hours=hours)
    command = f"python benchmarks/u373.py {arguments.truth} --run runs/{arguments.run.name}"
    if arguments.minutes is not None:
        command += f" --minutes {arguments.minutes:g}"
    if arguments.recipe != "default":
        command += f" --recipe {arguments.recipe}"
    name = f"u373-{arguments.truth}"
    if arguments.recipe != "default":
        name += f"-{arguments.recipe}"
    write_result(name, summarize(run, frames, arguments.truth), command)
    print_tables("systems")


def training_frames(truth: str) -> list[int]:
    """Those before the scored ones; the last of them validate."""
    return [n for n in labelled(truth) if n < FIRST_SCORED]


def recipe_for(truth: str, name: str = "default", steps: int | None = None) -> Recipe:
    """The recipe with the split, and with what was not drawn left out where truth is partial."""
    changes = [f"validation.last={min(VALIDATION, len(training_frames(truth)) // 4)}"]
    if truth == "gold":
        changes.append("labels.unlabelled=ignore")
    if steps is not None:
        changes.append(f"training.steps={steps}")
    return load_recipe(name, changes)


def labels_of(frame: int, truth: str) -> Path:
    """The label file of a frame."""
    return DATA / f"02_{'ST' if truth == 'silver' else 'GT'}" / "SEG" / f"man_seg{frame:03d}.tif"


def labelled(truth: str) -> list[int]:
    """Frames that have such labels."""
    folder = labels_of(0, truth).parent
    names = (re.fullmatch(r"man_seg(\d+)\.tif", path.name) for path in folder.iterdir())
    return sorted(int(name[1]) for name in names if name)


def image_of(frame: int) -> Path:
    """The image file of a frame."""
    return DATA / "02" / f"t{frame:03d}.tif"


def write_pairs(path: Path, frames: list[int], truth: str) -> Path:
    """A CSV of images and labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "label"])
        rows.writerows([image_of(f), labels_of(f, truth)] for f in frames)
    return path


def summarize(
    run: RunFolder, frames: list[int], truth: str, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """SEG and DET of the best model's objects, and how they were told apart."""
    history = run.history()
    model = load_model(run.best)
    predictor = prepare(model, device)

    def predict(frame: int) -> np.ndarray:
        image = read_image(image_of(frame)).array
        return predict_probabilities(predictor, image[None])

    count = model.recipe.validation.last
    tuned = [(predict(f), read_image(labels_of(f, truth)).array) for f in frames[-count:]]
    choices = [
        Separation(threshold, seeds, smallest, holes)
        for threshold, seeds, smallest, holes in itertools.product(
            THRESHOLDS, SEEDS, SMALLEST, HOLES
        )
        if seeds is None or seeds > threshold
    ]
    best = max(choices, key=lambda choice: seg_over(tuned, choice))
    scored = [f for f in labelled("gold") if f >= FIRST_SCORED]
    maps = [(predict(f), read_image(labels_of(f, "gold")).array) for f in scored]
    tables = [contingency(label_objects(p, best)[0], labels).overlaps() for p, labels in maps]
    seg_objects = np.concatenate([seg_of_objects(table) for table in tables])
    found = add_detections([detection(table) for table in tables])
    silver = [
        contingency(*(read_image(labels_of(f, t)).array for t in ("silver", "gold")))
        for f in scored
    ]
    silver_objects = np.concatenate([seg_of_objects(table.overlaps()) for table in silver])
    return {
        "seg_of_silver_truth": float(silver_objects.mean()),
        "steps": history[-1]["step"],
        "minutes": history[-1]["seconds"] / 60,
        "training_frames": len(frames) - count,
        "separation": {
            "threshold": best.threshold,
            "seeds": best.seeds,
            "minimum": best.minimum,
            "fill": best.fill,
        },
        "curve": [
            {"minutes": record["seconds"] / 60, "iou": record["iou"]}
            for record in history
            if record["kind"] == "validation"
        ],
        "validation_seg": seg_over(tuned, best),
        "scored_frames": scored,
        "seg": float(seg_objects.mean()),
        "objects": found.objects,
        "found": found.objects - found.missed,
        "det": found.det,
        "det_note": "the gold truth is partial: cells that were not drawn count as invented",
    }


def seg_over(pairs: list[tuple[np.ndarray, np.ndarray]], choice: Separation) -> float:
    """SEG over all objects of several frames."""
    tables = [contingency(label_objects(p, choice)[0], labels).overlaps() for p, labels in pairs]
    return float(np.concatenate([seg_of_objects(table) for table in tables]).mean())


if __name__ == "__main__":
    main()
