"""Train and score one system of the literature on the ISBI 2012 EM slices, the same for all.

    python benchmarks/systems.py default --runs runs --minutes 30
    python benchmarks/systems.py sliding-window-65 --runs runs --minutes 30 --seed 1
    python benchmarks/systems.py default --runs runs --minutes 30 --fold 2        (of 5)
    python benchmarks/systems.py --list

Slices 0–27 train and 28–29 are scored; with --fold, four fifths train and the others are scored.
Resumable: the same command goes on with a run that was interrupted, and only scores one that has
ended. The result goes to docs/results/systems-NAME[-seedS][-foldK].json; docs/systems.md shows them
all. --minutes is the time for training, or --steps; without them the recipe's own steps are done,
which takes hours on a processor. The data is looked for in $SEPTUM_DATA (default ../shared/data).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from em_slices import DATA, last_quarter
from results import print_tables, write_result
from septum.annotation.labels import to_target
from septum.evaluation.partitions import best_threshold
from septum.evaluation.pixels import pixel_error, pixel_f_error
from septum.evaluation.thinning import THIN_THRESHOLDS, mean_thinned_scores
from septum.evaluation.warping import warp
from septum.model import Model, load_model
from septum.prediction.overlap_tile import predict_probabilities, prepare
from septum.recipe import Recipe, load_recipe
from septum.training.data import load_data
from septum.training.loop import train
from septum.training.run_folder import RunFolder

FOLDS = 5


@dataclass(frozen=True)
class System:
    """A recipe, what is changed of it, and what it stands for."""

    recipe: str
    changes: tuple[str, ...] = ()
    of: str = ""
    """Of an ablation: the system that it is compared with."""


SYSTEMS = {
    "sliding-window-95": System("sliding-window"),
    "sliding-window-65": System("sliding-window", ("network.patch=65", "training.tile=65")),
    "fcn-8s": System("fcn-8s"),
    "blog-2018": System("blog-2018"),
    "paper-2015": System("paper-2015"),
    "default": System("default"),
    "quick": System("quick"),
    "default-no-elastic": System("default", ("augment.elastic_sigma=0",), "default"),
    "default-no-border": System("default", ("loss.border_weight=0",), "default"),
    "paper-2015-no-elastic": System("paper-2015", ("augment.elastic_sigma=0",), "paper-2015"),
    "paper-2015-no-border": System("paper-2015", ("loss.border_weight=0",), "paper-2015"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system", nargs="?", choices=SYSTEMS)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fold", type=int, choices=range(FOLDS))
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.system is None:
        if not arguments.list:
            parser.error(f"name a system: {', '.join(SYSTEMS)}")
        print("\n".join(SYSTEMS))
        return
    name = arguments.system
    name += f"-seed{arguments.seed}" if arguments.seed else ""
    name += f"-fold{arguments.fold}" if arguments.fold is not None else ""
    run = RunFolder(arguments.runs / f"systems-{name}")
    train_system(SYSTEMS[arguments.system], run, arguments)
    write_result(f"systems-{name}", summarize(run, arguments.system), command(arguments))
    print_tables("systems")


def train_system(system: System, run: RunFolder, arguments: argparse.Namespace) -> None:
    """Begin or go on with a run, unless it has ended."""
    resume = run.holds_a_run()
    recipe, hours = None, None
    if not resume:
        recipe = recipe_of(system, arguments.seed, arguments.fold, arguments.steps)
        hours = None if arguments.minutes is None else arguments.minutes / 60
    train(DATA, run.path, recipe, resume=resume, hours=hours)


def recipe_of(
    system: System, seed: int = 0, fold: int | None = None, steps: int | None = None
) -> Recipe:
    """With what the system changes and with the split; ``steps`` None: the recipe's own."""
    split = ["validation.last=2"]
    if fold is not None:
        split = ["validation.last=0", f"validation.folds={FOLDS}", f"validation.fold={fold}"]
    changes = [*split, f"training.seed={seed}", *system.changes]
    if steps is not None:
        changes.append(f"training.steps={steps}")
    return load_recipe(system.recipe, changes)


def command(arguments: argparse.Namespace) -> str:
    """The command line that gave the numbers, with the runs under runs/."""
    words = ["python benchmarks/systems.py", arguments.system]
    if arguments.minutes is not None:
        words.append(f"--minutes {arguments.minutes:g}")
    if arguments.steps is not None:
        words.append(f"--steps {arguments.steps}")
    if arguments.seed:
        words.append(f"--seed {arguments.seed}")
    if arguments.fold is not None:
        words.append(f"--fold {arguments.fold}")
    return " ".join(words)


def summarize(run: RunFolder, system: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What the run took, how it went, and the scores of its last model."""
    history = run.history()
    model = load_model(run.last)
    losses = [record["loss"] for record in history if record["kind"] == "training"]
    curve = [
        {"minutes": record["seconds"] / 60, "pixel_error": record["pixel_error"]}
        for record in history
        if record["kind"] == "validation"
    ]
    found = {
        "system": system,
        "of": SYSTEMS[system].of,
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "steps": history[-1]["step"],
        "minutes": history[-1]["seconds"] / 60,
        "training_loss_last_quarter": last_quarter(losses) if len(losses) > 3 else None,
        "curve": curve,
        "scores": score(model, model.recipe.prediction.orientations, device),
    }
    if hasattr(model.network, "contract"):  # of a U-Net, what the mean over orientations gives
        other = 1 if model.recipe.prediction.orientations == 8 else 8
        found[f"scores_{other}_orientations"] = score(model, other, device)
    return found


def score(model: Model, orientations: int, device: torch.device | str = "cpu") -> dict[str, float]:
    """Mean scores over the validation slices; thresholds are the same for all of them."""
    data = load_data(DATA, model.recipe)
    predictor = prepare(model, device, orientations=orientations)  # type: ignore[arg-type]
    probabilities, truths, seconds = [], [], []
    for item in data.validation:
        start = time.monotonic()
        probability_KYX = predict_probabilities(predictor, item.image_CS)
        seconds.append(time.monotonic() - start)
        classes_YX, _ = to_target(item.labels_S, data.meaning, item.name)
        probabilities.append(probability_KYX[-1])
        truths.append(classes_YX == 1)
    pairs = list(zip(probabilities, truths, strict=True))
    rand_threshold, rand = best_threshold(probabilities, truths)
    thinned = mean_thinned_scores(probabilities, truths)
    warped = {t: [warp(p > t, truth) for p, truth in pairs] for t in THIN_THRESHOLDS}
    errors = {t: float(np.mean([w.error for w in found])) for t, found in warped.items()}
    least = min(errors, key=lambda t: (errors[t], abs(t - 0.5)))
    return {
        "orientations": orientations,
        "slices": len(pairs),
        "pixel_error": float(np.mean([pixel_error(p, t) for p, t in pairs])),
        "pixel_f_error": float(np.mean([pixel_f_error(p, t) for p, t in pairs])),
        "rand_error": rand,
        "rand_threshold": rand_threshold,
        "warping_error": errors[least],
        "warping_threshold": least,
        "splits": sum(w.splits for w in warped[least]),
        "mergers": sum(w.mergers for w in warped[least]),
        "v_rand": thinned.v_rand,
        "v_rand_threshold": thinned.v_rand_threshold,
        "v_info": thinned.v_info,
        "v_info_threshold": thinned.v_info_threshold,
        "seconds_per_slice": float(np.median(seconds)),
    }


if __name__ == "__main__":
    main()
