"""Images left where they are: the header is read at once, pixels by region when asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from septum.errors import ImageFileError
from septum.images.files import check_finite, check_readable, decoding, file_kind, read_image
from septum.images.image import Image, ImageHeader
from septum.images.tiff import RGB
from septum.images.tiff_regions import Box, open_tiff
from septum.images.zarr_store import is_zarr, open_zarr

ORIENTATION = 0x0112
"""The EXIF tag; from 5 on, rows are columns."""

__all__ = ["Box", "Regions", "StoredImage", "StoredStack", "hold_image", "load_image", "open_image"]


@runtime_checkable
class Regions(Protocol):
    """Where the pixels of an image come from."""

    def read(self, box: Box) -> np.ndarray:
        """The region ``box`` of all axes of the image, of which C is whole."""


@dataclass(frozen=True)
class StoredImage:
    """An image whose pixels are still in its file.

    ``axes``, ``pixel_size``, ``channel_names`` and ``source`` are as in Image; ``shape`` and
    ``dtype`` are those of the array that `read_image` would give. It can be pickled, and read in
    many threads at once; no file stays open. Raises ImageFileError.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    regions: Regions
    pixel_size: tuple[float, ...] | None = None
    channel_names: tuple[str, ...] | None = None
    source: Path | None = None

    def __post_init__(self) -> None:
        _ = self.header  # which checks what it is given

    @property
    def header(self) -> ImageHeader:
        """All that is known without the pixels."""
        return ImageHeader(
            self.axes, self.shape, self.dtype, self.pixel_size, self.channel_names, self.source
        )

    @property
    def channels(self) -> int:
        """Extent of axis C; 1 where there is none."""
        return self.header.channels

    def read(self, box: Box | None = None) -> Image:
        """The image, or its region ``box`` (one slice an axis, that of C whole).

        Raises ImageFileError; an AnnotationError or MemoryError of its regions as it is.
        """
        source = self.source or Path("image")
        with decoding(source, file_kind(source)):
            array = self.regions.read(box or tuple(slice(0, extent) for extent in self.shape))
        image = Image(array, self.axes, self.pixel_size, self.channel_names, self.source)
        check_finite(image)
        return image

    def stacks(self, dimensions: int) -> list[tuple[str, StoredStack]]:
        """As `Image.stacks`: suffix and part, but the parts are read only when asked to."""
        return [
            (suffix, StoredStack(self, index))
            for suffix, index in self.header.stack_indices(dimensions)
        ]


