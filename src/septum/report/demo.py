"""The whole way on made-up images: make, train, predict what was never seen, score, report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from septum.annotation.pairs import find_pairs, load_pairs
from septum.annotation.synthetic import write_example_data
from septum.atomic_file import replace_file
from septum.errors import RunFolderError, SaveError
from septum.evaluation.files import evaluate_files
from septum.evaluation.measures import main_measures
from septum.evaluation.scores import score_image
from septum.evaluation.summary import summarize
from septum.evaluation.truth import truth_maps
from septum.images.files import read_image
from septum.model import Model, load_model
from septum.prediction.files import Options, predict_files
from septum.recipe import Recipe, load_recipe
from septum.report.figures import draw_found, error_legend, label_legend
from septum.report.markup import (
    cards,
    code,
    document,
    escape,
    figure,
    link,
    paragraph,
    section,
    table,
)
from septum.report.numbers import NAMES, score_numbers
from septum.report.page import write_report
from septum.training.loop import train
from septum.training.tracking import format_duration
from septum.training.validation import Targets

MARKER = "made-by-septum-demo"
TRAINING_IMAGES, UNSEEN_IMAGES, SIZE = 12, 4, 256
TRAINING_SEED, UNSEEN_SEED = 0, 1000
SHOWN = 3

Kind = Literal["cells", "membranes"]
SUBJECTS: dict[Kind, str] = {
    "cells": "Cells that touch each other, under fluorescence",
    "membranes": "Tissue in an electron microscope, its membranes annotated",
}


@dataclass(frozen=True)
class Place:
    """Where the parts of one data set are, below the demo's folder."""

    out: Path
    kind: Kind

    @property
    def data(self) -> Path:
        return self.out / "data" / self.kind

    @property
    def unseen(self) -> Path:
        return self.out / "data" / f"{self.kind}-unseen"

    @property
    def run(self) -> Path:
        return self.out / "runs" / self.kind

    @property
    def predictions(self) -> Path:
        return self.out / "predictions" / self.kind

    @property
    def folders(self) -> tuple[Path, ...]:
        """All that a demo makes for this data set, and may therefore replace."""
        return (self.data, self.unseen, self.run, self.predictions)


def run_demo(out: Path, minutes: float) -> Iterator[str]:
    """Do everything for both kinds of images, with half of ``minutes`` of training each.

    Yields lines for a person, the last one with the path of ``out/report.html``. A folder of an
    earlier demo is used again: what that demo made is replaced, nothing else is touched. Raises
    RunFolderError for any other folder that is not empty, SaveError, and what training raises.
    """
    places = [Place(out, kind) for kind in SUBJECTS]
    _make_room(out, places)
    parts = []
    for place in places:
        yield f"{SUBJECTS[place.kind]}:"
        write_example_data(place.data, place.kind, TRAINING_IMAGES, SIZE, TRAINING_SEED)
        write_example_data(place.unseen, place.kind, UNSEEN_IMAGES, SIZE, UNSEEN_SEED)
        yield (
            f"  made {TRAINING_IMAGES} annotated images to train on and {UNSEEN_IMAGES} others; "
            f"training for about {format_duration(minutes * 30)}"
        )
        run = train(place.data, place.run, _recipe(place.kind), hours=minutes / 2 / 60)
        for _ in predict_files(
            place.run, [place.unseen / "images"], place.predictions, Options(device="auto")
        ):
            pass
        model = load_model(place.run)
        summary = evaluate_files(place.predictions, place.unseen, model.meaning)
        of_masks = _score_masks(place, model)
        yield f"  on {UNSEEN_IMAGES} images never seen: {_in_words(of_masks)}"
        yield f"  report of this run: {write_report(run, place.data)}"
        parts.append(_show(place, model, of_masks, summary))
    page = out / "report.html"
    with replace_file(page) as temporary:
        temporary.write_text(document("septum demo", _page(out, minutes, parts)), "utf-8")
    yield f"report: {page}"


