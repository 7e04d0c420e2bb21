"""The border weight of a whole batch on any device, in PyTorch: what ``border_weight`` computes.

The same two nearest distinct cells are found for all pixels at once, axis by axis, as keys
distance · 2³² + label. Nothing depends on where the cells are but the values: all neighbours
within the reach are looked at, so that nothing waits for the host and the work can be compiled, or
captured in a CUDA graph. Memory: about ten int64 tensors of the batch's size.
"""

from __future__ import annotations

import torch
from jaxtyping import Float32, Int32, Int64
from torch import Tensor

from septum.loss.border_weight import weight_radius

_FAR = 1 << 62  # a key that no cell has: farther than anything, label 0
_LABEL = 0xFFFFFFFF

Keys = Int64[Tensor, "b *s"]
Pair = tuple[Tensor, Tensor]  # keys of the nearest and of the second nearest label


LARGEST_RADIUS = 2**13
"""(2² + 1 + 1) · radius², in the upper word of a key, stays below _FAR. In pixels."""


def border_weight_batch(
    instances_BS: Int32[Tensor, "b *s"], w0: float = 10.0, sigma: float = 5.0
) -> Float32[Tensor, "b *s"]:
    """``border_weight`` of each instance map (YX or ZYX) of a batch, in square pixels.

    0 is background, every other number a cell of that map. σ is in pixels, at most 1500. Equal to
    ``border_weight`` to the rounding of single precision.
    """
    if instances_BS.ndim not in (3, 4):
        raise ValueError(f"instances_BS has {instances_BS.ndim} axes; expected BYX or BZYX")
    reach = weight_radius(sigma)
    assert reach < LARGEST_RADIUS
    keys = instances_BS.long() & _LABEL
    keys = keys.masked_fill(keys == 0, _FAR)
    pair = _carry(keys, min(int(reach), keys.shape[1] - 1))
    for axis in range(2, keys.ndim):
        pair = _merge(pair, axis, min(int(reach), keys.shape[axis] - 1))
    nearest, second = pair
    total = (nearest >> 32).float().sqrt() + (second >> 32).float().sqrt()
    weight = w0 * torch.exp(total.square() / (-2 * sigma * sigma))
    return weight.masked_fill((nearest < 1 << 32) | (total > reach), 0.0)


def _carry(keys: Keys, reach: int) -> Pair:
    """Keys of the nearest and the second nearest distinct label along the first spatial axis.

    Seen from one side, the order of labels by distance is the same for all pixels; so what one
    pixel knows can be handed on whole, and the length of axis that is known doubles each time.
    """
    sides = []
    for forward in (False, True):
        pair = keys, torch.full_like(keys, _FAR)
        known = 1  # the pixel itself
        while known <= reach:
            handed = _part(_pad(pair, 1, known), 1, 2 * known if forward else 0, keys.shape[1])
            pair = _offer(pair, handed, known << 32)
            known *= 2
        sides.append(pair)
    nearest, second = (
        torch.where(key < _FAR, ((key >> 32).square() << 32) | (key & _LABEL), _FAR)
        for key in _offer(sides[0], sides[1], 0)
    )
    return nearest, second


def _merge(pair: Pair, axis: int, reach: int) -> Pair:
    """Extend the keys by the next axis: offer each pixel those of all within ``reach`` along it."""
    extent, others = pair[0].shape[axis], _pad(pair, axis, reach)
    for distance in range(1, reach + 1):
        for start in (reach - distance, reach + distance):
            pair = _offer(pair, _part(others, axis, start, extent), distance**2 << 32)
    return pair


def _offer(pair: Pair, other: Pair, farther: int) -> Pair:
    """The two nearest labels among a pixel's own two and those of another, ``farther`` away.

    The two of a pair are distinct. So the second place goes to one of the second ones, or, if the
    first ones are distinct too, to the farther of these: a smaller key of the first's own label
    cannot be among them.
    """
    offered = other[0] + farther
    nearest, rest = torch.minimum(pair[0], offered), torch.maximum(pair[0], offered)
    rest.masked_fill_(((nearest ^ rest) & _LABEL) == 0, _FAR)
    return nearest, torch.minimum(torch.minimum(pair[1], other[1] + farther), rest)


def _pad(pair: Pair, axis: int, margin: int) -> Pair:
    """Add pixels that know of no cell before and after an axis."""
    margins = [*[0, 0] * (pair[0].ndim - 1 - axis), margin, margin]
    first, second = (torch.constant_pad_nd(keys, margins, _FAR) for keys in pair)
    return first, second


def _part(pair: Pair, axis: int, start: int, extent: int) -> Pair:
    return pair[0].narrow(axis, start, extent), pair[1].narrow(axis, start, extent)
