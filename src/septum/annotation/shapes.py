"""What was drawn around one object, and which pixels that is.

A pixel belongs to a shape if its centre lies in it. Pixel (row, column) covers the square from
column to column + 1 and from row to row + 1, as in ImageJ, QuPath and COCO, so that its centre is
at (column + 0.5, row + 0.5): a rectangle of x = 2 and width 3 holds columns 2, 3 and 4. A centre on
a left or upper edge is inside, one on a right or lower edge outside, so that of two outlines with a
common edge exactly one has the pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Window = tuple[int, int, int, int]
"""First row and column, and those behind the last: top, left, bottom, right."""

Points = npt.NDArray[np.float64]
"""x and y of the corners of a closed line, of shape (n, 2), in pixels from the upper left corner
of the image."""

Place = tuple[int, int] | int | None
"""Where in a stack: indices of time and Z; or the page, counted over channels, then Z, then time,
as ImageJ does; or unknown. All from 0."""


@dataclass(frozen=True, eq=False)
class Outline:
    """An object as its outline.

    ``parts``: its polygons, each an outer line and its holes, what is in any of them being in the
    object. A line encloses what it winds around, also where it crosses itself. ``alternating``:
    no line is a hole by itself, but what is in an even number of them is outside. ``title`` names
    the object in messages, ``name`` is its class (empty: it has none). ``ignored``: no object, but
    where nothing is known.
    """

    title: str
    parts: tuple[tuple[Points, ...], ...]
    name: str = ""
    place: Place = None
    ignored: bool = False
    alternating: bool = False
    bounds: Window = field(init=False)
    area: float = field(init=False)

    def __post_init__(self) -> None:
        corners = np.concatenate([line for part in self.parts for line in part])
        left, top = np.floor(corners.min(axis=0)).astype(int).tolist()
        right, bottom = np.ceil(corners.max(axis=0)).astype(int).tolist()
        object.__setattr__(self, "bounds", (top, left, bottom, right))
        lines = [[_area(line) for line in part] for part in self.parts]
        area = sum(abs(outer) - sum(map(abs, holes)) for outer, *holes in lines)
        if self.alternating:  # ImageJ draws holes the other way round
            area = abs(sum(map(sum, lines)))
        object.__setattr__(self, "area", float(area))

    def mask(self, window: Window) -> npt.NDArray[np.bool_]:
        """Which pixels of ``window`` (Y, X) are in the object."""
        return self.mask_and_doubt(window)[0]

    def mask_and_doubt(self, window: Window) -> tuple[npt.NDArray[np.bool_], int]:
        """The mask, and how many pixels a line winds around twice: are these inside, or not?"""
        wound = [[windings(line, window) for line in part] for part in self.parts]
        if self.alternating:
            lines = [line_YX for part in wound for line_YX in part]
            return np.asarray(np.sum(lines, axis=0) % 2 == 1), 0
        mask_YX = np.zeros((window[2] - window[0], window[3] - window[1]), bool)
        doubt = 0
        for outer_YX, *holes in wound:
            part_YX = outer_YX != 0
            for hole_YX in holes:
                part_YX &= hole_YX == 0
            mask_YX |= part_YX
            doubt += sum(int((np.abs(line_YX) > 1).sum()) for line_YX in (outer_YX, *holes))
        return mask_YX, doubt


@dataclass(frozen=True, eq=False)
class Stencil:
    """An object as its pixels: those of ``pixels_YX``, of which the first is at ``corner``.

    The rest is as in Outline.
    """

    title: str
    pixels_YX: npt.NDArray[np.bool_]
    corner: tuple[int, int] = (0, 0)
    name: str = ""
    place: Place = None
    ignored: bool = False

    @property
    def bounds(self) -> Window:
        """The window that it fills."""
        (top, left), (height, width) = self.corner, self.pixels_YX.shape
        return top, left, top + height, left + width

    @property
    def area(self) -> float:
        """Its number of pixels."""
        return float(np.count_nonzero(self.pixels_YX))

    def mask(self, window: Window) -> npt.NDArray[np.bool_]:
        """Which pixels of ``window`` (Y, X) are in the object."""
        top, left, bottom, right = window
        mask_YX = np.zeros((bottom - top, right - left), bool)
        shared = intersect(window, self.bounds)
        if shared is not None:
            mask_YX[_within(shared, window)] = self.pixels_YX[_within(shared, self.bounds)]
        return mask_YX

    def mask_and_doubt(self, window: Window) -> tuple[npt.NDArray[np.bool_], int]:
        """The mask, and no pixel of which it is unknown whether it is inside."""
        return self.mask(window), 0


Shape = Outline | Stencil


def cut_out(
    title: str, mask_YX: npt.NDArray[np.bool_], name: str = "", ignored: bool = False
) -> Stencil:
    """The object of the pixels of a mask of the whole image, kept without its empty margin."""
    rows, columns = (np.flatnonzero(mask_YX.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return Stencil(title, np.zeros((0, 0), bool), name=name, ignored=ignored)
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    corner = int(rows[0]), int(columns[0])
    return Stencil(title, mask_YX[box].copy(), corner, name, ignored=ignored)


def ellipse(
    left: float, top: float, width: float, height: float
) -> tuple[npt.NDArray[np.bool_], tuple[int, int]]:
    """Pixels whose centre lies in the ellipse that fills this rectangle, and where they begin."""
    first_row, first_column = int(np.floor(top)), int(np.floor(left))
    rows = np.arange(first_row, int(np.ceil(top + height))) + 0.5
    columns = np.arange(first_column, int(np.ceil(left + width))) + 0.5
    y = (rows - top - height / 2) / (height / 2)
    x = (columns - left - width / 2) / (width / 2)
    return np.asarray(y[:, None] ** 2 + x**2 < 1), (first_row, first_column)


def intersect(first: Window, second: Window) -> Window | None:
    """What two windows share; None if that is nothing."""
    top, left = max(first[0], second[0]), max(first[1], second[1])
    bottom, right = min(first[2], second[2]), min(first[3], second[3])
    return (top, left, bottom, right) if top < bottom and left < right else None


def windings(line: Points, window: Window) -> npt.NDArray[np.int32]:
    """How often ``line``, closed, winds around the centre of each pixel of ``window`` (Y, X).

    Every edge counts in the rows of centres that it crosses, from the first centre not left of the
    crossing on: +1 downwards, -1 upwards.
    """
    top, left, bottom, right = window
    changes = np.zeros((bottom - top, right - left + 1), np.int32)
    x0, y0 = np.asarray(line, np.float64).T
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    # Rows whose centre is in [upper, lower) of an edge: half open, so that a corner counts once.
    upper, lower = np.minimum(y0, y1), np.maximum(y0, y1)
    first = np.clip(np.ceil(upper - 0.5), top, bottom).astype(np.int64)
    last = np.clip(np.ceil(lower - 0.5), top, bottom).astype(np.int64)
    counts = last - first
    edges = np.repeat(np.arange(len(x0)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edges]
    share = (rows + 0.5 - y0[edges]) / (y1[edges] - y0[edges])
    crossings = x0[edges] + share * (x1[edges] - x0[edges])
    columns = np.clip(np.ceil(crossings - 0.5), left, right).astype(np.int64)
    signs = np.where(y1 > y0, 1, -1).astype(np.int32)[edges]
    np.add.at(changes, (rows - top, columns - left), signs)
    return np.cumsum(changes, axis=1, dtype=np.int32)[:, :-1]


def check_line(points: Sequence[object] | npt.NDArray[np.generic]) -> Points | None:
    """Corners as an array of x and y; None unless three or more, all of finite numbers."""
    try:
        line = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        return None
    if line.ndim != 2 or line.shape[1] < 2 or len(line) < 3 or not np.isfinite(line[:, :2]).all():
        return None
    return line[:, :2]


def _area(line: Points) -> float:
    """Negative if its corners go the other way round."""
    x, y = line.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2


def _within(window: Window, outer: Window) -> tuple[slice, slice]:
    top, left, bottom, right = window
    return (
        slice(top - outer[0], bottom - outer[0]),
        slice(left - outer[1], right - outer[1]),
    )
