"""The tables of docs/systems.md, from docs/results/systems-*.json and u373-*.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Load = Callable[[str], dict[str, Any] | None]

RESULTS = Path(__file__).parent / "results"
SYSTEMS = (
    *("sliding-window-95", "sliding-window-65", "fcn-8s"),
    *("blog-2018", "paper-2015", "default", "quick"),
)
OURS = ("default", "quick", "blog-2018", "paper-2015")
U373 = {
    "u373-silver": "58 frames, silver truth, `default`",
    "u373-silver-quick": "58 frames, silver truth, `quick`",
    "u373-gold": "12 gold frames, in part, `default`",
    "u373-gold-quick": "12 gold frames, in part, `quick`",
}
POINTS = 8
"""At most so many of a curve."""
MEASURES = ("pixel_error", "pixel_f_error", "rand_error", "warping_error", "v_rand", "v_info")
PUBLISHED = "| U-Net, as published¹ | 31.0 M | | 600, Titan | < 1 | | 0.0611 | 0.0382 | 0.000353 "
PUBLISHED += "| 0.9728 | 0.9866 |"
SLIDING = "| sliding window, as published¹ | | | | | | 0.0613 | 0.0504 | 0.000420 | | |"
BARS = {"pixel_error": 0.070, "v_rand": 0.973, "v_info": 0.987}
SEG_BAR = 0.9203


def systems(load: Load) -> str:
    """Every system on slices 28–29: the mean over its seeds, ± their standard deviation."""
    lines = [
        "| system | parameters | steps | minutes, device | seconds a slice | pixel error "
        "| 1 − max F of pixels | Rand error | warping error | V_rand | V_info |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name in SYSTEMS:
        results = _of(load, name)
        if not results:
            lines.append(f"| {name} | | | not yet run | | | | | | | |")
            continue
        lines.append(_row(name, results))
        notes += [_note(result) for result in results]
    for name in SYSTEMS:
        result = load(f"gpu-systems-{name}")
        if result is not None:
            lines.append(_row(name, [result]))
            notes.append(_note(result))
    lines += [SLIDING, PUBLISHED]
    hidden = "¹ scored by the challenge on its hidden test set: other slices than those here"
    return "\n".join([*lines, "", hidden, "", *notes])


def ablations(load: Load) -> str:
    """What each of the paper's own claims is worth here."""
    lines = [
        "| | pixel error | Rand error | warping error | V_rand | V_info |",
        "|---|---|---|---|---|---|",
    ]
    notes = []
    for name in ("default", "quick", "paper-2015"):
        cases: list[tuple[str, list[dict[str, float]]]] = []
        whole = _of(load, name)
        if whole:
            notes += [_note(result) for result in whole]
            cases.append((name, [r["numbers"]["scores"] for r in whole]))
            for count in (1, 8):
                other = [r["numbers"].get(f"scores_{count}_orientations") for r in whole]
                if all(other):
                    cases.append((f"{name}, mean of {count} orientations", other))  # type: ignore[arg-type]
        for change in ("no-elastic", "no-border"):
            results = _of(load, f"{name}-{change}")
            notes += [_note(result) for result in results]
            if results:
                said = {"no-elastic": "no elastic deformation", "no-border": "no border weights"}
                scores = [r["numbers"]["scores"] for r in results]
                cases.append((f"{name}, {said[change]}", scores))
        for what, scores in cases:
            keys = [key for key in MEASURES if key != "pixel_f_error"]
            lines.append(f"| {what} | {' | '.join(_mean(scores, key) for key in keys)} |")
    if len(lines) == 2:
        lines.append("| not yet run | | | | | |")
    return "\n".join([*lines, "", *notes])


def goals(load: Load) -> str:
    """The bars that were set, and the best of our recipes at each."""
    lines = ["| what | bar | best of ours | |", "|---|---|---|---|"]
    ours = [result for name in OURS for result in _of(load, name)]
    for key, bar in BARS.items():
        scores = [
            (found[key], result["numbers"]["system"])
            for result in ours
            for label, found in result["numbers"].items()
            if label.startswith("scores")
        ]
        less = key == "pixel_error"
        text = f"| EM slices 28–29, {key} | {'<' if less else '>'} {bar} "
        if not scores:
            lines.append(f"{text}| not yet run | |")
            continue
        best, system = min(scores) if less else max(scores)
        met = best < bar if less else best > bar
        lines.append(f"{text}| {best:.4f} ({system}) | {'met' if met else 'not met'} |")
    lines += _sliding_goals(load)
    found = [(result["numbers"]["seg"], name) for name in U373 if (result := load(name))]
    text = f"| U373, SEG on gold frames from 58 on | > {SEG_BAR} "
    if not found:
        lines.append(f"{text}| not yet run | |")
    else:
        seg, name = max(found)
        met = "met" if seg > SEG_BAR else "not met"
        lines.append(f"{text}| {seg:.4f} ({U373[name]}) | {met} |")
    return "\n".join(lines)


