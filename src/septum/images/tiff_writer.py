"""TIFF tile by tile: images larger than memory, out of a store or an array."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from septum.atomic_file import replace_file
from septum.errors import SaveError
from septum.images.image import ImageHeader
from septum.images.tiff import CLASSIC_LIMIT, ome_metadata

LARGEST_TILE = 512
READ_BYTES = 1 << 24
"""So much is read, and so much compressed, at a time."""

PAGE_BYTES = 1024
"""More than a page of a file takes beside its pixels."""

DEFLATE_LEVEL = 1
"""On probabilities twice as fast as level 6, which is usual, and within 4 % of its size."""


@runtime_checkable
class LazyArray(Protocol):
    """Pixels that are read by region: a zarr.Array; a numpy.ndarray too."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of all axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the pixels."""

    def __getitem__(self, region: Any, /) -> Any:
        """The pixels of a region: for each axis a number, or a slice from start to stop."""


def write_tiff_by_tile(path: Path, array: LazyArray, header: ImageHeader) -> None:
    """Write ``array``, of which ``header`` says all, as an OME-TIFF of compressed tiles.

    What is read again is what `write_image` would have written: OME has no half precision, 64-bit
    integer or boolean, which become float32, (u)int32 and uint8 of the same values. BigTIFF from
    3.9 GB of pixels on. Memory does not depend on the size of the image: some 16 MB of pixels are
    read, then compressed. The same pixels under the same name are the same bytes.

    Raises SaveError: the disk is full, the folder is missing or not writable, there are integers
    beyond 32 bits; then what stood at ``path`` is untouched.
    """
    import tifffile

    assert tuple(array.shape) == header.shape, (array.shape, header.shape)
    dtype = _stored_type(path, array)
    pages, plane = header.shape[:-2], header.shape[-2:]
    size = math.prod(pages) * (math.prod(plane) * dtype.itemsize + PAGE_BYTES)
    tile = tuple(min(LARGEST_TILE, -(-extent // 16) * 16) for extent in plane)  # TIFF wants 16s
    with replace_file(path) as temporary:
        tifffile.imwrite(
            temporary,
            (np.asarray(part, dtype) for part in _tiles(array, *tile)),
            shape=header.shape,
            dtype=dtype,
            ome=True,
            bigtiff=size > CLASSIC_LIMIT,
            photometric="minisblack",
            tile=tile,
            compression="zlib",
            compressionargs={"level": DEFLATE_LEVEL},
            # Differences of neighbours make grey values a tenth smaller. Real numbers need another
            # predictor, which readers have misread (geotiff.js, #27) or refused (TwelveMonkeys,
            # #740): they go without.
            predictor=dtype.kind != "f",
            metadata=ome_metadata(path.name, header),
            buffersize=READ_BYTES,
        )


def _tiles(array: LazyArray, rows: int, columns: int) -> Iterator[np.ndarray]:
    """All tiles in the order of the file. So much of a row of them is read as READ_BYTES allow.

    Tiles over the edge repeat it, as TIFF 6.0 advises. Left to tifffile, the tiles of an image one
    pixel wide are taken for rows of samples, and differenced along the wrong axis.
    """
    height, width = array.shape[-2:]
    step = columns * max(1, READ_BYTES // (rows * columns * array.dtype.itemsize))
    for source, place in _planes(array):
        for top, left in itertools.product(range(0, height, rows), range(0, width, step)):
            box = (slice(top, min(top + rows, height)), slice(left, min(left + step, width)))
            piece = np.asarray(source[(*place, *box)])
            for start in range(0, piece.shape[1], columns):
                part = piece[:, start : start + columns]
                over = (rows - part.shape[0], columns - part.shape[1])
                yield np.pad(part, ((0, over[0]), (0, over[1])), "edge") if any(over) else part


def _planes(array: LazyArray) -> Iterator[tuple[LazyArray, tuple[int, ...]]]:
    """An array, and the place in it, for each plane of ``array`` in order.

    As many are read together as READ_BYTES allow: a chunk of a volume holds a part of several
    planes, and would be decoded again for each of them.
    """
    if len(array.shape) == 2:
        yield array, ()
        return
    *others, count, height, width = array.shape
    together = READ_BYTES // (height * width * array.dtype.itemsize)
    plane = slice(0, height), slice(0, width)
    for place in itertools.product(*map(range, others)):
        if not together:
            yield from ((array, (*place, number)) for number in range(count))
            continue
        for start in range(0, count, together):
            several = slice(start, min(start + together, count))
            planes = np.asarray(array[(*place, several, *plane)])
            yield from ((planes, (number,)) for number in range(len(planes)))


def _stored_type(path: Path, array: LazyArray) -> np.dtype[Any]:
    """The type that OME has for the values of ``array``, which are looked through for 64 bits."""
    dtype = np.dtype(array.dtype)
    if dtype.kind in "ui" and dtype.itemsize == 8:
        ends = [(part.min(), part.max()) for part in _tiles(array, LARGEST_TILE, LARGEST_TILE)]
        lowest, highest = int(min(low for low, _ in ends)), int(max(high for _, high in ends))
        dtype = np.dtype(np.uint32 if lowest >= 0 else np.int32)
        if lowest < np.iinfo(dtype).min or highest > np.iinfo(dtype).max:
            raise SaveError(f"{path}: values beyond 32 bits cannot be written as TIFF")
    if dtype.name in ("float16", "bool"):
        return np.dtype(np.float32 if dtype.kind == "f" else np.uint8)
    return dtype
