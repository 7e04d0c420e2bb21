"""Masks that say the opposite of the others: where 0 is the object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from septum.survey.seen import Seen
from septum.survey.survey import Problem, Survey

FEWEST = 3
"""Of fewer images none is the odd one."""
HALF = 0.5


def find_inverted(survey: Survey, seen: Sequence[Seen]) -> Iterator[Problem]:
    """A warning for the few binary masks that differ from the others in two ways: the object has
    most of the image where it has little in others, and is darker where it is brighter in others
    (or both the other way round).
    """
    meaning = survey.meaning
    if meaning is None or meaning.kind != "binary" or meaning.object != "nonzero":
        return
    known = [(s, i) for s, i in zip(seen, survey.images, strict=True) if np.isfinite(s.difference)]
    if len(known) < FEWEST:
        return
    large = float(np.median([image.foreground for _, image in known])) > HALF
    brighter = float(np.median([item.difference for item, _ in known])) > 0
    odd = [
        (item, image)
        for item, image in known
        if (image.foreground > HALF) != large and (item.difference > 0) != brighter
    ]
    if not odd or 2 * len(odd) >= len(known):
        return
    paths = tuple(dict.fromkeys(str(item.label_path) for item, _ in odd))
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    shade, usual = ("darker", "brighter") if brighter else ("brighter", "darker")
    text = (
        f"{paths[0]}{more}: the object has {odd[0][1].foreground:.0%} of the pixels and is {shade} "
        f"than the rest, where in most images it has {'most' if large else 'few'} and is {usual}: "
        "object and background seem to be swapped"
    )
    remedy = "look at it over its image; if so, invert it (Fiji: Edit › Invert)"
    yield Problem("inverted", "warning", paths, text, remedy)
