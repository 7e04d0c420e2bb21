"""The table of docs/heads.md, from docs/results/heads-*.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Load = Callable[[str], dict[str, Any] | None]

DATA = {"dsb": "DSB 2018 nuclei", "u373": "U373 cells"}
HEADS = {
    "plain": "foreground alone",
    "border-weights": "foreground, border weights (w0 = 10, σ = 3)",
    "paper-weights": "foreground, border weights of the paper (10, 5)",
    "border": "background, interior, border; border weights (10, 3)",
    "distance": "foreground, distance map",
}


def heads(load: Load) -> str:
    """Every head on each data set: objects in images that it was not trained or tuned on."""
    lines = [
        "| data | head | steps | minutes, device | AP 0.5 … 0.9 | AP 0.5 | AP 0.75 | AP 0.9 | SEG "
        "| merged | split | threshold, seeds, smallest, hole |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for data, where in DATA.items():
        for head, what in HEADS.items():
            result = load(f"heads-{data}-{head}")
            if result is None:
                lines.append(f"| {where} | {what} | | not yet run | | | | | | | | |")
                continue
            lines.append(f"| {where} | {what} {_row(result)}")
            notes.append(
                f"- `{result['command']}` ({result['device']}, {result['threads']} threads, "
                f"{result['date']}, commit {result['commit']})"
            )
    return "\n".join([*lines, "", *notes])


def _row(result: dict[str, Any]) -> str:
    n = result["numbers"]
    scores, choice = n["scores"], n["separation"]
    precisions = " | ".join(f"{scores[f'ap_{tau}']:.4f}" for tau in (50, 75, 90))
    seg = scores.get("seg_gold", scores["seg"])
    seeds = "none" if choice["seeds"] is None else f"{choice['seeds']:g}"
    true = int(scores["true_objects"])
    holes = choice.get("fill", 0)  # older results do without
    return (
        f"| {n['steps']} | {n['minutes']:.1f}, {result['device']} | {n['ap_50_to_90']:.4f} "
        f"| {precisions} | {seg:.4f} | {n['merged']} of {true} | {n['split']} of {true} "
        f"| {choice['threshold']:g}, {seeds}, {choice['minimum']}, {holes} |"
    )
