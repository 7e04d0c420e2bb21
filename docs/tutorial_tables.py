"""The tables of docs/tutorials, from docs/results/tutorial-*.json."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

Load = Callable[[str], dict[str, Any] | None]

FRAMES = {
    "": "58 frames, silver truth",
    "-5-frames": "5 frames, gold truth",
    "-5-frames-undrawn-ignored": "5 frames, gold truth, `labels.unlabelled=ignore`",
    "-12-frames-undrawn-ignored": "12 frames, gold truth, `labels.unlabelled=ignore`",
}
REDUCED = {
    "reduction-u373-1": "U373, 58 frames, silver truth | 1",
    "tutorial-phase-contrast": "U373, 58 frames, silver truth | 2 (chosen)",
}
"""Results of decision 27."""
NUCLEI = {
    "tutorial-nuclei": "all, steps as chosen",
    "nuclei-curve-90-minutes": "all, `--hours 1.5`",
}
PARTLY = {
    "tutorial-nuclei-30-images-draw-0": "all",
    "partly-drawn-30-ignore": "0.3, `labels.unlabelled=ignore`",
    "partly-drawn-30-background": "0.3, as if they were all",
}
"""Results of decision 29."""
SLICES = {"-2-slices": 2, "-5-slices": 5, "": 28}
IMAGES, DRAWS = (5, 10, 30), 3
"""So many nuclei images train, drawn so often."""


def phase_contrast(load: Load) -> str:
    """Cells: SEG, what was invented, and when the first useful prediction was there."""
    lines = [
        "| trained on | steps | minutes, device | SEG | cells found, of those there are | AP 0.5 "
        "| minutes until validation IoU > 0.8 |",
        "|---|---|---|---|---|---|---|",
    ]
    notes = []
    for ending, what in FRAMES.items():
        result = load(f"tutorial-phase-contrast{ending}")
        if result is None:
            lines.append(f"| {what} | | not yet run | | | | |")
            continue
        n = result["numbers"]
        whole, first = n["silver"], n["seconds_to_useful"]
        if "labels.unlabelled=ignore" in n["set"]:
            useful = "says nothing"
        else:
            useful = "not reached" if first is None else f"{first / 60:.1f}"
        useful += f" (looked every {n['seconds_between_validations'] / 60:.1f})"
        lines.append(
            f"| {what} | {_effort(result)} | {n['seg']:.4f} | {whole['objects']:.0f}, "
            f"{whole['true_objects']:.0f} | {whole['ap_50']:.4f} | {useful} |"
        )
        notes.append(_note(result))
    return "\n".join([*lines, "", *notes])


def nuclei(load: Load) -> str:
    """Nuclei: average precision on the images put away, of a model of all others."""
    lines = [
        "| training images | steps | minutes, device | AP 0.5 | AP 0.9 | AP 0.5 … 0.9 | merged "
        "| split |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name, what in NUCLEI.items():
        result = load(name)
        if result is None:
            lines.append(f"| {what} | | not yet run | | | | | |")
            continue
        n = result["numbers"]
        scores, true = n["scores"], int(n["scores"]["true_objects"])
        lines.append(
            f"| {what} | {_effort(result)} | {scores['ap_50']:.4f} | {scores['ap_90']:.4f} "
            f"| {n['ap_50_to_90']:.4f} | {n['merged']} of {true} | {n['split']} of {true} |"
        )
        notes.append(_note(result))
    return "\n".join([*lines, "", *notes])


def nuclei_few(load: Load) -> str:
    """Nuclei: a few training images, drawn three times, beside nnU-Net on the same ones."""
    lines = [
        "| training images, draw | septum: minutes | AP 0.5 | AP 0.5 … 0.9 | merged "
        "| nnU-Net 2D: minutes | AP 0.5 | AP 0.5 … 0.9 | merged |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for count, draw in itertools.product(IMAGES, range(DRAWS)):
        ending = f"nuclei-{count}-images-draw-{draw}"
        found = [load(f"{name}-{ending}") for name in ("tutorial", "nnunet")]
        if not any(found):
            continue
        lines.append(f"| {count}, {draw} | {' | '.join(_scores(result) for result in found)} |")
        notes += [_note(result) for result in found if result is not None]
    return "\n".join([*lines, "", *notes]) if notes else "not yet run"


def _scores(result: dict[str, Any] | None) -> str:
    if result is None:
        return "not yet run | | | "
    n = result["numbers"]
    return (
        f"{n['minutes']:.1f} | {n['scores']['ap_50']:.4f} | {n['ap_50_to_90']:.4f} "
        f"| {n['merged']} of {n['scores']['true_objects']:.0f}"
    )


def nuclei_curve(load: Load) -> str:
    """Nuclei: average precision of the best model so far, by minutes of the long run."""
    result = load("nuclei-curve-90-minutes")
    if result is None:
        return "not yet run"
    curve = result["numbers"]["curve"]
    measures = {"ap_50": "AP 0.5", "ap_90": "AP 0.9", "ap_50_to_90": "AP 0.5 … 0.9"}
    rows = {"minutes": [f"{point['minutes']:.0f}" for point in curve]}
    rows |= {title: [f"{point[key]:.3f}" for point in curve] for key, title in measures.items()}
    rows["merged"] = [f"{point['merged']}" for point in curve]
    head, *rest = (f"| {name} | {' | '.join(values)} |" for name, values in rows.items())
    return "\n".join([head, "|---" * (len(curve) + 1) + "|", *rest, "", _note(result)])


def membranes(load: Load) -> str:
    """EM: by how many slices trained, with one and with eight orientations."""
    lines = [
        "| training slices | steps | minutes, device | pixel error | with 8 orientations | V_rand "
        "| with 8 orientations |",
        "|---|---|---|---|---|---|---|",
    ]
    notes = []
    for ending, count in SLICES.items():
        result = load(f"tutorial-membranes{ending}")
        if result is None:
            lines.append(f"| {count} | | not yet run | | | | |")
            continue
        scores = [result["numbers"][f"scores_{k}_orientations"] for k in (1, 8)]
        values = [f"{each[key]:.4f}" for key in ("pixel_error", "v_rand") for each in scores]
        lines.append(f"| {count} | {_effort(result)} | {' | '.join(values)} |")
        notes.append(_note(result))
    return "\n".join([*lines, "", *notes])


def blood_cells(load: Load) -> str:
    """Blood cells: IoU of the three classes."""
    lines = [
        "| scored images | steps | minutes, device | IoU of background | of cytoplasm "
        "| of nucleus | mean of all three | mean without background |",
        "|---|---|---|---|---|---|---|---|",
    ]
    result = load("tutorial-blood-cells")
    if result is None:
        return "\n".join([*lines, "| 30 % | | not yet run | | | | | |", ""])
    n = result["numbers"]
    lines.append(
        f"| {n['scored_images']} | {_effort(result)} | {_values(n['iou'].values())} "
        f"| {n['mean_iou_with_background']:.4f} | {n['mean_iou_without_background']:.4f} |"
    )
    return "\n".join([*lines, "", _note(result)])


def reduction(load: Load) -> str:
    """What a lower resolution is worth (decision 27)."""
    lines = [
        "| data | reduction | steps | minutes, threads | validation IoU | SEG | AP 0.5 |",
        "|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name, what in REDUCED.items():
        result = load(name)
        if result is None:
            lines.append(f"| {what} | | not yet run | | | |")
            continue
        n = result["numbers"]
        score = f"{n['seg']:.4f} | {n['silver']['ap_50']:.4f}"
        best = max(point["iou"] for point in n["curve"])
        lines.append(
            f"| {what} | {n['steps']} | {n['minutes']:.1f}, {result['threads']} | {best:.4f} "
            f"| {score} |"
        )
        notes.append(_note(result))
    return "\n".join([*lines, "", *notes])


def partly_drawn(load: Load) -> str:
    """Nuclei of which some are drawn (decision 29)."""
    lines = [
        "| drawn | steps | AP 0.5 | AP 0.5 … 0.9 | missed | invented | merged | split |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name, what in PARTLY.items():
        result = load(name)
        if result is None:
            lines.append(f"| {what} | not yet run | | | | | | |")
            continue
        n = result["numbers"]
        counts = " | ".join(str(n[key]) for key in ("missed", "invented", "merged", "split"))
        lines.append(
            f"| {what} | {n['steps']} | {n['scores']['ap_50']:.4f} | {n['ap_50_to_90']:.4f} "
            f"| {counts} |"
        )
        notes.append(_note(result))
    return "\n".join([*lines, "", *notes])


def _effort(result: dict[str, Any]) -> str:
    n = result["numbers"]
    return f"{n['steps']} | {n['minutes']:.1f}, {result['device']}"


def _values(values: Iterable[float]) -> str:
    return " | ".join(f"{value:.4f}" for value in values)


def _note(result: dict[str, Any]) -> str:
    threads = f"{result['threads']} thread{'s' * (result['threads'] != 1)}"
    return (
        f"- `{result['command']}` ({result['device']}, {threads}, {result['date']}, "
        f"commit {result['commit']})"
    )
