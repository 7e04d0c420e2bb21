"""Do what a tutorial does, on its whole data set, and score the images that were put away.

    python benchmarks/tutorials.py phase-contrast --minutes 30          (--frames 5)
    python benchmarks/tutorials.py nuclei --minutes 30                  (--images 10 --draw 1)
    python benchmarks/tutorials.py membranes --minutes 30               (--slices 2, or 5)
    python benchmarks/tutorials.py blood-cells --minutes 30

Looks at the images as `septum inspect`, trains without a recipe as `septum train DATA --hours H`,
scores images that neither training nor its choices have seen:

- phase-contrast: PhC-C2DH-U373, frames before 58 with silver truth train, SEG on the gold frames
  from 58 on (as u373.py); --frames N: so many gold frames train, spread evenly, as they are drawn;
  with --undrawn ignore what is not drawn is unknown (labels.unlabelled=ignore).
- nuclei: DSB 2018, a hash of the names keeps 10 % to be scored (as heads.py), average precision of
  objects; --images N: so many of the others train, drawn by the seed --draw.
- membranes: ISBI 2012, slices 0-27 train, pixel error and V_rand of the last model on 28-29 (as
  systems.py); --slices N: so many of 0-27, spread evenly.
- blood-cells: a hash of the names keeps 30 % to be scored, IoU of three classes.

Resumable: the same command goes on, and only scores a run that has ended. The result goes to
docs/results/tutorial-*.json, `python docs/tables.py` makes the tables of docs/tutorials. A trial
with other settings has a name of its own (docs/decisions/0027 has this one):

    python benchmarks/tutorials.py phase-contrast --set network.reduction=1 --name reduction-u373-1

The data is looked for in $SEPTUM_DATA (default ../shared/data).
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import heads
import systems
import u373
from em_slices import DATA as EM
from results import ROOT, print_tables, write_result
from septum.annotation.labels import IGNORE, to_target
from septum.annotation.pairs import Pair, find_pairs, load_pairs
from septum.atomic_file import replace_file
from septum.evaluation.objects import add_counts, count_objects
from septum.evaluation.pixels import count_classes, mean_of_objects
from septum.images.files import Image, read_image, write_image
from septum.model import load_model
from septum.prediction.overlap_tile import predict_mask, predict_probabilities, prepare
from septum.training.inspection import inspect_data
from septum.training.loop import train
from septum.training.run_folder import RunFolder

BLOOD = EM.parent / "white-blood-cells"
BLOOD_SCORED = 0.3
"""Share of the blood cells that is only scored."""
USEFUL = 0.8
"""Validation IoU above which a prediction is called useful."""
MEASURES = ("iou", "pixel_error", "object_error")
"""Of the validations, in the order of the table."""
SLICES = 28
"""Those of the EM stack that may train; the other two are scored."""

Numbers = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """What a tutorial trains on, what it sets, and how the images put away are scored."""

    name: str
    data: Path
    changes: tuple[str, ...]
    score: Callable[[RunFolder], Numbers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tutorial", choices=tuple(TUTORIALS))
    parser.add_argument("--run", type=Path, help="default: runs/ and the result's name")
    parser.add_argument("--minutes", type=float, help="of training; without: the chosen steps")
    parser.add_argument("--frames", type=int, help="phase-contrast: gold frames that train")
    parser.add_argument("--undrawn", choices=("background", "ignore"), default="background")
    parser.add_argument("--images", type=int, help="nuclei: images that train")
    parser.add_argument("--draw", type=int, default=0, help="nuclei: seed that draws them")
    parser.add_argument("--slices", type=int, default=SLICES, help="membranes: slices that train")
    parser.add_argument("--set", action="append", default=[], dest="changes", help="for trials")
    parser.add_argument("--name", help="of the result of a trial")
    arguments = parser.parse_args()
    trial = TUTORIALS[arguments.tutorial](arguments)
    if arguments.name is not None:
        trial = replace(trial, name=arguments.name)
    write_result(trial.name, carry_out(trial, arguments), command(arguments))
    print_tables("tutorial")


def carry_out(trial: Trial, arguments: argparse.Namespace) -> Numbers:
    """Inspect, train, or go on with it, and score."""
    run = RunFolder(folder_of(arguments, trial.name))
    seen = inspected(trial, run)
    if not run.last.exists():
        resume = run.holds_a_run()
        hours = None if arguments.minutes is None or resume else arguments.minutes / 60
        changes = None if resume else [*trial.changes, *arguments.changes]
        train(trial.data, run.path, changes, resume=resume, hours=hours)
    history, model = run.history(), load_model(run.best)
    curve = [
        {"minutes": r["seconds"] / 60, **{name: r[name] for name in MEASURES if name in r}}
        for r in history
        if r["kind"] == "validation"
    ]
    return {
        "steps": history[-1]["step"],
        "minutes": history[-1]["seconds"] / 60,
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "training_images": len(model.provenance["training_images"]),
        "validation_images": len(model.provenance["validation_images"]),
        "set": list(trial.changes),
        "inspect": seen,
        "curve": curve,
        **trial.score(run),
    }


def inspected(trial: Trial, run: RunFolder) -> Numbers:
    """What inspect says without any setting, and how long it took; kept beside the run."""
    file = run.path.with_suffix(".inspect.json")
    if not file.exists():
        start = time.monotonic()
        found = inspect_data(trial.data)
        meaning = found.survey.meaning
        seen = {
            "seconds": time.monotonic() - start,
            "labels": meaning.describe() if meaning is not None else "",
            "problems": [
                below(f"{p.level}: {p}", EM.parent, run.path.parent) for p in found.problems
            ],
            "chosen": [str(choice) for choice in found.configuration.changed],
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(file) as temporary:
            temporary.write_text(json.dumps(seen, indent=1), "utf-8")
    known: Numbers = json.loads(file.read_text("utf-8"))
    return known


def below(text: str, *folders: Path) -> str:
    """Without the names of folders that are this machine's alone."""
    for folder in folders:
        text = text.replace(f"{folder}/", "").replace(f"{folder.resolve()}/", "")
    return text


