"""The page of an evaluation: its numbers, and for each image where the prediction is wrong."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np

from septum.atomic_file import replace_file
from septum.evaluation.choices import Compared, Scored, class_numbers
from septum.evaluation.contingency import contingency
from septum.evaluation.measures import main_measures, measure
from septum.evaluation.mistakes import find_mistakes
from septum.evaluation.tables import format_number
from septum.evaluation.warping import warping_places
from septum.report.markup import (
    Panel,
    cards,
    document,
    escape,
    figure,
    legend,
    paragraph,
    section,
    table,
)
from septum.report.overlays import (
    BORDER_LEGEND,
    CLASS_LEGEND,
    MERGED,
    OBJECT_LEGEND,
    SPLIT,
    UNJUDGED,
    centres,
    draw_mistakes,
    draw_rings,
)
from septum.report.pictures import (
    Rgb,
    View,
    central_plane,
    draw_errors,
    encode_jpeg,
    grey_range,
)

MOST = 40
"""Images on a page."""
LARGEST = 560
RANKING = ("panoptic_quality", "seg", "mask_v_rand", "v_rand", "iou")
"""What says which image is worst: the first of these that there is. All are 1 at best."""
CARDS = ("panoptic_quality", "seg", "ap_50", "v_rand", "mask_v_rand", "dice")

Kind = Literal["objects", "partial", "borders", "classes"]


@dataclass(order=True)
class Entry:
    """An image on the page; entries are in the order of ``badness``, then as they came."""

    badness: float
    turn: int
    name: str = field(compare=False)
    kind: Kind = field(compare=False)
    words: str = field(compare=False)
    panels: Sequence[Panel] = field(compare=False)


class Gallery:
    """The worst images of an evaluation, drawn while it goes on: no more than MOST are held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = self.large = 0
        self._worst: list[Entry] = []

    def watch(self, scored: Iterable[Scored]) -> Iterator[Scored]:
        """Pass on what was scored, and keep a drawing of it while it is among the worst."""
        for item in scored:
            self.add(item)
            yield item

    def add(self, item: Scored) -> None:
        """Draw an image, if it is among the worst so far."""
        self.count += 1
        if item.compared is None:
            self.large += 1
            return
        badness = _badness(item.scores.values)
        if len(self._worst) == MOST and badness <= self._worst[0].badness:
            return
        kind, panels, words = draw(item.compared, item.scores.values)
        entry = Entry(badness, -self.count, item.name, kind, words, panels)
        if len(self._worst) == MOST:
            heapq.heapreplace(self._worst, entry)
        else:
            heapq.heappush(self._worst, entry)

    @property
    def entries(self) -> list[Entry]:
        """The worst first."""
        return sorted(self._worst, reverse=True)

    def write(self, summary: Mapping[str, Any], predictions: Path, truth: Path) -> None:
        """One page, complete in itself, as a whole or not at all. Raises SaveError."""
        count = len(summary["images"])
        images = f"{count} image{'s' if count != 1 else ''}"
        body = [
            '<header><p class="over">Evaluation · septum</p>',
            f"<h1>{escape(predictions.name)} against {escape(truth.name)}: {images}</h1>",
            paragraph(f"Predictions: {predictions}. Truth: {truth}."),
            *(paragraph(line, "soft") for line in summary["chosen"]),
            "</header>",
            cards(_cards(summary)),
            section("Where it is wrong", _pictures(self, summary["mean"])),
            section("All measures", _all_measures(summary)),
            section("Image by image", _images(summary)),
        ]
        with replace_file(self.path) as temporary:
            page = document(f"{predictions.name} · septum", "".join(body))
            temporary.write_text(page, "utf-8")


def draw(item: Compared, values: Mapping[str, float]) -> tuple[Kind, list[Panel], str]:
    """The image, if it is known, and its errors drawn over it, with a line that counts them.

    Numbered objects by what became of each; a map or mask of two classes by its wrong pixels, with
    rings where objects are joined or divided; several classes by their wrong pixels. Of a volume
    the central plane is drawn, while the whole is counted.
    """
    view = View.of(item.truth.classes_S.shape, LARGEST)
    panels = []
    picture = np.full((view.height, view.width, 3), 200, np.uint8)
    if item.read_image is not None:
        image_CS = item.read_image()
        picture = grey_range(image_CS).picture(image_CS, view)
        panels.append(Panel(encode_jpeg(picture), "jpeg", "image"))
    if item.segments_S is not None:
        kind, drawn, words = _draw_objects(item, picture, view)
    elif item.truth.class_count == 2:
        kind, drawn, words = _draw_borders(item, picture, view)
    else:
        predicted_S, classes_S = _predicted(item), item.truth.classes_S
        drawn = _draw_pixels(picture, predicted_S, classes_S, view)
        kind, words = "classes", ""
    numbers = (
        f"{name} {format_number(values[name], measure(name).whole)}"
        for name in main_measures(values)
    )
    panels.append(Panel(encode_jpeg(drawn), "jpeg", f"errors; {', '.join(numbers)}"))
    return kind, panels, words


def _draw_objects(item: Compared, picture: Rgb, view: View) -> tuple[Kind, Rgb, str]:
    assert item.segments_S is not None
    truth = item.truth
    table_ = contingency(item.segments_S, truth.instances_S, truth.known_S)
    mistakes = find_mistakes(table_, truth.partial)
    segments_S = np.where(truth.known_S, item.segments_S, 0)
    truth_YX, segments_YX = (
        view.labels(central_plane(ids_S)) for ids_S in (truth.instances_S, segments_S)
    )
    drawn = draw_mistakes(picture, truth_YX, segments_YX, mistakes)
    return "partial" if truth.partial else "objects", drawn, mistakes.in_words()


