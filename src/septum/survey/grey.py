"""Grey values of an image, on evenly spread pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from septum.survey.survey import Channel, Histogram

SAMPLES = 20_000
"""Pixels of an image, each channel, that are looked at."""
BINS = 64
PERCENTILES = ("0.1", "1", "50", "99", "99.8")


def spread_values(image_CS: np.ndarray) -> np.ndarray:
    """At most SAMPLES values of each channel, (C, n), of the image's own type."""
    flat = image_CS.reshape(len(image_CS), -1)
    step = -(-flat.shape[1] // SAMPLES)
    # Not the same columns in each row: extents are even, and often powers of 2.
    return np.ascontiguousarray(flat[:, :: step + (step > 1 and step % 2 == 0)])


def grey_difference(image_CYX: np.ndarray, labels_YX: np.ndarray, ignore: Sequence[int]) -> float:
    """Mean grey value of what is not 0 less that of what is 0; NaN where one of them is nothing."""
    plane_YX = image_CYX.mean(axis=0, dtype=np.float32)
    drawn_YX = labels_YX != 0
    valid_YX = ~np.isin(labels_YX, ignore)
    inside, outside = plane_YX[drawn_YX & valid_YX], plane_YX[~drawn_YX & valid_YX]
    if not inside.size or not outside.size:
        return float("nan")
    return float(inside.mean() - outside.mean())


def used_bits(highest: float, dtype: np.dtype) -> int:
    """Bits that values up to ``highest`` take, in the steps of cameras: 8, 10, 12, 14, 16 …; 0 of
    real numbers.
    """
    if dtype.kind == "f":
        return 0
    if dtype.kind == "b":
        return 1
    needed = int(highest).bit_length()
    return next((bits for bits in (8, 10, 12, 14, 16, 24) if needed <= bits), dtype.itemsize * 8)


def join_channels(samples: Sequence[np.ndarray]) -> tuple[Channel, ...]:
    """What the values of all images, (C, n) each, are like together; in any order."""
    if not samples:
        return ()
    pools = [np.concatenate([part[c] for part in samples]) for c in range(len(samples[0]))]
    return tuple(_channel(pool.astype(np.float64), pool.dtype.kind == "f") for pool in pools)


def _channel(values: np.ndarray, real: bool) -> Channel:
    values.sort()  # so that sums do not depend on the order of the files
    found = np.percentile(values, [float(p) for p in PERCENTILES])
    low, high = float(values[0]), float(found[-1])
    if real:
        counts, edges = np.histogram(values, BINS, (low, high if high > low else low + 1))
    else:  # as many whole numbers in each bin, lest it look like a comb
        width = math.ceil((high - low + 1) / BINS)
        counts, edges = np.histogram(values, np.arange(low, high + width + 1, width) - 0.5)
    return Channel(
        {name: float(value) for name, value in zip(PERCENTILES, found, strict=True)},
        float(values.mean()),
        float(values.std()),
        Histogram(tuple(edges.tolist()), tuple(counts.tolist())),
    )
