"""Regions of TIFF files: only the rows, strips or tiles that a region touches are read."""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from septum.errors import ImageFileError
from septum.images.tiff import TiffHeader, complaints_are_errors, describe_tiff

Box = tuple[slice, ...]
"""One slice an axis: 0 <= start < stop <= its extent, no step."""

FILES_KEPT = 16
"""The tables of pages and tiles of so many files are kept: 100 MB each for a million tiles."""


@dataclass(frozen=True)
class TiffRegions:
    """The pixels of a TIFF file, to be read by region from any thread or process."""

    path: Path
    header: TiffHeader

    def read(self, box: Box) -> np.ndarray:
        """The region ``box`` of the image's axes, of which C must be whole; native byte order.

        Raises ImageFileError: the file ends before, is another now, or has transparent pixels
        there; or whatever a decoder raises.
        """
        series = _open_series(self.path)
        if series.header != self.header:
            raise ImageFileError(f"{self.path}: is not the file that was opened; start anew")
        parts = dict(zip(self.header.axes, box, strict=True))
        if self.header.alpha:
            parts["C"] = slice(0, parts["C"].stop + 1)
        with complaints_are_errors(self.path):
            region = series.read(tuple(parts[axis] for axis in self.header.file_axes))
        return self.header.arrange(self.path, region)


def open_tiff(path: Path) -> TiffRegions:
    """Read the header only. Raises as `read_tiff` does, but for what only the pixels tell."""
    return TiffRegions(path, _open_series(path).header)


