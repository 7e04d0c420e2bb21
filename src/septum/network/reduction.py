"""Pixels as channels, and back: a network that works on images of fewer pixels, none of them lost.

Shapes: N (batch), C (channels), S (spatial axes), T (the same, divided by ``times``).
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def pixels_to_channels(image: Float[Tensor, "n c *s"], times: int) -> Float[Tensor, "n d *t"]:
    """Every block of ``times`` pixels an axis as one pixel, its pixels as channels in C order.

    Extents must be multiples of ``times``. (Space to depth; "periodic shuffling" of Shi et al.
    2016, "Real-Time Single Image and Video Super-Resolution …", equation 4, backwards.)
    """
    if times == 1:
        return image
    batch, channels, *extents = image.shape
    axes = len(extents)
    split = [part for extent in extents for part in (extent // times, times)]
    blocks = image.reshape(batch, channels, *split)
    outer, inner = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
    order = (0, 1, *inner, *outer)
    return blocks.permute(order).reshape(
        batch, channels * times**axes, *(extent // times for extent in extents)
    )


def channels_to_pixels(scores: Float[Tensor, "n d *t"], times: int) -> Float[Tensor, "n k *s"]:
    """What ``pixels_to_channels`` undoes: every pixel becomes ``times`` pixels an axis."""
    if times == 1:
        return scores
    batch, channels, *extents = scores.shape
    axes = len(extents)
    kept = channels // times**axes
    blocks = scores.reshape(batch, kept, *[times] * axes, *extents)
    order = (0, 1, *(place for axis in range(axes) for place in (2 + axes + axis, 2 + axis)))
    return blocks.permute(order).reshape(batch, kept, *(extent * times for extent in extents))