def _make_room(out: Path, places: list[Place]) -> None:
    """Make the folder, or take away what an earlier demo made in it."""
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out}: is a file; choose another --out for the demo")
    try:
        if out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
            raise RunFolderError(
                f"{out}: holds files that no demo made; choose another --out for the demo"
            )
        for folder in (folder for place in places for folder in place.folders):
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                raise RunFolderError(
                    f"{folder}: is not the folder that a demo made; choose another --out"
                )
            if folder.exists():
                shutil.rmtree(folder)
        out.mkdir(parents=True, exist_ok=True)
        (out / MARKER).write_text(
            "septum demo made this folder; running it again replaces data/, runs/ and "
            "predictions/ of cells and membranes, and report.html.\n",
            "utf-8",
        )
    except OSError as error:
        raise SaveError(f"{out}: cannot be made the demo's folder: {error.strerror}") from error


def _recipe(kind: Kind) -> Recipe:
    """What is in the labels is said here, since it is known; touching cells need their borders.

    The threshold is that of masks, which the demo shows and scores, not of numbered objects.
    """
    if kind == "cells":
        return load_recipe(
            "quick", ["labels.kind=instances", "loss.border_weight=5", "training.threshold=rand"]
        )
    return load_recipe("quick", ["labels.kind=binary"])


def _show(place: Place, model: Model, of_masks: dict[str, float], summary: dict[str, Any]) -> str:
    """One data set: scores, pictures, and the way to the run's own report."""
    unseen = load_pairs(find_pairs(place.unseen))[:SHOWN]
    rows = []
    for target in Targets(unseen, model.meaning):
        panels = draw_found(target, _read_mask(place, target.name), model.meaning)
        rows.append((f"Image {target.name}", panels))
    words = (
        "None of these images was used for training. Every object has a colour; where predicted "
        "objects run together, they share one."
    )
    measures = main_measures(summary["mean"])
    own_report = (place.run / "report.html").relative_to(place.out).as_posix()
    return section(
        SUBJECTS[place.kind],
        cards(score_numbers(of_masks)),
        figure(rows, 4, escape(words) + label_legend(model.meaning) + error_legend(several=False)),
        table(
            ["image", *(NAMES.get(name, name.replace("_", " ")) for name in measures)],
            [
                [row["name"], *(row.get(name) for name in measures)]
                for row in [*summary["images"], {"name": "mean", **summary["mean"]}]
            ],
            "As septum evaluate scores them. Mask: as written and shown, at the model's threshold, "
            f"{model.threshold:g}; seg, det and the like: of its connected components. Others at "
            "probability 0.5; Rand, V_rand and warping error at their best threshold.",
        ),
        f"<p>{link(own_report, 'How this model was trained: the report of its run')}</p>",
    )


def _page(out: Path, minutes: float, parts: list[str]) -> str:
    return "".join(
        [
            '<header><p class="over">Demonstration · septum</p>',
            f"<h1>Two models after {escape(format_duration(minutes * 30))} of training "
            "each, shown images they had never seen</h1>",
            paragraph(
                f"septum made {TRAINING_IMAGES} annotated images of each kind, trained a network "
                f"on them from nothing, and was then shown {UNSEEN_IMAGES} new ones. The images "
                "are artificial; the training is real.",
                "lead",
            ),
            "</header>",
            *parts,
            section(
                "The same with your images",
                paragraph("Words in capitals are yours to fill in."),
                code(
                    "septum train DATA --out RUN\n"
                    "septum predict RUN IMAGES --out PREDICTIONS\n"
                    "septum evaluate PREDICTIONS LABELS"
                ),
                paragraph(
                    "DATA is laid out as in data/cells: a folder images and a folder "
                    "labels, with the same file names in both."
                ),
            ),
        ]
    )


def _score_masks(place: Place, model: Model) -> dict[str, float]:
    """Mean scores of the masks as they were written and are shown: all at the same threshold."""
    rows = []
    for item in load_pairs(find_pairs(place.unseen)):
        classes_S, instances_S = truth_maps(item, model.meaning)
        mask_S = _read_mask(place, item.name)
        rows.append({"name": item.name, **score_image(mask_S, classes_S, instances_S)})
    mean: dict[str, float] = summarize(rows)["mean"]
    return mean


def _read_mask(place: Place, name: str) -> np.ndarray:
    return read_image(place.predictions / f"{name}.mask.tif", labels=True).array


def _in_words(mean: dict[str, float]) -> str:
    return ", ".join(f"{number} {name}" for number, name, _ in score_numbers(mean))
