"""A survey in words and numbers, for a person: what it is about, and what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from septum.survey.survey import Level, Problem, Spread, Survey, in_micrometres

SHOWN = 4
"""Different sizes or names that are listed; the rest is counted."""
LEVELS: dict[Level, str] = {
    "error": "ERROR",
    "warning": "WARNING",
    "note": "note",
}


def describe(survey: Survey) -> list[tuple[str, str]]:
    """Names and values below each other."""
    if not survey.images:
        return [("images", "none that can be read")]
    entries = [
        ("images", _images(survey)),
        ("sizes", _sizes(survey)),
        ("pixels", _pixels(survey)),
        ("grey values", _grey_values(survey)),
    ]
    if survey.meaning is None or survey.objects is None:
        return [*entries, ("labels", "of no meaning: see the problems")]
    entries += [("labels", survey.meaning.describe()), ("objects", _objects(survey))]
    if survey.meaning.kind == "instances":
        entries.append(("touching", _touching(survey)))
    entries.append(("ignored", _ignored(survey)))
    empty = [image.name for image in survey.images if image.empty]
    entries.append(("empty", f"{len(empty)} without an object ({_listed(empty)})" if empty else
                    "no image without an object"))  # fmt: skip
    for row in survey.series[:SHOWN]:
        words = f"{len(row.names)} neighbours, correlating by {row.correlation:.2f}"
        entries.append(("series", f"{row.stack}: {words}"))
    if len(survey.series) > SHOWN:
        entries.append(("", f"and {len(survey.series) - SHOWN} more series"))
    return entries


def describe_problem(problem: Problem) -> str:
    """How bad it is, what it is, and what mends it; one line."""
    return f"{LEVELS[problem.level]}: {problem}"


def spread(values: Spread | None, unit: str) -> str:
    """Median, and what nine in ten lie between."""
    if values is None:
        return "–"
    low, median, high = (_short(value) for value in (values.low, values.median, values.high))
    return f"{median} {unit} ({low}–{high})"


def _images(survey: Survey) -> str:
    count = len(survey.images)
    files = len({image.image for image in survey.images})
    parts = [f"{count}"]
    if survey.windows:
        parts = [
            f"{files} file{'s' * (files > 1)}, large ones looked at in windows, {count} in all"
        ]
    elif files < count:
        parts.append(f"in {files} file{'s' * (files > 1)}")
    axes = Counter(image.axes for image in survey.images)
    return f"{' '.join(parts)}; axes {', '.join(sorted(axes))}"


def _sizes(survey: Survey) -> str:
    sizes = Counter(image.extents for image in survey.images)
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) == 1:
        return f"all {_product(ordered[0][0])} pixels"
    parts = [f"{count} of {_product(extents)}" for extents, count in ordered[:SHOWN]]
    more = f", and {len(ordered) - SHOWN} other sizes" if len(ordered) > SHOWN else ""
    return f"{', '.join(parts)}{more} (pixels)"


def _pixels(survey: Survey) -> str:
    types = ", ".join(sorted({image.dtype for image in survey.images}))
    bits = f", {survey.bits} bits of it used" if f"int{survey.bits}" not in types else ""
    channels = "/".join(map(str, sorted({image.channels for image in survey.images})))
    sizes = Counter(image.pixel_size for image in survey.images if image.pixel_size)
    if not sizes:
        size = "pixel size unknown"
    else:
        usual = max(sorted(sizes), key=lambda value: sizes[value])
        size = f"{in_micrometres(usual)} a pixel"
        size += f" (and {len(sizes) - 1} other sizes)" if len(sizes) > 1 else ""
    plural = "" if channels == "1" else "s"
    return f"{types}{bits if survey.bits else ''}; {channels} channel{plural}; {size}"


def _grey_values(survey: Survey) -> str:
    texts = []
    for channel in survey.channels:
        low, median, high = (_short(channel.percentiles[key]) for key in ("1", "50", "99.8"))
        texts.append(f"{median} ({low}–{high})")
    return f"median, and from 1 % to 99.8 %: {'; '.join(texts)}"


def _objects(survey: Survey) -> str:
    objects, axes = survey.objects, survey.dimensions
    assert objects is not None
    text = f"{objects.count} in {sum(not image.empty for image in survey.images)} images"
    if objects.count:
        unit = "pixels" if axes == 2 else "voxels"
        text += (
            f"; area {spread(objects.area, unit)}, diameter {spread(objects.diameter, 'pixels')}"
        )
        if objects.diameter_um is not None:
            text += f" = {spread(objects.diameter_um, 'µm')}"
    if objects.specks:
        text += f"; {objects.specks} specks left out"
    return text


def _touching(survey: Survey) -> str:
    objects = survey.objects
    assert objects is not None
    if not objects.touching_pairs:
        return "no two objects"
    return f"{objects.touching_pairs} pairs; {objects.touching:.0%} of the objects touch another"


def _ignored(survey: Survey) -> str:
    if not survey.ignored:
        return "no pixel"
    parts = [f"{words} {share:.1%}" for words, share in survey.ignored.items()]
    more = f" ({', '.join(parts)})" if len(parts) > 1 else ""
    return f"{sum(survey.ignored.values()):.1%} of the pixels{more}"


def _product(extents: Iterable[int]) -> str:
    return " × ".join(map(str, extents))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