def folder_of(arguments: argparse.Namespace, name: str) -> Path:
    """The run's folder."""
    return arguments.run or ROOT / "runs" / name


def command(arguments: argparse.Namespace) -> str:
    """The command line that gave the numbers, with the run's folder under runs/."""
    words = ["python benchmarks/tutorials.py", arguments.tutorial]
    if arguments.run is not None:
        words.append(f"--run runs/{arguments.run.name}")
    if arguments.minutes is not None:
        words.append(f"--minutes {arguments.minutes:g}")
    if arguments.frames is not None:
        words.append(f"--frames {arguments.frames}")
        words += ["--undrawn ignore"] * (arguments.undrawn == "ignore")
    if arguments.images is not None:
        words.append(f"--images {arguments.images} --draw {arguments.draw}")
    if arguments.slices != SLICES:
        words.append(f"--slices {arguments.slices}")
    words += [f"--set {change}" for change in arguments.changes]
    return " ".join(words if arguments.name is None else [*words, f"--name {arguments.name}"])


def phase_contrast(arguments: argparse.Namespace) -> Trial:
    """Frames before 58, with silver truth, or some of those with gold truth."""
    name, truth, changes = "tutorial-phase-contrast", "silver", []
    frames = u373.training_frames("silver")
    if arguments.frames is not None:
        name, truth = f"{name}-{arguments.frames}-frames", "gold"
        frames = evenly(u373.training_frames("gold"), arguments.frames)
        if arguments.undrawn == "ignore":
            name, changes = f"{name}-undrawn-ignored", ["labels.unlabelled=ignore"]
    pairs = u373.write_pairs(csv_of(arguments, name), frames, truth)
    return Trial(name, pairs, tuple(changes), lambda run: {"frames": frames, **score_cells(run)})


def score_cells(run: RunFolder) -> Numbers:
    """SEG on the gold frames, of objects found as training chose, and when it first was useful.

    SEG looks at drawn cells alone. What is invented elsewhere is counted by the silver truth of the
    same frames, in which no cell is missing.
    """
    model = load_model(run.best)
    frames = [n for n in u373.labelled("gold") if n >= u373.FIRST_SCORED]
    gold, silver = (
        [Pair(f"t{n:03d}", u373.image_of(n), u373.labels_of(n, truth)) for n in frames]
        for truth in ("gold", "silver")
    )
    drawn = [count_objects(table, partial=True) for table in heads.compare(model, gold)]
    whole = add_counts([count_objects(table) for table in heads.compare(model, silver)]).scores()
    checks = [r for r in run.history() if r["kind"] == "validation"]
    return {
        "scored_frames": frames,
        "seg": add_counts(drawn).scores()["seg"],
        "silver": {k: whole[k] for k in ("ap_50", "objects", "true_objects")},
        "separation": {
            "threshold": model.threshold,
            "seeds": model.seeds,
            "minimum": model.minimum,
            "fill": model.fill,
        },
        "useful_iou": USEFUL,
        "seconds_to_useful": next((r["seconds"] for r in checks if r["iou"] > USEFUL), None),
        "seconds_between_validations": checks[-1]["seconds"] / len(checks),
        "useful_note": "the first validation in the run's history with an IoU above that; what "
        "comes before the first step (inspection, planning) is not counted; where what is not "
        "drawn is ignored the IoU says nothing",
    }


