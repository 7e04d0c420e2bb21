"""Where a prediction is wrong, drawn over the image: objects, borders, pixels.

Pictures are (Y, X, 3), uint8; ids and masks of their size (`View.labels`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from septum.evaluation.mistakes import Mistakes
from septum.report.pictures import INVENTED, MISSED, WRONG_CLASS, Colour, Rgb

RIGHT: Colour = (0, 158, 115)
MERGED: Colour = (204, 121, 167)
SPLIT: Colour = (240, 228, 66)
NOT_JUDGED: Colour = (86, 180, 233)
INNER: Colour = (255, 255, 255)
RADIUS = 9
"""Of the ring around a place, in pixels of the picture."""

OBJECT_LEGEND: tuple[tuple[Sequence[Colour], str], ...] = (
    ([RIGHT], "outlined: segments that cover one object"),
    ([MISSED], "striped: missed, an object that no segment covers by more than half"),
    ([INVENTED], "invented: a segment that covers no object"),
    ([MERGED], "merged: a segment that covers several objects (their outlines in white)"),
    ([SPLIT], "split: an object in several segments (their outlines in white)"),
)
BORDER_LEGEND: tuple[tuple[Sequence[Colour], str], ...] = (
    ([MISSED], "missed: object that was predicted as background or border"),
    ([INVENTED], "invented: background or border that was predicted as object"),
    ([MERGED], "ring: here objects are merged"),
    ([SPLIT], "ring: here an object is split"),
)
CLASS_LEGEND: tuple[tuple[Sequence[Colour], str], ...] = (
    ([MISSED], "missed: some class in the truth, predicted as background"),
    ([INVENTED], "invented: background in the truth, predicted as some class"),
    ([WRONG_CLASS], "another class than in the truth"),
)
UNJUDGED: tuple[Sequence[Colour], str] = (
    [NOT_JUDGED],
    "not judged: a segment where no object was drawn, but may be",
)


def draw_mistakes(
    picture: Rgb, truth_YX: np.ndarray, segments_YX: np.ndarray, mistakes: Mistakes
) -> Rgb:
    """Segments that are right in outline, everything else in colour; see OBJECT_LEGEND."""
    out = _dim(picture)
    y, x = np.indices(truth_YX.shape)
    stripes = (x + y) // 4 % 2 == 0
    missed = np.where(np.isin(truth_YX, mistakes.missed), truth_YX, 0)
    divided = np.where(np.isin(truth_YX, mistakes.divided), truth_YX, 0)
    joined = np.where(np.isin(truth_YX, mistakes.joined), truth_YX, 0)
    segments = {
        name: np.where(np.isin(segments_YX, getattr(mistakes, name)), segments_YX, 0)
        for name in ("right", "merging", "parts", "invented", "unjudged")
    }
    for ids_YX, colour, inside_YX in (
        (divided, SPLIT, divided != 0),
        (segments["merging"], MERGED, segments["merging"] != 0),
        (segments["invented"], INVENTED, segments["invented"] != 0),
        (missed, MISSED, (missed != 0) & stripes),
    ):
        out[inside_YX] = 0.5 * out[inside_YX] + 0.5 * np.array(colour)
        out[_outline(ids_YX, 2)] = colour
    out[_outline(segments["parts"], 1) | _outline(joined, 1)] = INNER
    out[_outline(segments["unjudged"], 1)] = NOT_JUDGED
    out[_outline(segments["right"], 2)] = RIGHT
    return _rgb(out)


def draw_rings(picture: Rgb, places: Iterable[tuple[float, float]], colour: Colour) -> Rgb:
    """A ring, dark outside, around each place (y, x) of the picture."""
    out = picture.copy()
    height, width = picture.shape[:2]
    reach = RADIUS + 3
    for y, x in places:
        top, left = max(0, round(y) - reach), max(0, round(x) - reach)
        rows = np.arange(top, min(height, round(y) + reach + 1))[:, None]
        columns = np.arange(left, min(width, round(x) + reach + 1))[None]
        distance = np.hypot(rows - y, columns - x)
        part = out[top : top + len(rows), left : left + columns.size]
        part[np.abs(distance - RADIUS) <= 2.6] = (30, 30, 30)
        part[np.abs(distance - RADIUS) <= 1.6] = colour
    return out


def centres(mask_YX: np.ndarray, height: int, width: int) -> list[tuple[float, float]]:
    """Where the connected pieces of a mask lie, (y, x), in a picture of this size."""
    from scipy.ndimage import center_of_mass, label

    pieces_YX, count = label(mask_YX, np.ones((3, 3)))
    rows, columns = mask_YX.shape
    found = center_of_mass(mask_YX, pieces_YX, range(1, count + 1))
    return [((y + 0.5) * height / rows, (x + 0.5) * width / columns) for y, x in found]


def _outline(ids_YX: np.ndarray, thickness: int) -> NDArray[np.bool_]:
    """The innermost pixels of each object, and as many more inwards as it is to be thick."""
    from scipy.ndimage import binary_dilation

    padded = np.pad(ids_YX, 1)
    inner = padded[1:-1, 1:-1]
    edge = np.zeros(ids_YX.shape, bool)
    for other in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        edge |= inner != other
    edge &= inner != 0
    if thickness > 1:
        grown = binary_dilation(edge, np.ones((3, 3)), iterations=thickness - 1)
        edge = grown & (inner != 0)
    return np.asarray(edge, dtype=bool)


def _dim(picture: Rgb) -> NDArray[np.float64]:
    """The image in grey, neither black nor white, so that all colours stand out."""
    grey = picture.astype(np.float64).mean(axis=-1, keepdims=True)
    return np.repeat(40 + 0.6 * grey, 3, axis=-1)


def _rgb(values: np.ndarray) -> Rgb:
    return np.asarray(np.rint(values.clip(0, 255)), np.uint8)
