"""Scores for a person, on the terminal, and for a spreadsheet."""

from __future__ import annotations

import csv
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from septum.atomic_file import replace_file
from septum.evaluation.measures import main_measures, measure

WIDTH = 120
LONGEST_NAME, LONGEST_WORD = 36, 8
INTERVAL = ("95 % from", "95 % to")
LEGEND = (
    "mean: of the images; overall: objects of all images counted alike, maps at one threshold for "
    "all; 95 %: the interval of the number above, by bootstrap over images"
)


def format_report(summary: Mapping[str, Any], everything: bool = False) -> str:
    """What was chosen and why, the table, and what its columns are; at most WIDTH columns wide.

    Without ``everything`` only the measures to look at first.
    """
    measures = list(summary["mean"])
    shown = measures if everything else main_measures(measures) or measures
    lines = [_wrap(line) for line in summary["chosen"]]
    lines += ["", format_table(summary, shown), "", *_legend(shown, everything)]
    if len(summary["images"]) > 1:
        lines.append(_wrap(LEGEND))
    if len(shown) < len(measures):
        lines.append(_wrap(f"all {len(measures)} measures, with what they are: --all, or --json"))
    return "\n".join(lines)


def format_table(summary: Mapping[str, Any], measures: Sequence[str] | None = None) -> str:
    """The images below each other, the measures beside each other, then mean, interval, overall.

    ``measures``: all by default. Names of several words are broken at _; what does not fit into
    WIDTH columns comes below, in further blocks.
    """
    names = list(summary["mean"]) if measures is None else list(measures)
    columns = [[*_heading(name), *_column(summary, name)] for name in names]
    deepest = max(len(_heading(name)) for name in names)
    columns = [
        [""] * (deepest - len(_heading(name))) + column
        for name, column in zip(names, columns, strict=True)
    ]
    rows = [str(row["name"]) for row in summary["images"]]
    first = [""] * (deepest - 1) + ["image", *map(_shorten, rows), *_ends(summary)]
    blocks: list[list[list[str]]] = []
    room = 0
    width = max(map(len, first))
    for column in columns:
        taken = 2 + max(map(len, column))
        if not blocks or taken > room:
            blocks.append([first])
            room = WIDTH - width
        blocks[-1].append(column)
        room -= taken
    return "\n\n".join(_format_block(block, deepest, len(rows)) for block in blocks)


def write_json(path: Path, summary: Mapping[str, Any]) -> None:
    """The summary as it is. Raises SaveError."""
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n", "utf-8")


def write_csv(path: Path, summary: Mapping[str, Any]) -> None:
    """A row an image, then the mean, the ends of its interval, and overall with its own; all
    measures.

    ``row`` says which of these a row is: image, mean, interval_low, interval_high, overall,
    overall_interval_low, overall_interval_high. What there is no number for is empty. Raises
    SaveError.
    """
    measures = list(summary["mean"])
    rows: list[tuple[str, str, Mapping[str, Any]]] = [
        ("image", str(row["name"]), row) for row in summary["images"]
    ]
    for kind, interval in (("mean", "interval"), ("overall", "overall_interval")):
        rows.append((kind, "", summary[kind]))
        for place, end in enumerate(("low", "high")):
            ends = {m: pair[place] for m, pair in summary[interval].items() if pair}
            rows.append((f"{interval}_{end}", "", ends))
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "name", *measures])
        for kind, name, values in rows:
            writer.writerow([kind, name, *(values.get(m, "") for m in measures)])


def format_number(value: float | None, whole: bool = False) -> str:
    """Four digits, two of what is small; counts without; nothing for nothing."""
    if value is None:
        return ""
    if whole:
        return f"{value:.0f}" if value == int(value) else f"{value:.1f}"
    return f"{value:.1e}" if 0 < abs(value) < 0.001 else f"{value:.4f}"


def _heading(name: str) -> list[str]:
    """The parts of a name, each ending in _, put together to short lines."""
    lines = [""]
    for part in name.replace("_", "_ ").split():
        if lines[-1] and len(lines[-1] + part) > LONGEST_WORD:
            lines.append("")
        lines[-1] += part
    return lines


def _column(summary: Mapping[str, Any], name: str) -> list[str]:
    whole = measure(name).whole
    values = [row.get(name) for row in summary["images"]] + [summary["mean"][name]]
    if any(summary["interval"].values()):
        values += summary["interval"][name] or [None, None]
    if _has_overall(summary):
        values.append(summary["overall"].get(name))
        if any(summary["overall_interval"].values()):
            values += summary["overall_interval"].get(name) or [None, None]
    return [format_number(value, whole) for value in values]


def _ends(summary: Mapping[str, Any]) -> list[str]:
    """The names of the rows below the images."""
    ends = ["mean"]
    if any(summary["interval"].values()):
        ends += INTERVAL
    if _has_overall(summary):
        ends.append("overall")
        if any(summary["overall_interval"].values()):
            ends += INTERVAL
    return ends


def _has_overall(summary: Mapping[str, Any]) -> bool:
    """Of one image it would say what the mean says."""
    return bool(summary.get("overall")) and len(summary["images"]) > 1


def _shorten(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def _format_block(columns: Sequence[Sequence[str]], headings: int, images: int) -> str:
    widths = [max(map(len, column)) for column in columns]
    text = [
        "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])])
        for first, *rest in zip(*columns, strict=True)
    ]
    rule, end = "-" * len(text[0]), headings + images
    return "\n".join([*text[:headings], rule, *text[headings:end], rule, *text[end:]])


def _legend(shown: Sequence[str], everything: bool) -> list[str]:
    if everything:
        return [_wrap(f"{name}: {measure(name).definition}") for name in shown]
    words = []
    for best, text in (("low", "lower is better"), ("high", "higher is better")):
        names = [name for name in shown if measure(name).best == best]
        if names:
            words.append(f"{text}: {', '.join(names)}")
    return [_wrap("; ".join(words))]


def _wrap(line: str) -> str:
    return textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
