"""Whether a model is used on what it has not learnt from: grey values, pixel size."""

from __future__ import annotations

import numpy as np

from septum.geometry import ArrayPixels
from septum.images.intensity_range import IntensityRange
from septum.images.own_range import OwnRange, sample_greys
from septum.images.stored import StoredImage
from septum.images.zarr_store import ZarrRegions

DIM = 0.5
"""Of the range that is taken for an image: one with less is taken for empty."""
FLAT = 0.01
"""Ranges: an image whose grey values deviate by less is taken for one of another bit depth."""
FAR = 5.0
"""Ranges of grey values between an image and the training images at which a result is doubted."""
MOST_ENLARGED = 2.0
"""Times that pixel sizes may differ from those of training before a result is doubted."""
MOST_CHUNKS = 100_000
"""Chunks of an image that are looked for; more would take minutes on a cluster's storage."""
LOOKED_AT = 2048
"""Pixels an axis, in the middle of an image, whose grey values are compared with training."""


def middle(image: StoredImage, dimensions: int) -> np.ndarray:
    """The middle of the first plane or volume of an image, (C, *spatial)."""
    _, stack = image.stacks(dimensions)[0]
    spans = []
    for extent in stack.extents:
        start = max((extent - LOOKED_AT) // 2, 0)
        spans.append(slice(start, min(start + LOOKED_AT, extent)))
    if dimensions == 3:
        half = stack.extents[0] // 2
        spans[0] = slice(half, half + 1)
    return stack.read(tuple(spans))


def find_doubt(image_CS: np.ndarray, intensity: IntensityRange) -> str:
    """Whether grey values lie where training had none: another bit depth, another microscope.

    Says so where the mean of a channel, by every 8th pixel, is more than FAR ranges (standard
    deviations, for z-scores) away from where training images have theirs, or where all channels
    differ by less than FLAT ranges, but do; "" otherwise, and for models that take grey values as
    they are. Of models that bring each image to its own range: says
    so where that is below DIM of the range that is taken.
    """
    if intensity.own is not None:
        return _doubt_own(image_CS, intensity.own)
    channels = len(image_CS)
    if channels != len(intensity.offset):
        return ""  # which is refused in other words
    if intensity == IntensityRange((0.0,) * channels, (1.0,) * channels):
        return ""
    sparse_CS = image_CS[(slice(None), *(slice(None, None, 8),) * (image_CS.ndim - 1))]
    values_CN = intensity.apply(sparse_CS).reshape(channels, -1)
    means, deviation = values_CN.mean(1), float(values_CN.std(1).max())
    for channel, mean in enumerate(means):
        if abs(mean) > FAR:
            offset, scale = intensity.offset[channel], intensity.scale[channel]
            return (
                f"its grey values (mean {sparse_CS[channel].mean():.0f}) lie far from those of the "
                f"training images (about {offset:.0f} ± {scale:.0f}); the result is doubtful: "
                "bring it to the same bit depth and brightness"
            )
    if 0 < deviation < FLAT:
        return (
            f"its grey values hardly differ ({image_CS.min():.4g} to {image_CS.max():.4g}) for a "
            "model that was trained on others; the result is doubtful: bring it to the same bit "
            "depth and brightness"
        )
    return ""


def _doubt_own(image_CS: np.ndarray, own: OwnRange) -> str:
    """Whether an image is so dim, and so noisy, that its own range is not taken for it."""
    greys = sample_greys(ArrayPixels(image_CS))
    if greys.channels != len(own.least):
        return ""  # which is refused in other words
    spans, taken = own.measure(greys)[1], own.range_of(greys)[1]
    part = float(np.max(spans / taken))
    if part >= DIM:
        return ""
    return (
        "its grey values span little more than noise, as if there were no object in it; if there "
        "are, they may be missed"
    )


def doubt_pixel_size(image: tuple[float, ...] | None, training: tuple[float, ...] | None) -> str:
    """Whether an image is enlarged much more, or less, than those that the model has learnt from.

    Both in µm, one entry a spatial axis, or None where unknown; "" unless an axis is off by more
    than ``MOST_ENLARGED``.
    """
    if image is None or training is None:
        return ""
    for own, learnt in zip(reversed(image), reversed(training), strict=False):
        if max(own / learnt, learnt / own) > MOST_ENLARGED:
            return (
                f"its pixels are {own:.3g} µm, those of the training images {learnt:.3g} µm; the "
                "result is doubtful: use --rescale, or resample the image to that pixel size"
            )
    return ""


def doubt_chunks(image: StoredImage) -> str:
    """Whether chunks of an OME-Zarr image are missing, which is legal: they have its fill value.

    A copy that was cut short looks the same. "" for other files, and where there are too many
    chunks to look for.
    """
    if not isinstance(image.regions, ZarrRegions):
        return ""
    missing, total = image.regions.missing_chunks(MOST_CHUNKS)
    if not missing:
        return ""
    return (
        f"{missing} of its {total} chunks are missing, and taken as empty, as is usual for areas "
        "without signal; if they should be there, copy the image again"
    )
