"""What a network is to say at each pixel, one byte, made of labels as they are: deformed ones too.

Shapes: B (batch), S (spatial axes, YX or ZYX).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64, UInt8
from torch import Tensor

from septum.annotation.labels import UNDRAWN
from septum.network.heads import HeadKind

BORDER = 2
"""Pixels from the edge of an object that are its border."""
REACH = 8
"""Pixels from the edge of an object at which the distance map reaches 1: what lies deeper does not
help to tell it from its neighbour, and what is local can be learnt and predicted tile by tile."""
LEVELS = UNDRAWN - 1
"""The target of the distance map, 1, as a byte."""

_REACHES: dict[HeadKind, int] = {"softmax": 0, "sigmoid": 0, "border": BORDER, "distance": REACH}


def target_reach(head: HeadKind) -> int:
    """How many pixels around it the target of a pixel depends on."""
    return _REACHES[head]


def encode_targets(
    classes_BS: UInt8[Tensor, "b *s"],
    instances_BS: Int32[Tensor, "b *s"],
    head: HeadKind,
    spacing: Sequence[float] | None = None,
) -> UInt8[Tensor, "b *s"]:
    """Class maps, as a head is to learn them; pixels that are IGNORE or UNDRAWN stay so.

    - ``softmax``, ``sigmoid``: as they are.
    - ``border``: 0 background, 2 the border of objects, up to ``BORDER`` pixels from what is not
      of the object, 1 their interior.
    - ``distance``: 0 background; of an object's pixel ``LEVELS`` times its distance to what is not
      of the object, at most ``REACH``, in shares of that.

    Distances are Euclidean, in pixels along their shortest side, from centre to centre; what is
    outside of the array is not known and bounds no object. ``spacing`` as in `border_weight`.
    """
    if head in ("softmax", "sigmoid"):
        return classes_BS
    depth_BS = edge_distance(instances_BS, _REACHES[head] + (head == "border"), spacing)
    if head == "border":
        told_BS = 1 + (depth_BS <= BORDER).to(torch.uint8)
    else:
        told_BS = (depth_BS * (LEVELS / REACH)).round_().to(torch.uint8)
    told_BS = torch.where(instances_BS == 0, classes_BS.new_zeros(()), told_BS)
    return torch.where(classes_BS >= UNDRAWN, classes_BS, told_BS)


def encode_image(
    classes_S: UInt8[np.ndarray, "*s"],
    instances_S: Int32[np.ndarray, "*s"],
    head: HeadKind,
    spacing: Sequence[float] | None = None,
) -> UInt8[np.ndarray, "*s"]:
    """``encode_targets`` of one image."""
    if head in ("softmax", "sigmoid"):
        return classes_S
    classes_BS = torch.from_numpy(np.ascontiguousarray(classes_S))[None]
    instances_BS = torch.from_numpy(np.ascontiguousarray(instances_S))[None]
    encoded: np.ndarray = encode_targets(classes_BS, instances_BS, head, spacing)[0].numpy()
    return encoded


def edge_distance(
    ids_BS: Int32[Tensor, "b *s"] | Int64[Tensor, "b *s"],
    reach: float,
    spacing: Sequence[float] | None = None,
) -> Float32[Tensor, "b *s"]:
    """Distance of each pixel to the nearest with another number, or ``reach`` if that is less.

    Exact: axis by axis, a pixel's neighbour along the axis, if it is of the same number, knows the
    nearest other one along the axes before; else it is one itself.
    """
    steps = [1.0] * (ids_BS.ndim - 1) if spacing is None else spacing
    square_BS = torch.full(ids_BS.shape, float(reach) ** 2, device=ids_BS.device)
    for axis, step in enumerate(steps, start=1):
        known_BS, extent = square_BS.clone(), ids_BS.shape[axis]
        for count in range(1, min(int(reach / step), extent - 1) + 1):
            low, high = (ids_BS.narrow(axis, start, extent - count) for start in (0, count))
            alike = low == high
            for here, there in ((0, count), (count, 0)):
                known = known_BS.narrow(axis, there, extent - count)
                nearest = torch.where(alike, known, 0.0) + (count * step) ** 2
                part = square_BS.narrow(axis, here, extent - count)
                torch.minimum(part, nearest, out=part)
    return square_BS.sqrt_()
