"""Which values occur in label images: how often, in which files, in how many pieces."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from septum.annotation.colours import channels_of
from septum.annotation.meaning import DRAWN_IGNORED
from septum.errors import AnnotationError

EXAMINED = 100
"""Pieces are counted in the first so many label images; that is enough to tell."""
SPECK = 0.05
"""A piece below this share of its value's pixels in its image is a slip of the pen."""
MOST_MAIN = 20
"""More values than these, besides those of smoothed edges, are no classes."""
FEWEST_BETWEEN = 3
"""Fewer values in between are no smoothed edge."""
SCATTERED = 0.5
"""Objects that are one piece: a file of many values has a smaller share only if it is none of
labels."""
NEAR = 8.0
"""Grey levels, or distance of colours: of a smoothed edge from the line between two values."""


@dataclass
class Census:
    """Counts over all label images, ignored pixels left out."""

    files: list[tuple[str, dict[int, int]]] = field(default_factory=list)
    """Name, and the number of pixels of each value."""
    totals: Counter[int] = field(default_factory=Counter)
    """Pixels of each value over all images."""
    occurrences: Counter[int] = field(default_factory=Counter)
    """Images in which each value occurs."""
    pieces: dict[int, list[int]] = field(default_factory=dict)
    """For each value but 0, in how many pieces it is in each examined image that has it."""
    examined: Counter[int] = field(default_factory=Counter)
    """Pixels of each value in the examined images."""
    inner: Counter[int] = field(default_factory=Counter)
    """Those of them whose neighbours by faces are all of the same value."""
    scattered: list[str] = field(default_factory=list)
    """Examined images of more than MOST_MAIN values, few of which are one piece each."""

    @property
    def images(self) -> int:
        return len(self.files)

    @property
    def first(self) -> str:
        return self.files[0][0]

    @property
    def entries(self) -> int:
        """Pairs of an image and a value that occurs in it."""
        return sum(self.occurrences.values())

    def strays(self) -> set[int]:
        """Values in fewer than 10 % of the images and of fewer than 0.1 % of all pixels, if
        together they are below 1 % of the pixels that are not 0; none otherwise.
        """
        pixels = sum(self.totals.values())
        rare = {
            value
            for value, count in self.totals.items()
            if count < 0.001 * pixels and self.occurrences[value] < 0.1 * self.images
        }
        together = sum(self.totals[value] for value in rare if value)
        return rare if together < 0.01 * (pixels - self.totals[0]) else set()

    def in_between(self) -> set[int]:
        """Values of smoothed (antialiased) edges, of which there are three at least, or none.

        They are thin: of at most 2 % of their pixels all neighbours by faces have the same value;
        rare: each is of fewer than 1 % of all pixels; and in colour they lie between two values
        that are neither: within 8 grey levels of the line between these, and 8 or more from both
        ends. So class numbers, which follow on each other, are none, nor is one thin wall. Where
        there are such, values just beside the ends belong to them (`_beside`).
        """
        pixels = sum(self.totals.values())
        thin = {
            value
            for value, count in self.totals.items()
            if count < 0.01 * pixels and self.inner[value] <= 0.02 * self.examined[value]
        }
        main = sorted(set(self.totals) - thin)
        if not thin or not 2 <= len(main) <= MOST_MAIN:
            return set()
        candidates = np.array(sorted(thin))
        colours = channels_of(candidates).astype(np.float64)
        ends = channels_of(np.array(main)).astype(np.float64)
        found = np.zeros(len(candidates), bool)
        for first, second in itertools.combinations(ends, 2):
            way = second - first
            length = float(np.linalg.norm(way))
            place = (colours - first) @ way / length**2
            off = np.linalg.norm(colours - first - place[:, None] * way, axis=1)
            inside = (place * length >= NEAR) & ((1 - place) * length >= NEAR)
            found |= inside & (off <= NEAR)
        between = set(candidates[found].tolist()) if found.sum() >= FEWEST_BETWEEN else set[int]()
        rest = set(self.totals) - between
        numbered = len(rest) > MOST_MAIN and self.one_piece_share(rest - {0}) >= SCATTERED
        return between if numbered or not between else between | self._beside(rest)

    def _beside(self, values: Collection[int]) -> set[int]:
        """Values nearly those of a ten times larger one, half of them at most inside: what
        smoothing, or JPEG, makes of that one next to an edge.
        """
        frequent = sorted(values, key=lambda value: -self.totals[value])
        colours = channels_of(np.array(frequent)).astype(np.float64)
        found = set[int]()
        for place, value in enumerate(frequent[1:], start=1):
            near = np.linalg.norm(colours[:place] - colours[place], axis=1) < NEAR
            larger = any(
                self.totals[frequent[i]] >= 10 * self.totals[value] for i in np.flatnonzero(near)
            )
            if larger and self.inner[value] <= 0.5 * self.examined[value]:
                found.add(value)
        return found

    def without(self, values: Collection[int]) -> Census:
        """The census as if pixels of ``values`` were ignored."""
        return Census(
            [(n, {v: c for v, c in counts.items() if v not in values}) for n, counts in self.files],
            Counter({v: count for v, count in self.totals.items() if v not in values}),
            Counter({v: count for v, count in self.occurrences.items() if v not in values}),
            {v: numbers for v, numbers in self.pieces.items() if v not in values},
        )

    def where(self, values: Collection[int]) -> list[tuple[str, int, int]]:
        """File, value and number of pixels, for each file that has one of ``values``."""
        return [
            (name, value, counts[value])
            for name, counts in self.files
            for value in sorted(values)
            if value in counts
        ]

    def same_values(self, values: Collection[int]) -> bool:
        """Whether each of ``values`` occurs in all images."""
        return all(self.occurrences[value] == self.images for value in values)

    def one_piece_share(self, values: Collection[int]) -> float:
        """Share of the objects (a value in an image) that are one piece, among ``values``."""
        numbers = [number for value in values for number in self.pieces.get(value, [])]
        return sum(number == 1 for number in numbers) / max(1, len(numbers))