def _open_series(path: Path) -> _Series:
    state = path.stat()
    return _keep_series(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(FILES_KEPT)
def _keep_series(path: Path, _changed: int, _size: int) -> _Series:
    return _Series(path)


class _Series:
    """The tables of the first series of a TIFF file, which is open only while it is read from."""

    def __init__(self, path: Path) -> None:
        import tifffile

        self.lock = threading.RLock()  # a file has one position
        with complaints_are_errors(path), tifffile.TiffFile(path) as tif:
            self.header = describe_tiff(path, tif)
            self.series = tif.series[0]
            self.file = tif.filehandle
            computed = self.series.transform is not None  # from what is stored (MD Gel)
            self.data_offset = None if computed else self.series.dataoffset
            self.page_axes = None if computed else self._count_page_axes()

    def read(self, box: Box) -> np.ndarray:
        """The region ``box`` of the axes of the file."""
        shape, count = self.header.file_shape, self.page_axes
        if count is None:
            with self._open(self.file):
                return np.asarray(self.series.asarray()[box])
        region = np.empty([part.stop - part.start for part in box], self.header.dtype)
        pages = region.reshape(-1, *region.shape[count:])
        places = itertools.product(*(range(part.start, part.stop) for part in box[:count]))
        within = _within_page(box[count:], shape[count:], self.series.keyframe.shaped)
        assert within is not None
        for number, place in enumerate(places):
            page = self._read_page(_ravel(place, shape[:count]), within)
            pages[number] = page.reshape(pages.shape[1:]) if page is not None else 0
        return region

    def _count_page_axes(self) -> int | None:
        """How many axes number the pages, the others lying within a page.

        None where these do not fit: then only the whole series can be read.
        """
        shape, page = self.header.file_shape, self.series.keyframe
        for count in range(len(shape), -1, -1):
            if math.prod(shape[count:]) == page.size:
                if self.data_offset is None and math.prod(shape[:count]) != len(self.series):
                    return None
                whole = tuple(slice(0, extent) for extent in shape[count:])
                return count if _within_page(whole, shape[count:], page.shaped) else None
        return None

    def _read_page(self, index: int, box: Box) -> np.ndarray | None:
        """The region of a page's five axes: separate samples, depth, length, width, samples.

        None for a page that an OME file leaves out; tifffile takes it for 0, too.
        """
        page: Any = self.series.keyframe
        if self.data_offset is not None:  # page after page, even where only one has a table
            return _read_block(page, self.data_offset + index * page.nbytes, page.shaped, box)
        with self._open(self.file):
            page = self.series[index]
        if page is None:
            return None
        if page.is_final:
            return _read_block(page, page.dataoffsets[0], page.shaped, box)
        return self._read_segments(page, box)

    def _read_segments(self, page: Any, box: Box) -> np.ndarray:
        found = []
        with self._open(page.parent.filehandle) as file:
            decode = page.keyframe.decode
            options = {"jpegtables": page.jpegtables, "jpegheader": page.keyframe.jpegheader}
            for index in _touched_segments(page.keyframe, box):
                found.append((_read_bytes(file, page, index), index))
        region = np.empty(
            [part.stop - part.start for part in box[:4]] + [page.shaped[4]], page.dtype
        )
        for data, index in found:
            values, (sample, *corner, _), shape = decode(data, index, **options)
            spans = list(zip(box[1:4], corner, shape, strict=False))
            target = [
                slice(max(part.start, at) - part.start, min(part.stop, at + n) - part.start)
                for part, at, n in spans
            ]
            source = [
                slice(max(part.start, at) - at, min(part.stop, at + n) - at)
                for part, at, n in spans
            ]
            region[sample - box[0].start, *target] = (
                page.keyframe.nodata if values is None else values[tuple(source)]
            )
        return region[..., box[4]]

    @contextmanager
    def _open(self, file: Any) -> Iterator[Any]:
        with self.lock:
            file.open()
            try:
                yield file
            finally:
                file.close()


def _ravel(place: Sequence[int], shape: Sequence[int]) -> int:
    index = 0
    for number, extent in zip(place, shape, strict=True):
        index = index * extent + number
    return index


def _within_page(box: Box, shape: Sequence[int], shaped: Sequence[int]) -> Box | None:
    """``box`` of the axes ``shape`` as one of the page's axes; both differ in axes of extent 1."""
    within, axis = [slice(0, extent) for extent in shaped], 0
    for part, extent in zip(box, shape, strict=True):
        if extent == 1:
            continue
        while axis < len(shaped) and shaped[axis] == 1:
            axis += 1
        if axis == len(shaped) or shaped[axis] != extent:
            return None
        within[axis] = part
        axis += 1
    return tuple(within)


def _read_block(page: Any, offset: int, shape: Sequence[int], box: Box) -> np.ndarray:
    """A region of a page of plain pixels that lie in the file one after the other.

    What a map of the file has touched counts as memory while it lives: one map a page, therefore.
    """
    stored = np.dtype(page.parent.byteorder + page.dtype.char)
    block = np.memmap(page.parent.filehandle.path, stored, "r", offset, tuple(shape))
    return np.array(block[box], page.dtype, order="C")


def _touched_segments(page: Any, box: Box) -> Iterator[int]:
    """The numbers of the strips or tiles of ``page`` that ``box`` touches."""
    if page.is_tiled:
        extents = (1, page.tiledepth, page.tilelength, page.tilewidth)
    else:
        extents = (1, 1, page.rowsperstrip, page.imagewidth)
    grid = [-(-whole // part) for whole, part in zip(page.shaped, extents, strict=False)]
    touched = (
        range(part.start // extent, -(-part.stop // extent))
        for part, extent in zip(box, extents, strict=False)
    )
    for place in itertools.product(*touched):
        yield _ravel(place, grid)


def _read_bytes(file: Any, page: Any, index: int) -> bytes | None:
    """The encoded bytes of a strip or tile; None where it was left out as empty."""
    if index >= len(page.dataoffsets) or index >= len(page.databytecounts):
        return None
    offset, count = page.dataoffsets[index], page.databytecounts[index]
    if not offset or not count:
        return None
    file.seek(offset)
    data: bytes = file.read(count)
    if len(data) < count:
        raise ImageFileError(
            f"{file.path}: damaged or cut short (strip or tile {index} ends after {len(data)} of "
            f"{count} bytes); copy it again from its origin"
        )
    return data
