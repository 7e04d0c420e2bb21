"""Parts of the maps of a network: where they lie, and room for them.

Shapes as in `septum.network.strips`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from septum.geometry import Span
from septum.memory import array_off_heap
from septum.network.unet import Raise


@dataclass(frozen=True)
class Part:
    """``spans`` of the spatial axes of a level's output, whose extents are ``whole``."""

    whole: Sequence[int]
    spans: Sequence[Span]


def source_of(raise_: Raise, span: Span, extent: int) -> Span:
    """What ``span`` of the raised is made of, below, where the axis has ``extent`` pixels.

    Pixel r is made of (r + cut) / 2 and, if interpolated, its neighbours; cut is lost by raising.
    """
    cut = 1 if raise_.crop else 0
    first = (span[0] + cut) // 2 - raise_.linear
    last = (span[1] + cut + 1) // 2 + raise_.linear
    return max(first, 0), min(last, extent)


def room_for(size: int, like: Tensor) -> Tensor:
    """So many bytes beside the heap, where they go back to the system when they are free."""
    if like.is_meta:  # whose arithmetic alone is counted
        return torch.empty(size, dtype=torch.uint8, device="meta")
    return torch.from_numpy(array_off_heap((size,), np.dtype(np.uint8)))


def pool_largest(features: Tensor) -> Tensor:
    """The largest of 2 pixels along each spatial axis.

    torch's own pooling on a processor makes indices besides, of four times the memory.
    """
    for axis in range(2, features.ndim):
        first, second = features.unfold(axis, 2, 2).unbind(-1)
        features = torch.maximum(first, second)
    return features


def narrow(features: Tensor, starts: Sequence[int], lengths: Sequence[int]) -> Tensor:
    """A part of the spatial axes."""
    for axis, (start, length) in enumerate(zip(starts, lengths, strict=True), start=2):
        features = features.narrow(axis, start, length)
    return features
