"""Write the tables of README and docs from docs/results/*.json, so that they cannot drift.

    python docs/tables.py           writes
    python docs/tables.py --check   exits 1 if a table is not what the results say

A table stands between `<!-- table NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import heads_tables as heads
import measures_tables as measures
import prediction_tables as prediction
import systems_tables as systems
import tutorial_tables as tutorials
from training_tables import compiled, goals, large_set, ratios, waiting

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ("quick", "default", "blog-2018", "paper-2015")
MARKER = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def load(name: str) -> dict[str, Any] | None:
    """One result file, or None if that run has not been made."""
    path = ROOT / "docs" / "results" / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def em_slices() -> str:
    """Recipes on the EM slices: trained on 0–27, scored on 28–29, the last model of each run."""
    lines = [
        "| recipe | parameters | steps | minutes | pixel error | Rand error | "
        "Rand error of the mask | loss at the end |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name in RECIPES:
        result = load(f"em-{name}")
        if result is None:
            lines.append(f"| `{name}` | | | not yet run | | | | |")
            continue
        numbers = result["numbers"]
        score = numbers["last"]
        loss = numbers["training_loss_last_quarter"]
        falling = loss["decline"] > 2 * loss["decline_error"]
        lines.append(
            f"| `{name}` | {numbers['parameters'] / 1e6:.1f} M | {numbers['steps']} "
            f"| {numbers['minutes']:.1f} | {score['pixel_error']:.4f} | {score['rand_error']:.4f} "
            f"| {score['mask_rand_error']:.4f} (at {score['threshold']:g}) "
            f"| {'still falling' if falling else 'level'} "
            f"({loss['decline']:.0%} ± {loss['decline_error']:.0%} in the last quarter) |"
        )
        notes.append(
            f"- `{result['command']}` ({result['device']}, {result['threads']} threads, "
            f"{result['date']}, commit {result['commit']})"
        )
    return "\n".join([*lines, "", *notes])


def em_claims() -> str:
    """The numbers that were set as goals, beside those measured."""
    rows = ["| what | goal | measured |", "|---|---|---|"]
    blog = load("em-blog-2018")
    if blog:
        accuracy = blog["numbers"]["accuracy_last_10_validations"]
        rows.append(
            "| `blog-2018`, validation pixel accuracy, last 10 epochs | > 91.56 % "
            f"| {min(accuracy):.2%} to {max(accuracy):.2%} |"
        )
    default = load("em-default")
    if default:
        rows.append(
            "| `default`, 15 minutes on 2 cores, pixel error | < 0.080 "
            f"| {default['numbers']['last']['pixel_error']:.4f} "
            f"(the run took {default['numbers']['minutes']:.1f} min) |"
        )
    quick = load("em-quick")
    if quick:
        minutes = quick["numbers"]["minutes_to_bar"]
        rows.append(
            "| `quick`, minutes until pixel error ≤ 0.0844 | ≤ 3 "
            f"| {f'{minutes:.1f}' if minutes is not None else 'not reached'} |"
        )
    paper = load("em-paper-2015")
    if paper:
        last = paper["numbers"]["last"]
        rows.append(
            f"| `paper-2015`, {paper['numbers']['steps']} steps, pixel error and Rand error "
            f"| reported | {last['pixel_error']:.4f}, {last['rand_error']:.4f} |"
        )
    return "\n".join(rows)


TABLES: dict[str, Callable[[], str]] = {
    "em-slices": em_slices,
    "em-claims": em_claims,
    "training-ratios": lambda: ratios(load),
    "training-waiting": lambda: waiting(load),
    "training-compile": lambda: compiled(load),
    "large-set": lambda: large_set(load),
    "training-goals": lambda: goals(load),
    "prediction-speed": lambda: prediction.speed(load),
    "prediction-difference": lambda: prediction.differences(load),
    "prediction-arithmetic": lambda: prediction.arithmetic(load),
    "prediction-memory": lambda: prediction.memory(load),
    "machine-hours": lambda: prediction.machine_hours(load),
    "prediction-goals": lambda: prediction.goals(load),
    "systems": lambda: systems.systems(load),
    "systems-ablations": lambda: systems.ablations(load),
    "systems-goals": lambda: systems.goals(load),
    "systems-u373": lambda: systems.u373(load),
    "systems-curves": lambda: systems.curves(load),
    "systems-sliding-window": lambda: systems.sliding_window(load),
    "heads": lambda: heads.heads(load),
    "tutorial-phase-contrast": lambda: tutorials.phase_contrast(load),
    "reduction": lambda: tutorials.reduction(load),
    "tutorial-nuclei": lambda: tutorials.nuclei(load),
    "tutorial-nuclei-few": lambda: tutorials.nuclei_few(load),
    "tutorial-nuclei-curve": lambda: tutorials.nuclei_curve(load),
    "partly-drawn": lambda: tutorials.partly_drawn(load),
    "tutorial-membranes": lambda: tutorials.membranes(load),
    "tutorial-blood-cells": lambda: tutorials.blood_cells(load),
    "measures-agreement": lambda: measures.agreement(load),
    "measures-speed": lambda: measures.speed(load),
}


def main() -> int:
    """Write or check every table; the exit status."""
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text("utf-8")
        new = MARKER.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[3]}", text)
        if new != text:
            stale.append(path)
            if "--check" not in sys.argv:
                path.write_text(new, "utf-8")
    if stale and "--check" in sys.argv:
        print(f"tables are not those of docs/results: {', '.join(map(str, stale))}: make tables")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
