"""The tables of docs/training-speed.md, from docs/results/training-*.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Load = Callable[[str], dict[str, Any] | None]

AUGMENTATION, BORDER = "training-augmentation", "training-border"
STEP, PAPER = "training-step", "training-step-paper"
WAITING, COMPILE = "training-waiting", "training-compile"
OURS = {"septum, linear": "linear", "septum, cubic": "cubic"}
WAYS = ("constant tile", "in line", "a thread ahead")
EDT = ("edt, two nearest", "edt, two nearest, 2 threads")


def ratios(load: Load) -> str:
    """Septum beside each peer: medians of the rounds, and their ratio."""
    lines = ["| what | septum | beside | theirs | ratio |", "|---|---|---|---|---|"]
    lines += [*_augmentation(load), *_border(load)]
    lines += [*_steps("padded 512²", load(STEP)), *_steps("paper's form 572²", load(PAPER))]
    notes = []
    for name in (AUGMENTATION, BORDER, STEP, PAPER):
        if result := load(name):
            notes.append(_note(result))
    return "\n".join([*lines, "", *notes])


def _note(result: dict[str, Any]) -> str:
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    return (
        f"- `{result['command']}` ({result['device']}, {threads}, {result['date']}, "
        f"commit {result['commit']}{_missing(result['numbers'])})"
    )


def _missing(numbers: dict[str, Any]) -> str:
    missing = numbers.get("missing", {})
    return f"; missing: {', '.join(missing)}" if missing else ""


def _augmentation(load: Load) -> list[str]:
    result = load(AUGMENTATION)
    if result is None:
        return ["| augmentation | | | not yet run | |"]
    seconds = {name: value["median"] for name, value in result["numbers"]["seconds"].items()}
    lines = []
    for ours, kind in OURS.items():
        for peer, theirs in seconds.items():
            if peer in OURS or (kind == "cubic" and peer != "elasticdeform, order 3"):
                continue
            lines.append(
                f"| augmentation 512², {kind} | {1 / seconds[ours]:.0f} images/s | {peer} "
                f"| {1 / theirs:.1f} images/s | {theirs / seconds[ours]:.1f} |"
            )
    return lines


def _border(load: Load) -> list[str]:
    result = load(BORDER)
    if result is None:
        return ["| border weights | | | not yet run | |"]
    lines = []
    for case in _cases(result):
        extents = f"{case['extents'][0]}{'²' if len(case['extents']) == 2 else '³'}"
        seconds = {name: value["median"] for name, value in case["seconds"].items()}
        for peer, theirs in seconds.items():
            if peer != "septum":
                lines.append(
                    f"| border weights {extents}, {case['cells']} cells "
                    f"| {seconds['septum'] * 1e3:.1f} ms | {peer} | {theirs * 1e3:.0f} ms "
                    f"| {theirs / seconds['septum']:.0f} |"
                )
    return lines


def _cases(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [case for case in result["numbers"].values() if "cells" in case]


def _steps(form: str, result: dict[str, Any] | None) -> list[str]:
    if result is None:
        return [f"| training step, {form} | | | not yet run | |"]
    numbers = result["numbers"]
    lines = []
    for peer, theirs in numbers["seconds"].items():
        if peer != "septum":
            lines.append(
                f"| training step, {form}, {_network(numbers, 'septum')} "
                f"| {numbers['seconds']['septum']['median']:.2f} s "
                f"| {peer}, {_network(numbers, peer)} "
                f"| {theirs['median']:.2f} s | {_ratio(numbers, peer):.2f} |"
            )
    return lines


def _network(numbers: dict[str, Any], name: str) -> str:
    about = numbers["about"][name]
    return (
        f"{about['parameters'] / 1e6:.1f} M, {numbers['flop'][name] / 1e12:.2f} TFLOP, "
        f"{about['dtype']}"
    )


def _ratio(numbers: dict[str, Any], peer: str) -> float:
    """Theirs over ours, medians."""
    seconds = numbers["seconds"]
    return float(seconds[peer]["median"] / seconds["septum"]["median"])


def waiting(load: Load) -> str:
    """Steps whose tiles are drawn beforehand, in line and in a thread."""
    lines = [
        "| recipe | constant tile | drawn in line | drawn a thread ahead |",
        "|---|---|---|---|",
    ]
    result = load(WAITING)
    if result is None:
        return "\n".join([*lines, "| not yet run | | | |"])
    for recipe, case in _recipes(result):
        still, line, ahead = (case["seconds"][name]["median"] for name in WAYS)
        lines.append(
            f"| `{recipe}` | {still * 1e3:.0f} ms | {line * 1e3:.0f} ms ({case['waiting']:+.1%}) "
            f"| {ahead * 1e3:.0f} ms ({case['waiting_ahead']:+.1%}) |"
        )
    return "\n".join([*lines, "", _note(result)])


def compiled(load: Load) -> str:
    """Steps with and without torch.compile, and after how many its warm-up has paid."""
    lines = ["| recipe | as it is | compiled | first compiled step | pays after |"]
    lines.append("|---|---|---|---|---|")
    result = load(COMPILE)
    if result is None:
        return "\n".join([*lines, "| not yet run | | | | |"])
    for recipe, case in result["numbers"].items():
        if "warm_up_seconds" not in case:
            continue
        plain, fast = (case["seconds"][way]["median"] for way in ("as it is", "compiled"))
        warm = case["warm_up_seconds"]
        steps = f"{warm / (plain - fast):.0f} steps" if fast < plain else "never"
        lines.append(
            f"| `{recipe}` | {plain * 1e3:.0f} ms | {fast * 1e3:.0f} ms | {warm:.0f} s | {steps} |"
        )
    return "\n".join([*lines, "", _note(result)])


def large_set(load: Load) -> str:
    """Training on a set that stays in its files."""
    lines = ["| what | measured |", "|---|---|"]
    result = load("large-set")
    if result is None:
        return "\n".join([*lines, "| not yet run | |"])
    numbers = result["numbers"]
    still = numbers["constant_tile_step_seconds"] * 1e3
    rows = {
        "pixels, images and labels": f"{numbers['pixels'] / 1e9:.0f} billion",
        "until the first step": f"{numbers['seconds_to_open']:.0f} s",
        "memory at most": f"{numbers['peak_rss_bytes'] / 1e9:.2f} GB",
        "step of `quick` on a constant tile": f"{still:.0f} ms",
        "on tiles drawn anywhere": f"{numbers['step_seconds'] * 1e3:.0f} ms "
        f"({numbers['waiting']:+.0%})",
        "half of them around objects, each plane seen for the first time": (
            f"{numbers['object_centred_step_seconds'] * 1e3:.0f} ms "
            f"({numbers['object_centred_waiting']:+.0%})"
        ),
    }
    lines += [f"| {what} | {value} |" for what, value in rows.items()]
    return "\n".join([*lines, "", _note(result)])


def _recipes(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, case) for name, case in result["numbers"].items() if "waiting" in case]


def goals(load: Load) -> str:
    """What was set as a goal, and what was measured."""
    lines = ["| what | goal | measured | |", "|---|---|---|---|"]
    for what, goal, value, text in [
        *_augmentation_goals(load(AUGMENTATION)),
        *_border_goals(load(BORDER)),
        *_step_goals(load(STEP), load(PAPER)),
        *_waiting_goals(load(WAITING)),
    ]:
        sign, bound = goal.split(maxsplit=1)
        limit = float(bound.split()[0])
        met = value >= limit if sign == "≥" else value <= limit
        lines.append(f"| {what} | {goal} | {text} | {'met' if met else 'not met'} |")
    return "\n".join(lines)


Goal = tuple[str, str, float, str]


def _augmentation_goals(result: dict[str, Any] | None) -> list[Goal]:
    if result is None:
        return []
    seconds = {name: value["median"] for name, value in result["numbers"]["seconds"].items()}
    rate = 1 / seconds["septum, linear"]
    found: list[Goal] = [("augmentation, linear", "≥ 300 images/s", rate, f"{rate:.0f} images/s")]
    if "elasticdeform, order 3" in seconds:
        value = seconds["elasticdeform, order 3"] * rate
        found.append(("times elasticdeform, order 3", "≥ 15", value, f"{value:.1f}"))
    peers = {name: value for name, value in seconds.items() if name not in OURS}
    if peers:
        fastest = min(peers, key=lambda name: peers[name])
        value = peers[fastest] * rate
        found.append(
            (f"times the fastest peer, {fastest}", "≥ 2", value, f"{value:.1f}"),
        )
    if check := result["numbers"]["same_field"]:
        value = check["interior"]
        found.append(
            ("largest difference from elasticdeform", "≤ 0.001 of the range", value, f"{value:.1e}")
        )
    return found


def _border_goals(result: dict[str, Any] | None) -> list[Goal]:
    found: list[Goal] = []
    for case in _cases(result) if result else []:
        seconds = {name: value["median"] for name, value in case["seconds"].items()}
        ours, volume = seconds["septum"], len(case["extents"]) == 3
        what = f"border weights {case['extents'][0]}{'³' if volume else '²'}, {case['cells']} cells"
        goal = "≤ 1000 ms" if volume else "≤ 10 ms"
        found.append((what, goal, ours * 1e3, f"{ours * 1e3:.1f} ms"))
        theirs = [seconds[name] for name in EDT if name in seconds]
        if theirs and (volume or case["cells"] == 200):
            value = min(theirs) / ours
            goal = "≥ 20" if volume else "≥ 100"
            found.append((f"{what}, times edt at its fastest", goal, value, f"{value:.0f}"))
        if (error := case["largest_error"]) is not None:
            found.append(
                (f"{what}, largest error", "≤ 1e-6 of w0", error / 10, f"{error / 10:.1e}")
            )
    return found


def _step_goals(step: dict[str, Any] | None, paper: dict[str, Any] | None) -> list[Goal]:
    found: list[Goal] = []
    for peer, least in (("same network", 3), ("MONAI BasicUNet", 4)):
        if step and peer in step["numbers"]["seconds"]:
            value = _ratio(step["numbers"], peer)
            found.append((f"training step 512², times {peer}", f"≥ {least}", value, f"{value:.2f}"))
    if paper is None:
        return found
    numbers = paper["numbers"]
    share, rate = numbers["share_of_gemm_rate"], numbers["gemm_flop_per_second"] / 1e9
    peak = numbers["peak_bytes"]["septum"] / 1e9
    part = 1 / _ratio(numbers, "same network")
    gemm = f"{share:.2f} (of {rate:.0f} GFLOP/s)"
    return [
        *found,
        ("paper's form, of the same network's seconds", "≤ 0.48", part, f"{part:.2f}"),
        ("paper's form, of the 4096³ bfloat16 product's rate", "≥ 0.8", share, gemm),
        ("paper's form, memory at most", "≤ 1.5 GB", peak, f"{peak:.2f} GB"),
    ]


def _waiting_goals(result: dict[str, Any] | None) -> list[Goal]:
    return [
        (
            f"waiting for tiles, `{name}`",
            "≤ 0.05 of a step",
            case["waiting"],
            f"{case['waiting']:.3f}",
        )
        for name, case in (_recipes(result) if result else [])
    ]
