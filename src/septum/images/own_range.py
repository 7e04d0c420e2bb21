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

Greys = np.ndarray
"""Grey values of an image, channels first."""


@dataclass(frozen=True)
class OwnRange:
    """How the range of an image is found: one offset and one scale a channel.

    ``zscore``: mean and standard deviation; ``percentile``: the two percentiles. ``least``: the
    smallest scale of each channel, above 0: the noise of an image in which there is nothing is not
    enlarged to objects.
    """

    method: Literal["zscore", "percentile"]
    low_percentile: float
    high_percentile: float
    least: tuple[float, ...]

    def measure(self, greys_CN: Greys) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Offsets and scales of grey values that `sample_greys` gave."""
        values_CN = greys_CN.reshape(len(greys_CN), -1).astype(np.float64)
        if self.method == "zscore":
            low_C, scale_C = values_CN.mean(1), values_CN.std(1)
        else:
            ends = (self.low_percentile, self.high_percentile)
            low_C, high_C = np.percentile(values_CN, ends, axis=1)
            scale_C = high_C - low_C
        # A channel too many is refused elsewhere, in its own words.
        least = np.resize(self.least, len(scale_C))
        return tuple(low_C.tolist()), tuple(np.maximum(scale_C, least).tolist())

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON; ``from_dict`` gives back an equal object."""
        return {**asdict(self), "least": list(self.least)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OwnRange:
        """What ``to_dict`` wrote."""
        return cls(**{**values, "least": tuple(map(float, values["least"]))})


def sample_greys(image: Pixels) -> Greys:
    """Grey values on a regular grid of the whole image, (C, *grid), of LOOKED_AT pixels at most.

    The same however the image is stored or read, and all pixels of images that have no more. Raises
    what reading raises.
    """
    extents = image.extents
    step = 1
    while math.prod(-(-extent // step) for extent in extents) > LOOKED_AT:
        step += 1
    side = step * max(round(BLOCK ** (1 / len(extents))) // step, 1)
    grid = tuple(-(-extent // step) for extent in extents)
    greys_CS: Greys | None = None
    for box in blocks(extents, [side] * len(extents)):
        part_CS = image.read(box)[(slice(None), *(slice(None, None, step),) * len(extents))]
        if greys_CS is None:
            greys_CS = np.empty((image.channels, *grid), part_CS.dtype)
        place = (slice(span.start // step, -(-span.stop // step)) for span in box)
        greys_CS[(slice(None), *place)] = part_CS
    assert greys_CS is not None
    return greys_CS