def _sliding_goals(load: Load) -> list[str]:
    what = "sliding window of 95, patch by patch, seconds a slice over those of"
    bars = {"dense": (50, "the dense form"), "default": (1000, "`default`")}
    bars["paper-2015"] = (1000, "`paper-2015`, 31 M parameters")
    result, lines = load("sliding-window"), []
    for key, (bar, said) in bars.items():
        text = f"| {what} {said} | {'≥' if key == 'dense' else '>'} {bar} "
        if result is None:
            lines.append(f"{text}| not yet run | |")
            continue
        ratios = [
            result["numbers"][precision]["sliding-window-95"][f"times {key}"]
            for precision in ("float32", "auto")
        ]
        met = "met" if min(ratios) > bar else "not met"
        types = ("float32", result["numbers"]["auto"]["dtype"])
        values = ", ".join(f"{ratio:.0f} ({t})" for ratio, t in zip(ratios, types, strict=True))
        lines.append(f"{text}| {values} | {met} |")
    return lines


def u373(load: Load) -> str:
    """SEG on the gold frames from 58 on."""
    lines = [
        "| trained on | steps | minutes, device | SEG | cells found, of those drawn |",
        "|---|---|---|---|---|",
    ]
    notes, curves = [], []
    silver = load("u373-silver-quick")
    if silver is not None:
        seg = silver["numbers"]["seg_of_silver_truth"]
        lines.append(f"| (the silver truth itself) | | | {seg:.4f} | |")
    for name, what in [(f"{where}{n}", w) for where in ("", "gpu-") for n, w in U373.items()]:
        result = load(name)
        if result is None and name.startswith("gpu-"):
            continue
        if result is None:
            lines.append(f"| {what} | | not yet run | | |")
            continue
        n = result["numbers"]
        lines.append(
            f"| {what} | {n['steps']} | {n['minutes']:.1f}, {result['device']} | {n['seg']:.4f} "
            f"| {n['found']} of {n['objects']} |"
        )
        notes.append(_note(result))
        if "curve" in n:
            curves.append(f"| {what} | {_points(n['curve'], 'iou')} |")
    if curves:
        head = ["| validation IoU after minutes of training | |", "|---|---|"]
        lines += ["", *head, *curves]
    return "\n".join([*lines, "", *notes])


def curves(load: Load) -> str:
    """How the validation's pixel error falls with time."""
    lines = ["| pixel error (one orientation) after minutes of training | |", "|---|---|"]
    for name in OURS:
        for result in _of(load, name)[:1]:
            lines.append(f"| {name} | {_points(result['numbers']['curve'], 'pixel_error')} |")
    return "\n".join(lines)


def _points(curve: list[dict[str, float]], key: str) -> str:
    places = sorted({round(i) for i in np.linspace(0, len(curve) - 1, min(len(curve), POINTS))})
    return ", ".join(f"{curve[i]['minutes']:.0f}: {curve[i][key]:.4f}" for i in places)


def sliding_window(load: Load) -> str:
    """The patch classifier as published, densely, and the U-Nets: seconds a slice, and ratios."""
    result = load("sliding-window")
    if result is None:
        return "not yet run"
    lines = []
    numbers = result["numbers"]
    for precision in ("float32", "auto"):
        found = numbers[precision]
        nets = [name for name in found["seconds"] if not name.startswith("sliding")]
        lines += [
            f"| {found['dtype']} | patch by patch | densely | times as fast | largest difference "
            f"| {' | '.join(f'{net}: seconds, times as fast' for net in nets)} |",
            "|---" * (5 + len(nets)) + "|",
        ]
        for name in ("sliding-window-95", "sliding-window-65"):
            row, dense = found[name], found["seconds"][name]
            others = [f"{found['seconds'][net]:.2f} s, {row[f'times {net}']:.0f}" for net in nets]
            lines.append(
                f"| {name} | {row['seconds']:.0f} s | {dense:.2f} s | {row['times dense']:.0f} "
                f"| {row['difference']:.1e} | {' | '.join(others)} |"
            )
        lines.append("")
    done = "all" if numbers["rows"] == 512 else f"from {numbers['rows']} of them"
    return "\n".join([*lines, f"Patch by patch: 512 rows, {done}.", "", _note(result)])


def _of(load: Load, name: str) -> list[dict[str, Any]]:
    """The results of a system, one a seed; folds are not among them."""
    names = [f"systems-{name}", *sorted(p.stem for p in RESULTS.glob(f"systems-{name}-seed*"))]
    found = [load(each) for each in names if "-fold" not in each]
    return [result for result in found if result is not None]


def _row(name: str, results: list[dict[str, Any]]) -> str:
    numbers = [result["numbers"] for result in results]
    scores = [n["scores"] for n in numbers]
    minutes = "; ".join(f"{n['minutes']:.0f}" for n in numbers)
    return (
        f"| {name} | {numbers[0]['parameters'] / 1e6:.2f} M "
        f"| {'; '.join(str(n['steps']) for n in numbers)} | {minutes}, {results[0]['device']} "
        f"| {np.mean([s['seconds_per_slice'] for s in scores]):.2f} "
        f"| {' | '.join(_mean(scores, key) for key in MEASURES)} |"
    )


def _mean(scores: list[dict[str, float]], key: str) -> str:
    values = [score[key] for score in scores]
    digits = 6 if key == "warping_error" else 4
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {np.std(values, ddof=1):.{digits}f}"


def _note(result: dict[str, Any]) -> str:
    return (
        f"- `{result['command']}` ({result['device']}, {result['threads']} threads, "
        f"{result['date']}, commit {result['commit']})"
    )
