"""What label values mean, as a value that is stored with the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from septum.annotation.colours import value_text

DRAWN_IGNORED = -1
"""The label value of drawn areas of which nothing is known."""
IGNORE = 255
"""In a class map: this pixel carries no gradient and no score."""
UNDRAWN = 254
"""In that of a training image: nobody has drawn here, so that it is background as a rule."""

MOST_OVERLAPPING = 7
"""Classes that overlap: bit k − 1 of a byte is class k, and all eight bits are IGNORE."""

Kind = Literal["binary", "classes", "overlapping", "instances"]
_LISTS = ("class_values", "object_values", "shares", "ignore", "known_values", "class_names")


@dataclass(frozen=True)
class Declared:
    """What files say of their label values themselves: the kind, and the class of each value."""

    kind: Literal["instances", "classes", "overlapping"]
    names: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class LabelMeaning:
    """How label values become classes 0, 1, ….

    ``class_values``: the label value of each class (of the commonest value, where a class has
    several; for instances 0 and 1; of overlapping classes 0, and the bit of each). ``object``:
    which pixels of binary labels are class 1; ``object_values``: the values seen there.
    ``ignore``: the label values that are ignored. ``unlabelled_ignored``: value 0 of instance
    labels is ignored too. ``known_values``: every other value is ignored as a stray, of which there
    were ``stray_pixels``; none: no value is. ``class_names``: of each class, where the files name
    or the user names them. ``shares``: each class's share of the pixels not ignored. ``images`` and
    ``objects``: how many were seen; objects for instances only. ``seams``: where numbered objects
    touch, a seam between them is learnt as background.
    """

    kind: Kind
    class_values: tuple[int, ...]
    object: Literal["nonzero", "zero"] | int = "nonzero"
    object_values: tuple[int, ...] = ()
    ignore: tuple[int, ...] = ()
    unlabelled_ignored: bool = False
    known_values: tuple[int, ...] = ()
    stray_pixels: int = 0
    class_names: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    images: int = 0
    objects: int = 0
    seams: bool = True

    @property
    def class_count(self) -> int:
        """Number of classes, background included."""
        return len(self.class_values)

    @property
    def titles(self) -> tuple[str, ...]:
        """What all classes are called: their names, else ``class 0``, ``class 1``, …"""
        return self.class_names or tuple(f"class {number}" for number in range(self.class_count))

    def class_words(self, number: int) -> str:
        """What class ``number`` is in the label files: its name, or its value."""
        if self.class_names:
            return self.class_names[number]
        return f"label value {value_text(self.class_values[number])}"

    def describe(self) -> str:
        """What the labels were taken for, in words, in one line."""
        parts = [f"{100 * share:.1f} %" for share in self.shares] or ["? %"] * self.class_count
        if self.kind == "binary":
            one = len(self.object_values) == 1
            inside = f"value {value_text(self.object_values[0])}" if one else "every value but 0"
            background = "0" if self.object == "nonzero" else "the rest"
            text = f"binary: object = {inside} ({parts[1]} of pixels), background = {background}"
        elif self.kind == "classes":
            names = [value_text(value) for value in self.class_values]
            if self.class_names:  # with the value, where that is not the number of the class
                pairs = zip(self.class_values, self.class_names, strict=True)
                names = [
                    name if value == number else f"{value_text(value)} = {name}"
                    for number, (value, name) in enumerate(pairs)
                ]
            arrows = [
                f"{name} → {number} ({part})"
                for number, (name, part) in enumerate(zip(names, parts, strict=True))
            ]
            text = "classes: " + ", ".join(arrows)
        elif self.kind == "overlapping":
            masks = [f"{name} → {n} ({parts[n]})" for n, name in enumerate(self.titles) if n]
            text = f"overlapping classes: {', '.join(masks)}, none of them {parts[0]}"
        else:
            partly = "not annotated: background beside objects, else not scored"
            zero = partly if self.unlabelled_ignored else "background"
            text = (
                f"instances: {self.images} images, {self.objects} objects ({parts[1]} of pixels), "
                f"0 = {zero}"
            )
        given = [value_text(value) for value in self.ignore if value != DRAWN_IGNORED]
        if given:
            noun, verb = ("value", "is") if len(given) == 1 else ("values", "are")
            text += f"; {noun} {', '.join(given)} {verb} ignored"
        if self.known_values:
            text += f"; strays ({self.stray_pixels} pixels of other values) are ignored"
        return text

    def ignored(self, labels_S: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_] | None:
        """Which pixels are of an ignored value, or strays; None if there are no such values."""
        if self.kind == "overlapping":  # of which the values are bits
            return np.asarray(labels_S == IGNORE)
        ignored_S: npt.NDArray[np.bool_] | None = None
        if self.known_values:
            ignored_S = np.isin(labels_S, self.known_values, invert=True)
        for value in self.ignore:
            found_S = np.asarray(labels_S == value)
            ignored_S = found_S if ignored_S is None else ignored_S | found_S
        return ignored_S

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON; ``from_dict`` gives back an equal object."""
        values = asdict(self)
        return values | {key: list(values[key]) for key in _LISTS}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelMeaning:
        """The meaning that ``to_dict`` wrote, now or before several values could be ignored."""
        ignore = values["ignore"]
        known = dict(values) | {"ignore": _one_or_more(ignore)}
        return cls(**(known | {key: tuple(known[key]) for key in _LISTS if key in known}))


def _one_or_more(ignore: Any) -> tuple[int, ...]:
    if ignore is None:
        return ()
    return (ignore,) if isinstance(ignore, int) else tuple(ignore)
