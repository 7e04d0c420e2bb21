"""Labels that do not lie where the edges of their images are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from septum.survey.registration import FEW, FIT, clear_shift, clear_turn
from septum.survey.seen import Seen
from septum.survey.survey import Problem, some

UNFIT = FIT / 2
"""Labels of other images stay below this at every shift (0.06 where it was tried); of the four real
sets the least is 0.77."""


def find_misplaced(data: str, seen: Sequence[Seen]) -> list[Problem]:
    """Warnings: labels that would fit if turned, if moved, or, of all images, not at all."""
    turned = list(_turns(seen))
    files = {file for problem in turned for file in problem.files}
    shifted = list(_shifts([item for item in seen if str(item.label_path) not in files]))
    return [*turned, *shifted] or list(_unfit(data, seen))


def _unfit(data: str, seen: Sequence[Seen]) -> Iterator[Problem]:
    fitted = [item for item in seen if item.whole and item.surface is not None]
    surfaces = [item.surface for item in fitted if item.surface is not None]
    if len(fitted) < FEW or any(item.turns is None for item in fitted):
        return
    if float(np.mean(surfaces, axis=0).max()) < UNFIT:
        text = (
            f"the labels of all {len(fitted)} images fit them nowhere, not even moved or turned: "
            "they may be of other images (pairs go by name), or of another magnification"
        )
        remedy = f"look at them over the images: septum inspect {data} --html FILE"
        paths = tuple(dict.fromkeys(str(item.label_path) for item in fitted))
        yield Problem("unfit", "warning", paths, text, remedy)


def _turns(seen: Sequence[Seen]) -> Iterator[Problem]:
    fitted = [item for item in seen if item.surface is not None]
    unfit = [(item, item.turns) for item in fitted if item.turns is not None]
    everywhere = clear_turn([turns for _, turns in unfit]) if 2 * len(unfit) > len(fitted) else ""
    groups = {everywhere: [item for item, _ in unfit]} if everywhere else {}
    if not everywhere:
        for item, turns in unfit:
            groups.setdefault(clear_turn([turns]), []).append(item)
    for turn, items in groups.items():
        if turn:
            files = tuple(dict.fromkeys(str(item.label_path) for item in items))
            text = f"{some(files)}: does not fit its image, but would if {turn}"
            remedy = "look at it over its image; turn it so, or export it again"
            yield Problem("turned", "warning", files, text, remedy)


def _shifts(seen: Sequence[Seen]) -> Iterator[Problem]:
    fitted = [item for item in seen if item.surface is not None]
    surfaces = [item.surface for item in fitted if item.surface is not None]
    everywhere = clear_shift(surfaces)
    if everywhere is not None:
        text = (
            f"the labels of all {len(fitted)} images lie beside what they outline: moved "
            f"{everywhere} they would fit (where they are, {everywhere.share:.0%} as well)"
        )
        files = tuple(str(item.label_path) for item in fitted)
        yield Problem("shift", "warning", files, text, "export the labels again, or move them")
        return
    for item, surface in zip(fitted, surfaces, strict=True):
        shift = clear_shift([surface])
        if shift is not None:
            text = (
                f"{item.label_path}: lies beside what it outlines: moved {shift} it would fit "
                f"(where it is, {shift.share:.0%} as well)"
            )
            remedy = "look at it over its image; export it again, or move it"
            yield Problem("shift", "warning", (str(item.label_path),), text, remedy)
