"""Train a recipe on slices 0–27 of the ISBI 2012 EM stack, score slices 28–29, keep the numbers.

    python benchmarks/em_slices.py blog-2018 --run runs/em-blog
    python benchmarks/em_slices.py default --run runs/em-default --minutes 15
    python benchmarks/em_slices.py paper-2015 --run runs/em-paper --set training.steps=1500

Resumable: the same command goes on with a run that was interrupted. The result goes to
docs/results/em-RECIPE.json. The data is looked for in $SEPTUM_DATA (default ../shared/data).
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from results import ROOT, write_result
from septum.annotation.labels import to_target
from septum.evaluation.scores import score_image
from septum.model import Model, load_model
from septum.prediction.overlap_tile import predict_mask, predict_probabilities, prepare
from septum.recipe import load_recipe
from septum.training.data import load_data
from septum.training.loop import train
from septum.training.run_folder import RunFolder

DATA = Path(os.environ.get("SEPTUM_DATA", ROOT.parent / "shared" / "data")) / "isbi2012-em"
QUICK_BAR = 0.0844
"""Pixel error that `quick` is timed to: 1 minus the accuracy of the blog's published log."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    arguments = parser.parse_args()
    run = RunFolder(arguments.run)
    if not (run.last.exists() and not arguments.changes):
        resume = run.holds_a_run()
        recipe = None
        if not resume or arguments.changes:
            source = str(run.recipe_file) if resume else arguments.recipe
            recipe = load_recipe(source, ["validation.last=2", *arguments.changes])
        hours = None if arguments.minutes is None or resume else arguments.minutes / 60
        train(DATA, arguments.run, recipe, resume=resume, hours=hours)
    write_result(f"em-{arguments.recipe}", summarize(run), command(arguments))


def command(arguments: argparse.Namespace) -> str:
    """The command line that gave the numbers, with the run's folder under runs/."""
    words = ["python benchmarks/em_slices.py", arguments.recipe, f"--run runs/{arguments.run.name}"]
    if arguments.minutes is not None:
        words.append(f"--minutes {arguments.minutes:g}")
    return " ".join([*words, *(f"--set {change}" for change in arguments.changes)])


def summarize(run: RunFolder) -> dict[str, Any]:
    """Scores of best and last model on the two slices, and what the history says."""
    history = run.history()
    validations = [record for record in history if record["kind"] == "validation"]
    losses = [record["loss"] for record in history if record["kind"] == "training"]
    reached = [r["seconds"] / 60 for r in validations if r["pixel_error"] <= QUICK_BAR]
    last = load_model(run.last)
    return {
        "steps": history[-1]["step"],
        "parameters": sum(p.numel() for p in last.network.parameters()),
        "minutes": history[-1]["seconds"] / 60,
        "minutes_to_bar": reached[0] if reached else None,
        "bar_pixel_error": QUICK_BAR,
        "training_loss_last_quarter": last_quarter(losses),
        "accuracy_last_10_validations": [1 - r["pixel_error"] for r in validations[-10:]],
        "best": score(load_model(run.best)),
        "last": score(last),
    }


def last_quarter(losses: list[float]) -> dict[str, float]:
    """Mean of the last quarter, and by what share of it a fitted line falls there, ± one σ."""
    part = np.array(losses[-max(len(losses) // 4, 3) :])
    place = np.arange(len(part)) - (len(part) - 1) / 2
    slope = float((place * part).sum() / (place**2).sum())
    rest = part - part.mean() - slope * place
    error = np.sqrt((rest**2).sum() / (len(part) - 2) / (place**2).sum())
    scale = len(part) / part.mean()
    return {
        "mean": float(part.mean()),
        "decline": float(-slope * scale),
        "decline_error": float(error * scale),
    }


def score(model: Model) -> dict[str, float]:
    """Mean scores on the validation slices, of probabilities and of the mask."""
    data = load_data(DATA, model.recipe)
    predictor = prepare(model)
    rows = []
    for item in data.validation:
        start = time.monotonic()
        probability_KS = predict_probabilities(predictor, item.image_CS)
        seconds = time.monotonic() - start
        classes_S, instances_S = to_target(item.labels_S, data.meaning, item.name)
        row = score_image(probability_KS[1], classes_S, instances_S)
        mask_S = predict_mask(probability_KS, model.threshold)
        of_mask = score_image(mask_S, classes_S, instances_S)
        row |= {f"mask_{k}": of_mask[k] for k in ("pixel_error", "rand_error")}
        rows.append({**row, "seconds_per_slice": seconds})
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return {**means, "threshold": model.threshold, "step": model.provenance["step"]}


if __name__ == "__main__":
    main()
