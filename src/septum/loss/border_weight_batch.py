"""The border weight of a whole batch on any device, in PyTorch: what ``border_weight`` computes.

The same two nearest distinct cells are found for all pixels at once, axis by axis, as keys
distance · 2³² + label. Nothing depends on where the cells are but the values: all neighbours
within the reach are looked at, so that nothing waits for the host and the work can be compiled, or
captured in a CUDA graph. Memory: about ten int64 tensors of the batch's size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float32, Int32, Int64
from torch import Tensor

from septum.loss.border_weight import weight_radius

_FAR = 1 << 62  # a key that no cell has: farther than anything, label 0
_LABEL = 0xFFFFFFFF

Keys = Int64[Tensor, "b *s"]
Pair = tuple[Tensor, Tensor]  # keys of the nearest and of the second nearest label


LARGEST_RADIUS = 2**13
"""In pixels. (2² + 1 + 1) · its square, in the upper word of a key, stays below _FAR."""


def border_weight_batch(
    instances_BS: Int32[Tensor, "b *s"],
    w0: float = 10.0,
    sigma: float = 5.0,
    spacing: Sequence[float] | None = None,
) -> Float32[Tensor, "b *s"]:
    """``border_weight`` of each instance map (YX or ZYX) of a batch.

    0 is background, every other number a cell of that map. Equal to ``border_weight`` to the
    rounding of single precision. σ is at most 1500 pixels.
    """
    if instances_BS.ndim not in (3, 4):
        raise ValueError(f"instances_BS has {instances_BS.ndim} axes; expected BYX or BZYX")
    reach = weight_radius(sigma)
    assert reach < LARGEST_RADIUS
    steps = [1.0] * (instances_BS.ndim - 1) if spacing is None else list(spacing)
    # Squared distances are whole numbers for square pixels, as in ``border_weight``.
    unit = 2.0 ** math.floor(math.log2(LARGEST_RADIUS**2 / reach**2))
    squares = [
        [round((count * step) ** 2 * unit) for count in range(min(int(reach / step) + 1, extent))]
        for step, extent in zip(steps, instances_BS.shape[1:], strict=True)
    ]
    keys = instances_BS.long() & _LABEL
    keys = keys.masked_fill(keys == 0, _FAR)
    pair = _carry(keys, len(squares[0]) - 1, steps[0] ** 2 * unit)
    for axis in range(2, keys.ndim):
        pair = _merge(pair, axis, squares[axis - 1])
    nearest, second = ((key >> 32).float().div(unit).sqrt() for key in pair)
    total = nearest + second
    weight = w0 * torch.exp(total.square() / (-2 * sigma * sigma))
    return weight.masked_fill((nearest == 0) | (total > reach), 0.0)


def _carry(keys: Keys, reach: int, square: float) -> Pair:
    """Keys of the nearest and the second nearest distinct label along the first spatial axis.

    Seen from one side, the order of labels by distance is the same for all pixels; so what one
    pixel knows can be handed on whole, and the length of axis that is known doubles each time.
    Distances are counted in pixels until the end, then by their squares; ``square``: that of one.
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
        torch.where(key < _FAR, (_squared(key >> 32, square) << 32) | (key & _LABEL), _FAR)
        for key in _offer(sides[0], sides[1], 0)
    )
    return nearest, second


def _squared(distances: Int64[Tensor, "b *s"], square: float) -> Int64[Tensor, "b *s"]:
    return (distances.double().square() * square).round().long()


def _merge(pair: Pair, axis: int, squares: Sequence[int]) -> Pair:
    """Extend the keys by the next axis: offer each pixel those of all within reach along it.

    ``squares``: the squared distances of the pixels along the axis from 0 to the reach.
    """
    reach = len(squares) - 1
    extent, others = pair[0].shape[axis], _pad(pair, axis, reach)
    for distance in range(1, reach + 1):
        for start in (reach - distance, reach + distance):
            pair = _offer(pair, _part(others, axis, start, extent), squares[distance] << 32)
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