@dataclass(frozen=True)
class StoredStack:
    """A plane or volume of a StoredImage: its array would be of shape (channels, *extents).

    ``index`` holds a number for each axis of the image that is split, and a whole slice for the
    others.
    """

    image: StoredImage
    index: tuple[int | slice, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """Pixels along the spatial axes (Z)YX."""
        image = zip(self.image.axes, self.image.shape, self.index, strict=True)
        return tuple(n for axis, n, i in image if axis != "C" and isinstance(i, slice))

    @property
    def channels(self) -> int:
        """Extent of axis C; 1 where there is none."""
        return self.image.channels

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type of the pixels."""
        return self.image.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all its pixels in memory."""
        return self.channels * math.prod(self.extents) * self.dtype.itemsize

    def read(self, box: Box | None = None) -> np.ndarray:
        """Pixels of all channels, of shape (C, *spatial), C-contiguous.

        ``box``: one slice a spatial axis, start and stop within the extents, no step; None is
        all. Only what the box touches is read from TIFF (rows of plain pixels, strips, tiles) and
        OME-Zarr (chunks; missing ones are the fill value); PNG, JPEG and BMP are decoded whole.
        Raises ImageFileError, naming the file, if these cannot be read, are NaN, infinite or
        transparent; ValueError for a box that is not one.
        """
        image, asked = self.image, _checked(box, self.extents)
        inside = iter(asked)
        whole_box = []
        for axis, extent, place in zip(image.axes, image.shape, self.index, strict=True):
            if isinstance(place, int):
                whole_box.append(slice(place, place + 1))
            else:
                whole_box.append(slice(0, extent) if axis == "C" else next(inside))
        region = image.read(tuple(whole_box)).array
        extents = (part.stop - part.start for part in asked)
        return np.ascontiguousarray(region.reshape(self.channels, *extents))


def open_image(path: Path | str, labels: bool = False) -> StoredImage:
    """Read what a file says of its pixels, not the pixels: TIFF, PNG, JPEG, BMP, OME-Zarr.

    Agrees in everything with `read_image`, which says what ``labels`` is. Raises ImageFileError
    as it does, but for what only the pixels tell: that is raised when they are read.
    """
    path = Path(path)
    zarr = is_zarr(path)
    if not zarr:
        check_readable(path)
    kind = file_kind(path)
    regions: Regions
    with decoding(path, kind):
        if zarr:
            header, regions = open_zarr(path)
        elif kind == "TIFF":
            regions = open_tiff(path)
            header = regions.header.image_header(path)
        else:
            header = _describe_picture(path, labels)
            regions = PictureRegions(header, labels)
    return _stored(header, regions)


def load_image(path: Path | str, labels: bool = False) -> StoredImage:
    """As `open_image`, but all pixels are read at once. Raises ImageFileError as `read_image`."""
    path = Path(path)
    return hold_image(open_image(path).read() if is_zarr(path) else read_image(path, labels))


def hold_image(image: Image) -> StoredImage:
    """An image in memory, to be read by region like those in files."""
    return _stored(image.header, MemoryRegions(image.array))


@dataclass(frozen=True, eq=False)
class MemoryRegions:
    """Pixels in memory."""

    array: np.ndarray

    def read(self, box: Box) -> np.ndarray:
        """A view of the region."""
        return self.array[box]


@dataclass(frozen=True)
class PictureRegions:
    """PNG, JPEG and BMP, which can only be decoded as a whole."""

    header: ImageHeader
    labels: bool

    def read(self, box: Box) -> np.ndarray:
        """A view of the region. Raises ImageFileError as `read_image` does."""
        assert self.header.source is not None
        image = read_image(self.header.source, self.labels)
        if image.header != self.header:
            raise ImageFileError(
                f"{self.header.source}: is not the file that was opened; start anew"
            )
        return image.array[box]


def _stored(header: ImageHeader, regions: Regions) -> StoredImage:
    return StoredImage(
        header.axes,
        header.shape,
        header.dtype,
        regions,
        header.pixel_size,
        header.channel_names,
        header.source,
    )


def _checked(box: Box | None, extents: tuple[int, ...]) -> Box:
    if box is None:
        return tuple(slice(0, extent) for extent in extents)
    known = len(box) == len(extents) and all(
        part.step in (None, 1) and 0 <= part.start < part.stop <= extent
        for part, extent in zip(box, extents, strict=True)
    )
    if not known:
        raise ValueError(f"box {box} does not lie in an image of extents {extents}")
    return box


def _describe_picture(path: Path, labels: bool) -> ImageHeader:
    """What `read_image` makes of a PNG, JPEG or BMP, from its header."""
    import PIL.Image

    with PIL.Image.open(path, formats=[file_kind(path)]) as picture:
        mode, (width, height), channels = picture.mode, picture.size, len(picture.getbands())
        turned = picture.format == "JPEG" and picture.getexif().get(ORIENTATION, 1) >= 5
    dtype = np.dtype(bool if mode == "1" else np.uint8)
    if file_kind(path) == "BMP":
        channels = 3 if mode in ("RGB", "RGBA") or (mode == "P" and not labels) else 1
    if file_kind(path) == "PNG":
        with path.open("rb") as file:
            bits, colour = file.read(26)[24:]  # of the header, which always comes first
        channels = 3 if colour in (2, 6) or (colour == 3 and not labels) else 1
        dtype = np.dtype(np.uint16) if bits == 16 else dtype
    plane = (width, height) if turned else (height, width)
    if channels == 1:
        return ImageHeader("YX", plane, dtype, source=path)
    names = RGB if channels == 3 else None
    return ImageHeader("CYX", (channels, *plane), dtype, channel_names=names, source=path)