def _draw_borders(item: Compared, picture: Rgb, view: View) -> tuple[Kind, Rgb, str]:
    truth, mask_S = item.truth, _predicted(item) != 0
    drawn = _draw_pixels(picture, mask_S.astype(np.uint8), truth.classes_S, view)
    if mask_S.ndim != 2:
        return "borders", drawn, ""
    mergers_YX, splits_YX = warping_places(mask_S, truth.parted_S, truth.valid)
    merged, split = (centres(m, view.height, view.width) for m in (mergers_YX, splits_YX))
    drawn = draw_rings(draw_rings(drawn, split, SPLIT), merged, MERGED)
    return "borders", drawn, f"places where objects are merged {len(merged)}, split {len(split)}"


def _draw_pixels(picture: Rgb, predicted_S: np.ndarray, classes_S: np.ndarray, view: View) -> Rgb:
    predicted_YX, classes_YX = (
        view.labels(central_plane(ids_S)) for ids_S in (predicted_S, classes_S)
    )
    return draw_errors(picture, predicted_YX, classes_YX)


def _predicted(item: Compared) -> np.ndarray:
    """The mask, or what the probabilities say: the likeliest class, an object above 0.5."""
    plane = item.plane
    if plane.mask is not None:
        return np.asarray(class_numbers(plane, item.truth)[0])
    assert plane.probability is not None
    if item.truth.class_count == 2:
        return np.asarray(plane.probability[-1] > 0.5)
    return np.asarray(plane.probability.argmax(0))


def _badness(values: Mapping[str, float]) -> float:
    """What an image lacks; of one that says nothing, as without objects in partial truth, −1."""
    return next((1 - values[name] for name in RANKING if name in values), -1.0)


def _cards(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    chosen = [name for name in CARDS if name in summary["mean"]][:3]
    several = len(summary["images"]) > 1
    found = []
    for name in chosen:
        value = summary["overall"].get(name, summary["mean"][name])
        pooled = several and name in summary["overall"]
        what = "Of all images together" if pooled else "Mean over images" if several else ""
        interval = summary["overall_interval" if pooled else "interval"][name]
        if interval:
            what += " (95 %: {:.3f} to {:.3f})".format(*interval)
        words = f"{what}: {measure(name).definition}." if what else f"{measure(name).definition}."
        found.append((f"{value:.3f}", name, words))
    return found


def _pictures(gallery: Gallery, mean: Mapping[str, float]) -> str:
    ranking = next((name for name in RANKING if name in mean), "")
    entries = gallery.entries
    ranked = f"Worst first, by {ranking}" if ranking else "As they came"
    if not entries:
        ranked = "Nothing is drawn"
    elif gallery.count > len(entries):
        ranked += f"; of {gallery.count} images these {len(entries)}, the others are left out"
    if gallery.large:
        ranked += "; images larger than memory are not drawn"
    elif entries and all(len(entry.panels) == 1 for entry in entries):
        ranked += (
            ". To see the images, too, give as TRUTH the folder that holds them with their labels"
        )
    kinds = {entry.kind for entry in entries}
    legends = []
    if kinds & {"objects", "partial"}:
        more = [UNJUDGED] if "partial" in kinds else []
        # In a truth in which objects may be missing, none can be said to be invented.
        shown = [e for e in OBJECT_LEGEND if "objects" in kinds or not e[1].startswith("invented")]
        legends.append(legend([*shown, *more]))
    if "borders" in kinds:
        legends.append(legend(BORDER_LEGEND))
    if "classes" in kinds:
        legends.append(legend(CLASS_LEGEND))
    columns = max((len(entry.panels) for entry in entries), default=1)
    rows = [(f"{e.name}: {e.words}" if e.words else e.name, e.panels) for e in entries]
    return paragraph(f"{ranked}.") + "".join(legends) + figure(rows, columns, "")


def _all_measures(summary: Mapping[str, Any]) -> str:
    rows = []
    for name, mean in summary["mean"].items():
        overall = summary["overall"].get(name)
        rows.append(
            [
                name,
                _shown(name, mean),
                _range(name, summary["interval"][name]),
                _shown(name, overall),
                _range(name, summary["overall_interval"].get(name)),
                measure(name).definition,
            ]
        )
    head = ["measure", "mean", "95 % interval", "overall", "95 % interval", "what it is"]
    caption = (
        "Mean over images. Overall: the objects of all images counted alike, maps at one threshold "
        "for all. Each with its 95 % interval by bootstrap over images."
    )
    return f'<div class="names">{table(head, rows, caption)}</div>'


def _images(summary: Mapping[str, Any]) -> str:
    names = main_measures(summary["mean"]) or list(summary["mean"])
    rows = [
        [row["name"], *(_shown(name, row.get(name)) for name in names)] for row in summary["images"]
    ]
    return table(["image", *names], rows)


def _range(name: str, interval: Sequence[float] | None) -> str:
    """On one line, however narrow the page."""
    if interval is None:
        return "–"
    return "\u00a0…\u00a0".join(format_number(end, measure(name).whole) for end in interval)


def _shown(name: str, value: float | None) -> float | Decimal | None:
    """For a table: counts, and their means, are not given four digits."""
    return (
        value if value is None or not measure(name).whole else Decimal(format_number(value, True))
    )