Labelled = np.ndarray | Iterable[np.ndarray]
"""Integers, or those of one image block by block."""


def take_census(
    labels: Iterable[tuple[str, Labelled]], ignore: Collection[int], pieces: bool
) -> Census:
    """Count the values of all label images (name, integers), each read once.

    ``ignore``: values that are left out. ``pieces`` asks for the number of connected pieces too; of
    an image in blocks, in each of the first ones. Raises AnnotationError for arrays that are not
    integers.
    """
    census = Census()
    examined = 0
    for name, image in labels:
        counts: Counter[int] = Counter()
        census.files.append((name, counts))
        for labels_S in (image,) if isinstance(image, np.ndarray) else image:
            if labels_S.dtype.kind not in "bui":
                raise AnnotationError(f"{name}: labels of type {labels_S.dtype}; expected integers")
            found = _count(labels_S)
            for value in ignore:
                found.pop(value, None)
            counts.update(found)
            census.totals.update(found)
            examined += 1
            if examined <= EXAMINED and len(found) > 2:
                census.examined.update(found)
                census.inner.update(_inner(labels_S))
            # Two values in all are binary, whatever their pieces.
            if pieces and examined <= EXAMINED and len(census.totals) > 2:
                numbers = _pieces(labels_S)
                for value, number in numbers.items():
                    census.pieces.setdefault(value, []).append(number)
                whole = sum(number == 1 for number in numbers.values())
                if len(numbers) > MOST_MAIN and whole < SCATTERED * len(numbers):
                    census.scattered.append(name)
        census.occurrences.update(counts.keys())
    return census


def _inner(labels_S: np.ndarray) -> dict[int, int]:
    """Pixels of each value whose neighbours by faces are all of that value."""
    inside_S = np.ones(labels_S.shape, bool)
    for axis in range(labels_S.ndim):
        values, marks = np.moveaxis(labels_S, axis, 0), np.moveaxis(inside_S, axis, 0)
        differ = values[:-1] != values[1:]
        marks[:-1] &= ~differ
        marks[1:] &= ~differ
    return _count(labels_S[inside_S])


def _count(labels_S: np.ndarray) -> dict[int, int]:
    if labels_S.dtype in (np.bool_, np.uint8, np.uint16):
        counts = np.bincount(labels_S.ravel())
        values = np.flatnonzero(counts)
        return dict(zip(values.tolist(), counts[values].tolist(), strict=True))
    if labels_S.size and labels_S.min() >= DRAWN_IGNORED and labels_S.max() < 2**16:
        # Much faster than sorting.
        counts = np.bincount(labels_S.ravel().astype(np.int64) - DRAWN_IGNORED)
        values = np.flatnonzero(counts)
        return dict(zip((values + DRAWN_IGNORED).tolist(), counts[values].tolist(), strict=True))
    values, counts = np.unique(labels_S, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _pieces(labels_S: np.ndarray) -> dict[int, int]:
    """For each value but 0: its connected pieces (by faces, edges and corners), without specks."""
    from skimage.measure import label

    pieces_S = np.asarray(label(labels_S, background=0))  # type: ignore[no-untyped-call]
    number = int(pieces_S.max())
    areas = np.bincount(pieces_S.ravel(), minlength=number + 1)
    value_of = np.zeros(number + 1, np.int64)
    value_of[pieces_S.ravel()] = labels_S.ravel()
    values, index = np.unique(value_of[1:], return_inverse=True)
    whole = np.bincount(index, weights=areas[1:])
    large = areas[1:] >= SPECK * whole[index]
    return dict(zip(values.tolist(), np.bincount(index[large]).tolist(), strict=True))
