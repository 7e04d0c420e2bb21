"""Train one head for numbered objects, score the objects that it finds in images it never saw.

    python benchmarks/heads.py dsb border --run runs/heads-dsb-border --recipe quick --steps 2400

Data: `dsb`, fluorescence of the Data Science Bowl 2018, of which a hash of the names keeps 10 % to
be scored; `u373`, PhC-C2DH-U373, frames before 58 with the challenge's silver truth, scored on
those from there on (SEG on the gold truth, in which not every cell was drawn). Heads: see HEADS.
Threshold, seeds and smallest object are those that training chose on its validation images, none
of which is scored. Resumable: the same command goes on. The result goes to
docs/results/heads-DATA-HEAD.json, `python docs/tables.py` makes docs/heads.md's table of all.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np

import u373
from em_slices import DATA as EM
from results import print_tables, write_result
from septum.annotation.pairs import Pair, find_pairs, load_pairs
from septum.evaluation.contingency import Contingency, contingency
from septum.evaluation.mistakes import find_mistakes
from septum.evaluation.objects import add_counts, count_objects
from septum.model import Model, load_model
from septum.prediction.instances import label_objects
from septum.prediction.one_image import choose_separation
from septum.prediction.options import Options
from septum.prediction.overlap_tile import predict_probabilities, prepare
from septum.recipe import load_recipe
from septum.training.loop import train
from septum.training.run_folder import RunFolder

BOWL = EM.parent / "dsb2018" / "fluorescence"
SCORED = 0.1
"""Share of the images that is only scored."""
HEADS = {
    "plain": ["loss.border_weight=0"],
    "border-weights": ["loss.border_weight=10", "loss.border_sigma=3"],
    "paper-weights": ["loss.border_weight=10", "loss.border_sigma=5"],
    "border": ["network.head=border", "loss.border_weight=10", "loss.border_sigma=3"],
    "distance": ["network.head=distance", "loss.border_weight=0"],
}
"""`plain` foreground alone; `paper-weights` foreground with the weights of the paper,
`border-weights` with narrower ones; `border` three classes, with border weights as well;
`distance` foreground and distance map."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=("dsb", "u373"))
    parser.add_argument("head", choices=tuple(HEADS))
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True, help="ten validations among them")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    arguments = parser.parse_args()
    run = RunFolder(arguments.run)
    learnt, scored = split(arguments.data)
    if not run.last.exists():
        resume = run.holds_a_run()
        recipe = None
        if not resume:
            common = ["labels.kind=instances", "training.threshold=objects"]
            # Pixels of foreground tell nothing of how well objects are kept apart.
            common += ["training.keep_best=loss", "validation.fraction=0.1"]
            if arguments.data == "dsb":  # as septum inspect would choose
                common += ["intensity.scope=image", "intensity.method=percentile"]
                common += ["training.tile=128", "training.batch=8"]
            else:
                common.append(f"validation.last={u373.VALIDATION}")
            steps = arguments.steps
            common += [f"training.steps={steps}", f"training.validate_every={max(steps // 10, 1)}"]
            changes = [*common, *HEADS[arguments.head], *arguments.changes]
            recipe = load_recipe(arguments.recipe, changes)
        pairs = write_pairs(arguments.run.with_suffix(".csv"), learnt)
        train(pairs, arguments.run, recipe, resume=resume)
    numbers = summarize(run, scored, arguments.data)
    write_result(f"heads-{arguments.data}-{arguments.head}", numbers, command(arguments))
    print_tables("heads")


def command(arguments: argparse.Namespace) -> str:
    """The command line that gave the numbers, with the run's folder under runs/."""
    words = ["python benchmarks/heads.py", arguments.data, arguments.head]
    words.append(f"--run runs/{arguments.run.name}")
    words.append(f"--steps {arguments.steps}")
    if arguments.recipe != "default":
        words.append(f"--recipe {arguments.recipe}")
    return " ".join([*words, *(f"--set {change}" for change in arguments.changes)])


def split(data: str) -> tuple[list[Pair], list[Pair]]:
    """The pairs to learn from (and validate on), and those to score."""
    if data == "dsb":
        found = find_pairs(BOWL)
        held = [hash_of(pair.name) < SCORED for pair in found]
    else:
        found = [
            Pair(f"t{n:03d}", u373.image_of(n), u373.labels_of(n, "silver"))
            for n in u373.labelled("silver")
        ]
        held = [int(pair.name[1:]) >= u373.FIRST_SCORED for pair in found]
    learnt = [pair for pair, out in zip(found, held, strict=True) if not out]
    return learnt, [pair for pair, out in zip(found, held, strict=True) if out]


def draw(pairs: list[Pair], count: int, seed: int) -> list[Pair]:
    """So many of the pairs, in their order."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    return [pairs[index] for index in sorted(order[:count])]


def hash_of(name: str) -> float:
    """A number in [0, 1) that depends on the name alone, and is not that of the validation."""
    digest = hashlib.sha256(f"scored {name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def write_pairs(path: Path, pairs: list[Pair]) -> Path:
    """A CSV of images and labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "label"])
        rows.writerows([pair.image, pair.labels] for pair in pairs)
    return path


def summarize(run: RunFolder, scored: list[Pair], data: str) -> dict[str, Any]:
    """Scores of the best model's objects, all of them counted alike, and how they were found."""
    history = run.history()
    model = load_model(run.best)
    start = time.monotonic()
    found = count(compare(model, scored))
    seconds = time.monotonic() - start
    if data == "u373":  # silver truth is a computer's; gold is drawn, but not for all cells
        gold = [
            Pair(f"t{n:03d}", u373.image_of(n), u373.labels_of(n, "gold"))
            for n in u373.labelled("gold")
            if n >= u373.FIRST_SCORED
        ]
        drawn = add_counts([count_objects(table, partial=True) for table in compare(model, gold)])
        found["scores"]["seg_gold"] = drawn.scores()["seg"]
    return {
        "steps": history[-1]["step"],
        "minutes": history[-1]["seconds"] / 60,
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "step_of_best": model.provenance["step"],
        "scored_images": len(scored),
        "seconds_scored": seconds,
        "separation": {
            "threshold": model.threshold,
            "seeds": model.seeds,
            "minimum": model.minimum,
            "fill": model.fill,
        },
        **found,
    }


def count(tables: list[Contingency]) -> dict[str, Any]:
    """Scores of objects, all of them counted alike, and the mistakes made."""
    scores = add_counts([count_objects(table) for table in tables]).scores()
    mistakes = [find_mistakes(table) for table in tables]
    taus = [f"ap_{tau}" for tau in range(50, 95, 5)]
    return {
        "ap_50_to_90": float(np.mean([scores[tau] for tau in taus])),
        "scores": scores,
        "merged": sum(len(each.joined) for each in mistakes),
        "split": sum(len(each.divided) for each in mistakes),
        "missed": sum(len(each.missed) for each in mistakes),
        "invented": sum(len(each.invented) for each in mistakes),
    }


def compare(model: Model, pairs: list[Pair]) -> list[Contingency]:
    """For each image the table of pixels that true objects and those found share."""
    predictor = prepare(model)
    choice = choose_separation(Options(instances=True), model)
    assert choice is not None
    tables = []
    for pair in pairs:
        (item,) = load_pairs([pair])
        # As in training: colour pictures are grey ones, saved three times.
        image_CS = item.image_CS[: model.channels]
        segments_S, _ = label_objects(predict_probabilities(predictor, image_CS), choice)
        tables.append(contingency(segments_S, item.labels_S))
    return tables


if __name__ == "__main__":
    main()
