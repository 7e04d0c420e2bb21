"""What label values mean, as a value that is stored with the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

IGNORE = 255
"""In a class map: this pixel carries no gradient and no score."""

MOST_OVERLAPPING = 7
"""Classes that overlap: bit k − 1 of a byte is class k, and all eight bits are IGNORE."""

Kind = Literal["binary", "classes", "overlapping", "instances"]
_LISTS = ("class_values", "object_values", "shares", "names")


@dataclass(frozen=True)
class LabelMeaning:
    """How label values become classes 0, 1, ….

    ``class_values``: the label value of each class (of the commonest value, where a class has
    several; for instances 0 and 1; of overlapping classes 0, and the bit of each). ``object``:
    which pixels of binary labels are class 1; ``object_values``: the values seen there.
    ``ignore``: the label value that is ignored. ``unlabelled_ignored``: value 0 of instance labels
    is ignored too. ``shares``: each class's share of the pixels not ignored. ``images`` and
    ``objects``: how many were seen; objects for instances only. ``names``: of the classes; () if
    none were given. ``seams``: where numbered objects touch, a seam between them is learnt as
    background.
    """

    kind: Kind
    class_values: tuple[int, ...]
    object: Literal["nonzero", "zero"] | int = "nonzero"
    object_values: tuple[int, ...] = ()
    ignore: int | None = None
    unlabelled_ignored: bool = False
    shares: tuple[float, ...] = ()
    images: int = 0
    objects: int = 0
    names: tuple[str, ...] = ()
    seams: bool = True

    @property
    def class_count(self) -> int:
        """Number of classes, background included."""
        return len(self.class_values)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of all classes: those given, else ``class 0``, ``class 1``, …"""
        return self.names or tuple(f"class {number}" for number in range(self.class_count))

    def describe(self) -> str:
        """What the labels were taken for, in words, in one line."""
        parts = [f"{100 * share:.1f} %" for share in self.shares] or ["? %"] * self.class_count
        if self.kind == "binary":
            one = len(self.object_values) == 1
            inside = f"value {self.object_values[0]}" if one else "every value but 0"
            background = "0" if self.object == "nonzero" else "the rest"
            text = f"binary: object = {inside} ({parts[1]} of pixels), background = {background}"
        elif self.kind == "classes":
            arrows = [
                f"{value} → {number}{self._called(number)} ({part})"
                for number, (value, part) in enumerate(zip(self.class_values, parts, strict=True))
            ]
            text = "classes: " + ", ".join(arrows)
        elif self.kind == "overlapping":
            masks = [
                f"mask {number} → {number}{self._called(number)} ({part})"
                for number, part in enumerate(parts)
                if number
            ]
            text = "overlapping classes: " + ", ".join(masks) + f", none of them {parts[0]}"
        else:
            zero = "not annotated, ignored" if self.unlabelled_ignored else "background"
            text = (
                f"instances: {self.images} images, {self.objects} objects ({parts[1]} of pixels), "
                f"0 = {zero}"
            )
        return text if self.ignore is None else f"{text}; value {self.ignore} is ignored"

    def _called(self, number: int) -> str:
        return f" {self.names[number]}" if self.names else ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON; ``from_dict`` gives back an equal object."""
        values = asdict(self)
        return values | {key: list(values[key]) for key in _LISTS}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelMeaning:
        """The meaning that ``to_dict`` wrote."""
        return cls(**(dict(values) | {key: tuple(values.get(key, ())) for key in _LISTS}))
