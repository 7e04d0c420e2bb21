"""The range of grey values that a single image has, whatever other images have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from septum.geometry import Pixels
from septum.images.blocks import blocks

LOOKED_AT = 2**20
"""Pixels of an image, evenly spread, whose grey values tell its range."""
BLOCK = 2**22
"""Pixels that are read at a time, about."""


@dataclass(frozen=True, eq=False)
class Greys:
    """What tells the range of an image.

    ``values_CS``: grey values on a regular grid (C, *grid); ``noise_C``: of each channel the mean
    difference of neighbours along the last axis, without regard to its sign.
    """

    values_CS: np.ndarray
    noise_C: np.ndarray

    @property
    def channels(self) -> int:
        """Extent of the first axis."""
        return len(self.values_CS)


@dataclass(frozen=True)
class OwnRange:
    """How the range of an image is found: one offset and one scale a channel.

    ``zscore``: mean and standard deviation; ``percentile``: the two percentiles. Both the scale of
    the dimmest training image, ``least``, and its smallest multiple of an image's own noise,
    ``contrast``, bound the scale from below, the lesser of them: what is as dim as noise, in an
    image in which there is nothing, is not enlarged to objects, and a dark image of objects is.
    """

    method: Literal["zscore", "percentile"]
    low_percentile: float
    high_percentile: float
    least: tuple[float, ...]
    contrast: tuple[float, ...]

    def range_of(self, greys: Greys) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Offsets and scales of an image, above 0."""
        low_C, scale_C = self.measure(greys)
        # A channel too many is refused elsewhere, in its own words.
        least_C, contrast_C = (np.resize(v, len(scale_C)) for v in (self.least, self.contrast))
        bound_C = np.minimum(least_C, contrast_C * greys.noise_C)
        scale_C = np.maximum(scale_C, bound_C)
        scale_C = np.where(scale_C > 0, scale_C, least_C)  # of a constant
        return tuple(low_C.tolist()), tuple(scale_C.tolist())

    def measure(self, greys: Greys) -> tuple[np.ndarray, np.ndarray]:
        """Offsets and scales without bound: 0 of a constant."""
        values_CN = greys.values_CS.reshape(greys.channels, -1).astype(np.float64)
        if self.method == "zscore":
            low_C, scale_C = values_CN.mean(1), values_CN.std(1)
        else:
            ends = (self.low_percentile, self.high_percentile)
            low_C, high_C = np.percentile(values_CN, ends, axis=1)
            scale_C = high_C - low_C
        return low_C, scale_C

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON; ``from_dict`` gives back an equal object."""
        return {**asdict(self), "least": list(self.least), "contrast": list(self.contrast)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OwnRange:
        """What ``to_dict`` wrote."""
        bounds = {key: tuple(map(float, values[key])) for key in ("least", "contrast")}
        return cls(**{**values, **bounds})


def sample_greys(image: Pixels) -> Greys:
    """Grey values on a regular grid of the whole image, of LOOKED_AT pixels at most, and its noise.

    The same however the image is stored or read, and all pixels of images that have no more. Raises
    what reading raises.
    """
    extents = image.extents
    step = 1
    while math.prod(-(-extent // step) for extent in extents) > LOOKED_AT:
        step += 1
    side = step * max(round(BLOCK ** (1 / len(extents))) // step, 1)
    grid = tuple(-(-extent // step) for extent in extents)
    values_CS: np.ndarray | None = None
    total_C, pairs = np.zeros(image.channels), 0
    for box in blocks(extents, [side] * len(extents)):
        rows = (slice(None), *(slice(None, None, step),) * (len(extents) - 1))
        part_CS = image.read(box)[rows]
        if values_CS is None:
            values_CS = np.empty((image.channels, *grid), part_CS.dtype)
        place = (slice(span.start // step, -(-span.stop // step)) for span in box)
        values_CS[(slice(None), *place)] = part_CS[..., ::step]
        steps_CN = np.abs(np.diff(part_CS.astype(np.float64))).reshape(image.channels, -1)
        total_C += steps_CN.sum(1)
        pairs += steps_CN.shape[1]
    assert values_CS is not None
    return Greys(values_CS, total_C / max(pairs, 1))
