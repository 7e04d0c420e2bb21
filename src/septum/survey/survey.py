"""What was seen in a set of annotated images: plain values, the same for any order of the files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from septum.annotation.meaning import LabelMeaning

Level = Literal["error", "warning", "note"]
"""`error`: training could not begin; `warning`: it would learn something wrong, or the scores
would say something wrong; `note`: worth knowing."""


@dataclass(frozen=True)
class Problem:
    """Something to be mended. ``kind`` is one word for programs, such as ``size`` or ``shift``."""

    kind: str
    level: Level
    files: tuple[str, ...]
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text}: {self.remedy}" if self.remedy else self.text


@dataclass(frozen=True)
class Spread:
    """Median, and what 5 % are below and 5 % above."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> Spread | None:
        """Of any number of values; None of none."""
        if not values.size:
            return None
        low, median, high = (float(v) for v in np.percentile(values, (5, 50, 95)))
        return cls(low, median, high)


@dataclass(frozen=True)
class Histogram:
    """``counts`` of what lies between neighbours of ``edges``, one more than counts."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Channel:
    """Grey values of one channel, in all images together."""

    percentiles: dict[str, float]
    """At 0.1, 1, 50, 99, 99.8 %; by the number as a string, as JSON has it."""
    mean: float
    deviation: float
    histogram: Histogram


@dataclass(frozen=True)
class ImageFacts:
    """One image, or plane of a stack, or (of a large one) a window of it, and its labels.

    ``extents``: pixels along (Z)YX, of the whole image. ``low``, ``high``: grey values at 1 % and
    99.8 %, the least and the greatest of all channels. ``saturated``: share of grey values that are
    the greatest there is. ``empty``: no object is drawn.
    """

    name: str
    image: str
    labels: str
    axes: str
    extents: tuple[int, ...]
    channels: int
    dtype: str
    pixel_size: tuple[float, ...] | None
    low: float
    high: float
    saturated: float
    objects: int
    foreground: float
    ignored: float

    @property
    def empty(self) -> bool:
        return self.objects == 0

    @property
    def whole(self) -> str:
        """The name of the image that a window is of: ``brain`` of ``brain[0:2048, 64:2112]``."""
        is_window = ":" in self.name.rpartition("[")[2]
        return self.name[: self.name.rindex("[")] if is_window else self.name

    @property
    def pixels(self) -> int:
        """Of the whole image."""
        return math.prod(self.extents)


@dataclass(frozen=True)
class ObjectFacts:
    """The objects of all images: ids of instance labels, else the pieces of each class but 0.

    ``specks``: pieces too small to be objects, which are left out of everything here.
    ``area``: pixels (voxels). ``diameter``: of the circle (ball) of that area, in pixels, and in
    ``diameter_um`` in micrometres where all pixel sizes are known. ``touching_pairs``: of instance
    labels, pairs of objects that are face neighbours. ``touching``: share of the objects that are
    in such a pair. ``gap``: distance from each object to the nearest other, in pixels between
    centres (1 + the background between them), of those that have one within ``REACH``, as the
    border weight sees it: objects that touch are 3 apart, since training puts a seam between them.
    ``near``: share of the objects looked at that have one.
    """

    count: int
    specks: int
    area: Spread | None
    diameter: Spread | None
    diameter_um: Spread | None
    touching_pairs: int
    touching: float
    gap: Spread | None
    near: float
    sizes: Histogram | None
    """Of the diameters, in pixels; the edges are evenly spread in their logarithm."""
    narrowest: float | None = None
    """Of several classes: the width in pixels of the narrowest one, which the pieces with three
    quarters of its pixels have; that of a disc is its radius (`septum.survey.objects.widths`)."""


@dataclass(frozen=True)
class Duplicates:
    """Images that are the same to the pixel (``same``), or nearly, but for their brightness."""

    names: tuple[str, ...]
    same: bool


@dataclass(frozen=True)
class Series:
    """Neighbouring slices of a stack, or frames: each looks much like the next."""

    stack: str
    names: tuple[str, ...]
    correlation: float
    """The median, over neighbours, of what their fingerprints have in common."""


@dataclass(frozen=True)
class Survey:
    """Everything that was seen. ``missing``: pairs that could not be read, or have no partner."""

    data: str
    dimensions: int
    images: tuple[ImageFacts, ...]
    windows: bool
    """Whether large images were looked at in windows: ``images`` then holds these."""
    bits: int
    """That the grey values take, of integers; 0 of real numbers."""
    channels: tuple[Channel, ...]
    meaning: LabelMeaning | None
    """None where the labels mean nothing; ``problems`` says why."""
    doubt: str
    """What overrules it, where its kind was guessed from the values; else ""."""
    ignored: dict[str, float]
    """Share of the pixels looked at that are ignored, by why they are."""
    objects: ObjectFacts | None
    duplicates: tuple[Duplicates, ...]
    series: tuple[Series, ...]
    problems: tuple[Problem, ...]

    @property
    def names(self) -> list[str]:
        return [image.name for image in self.images]

    @property
    def wholes(self) -> dict[str, tuple[int, ...]]:
        """Extents of each image, by its name; of a large one windows are in ``images``."""
        return {image.whole: image.extents for image in self.images}

    @property
    def errors(self) -> list[Problem]:
        """What training could not begin with."""
        return [problem for problem in self.problems if problem.level == "error"]

    @property
    def usable(self) -> bool:
        """Whether there is enough to choose a recipe by."""
        return bool(self.images) and self.meaning is not None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def in_micrometres(pixel_size: tuple[float, ...]) -> str:
    """``0.5 × 0.5 µm``."""
    return " × ".join(f"{size:g}" for size in pixel_size) + " µm"


def some(items: Sequence[str]) -> str:
    """The first five, and how many more there are."""
    more = f" and {len(items) - 5} more" if len(items) > 5 else ""
    return ", ".join(dict.fromkeys(items[:5])) + more
