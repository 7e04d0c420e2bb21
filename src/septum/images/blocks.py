"""An image that is larger than memory, block by block."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from septum.images.tiff_regions import Box


def blocks(extents: Sequence[int], block: Sequence[int]) -> Iterator[Box]:
    """Boxes of extents ``block``, smaller at the far ends, that cover an image; in C order."""
    spans = [
        [slice(start, min(start + step, extent)) for start in range(0, extent, step)]
        for extent, step in zip(extents, block, strict=True)
    ]
    return itertools.product(*spans)
