"""Images too large to be scored as a whole: which they are, and their blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from septum.images.blocks import blocks
from septum.images.stored import Box
from septum.memory import available_memory

MEMORY_SHARE = 0.5
"""Of the free memory, what the arrays of one image may take."""
PIXEL_BYTES, MAP_BYTES = 60, 120
"""What scoring takes for each pixel of labels, and of a map; measured: 45 and 104 at 2048²."""
SIDE, SIDE_3D = 2048, 256
"""Pixels an axis of a block: whole chunks of most stores."""


def is_large(pixels: int, of_map: bool = False) -> bool:
    """Whether so many pixels do not fit into memory with all that their measures take."""
    each = MAP_BYTES if of_map else PIXEL_BYTES
    return pixels * each > MEMORY_SHARE * available_memory()


def read_blocks(
    read: Callable[[Box], np.ndarray], extents: tuple[int, ...]
) -> Iterator[np.ndarray]:
    """All pixels, as a whole if they fit into memory, else block by block."""
    whole = tuple(slice(0, extent) for extent in extents)
    for box in boxes(extents) if is_large(math.prod(extents)) else (whole,):
        yield read(box)


def boxes(extents: tuple[int, ...]) -> Iterator[Box]:
    """Blocks of an image whose last axes are (Z)YX; of axes before them one place at a time."""
    side = (SIDE,) * 2 if len(extents) == 2 else (SIDE_3D,) * 3
    return blocks(extents, (1,) * (len(extents) - len(side)) + side)
