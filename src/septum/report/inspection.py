"""The page of an inspection: problems first, then pictures, histograms, and the recipe."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from septum.annotation.labels import to_target
from septum.annotation.layouts import UnpairedError
from septum.annotation.pairs import Annotated, Pair, find_pairs, load_pairs
from septum.annotation.stored_pairs import open_pairs
from septum.atomic_file import replace_file
from septum.errors import InputError
from septum.report.charts import draw_histograms
from septum.report.markup import (
    Panel,
    cards,
    code,
    document,
    escape,
    facts,
    figure,
    notice,
    paragraph,
    section,
    table,
)
from septum.report.pictures import View, central_plane, draw_outlines, encode_jpeg, grey_range
from septum.survey.seen import WINDOW_PIXELS
from septum.survey.survey import ImageFacts, Survey
from septum.survey.words import describe, describe_problem
from septum.training.inspection import Inspection

SHOWN, THUMBNAIL = 12, 320
"""Images that are shown, and the longer side of their pictures."""
LISTED = 400
"""Rows of the table of images."""
PART = 1024
"""Of a large image its centre is shown, of so many pixels an axis."""


def write_page(path: Path, found: Inspection) -> None:
    """One page, complete in itself, as a whole or not at all. Raises SaveError.

    A few images are read again to be shown: those with problems first, then evenly spread ones.
    """
    survey = found.survey
    urgent = [describe_problem(p) for p in found.problems if p.level != "note"]
    notes = [describe_problem(p) for p in found.problems if p.level == "note"]
    count = len(survey.images)
    body = [
        '<header><p class="over">Inspection · septum</p>',
        f"<h1>{escape(Path(survey.data).resolve().name)}: {count} annotated "
        f"image{'s' * (count != 1)}</h1>",
        paragraph(_verdict(found), "lead"),
        "</header>",
        notice(urgent),
        "".join(paragraph(note, "soft") for note in notes),
        cards(_cards(survey)),
        section("What is there", facts(describe(survey))),
        section("Images and the outlines of their labels", _pictures(found)),
        section("How large, how bright", _histograms(survey)),
        section("The recipe for these images", _recipe(found)),
        section("Image by image", _images(survey)),
    ]
    with replace_file(path) as temporary:
        title = f"{Path(survey.data).resolve().name} · septum"
        temporary.write_text(document(title, "".join(body)), "utf-8")


def _verdict(found: Inspection) -> str:
    if found.reason:
        return "Training could not begin: see the first problem."
    count = sum(problem.level == "warning" for problem in found.problems)
    if not count:
        return "Nothing was found that should be mended before training."
    return f"Training could begin, but {count} thing{'s' * (count > 1)} should be looked at first."


def _cards(survey: Survey) -> list[tuple[str, str, str]]:
    shown = [(str(len(survey.images)), "images", "Planes of stacks count one by one.")]
    objects = survey.objects
    if objects is None or objects.diameter is None:
        return shown
    middle = objects.diameter
    shown.append((str(objects.count), "objects", "Numbered objects, or pieces of each class."))
    words = f"Half are smaller. Nine in ten: {middle.low:.0f} to {middle.high:.0f}."
    shown.append((f"{middle.median:.0f}", "pixels wide", words))
    if objects.touching_pairs:
        words = "They are told apart by the border weight only."
        shown.append((f"{objects.touching:.0%}", "of the objects touch another", words))
    return shown


def _pictures(found: Inspection) -> str:
    survey = found.survey
    pairs = _pairs(found)
    drawn = [_picture(survey, image, pairs[image.image]) for image in _chosen(found)]
    panels = [panel for panel in drawn if panel is not None]
    if not panels:
        return paragraph("None can be shown.")
    words = "Outlines have the colour of the class, or one of seven colours of the object."
    if len(panels) < len(survey.images):
        words += f" {len(panels)} of {len(survey.images)}: those with problems, then evenly spread."
    return figure([("", panels)], 4, escape(words))


def _chosen(found: Inspection) -> list[ImageFacts]:
    images = found.survey.images
    named = {file for p in found.problems if p.level != "note" for file in p.files}
    all_named = len(named) > len(images) // 2  # then that says nothing about single ones
    first = [i for i in images if not all_named and (i.image in named or i.labels in named)]
    places = np.linspace(0, len(images) - 1, min(SHOWN, len(images)))
    rest = [images[round(place)] for place in places]
    chosen = {image.name: image for image in [*first[:SHOWN], *rest]}
    return list(chosen.values())[:SHOWN]


def _picture(survey: Survey, image: ImageFacts, pair: Pair) -> Panel | None:
    try:
        item = _read(survey, image, pair)
    except InputError:  # it has changed since
        return None
    ids_S, meaning = item.labels_S, survey.meaning
    if meaning is not None:
        ignored_S = meaning.ignored(ids_S)
        with suppress(InputError):
            if meaning.kind != "instances":
                ids_S = to_target(ids_S, meaning, image.name)[0]
        if ignored_S is not None:
            ids_S = np.where(ignored_S, 0, ids_S)
    view = View.of(item.extents, THUMBNAIL)
    picture = grey_range(item.image_CS).picture(item.image_CS, view)
    drawn = draw_outlines(picture, view.labels(central_plane(ids_S)))
    objects = f"{image.objects} object{'s' * (image.objects != 1)}"
    return Panel(encode_jpeg(drawn), "jpeg", f"{image.name}: {objects}")


def _read(survey: Survey, image: ImageFacts, pair: Pair) -> Annotated:
    if image.pixels <= WINDOW_PIXELS:
        items = load_pairs([pair], survey.dimensions)
        return next(item for item in items if item.name == image.name)
    stored = open_pairs([pair], survey.dimensions)
    whole = next(item for item in stored if image.name.startswith(item.name))
    starts = [max(0, (n - PART) // 2) for n in whole.extents]
    return whole.read(
        tuple(slice(s, min(s + PART, n)) for s, n in zip(starts, whole.extents, strict=True))
    )


def _pairs(found: Inspection) -> dict[str, Pair]:
    """By the path of the image."""
    try:
        pairs = find_pairs(found.survey.data, found.configuration.recipe.labels)
    except UnpairedError as error:
        pairs = error.matched
    return {str(pair.image): pair for pair in pairs}


def _histograms(survey: Survey) -> str:
    panels = []
    sizes = survey.objects.sizes if survey.objects is not None else None
    if sizes is not None:
        drawn = draw_histograms(
            [(sizes.edges, sizes.counts, "")], "diameter in pixels", "objects", True
        )
        panels.append(Panel(drawn, "svg+xml", "Diameters: of the circle of an object's area."))
    names = _channel_names(len(survey.channels))
    bars = [
        (channel.histogram.edges, _shares(channel.histogram.counts), name)
        for channel, name in zip(survey.channels, names, strict=True)
    ]
    if bars:
        drawn = draw_histograms(bars, "grey value", "share of the pixels", False)
        panels.append(Panel(drawn, "svg+xml", "Grey values of all images, up to 99.8 %."))
    return f'<div class="charts">{figure([("", panels)], 2, "")}</div>' if panels else ""


def _shares(counts: Sequence[int]) -> list[float]:
    total = max(sum(counts), 1)
    return [count / total for count in counts]


def _channel_names(count: int) -> Sequence[str]:
    if count == 1:
        return [""]
    return ["red", "green", "blue"] if count == 3 else [f"channel {n}" for n in range(count)]


def _recipe(found: Inspection) -> str:
    chosen = found.configuration
    rows = [[c.key, c.shown, c.reason] for c in chosen.choices]
    parts = [
        paragraph(
            "septum train chooses this where no --recipe is given; --set section.key=value "
            f"overrules any of it. What is not named is as in the recipe {chosen.base.name}."
        ),
        f'<div class="names">{table(["key", "value", "why"], rows)}</div>' if rows else "",
        notice(chosen.advice),
    ]
    if not found.reason:
        words = ["septum", "train", found.survey.data, "--out", "RUN"]
        words += [word for change in chosen.changes for word in ("--set", change)]
        parts.append(code(shlex.join(words)))
    return "".join(parts)


def _images(survey: Survey) -> str:
    rows = [
        [
            image.name,
            " × ".join(map(str, image.extents)),
            image.dtype,
            image.objects,
            f"{100 * image.foreground:.1f} %",
            f"{image.low:g}–{image.high:g}",
            f"{100 * image.saturated:.1f} %",
        ]
        for image in survey.images[:LISTED]
    ]
    head = ["image", "pixels", "type", "objects", "object pixels", "1 % to 99.8 %", "at the top"]
    more = len(survey.images) - LISTED
    caption = f"The first {LISTED}; {more} more are in --json." if more > 0 else ""
    return table(head, rows, caption) if rows else ""
