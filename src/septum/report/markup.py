"""The parts of a page: what is given as text is escaped here, and nowhere else."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import quote

from septum.report.pictures import Colour
from septum.report.style import STYLE


@dataclass(frozen=True)
class Panel:
    """One picture and the words below it. ``kind``: jpeg, png or svg+xml."""

    data: bytes
    kind: str
    caption: str
    pixelated: bool = False


def escape(text: object) -> str:
    """Text that stays text, between tags and in attributes."""
    return html.escape(str(text), quote=True)


def paragraph(text: str, style: str = "") -> str:
    """Words in one block."""
    return f"<p{_style(style)}>{escape(text)}</p>"


def section(title: str, *parts: str) -> str:
    """A heading and what belongs to it; empty parts fall away."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def image(panel: Panel) -> str:
    """An embedded picture; its caption is what a screen reader says."""
    data = base64.b64encode(panel.data).decode()
    style = _style("pixelated" if panel.pixelated else "")
    return f'<img{style} alt="{escape(panel.caption)}" src="data:image/{panel.kind};base64,{data}">'


def figure(rows: Iterable[tuple[str, Sequence[Panel]]], columns: int, caption: str) -> str:
    """Rows of panels, each with a title; a narrow screen shows two panels beside each other."""
    parts = []
    for title, panels in rows:
        cells = "".join(
            f"<div>{image(panel)}<span>{escape(panel.caption)}</span></div>" for panel in panels
        )
        head = f"<h3>{escape(title)}</h3>" if title else ""
        parts.append(f'<div class="row">{head}<div class="panels n{columns}">{cells}</div></div>')
    return f"<figure>{''.join(parts)}<figcaption>{caption}</figcaption></figure>"


def legend(entries: Iterable[tuple[Sequence[Colour], str]]) -> str:
    """Swatches with their meaning. Drawn, not backgrounds: browsers do not print those."""
    return f'<ul class="legend">{"".join(map(_entry, entries))}</ul>'


def cards(entries: Iterable[tuple[str, str, str]]) -> str:
    """Big numbers: (number, what it counts, what that means)."""
    items = "".join(
        f"<li><b>{escape(number)}</b><strong>{escape(name)}</strong><span>{escape(meaning)}</span>"
        "</li>"
        for number, name, meaning in entries
    )
    return f'<ul class="cards">{items}</ul>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Words stand to the left of their column, numbers to the right; None is a dash."""
    lines = [list(row) for row in rows]
    words = [isinstance(cell, str) for cell in lines[0]] if lines else []
    top = "".join(
        f"<th{_style('words' if left else '')}>{escape(cell)}</th>"
        for cell, left in zip(head, words, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in lines)
    above = paragraph(caption, "soft") if caption else ""
    return (
        f'{above}<div class="scroll"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(entries: Iterable[tuple[str, object]]) -> str:
    """Names and values below each other."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries)
    return f"<dl>{items}</dl>"


def link(target: str, text: str) -> str:
    """A link to a file beside the page; ``target`` is a relative path with slashes."""
    return f'<a href="{escape(quote(target))}">{escape(text)}</a>'


def code(text: str) -> str:
    """Text as it is, in letters of one width."""
    return f"<pre><code>{escape(text)}</code></pre>"


def details(summary: str, inner: str) -> str:
    """Folded away until it is asked for; ``inner`` is markup."""
    return f"<details><summary>{escape(summary)}</summary>{inner}</details>"


def notice(lines: Sequence[str]) -> str:
    """What the reader must know before believing the rest; empty without lines."""
    if not lines:
        return ""
    return '<div class="notice" role="note">' + "".join(map(paragraph, lines)) + "</div>"


def number(value: object) -> str:
    """Scores with four digits, two of what is small; words, and other numbers, as they are."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1e}" if 0 < abs(value) < 0.001 else f"{value:.4f}"


def percent(share: float) -> str:
    """A share for a big number; only what is perfect is called 100 %."""
    if not math.isfinite(share):
        return "–"
    text = f"{100 * share:.1f}"
    return "> 99.9 %" if text == "100.0" and share < 1 else f"{text} %"


def document(title: str, body: str) -> str:
    """The whole page; nothing in it is fetched from anywhere."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _entry(entry: tuple[Sequence[Colour], str]) -> str:
    colours, text = entry
    swatches = "".join(
        f'<rect x="{18 * place}" width="14" height="14" rx="3" fill="rgb{colour}"/>'
        for place, colour in enumerate(colours)
    )
    width = 18 * len(colours) - 4
    return (
        f'<li><svg width="{width}" height="14" aria-hidden="true">{swatches}</svg>'
        f"{escape(text)}</li>"
    )


def _cell(value: object) -> str:
    style = "" if isinstance(value, int | float | Decimal) or value is None else "words"
    return f"<td{_style(style)}>{escape(number(value))}</td>"


def _style(name: str) -> str:
    return f' class="{name}"' if name else ""
