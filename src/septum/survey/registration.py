"""Whether labels lie where the edges of the image are, or beside them.

Outlines of labels are laid over the image's edges at every small shift. Where they fit best tells
how far the labels are off. Labels that are drawn too large or too small fit best in a ring of
shifts, which has the opposite of every good one: that is no shift, and nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REACH = 20
"""Pixels to each side that are tried."""
LEAST = 4
"""Pixels: annotators are not more exact than that."""
MOST_PIXELS = 512
"""Side of the window of an image that is looked at: the one with most outlines."""
OUTLINE = 60
"""Fewer pixels of outlines say nothing."""
WIDTH, GROUND = 2.0, 13
"""Edges are those of the image blurred by so much, above their mean in a window of that side."""
FIT = 0.35
"""Standard deviations of a fit that counts."""
REST, REST_OF_ONE = 0.6, 0.5
"""Of a clear best fit, elsewhere is at most this share: of the mean of a set, of few images.
Calibrated on four real sets: docs/decisions/0020."""
FEW = 3


TURNS = (
    "as they are",
    "flipped upside down",
    "mirrored left to right",
    "rotated by 180°",
    "transposed (rows and columns swapped)",
    "rotated by 90° to the left",
    "rotated by 90° to the right",
    "transposed and rotated by 180°",
)
"""What labels may have to be to fit."""


@dataclass(frozen=True)
class Shift:
    """How far labels are from where they fit, in pixels down and to the right; ``share`` of the
    best fit is what they have where they are.
    """

    down: int
    right: int
    share: float

    def __str__(self) -> str:
        parts = []
        if self.down:
            parts.append(f"{abs(self.down)} pixels {'up' if self.down < 0 else 'down'}")
        if self.right:
            parts.append(f"{abs(self.right)} pixels {'left' if self.right < 0 else 'right'}")
        return " and ".join(parts)


def fit_surface(
    image_CYX: np.ndarray, labels_YX: np.ndarray, ignore: Sequence[int] = ()
) -> np.ndarray | None:
    """How well the labels' outlines fit the image's edges, for each shift of the labels.

    Entry [REACH + dy, REACH + dx]: the mean strength of edges under the outlines, moved by (dy,
    dx) pixels, in standard deviations of all edges; float32. None where there are too few outlines
    or no edges.
    """
    outlines_YX = _outlines(labels_YX, ignore)
    box = _window(outlines_YX)
    outlines_YX = outlines_YX[box]
    count = int(np.count_nonzero(outlines_YX))
    if count < OUTLINE:
        return None
    edges_YX = _edges(image_CYX[(slice(None), *box)])
    deviation = float(edges_YX.std())
    if not deviation > 0:
        return None
    from scipy import fft

    shape = [fft.next_fast_len(n + REACH, real=True) for n in edges_YX.shape]
    of_edges = fft.rfft2(edges_YX, shape)
    of_outlines = fft.rfft2(outlines_YX.astype(np.float32), shape)
    products = fft.irfft2(of_edges * of_outlines.conj(), shape)
    steps = np.arange(-REACH, REACH + 1)
    return np.asarray(products[np.ix_(steps, steps)] / (count * deviation), np.float32)


def clear_shift(surfaces: Sequence[np.ndarray]) -> Shift | None:
    """The shift that the mean of these surfaces tells, if it is beyond doubt."""
    if not surfaces:
        return None
    mean = np.asarray(np.mean(surfaces, axis=0, dtype=np.float64))
    best = np.unravel_index(int(mean.argmax()), mean.shape)
    down, right = (int(place) - REACH for place in best)
    if max(abs(down), abs(right)) < LEAST or max(abs(down), abs(right)) >= REACH:
        return None
    peak = float(mean[best])
    here = max(_around(mean, (0, 0), 1), 0.0)
    y, x = np.indices(mean.shape) - REACH
    aside = (np.hypot(y - down, x - right) > 6) & (np.hypot(y, x) > 4)
    rest = max(here, _around(mean, (-down, -right), 2), float(mean[aside].max()))
    if peak < FIT or rest > (REST if len(surfaces) >= FEW else REST_OF_ONE) * peak:
        return None
    return Shift(down, right, here / peak)


def fit_turns(
    image_CYX: np.ndarray, labels_YX: np.ndarray, ignore: Sequence[int] = ()
) -> np.ndarray | None:
    """How well the labels fit in each of TURNS, as `fit_surface` counts; NaN where the sides are of
    another length. Of large images every second, third … pixel is looked at. None: as there.
    """
    step = -(-max(labels_YX.shape) // MOST_PIXELS)
    edges_YX = _edges(image_CYX[:, ::step, ::step])
    deviation = float(edges_YX.std())
    outlines_YX = _outlines(labels_YX[::step, ::step], ignore)
    if np.count_nonzero(outlines_YX) < OUTLINE or not deviation > 0:
        return None
    fits = []
    for transposed in (outlines_YX, outlines_YX.T):
        for mirrored in (transposed, transposed[:, ::-1]):
            for turned in (mirrored, mirrored[::-1]):
                same = turned.shape == edges_YX.shape
                fits.append(float(edges_YX[turned].mean()) / deviation if same else np.nan)
    return np.array(fits)


def clear_turn(fits: Sequence[np.ndarray]) -> str:
    """The one of TURNS in which the mean of ``fits`` is good, beyond doubt; "" if there is none."""
    if not fits:
        return ""
    mean = np.nan_to_num(np.mean(fits, axis=0), nan=-1.0)
    best = int(mean.argmax())
    rest = float(np.delete(mean, best).max())
    limit = REST if len(fits) >= FEW else REST_OF_ONE
    return TURNS[best] if best and mean[best] >= FIT and rest <= limit * mean[best] else ""


def _around(surface: np.ndarray, place: tuple[int, int], reach: int) -> float:
    y, x = (REACH + step for step in place)
    part = surface[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    return float(part.max())


def _outlines(labels_YX: np.ndarray, ignore: Sequence[int]) -> np.ndarray:
    """Pixels to both sides of where a label ends; not where ignored pixels begin."""
    outlines = np.zeros(labels_YX.shape, bool)
    for axis in (0, 1):
        values, marks = np.moveaxis(labels_YX, axis, 0), np.moveaxis(outlines, axis, 0)
        differs = values[1:] != values[:-1]
        for value in ignore:
            differs &= (values[1:] != value) & (values[:-1] != value)
        marks[1:] |= differs
        marks[:-1] |= differs
    return outlines


def _edges(image_CYX: np.ndarray) -> np.ndarray:
    """Strength of edges, the strongest limited, without what varies slowly; float32."""
    from scipy.ndimage import gaussian_filter, uniform_filter

    plane = image_CYX.mean(axis=0, dtype=np.float32)
    smooth = gaussian_filter(plane, WIDTH, mode="nearest", truncate=3)
    edges = np.zeros_like(smooth)
    down = smooth[2:, 1:-1] - smooth[:-2, 1:-1]
    right = smooth[1:-1, 2:] - smooth[1:-1, :-2]
    edges[1:-1, 1:-1] = np.sqrt(down * down + right * right)
    np.minimum(edges, np.float32(np.percentile(edges[::3, ::3], 98)), out=edges)
    return np.asarray(edges - uniform_filter(edges, GROUND, mode="nearest"))


def _window(outlines_YX: np.ndarray) -> tuple[slice, slice]:
    """The part with most outlines, of at most MOST_PIXELS along each axis."""
    starts = [
        sorted({*range(0, max(n - MOST_PIXELS, 0) + 1, MOST_PIXELS // 2), max(n - MOST_PIXELS, 0)})
        for n in outlines_YX.shape
    ]
    boxes = [
        (slice(y, y + MOST_PIXELS), slice(x, x + MOST_PIXELS)) for y in starts[0] for x in starts[1]
    ]
    if len(boxes) == 1:
        return boxes[0]
    return max(boxes, key=lambda box: int(np.count_nonzero(outlines_YX[box])))