def nuclei(arguments: argparse.Namespace) -> Trial:
    """The nuclei that heads.py trains on, or some of them."""
    learnt, scored = heads.split("dsb")
    name = "tutorial-nuclei"
    if arguments.images is not None:
        name += f"-{arguments.images}-images-draw-{arguments.draw}"
        learnt = heads.draw(learnt, arguments.images, arguments.draw)
    pairs = heads.write_pairs(csv_of(arguments, name), learnt)
    return Trial(name, pairs, (), lambda run: heads.summarize(run, scored, "dsb"))


def membranes(arguments: argparse.Namespace) -> Trial:
    """The whole stack, or one of so many slices and the two that are scored."""
    name, data = "tutorial-membranes", EM
    chosen = evenly(list(range(SLICES)), arguments.slices)
    if arguments.slices != SLICES:
        name += f"-{arguments.slices}-slices"
        data = folder_of(arguments, name).with_suffix(".stack")
        data.mkdir(parents=True, exist_ok=True)
        for file in ("train-volume.tif", "train-labels.tif"):
            slices_ZYX = read_image(EM / file).array
            part_ZYX = slices_ZYX[[*chosen, *range(SLICES, len(slices_ZYX))]]
            write_image(data / file, Image(part_ZYX, "ZYX"))
    return Trial(
        name, data, ("validation.last=2",), lambda run: {"slices": chosen, **score_slices(run)}
    )


def score_slices(run: RunFolder) -> Numbers:
    """Of the last model, which was not picked by its scores on these slices."""
    model = load_model(run.last)
    return {f"scores_{n}_orientations": systems.score(model, n) for n in (1, 8)}


def blood_cells(arguments: argparse.Namespace) -> Trial:
    """Three classes, with stray values in the masks."""
    found = find_pairs(BLOOD)
    scored = [pair for pair in found if heads.hash_of(pair.name) < BLOOD_SCORED]
    learnt = [pair for pair in found if pair not in scored]
    pairs = heads.write_pairs(csv_of(arguments, "tutorial-blood-cells"), learnt)
    changes = ("labels.strays=ignore",)
    return Trial("tutorial-blood-cells", pairs, changes, lambda run: score_classes(run, scored))


def score_classes(run: RunFolder, scored: list[Pair]) -> Numbers:
    """IoU of each class over all pixels of all images together; strays are left out."""
    model = load_model(run.best)
    predictor, count = prepare(model), model.meaning.class_count
    table_TP = np.zeros((count, count), np.int64)
    for item in load_pairs(scored):
        probability_KS = predict_probabilities(predictor, item.image_CS)
        mask_S = predict_mask(probability_KS, model.threshold, predictor.maps)
        classes_S, _ = to_target(item.labels_S, model.meaning, item.name)
        table_TP += count_classes(mask_S, classes_S, count, classes_S != IGNORE)
    both_C, common_C = table_TP.sum(0) + table_TP.sum(1), np.diag(table_TP)
    iou_of = {k: float(common_C[k] / (both_C[k] - common_C[k])) for k in range(count)}
    return {
        "scored_images": len(scored),
        "iou": {str(k): value for k, value in iou_of.items()},
        "mean_iou_with_background": float(np.mean(list(iou_of.values()))),
        "mean_iou_without_background": mean_of_objects(iou_of),
    }


def csv_of(arguments: argparse.Namespace, name: str) -> Path:
    """Beside the run's folder."""
    return folder_of(arguments, name).with_suffix(".csv")


def evenly(items: list[int], count: int) -> list[int]:
    """So many of them, spread over all."""
    if not 1 <= count <= len(items):
        raise SystemExit(f"there are {len(items)} to choose from, not {count}")
    edges = np.linspace(0, len(items), count + 1)
    return [items[int((low + high) / 2)] for low, high in itertools.pairwise(edges)]


TUTORIALS = {
    "phase-contrast": phase_contrast,
    "nuclei": nuclei,
    "membranes": membranes,
    "blood-cells": blood_cells,
}

if __name__ == "__main__":
    main()
