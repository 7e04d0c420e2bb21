"""The tables of docs/measures-checked.md, from docs/results/measures.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Load = Callable[[str], dict[str, Any] | None]

LEAST_RATIO = {"Rand and variation of information": 8.0}
MOST_SECONDS = {"V_rand and V_info after thinning, 9 thresholds": 1.0, "warping error": 0.2}
MOST_DIFFERENCE = 1e-6


def agreement(load: Load) -> str:
    """How far septum's measures are from those of other libraries."""
    result = load("measures")
    lines = ["| measure, and library | largest difference |", "|---|---|"]
    if result is None:
        return "\n".join([*lines, "| | not yet run |"])
    for what, found in result["numbers"]["agreement"].items():
        lines.append(f"| {what} | {'not installed' if found is None else f'{found:.1e}'} |")
    return "\n".join([*lines, "", _note(result)])


def speed(load: Load) -> str:
    """Seconds for 30 slices of 512 × 512, beside scikit-image where it has what it takes."""
    result = load("measures")
    lines = ["| 30 × 512 × 512 | septum | scikit-image | goal | |", "|---|---|---|---|---|"]
    if result is None:
        return "\n".join([*lines, "| | not yet run | | | |"])
    for what, found in result["numbers"]["speed"].items():
        theirs = f"{found['scikit-image']:.3f} s" if "scikit-image" in found else ""
        if "ratio" in found:
            theirs += f" ({found['ratio']:.1f} ×)"
        if what in LEAST_RATIO:
            goal, met = f"≥ {LEAST_RATIO[what]:g} ×", found["ratio"] >= LEAST_RATIO[what]
        else:
            goal, met = f"≤ {MOST_SECONDS[what]:g} s", found["septum"] <= MOST_SECONDS[what]
        said = "met" if met else "not met"
        lines.append(f"| {what} | {found['septum']:.3f} s | {theirs} | {goal} | {said} |")
    return "\n".join([*lines, "", _note(result)])


def _note(result: dict[str, Any]) -> str:
    return (
        f"- `{result['command']}` ({result['device']}, {result['threads']} threads, "
        f"{result['date']}, commit {result['commit']})"
    )
