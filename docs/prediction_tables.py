"""The tables of docs/prediction-speed.md, from docs/results/prediction-*.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

Load = Callable[[str], dict[str, Any] | None]

SIZES = {"prediction-2048": "2048²", "prediction-8192": "8192²"}
PAPER, ARITHMETIC, BF16 = "prediction-paper", "prediction-arithmetic", "prediction-bf16"
MEMORY, WORKERS = "prediction-memory", "prediction-workers"
FLOAT32 = ("septum, float32", "septum, float32, tile 512")
LEAST = {"nnU-Net, 50 %, Gaussian": 12, "MONAI, 25 %, Gaussian": 5}
"""At 2048², how many times as fast as these septum is to be."""


def speed(load: Load) -> str:
    """Seconds, rate and memory of all contestants at both sizes."""
    lines = [
        "| image | what | seconds | MPixel/s | septum is | memory at most | before predicting |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, size in SIZES.items():
        result = load(name)
        if result is None:
            lines.append(f"| {size} | | | not yet run | | | |")
            continue
        contestants = result["numbers"]["contestants"]
        for what, numbers in contestants.items():
            lines.append(
                f"| {size} | {what} | {numbers['seconds']['median']:.2f} "
                f"| {numbers['mpixel_per_second']:.2f} | {_times(contestants, what):.1f} × "
                f"| {numbers['rss_peak_bytes'] / 1e9:.2f} GB "
                f"| {numbers['rss_before_bytes'] / 1e9:.2f} GB |"
            )
    return "\n".join([*lines, "", *_notes(load, *SIZES)])


def _times(contestants: dict[str, Any], what: str) -> float:
    """How many times as fast septum at its defaults is: ratio of the medians."""
    seconds = contestants[what]["seconds"]["median"]
    return float(seconds / contestants["septum"]["seconds"]["median"])


def differences(load: Load) -> str:
    """How far all contestants are from the whole image at once, at 2048²."""
    lines = [
        "| what | largest difference | mean difference | labels changed |",
        "|---|---|---|---|",
    ]
    (name, *_) = SIZES
    result = load(name)
    if result is None:
        return "\n".join([*lines, "| | not yet run | | |"])
    for what, numbers in result["numbers"]["contestants"].items():
        found = numbers["difference"]
        largest, mean = (
            f"{found[key]:.1e} σ" if key in found else "" for key in ("largest", "mean")
        )
        lines.append(f"| {what} | {largest} | {mean} | {found['labels']:.4%} |")
    return "\n".join([*lines, "", *_notes(load, name)])


def arithmetic(load: Load) -> str:
    """What tiles cost in arithmetic."""
    columns = ("tiles of", "extent", "number", "pixels given to the network", "arithmetic")

    def row(name: str, case: dict[str, Any]) -> str:
        return (
            f"| {name} | {case['tile']} | {case['tiles']} | {case['pixels']:.2f} × "
            f"| {case['share']:.2f} × |"
        )

    return _table(load, ARITHMETIC, "tiles", columns, row)


def memory(load: Load) -> str:
    """What the whole program holds, by the size of the image."""
    columns = ("image", "memory at most", "seconds", "MPixel/s")

    def row(extent: str, case: dict[str, Any]) -> str:
        return (
            f"| {extent}² | {case['peak_bytes'] / 1e9:.2f} GB | {case['seconds']:.1f} "
            f"| {case['mpixel_per_second']:.2f} |"
        )

    return _table(load, MEMORY, "extents", columns, row)


def _table(
    load: Load,
    name: str,
    key: str,
    columns: Sequence[str],
    row: Callable[[str, dict[str, Any]], str],
) -> str:
    """A row for each entry of the numbers ``key`` of a result, or that it was not yet run."""
    result = load(name)
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    if result is None:
        return "\n".join([*lines, f"| not yet run {'| ' * len(columns)}".rstrip()])
    lines += [row(*entry) for entry in result["numbers"][key].items()]
    return "\n".join([*lines, "", *_notes(load, name)])


def goals(load: Load) -> str:
    """What was set as a goal, and what was measured."""
    lines = ["| what | goal | measured | |", "|---|---|---|---|"]
    for what, goal, value, text in _goals(load):
        if value is None:
            lines.append(f"| {what} | {goal} | {text} | |")
            continue
        sign, bound = goal.split(maxsplit=1)
        limit = float(bound.split()[0])
        met = value >= limit if sign == "≥" else value <= limit
        lines.append(f"| {what} | {goal} | {text} | {'met' if met else 'not met'} |")
    return "\n".join([*lines, "", *_notes(load, PAPER, BF16, WORKERS)])


Goal = tuple[str, str, float | None, str]


def _goals(load: Load) -> Iterator[Goal]:
    (small, *_) = SIZES
    result = load(small)
    contestants = result["numbers"]["contestants"] if result else {}
    missing = "not yet run" if result is None else "not installed"
    for peer, least in LEAST.items():
        what = f"2048², times {peer}"
        if peer in contestants:
            value = _times(contestants, peer)
            yield what, f"≥ {least}", value, f"{value:.1f}"
        else:
            yield what, f"≥ {least}", None, missing
    yield _paper_goal(load(PAPER))
    yield _float32_goal(contestants)
    yield _bf16_goal(load(BF16))
    yield _arithmetic_goal(load(ARITHMETIC))
    yield from _memory_goals(load(MEMORY))
    yield _workers_goal(load(WORKERS))


def _paper_goal(result: dict[str, Any] | None) -> Goal:
    what, goal = "paper's network (31 M), 512 × 512, in process, warm", "≤ 1.0 s"
    if result is None:
        return what, goal, None, "not yet run"
    numbers = result["numbers"]
    value = numbers["seconds"]["default"]["median"]
    others = ", ".join(
        f"{name}: {each['median']:.2f} s"
        for name, each in numbers["seconds"].items()
        if name != "default"
    )
    return what, goal, value, f"{value:.2f} s ({numbers['dtype']}; {others})"


def _float32_goal(contestants: dict[str, Any]) -> Goal:
    what, goal = "float32, largest difference from the whole image", "≤ 1e-5 σ"
    if not contestants:
        return what, goal, None, "not yet run"
    value = max(contestants[name]["difference"]["largest"] for name in FLOAT32)
    return what, goal, value, f"{value:.1e} σ"


def _bf16_goal(result: dict[str, Any] | None) -> Goal:
    what, goal = "bfloat16, labels that differ from float32's on EM", "≤ 0.1 %"
    if result is None:
        return what, goal, None, "not yet run"
    numbers = result["numbers"]
    about = f"{numbers['image']}; model of {numbers['network']['steps']} steps"
    return what, goal, 100 * numbers["labels"], f"{numbers['labels']:.3%} ({about})"


def _arithmetic_goal(result: dict[str, Any] | None) -> Goal:
    what, goal = "arithmetic at 8192², default tile, width 16", "≤ 1.25"
    if result is None:
        return what, goal, None, "not yet run"
    value = result["numbers"]["tiles"]["quick"]["share"]
    return what, goal, value, f"{value:.2f}"


def _memory_goals(result: dict[str, Any] | None) -> Iterator[Goal]:
    what = "peak of `septum predict`, OME-Zarr in and out"
    if result is None:
        yield what, "≤ 1.0 GB", None, "not yet run"
        return
    cases = {name: case["peak_bytes"] for name, case in result["numbers"]["extents"].items()}
    smallest, *others = cases
    most = max(cases.values()) / 1e9
    yield f"{what}, at most", "≤ 1.0 GB", most, f"{most:.2f} GB"
    for name in others:
        value = cases[name] / cases[smallest]
        yield f"{what}, {name}² over {smallest}²", "≤ 1.1", value, f"{value:.2f}"


def _workers_goal(result: dict[str, Any] | None) -> Goal:
    what, goal = "two workers, throughput over that of one process", "≥ 0.9"
    if result is None:
        return what, goal, None, "not yet run"
    numbers = result["numbers"]
    rates = numbers["mpixel_per_second"]
    same = "the same bytes" if numbers["same_bytes"] else "OTHER BYTES"
    text = (
        f"{numbers['ratio']:.2f} ({rates['two workers']:.2f} and {rates['one process']:.2f} "
        f"MPixel/s at {numbers['extent']}²; {same})"
    )
    return what, goal, numbers["ratio"], text


def machine_hours(load: Load) -> str:
    """What large volumes take, computed from the measured rate of one machine."""
    result = load(MEMORY)
    lines = ["| volume, 8 bits a pixel | pixels | machine-hours, 2 cores | on 100 such machines |"]
    lines.append("|---|---|---|---|")
    if result is None:
        return "\n".join([*lines, "| | not yet run | | |"])
    extent, case = list(result["numbers"]["extents"].items())[-1]
    rate = case["mpixel_per_second"] * 1e6
    for name, pixels in (("1 TB", 1e12), ("1 PB", 1e15)):
        hours = pixels / rate / 3600
        lines.append(
            f"| {name} | {pixels:.0e} | {_rounded(hours)} | {_rounded(hours / 100)} hours |"
        )
    rate_said = f"At {case['mpixel_per_second']:.2f} MPixel/s, as measured at {extent}²:"
    return "\n".join([rate_said, "", *lines, "", *_notes(load, MEMORY)])


def _rounded(hours: float) -> str:
    """Two digits that mean something."""
    return f"{float(f'{hours:.2g}'):,.0f}" if hours >= 10 else f"{hours:.1f}"


def _notes(load: Load, *names: str) -> list[str]:
    """Where the numbers come from."""
    return [_note(result) for result in map(load, names) if result is not None]


def _note(result: dict[str, Any]) -> str:
    numbers = result["numbers"]
    missing = f"; missing: {', '.join(numbers['missing'])}" if numbers.get("missing") else ""
    return (
        f"- `{result['command']}` ({result['device']}, {result['threads']} threads, "
        f"{result['date']}, commit {result['commit']}{missing})"
    )
