"""TIFF in all its dialects: plain, BigTIFF, ImageJ and OME."""

from __future__ import annotations

import logging
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from septum.errors import ImageFileError, SaveError
from septum.images.image import AXES, Image, ImageHeader, in_order
from septum.images.pixel_size import imagej_pixel_size, ome_pixel_size, tag_pixel_size

RGB = ("red", "green", "blue")
CLASSIC_LIMIT = 3_900_000_000
_OWN_AXES = re.compile(r"septum axes ([TCZYX]+)")


@dataclass(frozen=True)
class TiffHeader:
    """The first image series of a TIFF file, its pixels apart.

    ``file_axes`` and ``file_shape`` are those of the series, in the file's order, with the names
    of TCZYX; all else is as in Image. ``alpha``: the last channel of the file is not one of the
    image, but must be opaque.
    """

    file_axes: str
    file_shape: tuple[int, ...]
    axes: str
    dtype: np.dtype[Any]
    pixel_size: tuple[float, ...] | None
    channel_names: tuple[str, ...] | None
    alpha: bool

    @property
    def shape(self) -> tuple[int, ...]:
        extents = dict(zip(self.file_axes, self.file_shape, strict=True))
        if self.alpha:
            extents["C"] -= 1
        return tuple(extents.get(axis, 1) for axis in self.axes)

    def image_header(self, path: Path) -> ImageHeader:
        """What the file is as an image. Raises ImageFileError."""
        return ImageHeader(
            self.axes, self.shape, self.dtype, self.pixel_size, self.channel_names, path
        )

    def arrange(self, path: Path, array: np.ndarray) -> np.ndarray:
        """Pixels of the series, or of a region of it with all channels, as those of the image.

        Raises ImageFileError if they are transparent.
        """
        if self.alpha:
            array = drop_alpha(path, np.moveaxis(array, self.file_axes.index("C"), 0))
            return in_order(array, "C" + self.file_axes.replace("C", ""), self.axes)
        return in_order(array, self.file_axes, self.axes)


def read_tiff(path: Path) -> Image:
    """Read the first image series of a TIFF file. Raises ImageFileError, or what tifffile raises.

    A page axis of which the file does not say what it is becomes Z, so that a plain multi-page
    file is a stack of planes in 2D and a volume in 3D. Samples of a pixel become channels. Grey
    values are as stored: no palette is applied, no "white is zero" inverted, as in ImageJ.
    """
    import tifffile

    with complaints_are_errors(path), tifffile.TiffFile(path) as tif:
        header = describe_tiff(path, tif)
        array = tif.series[0].asarray()
    array = header.arrange(path, array)
    return Image(array, header.axes, header.pixel_size, header.channel_names, path)


def describe_tiff(path: Path, tif: Any) -> TiffHeader:
    """What the open tifffile.TiffFile ``tif`` says of its first series; raises as `read_tiff`."""
    if not tif.series:
        raise ImageFileError(f"{path}: holds no image")
    series = tif.series[0]
    _refuse_other_sizes(path, tif)
    page = series.keyframe
    dtype, shape = np.dtype(series.dtype or "V1"), series.get_shape(squeeze=True)
    if dtype.kind not in "buif":
        raise ImageFileError(
            f"{path}: pixels of type {series.dtype} cannot be used; expected integer or real values"
        )
    names, alpha = None, False
    axes = series.get_axes(squeeze=True)
    if "S" in axes:
        axes = _samples_to_channels(path, axes)
        names, alpha = _colours(page, shape[axes.index("C")])
    wanted = _OWN_AXES.search(tif.ome_metadata or "")
    file_axes, axes = _canonical(path, shape, axes, wanted[1] if wanted else "")
    header = TiffHeader(file_axes, shape, axes, dtype, None, names, alpha)
    ome = _ome_pixels(tif.ome_metadata) if tif.is_ome and tif.ome_metadata else None
    if ome is not None:
        size = ome_pixel_size(ome, axes)
        names = _ome_names(ome, header.shape, axes) or names
    elif tif.is_imagej and tif.imagej_metadata is not None:
        size = imagej_pixel_size(tif.imagej_metadata, page, axes)
    else:
        size = tag_pixel_size(page, axes)
    return replace(header, pixel_size=size, channel_names=names)


def write_tiff(path: Path, image: Image, target: Path) -> None:
    """Write an OME-TIFF, zlib-compressed; BigTIFF above 3.9 GB.

    OME keeps axes, pixel size and channel names for all types and opens in Fiji. It has no half
    precision, 64-bit integer or boolean: these become float32, (u)int32 and uint8 (0 and 1), with
    the same values. ``target`` is only named in errors.
    """
    import tifffile

    array = _storable(image.array, target)
    tifffile.imwrite(
        path,
        array,
        ome=True,
        bigtiff=array.nbytes > CLASSIC_LIMIT,
        photometric="minisblack",
        compression="zlib",
        metadata=ome_metadata(target.name, image.header),
    )


def ome_metadata(name: str, header: ImageHeader) -> dict[str, Any]:
    """What tifffile is told of an image; the identifier is not random: same file, same bytes."""
    identity = f"{name} {header.axes} {header.shape} {header.dtype}"
    metadata: dict[str, Any] = {
        "axes": header.axes,
        "Description": f"septum axes {header.axes}",
        "UUID": str(uuid.uuid5(uuid.NAMESPACE_URL, identity)),
    }
    for axis, size in zip(header.spatial_axes, header.pixel_size or (), strict=False):
        metadata[f"PhysicalSize{axis}"] = float(size)
        metadata[f"PhysicalSize{axis}Unit"] = "µm"
    if header.channel_names is not None and "C" in header.axes:
        metadata["Channel"] = {"Name": list(header.channel_names)}
    return metadata


def _storable(array: np.ndarray, target: Path) -> np.ndarray:
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype.kind in "ui" and array.dtype.itemsize == 8:
        narrow = np.dtype(np.uint32 if array.min() >= 0 else np.int32)
        if array.max() > np.iinfo(narrow).max or array.min() < np.iinfo(narrow).min:
            raise SaveError(f"{target}: values beyond 32 bits cannot be written as TIFF")
        return array.astype(narrow)
    return array


class _Complaints(logging.Filter):
    """Collects what is logged in this thread, and keeps it off the terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.thread, self.found = threading.get_ident(), list[str]()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        mine = record.thread == self.thread
        if mine and (record.levelno >= logging.ERROR or "corrupt" in text or "missing" in text):
            self.found.append(" ".join(text.split()))
        return not mine


@contextmanager
def complaints_are_errors(path: Path) -> Iterator[None]:
    """Raise ImageFileError for what tifffile only logs when a file is damaged."""
    logger, complaints = logging.getLogger("tifffile"), _Complaints()
    logger.addFilter(complaints)
    try:
        yield
    finally:
        logger.removeFilter(complaints)
    if complaints.found:
        raise ImageFileError(
            f"{path}: damaged or cut short ({complaints.found[0]}); copy it again from its origin"
        )


def _refuse_other_sizes(path: Path, tif: Any) -> None:
    if tif.is_ome or len(tif.series) == 1:
        return  # the first image of an OME file is its main one
    shapes = sorted({s.shape for s in tif.series if not s.keyframe.is_reduced}, reverse=True)
    if len(shapes) > 1:
        raise ImageFileError(
            f"{path}: holds images of different sizes ({shapes[0]}, {shapes[1]}); split it into "
            "one file each"
        )


def _samples_to_channels(path: Path, axes: str) -> str:
    if "C" in axes:
        raise ImageFileError(
            f"{path}: has both channels and colour samples; save it with one grey page a channel"
        )
    return axes.replace("S", "C")


def _colours(page: Any, samples: int) -> tuple[tuple[str, ...] | None, bool]:
    """Names of the channels that the samples of a pixel become; whether the last one is alpha."""
    if page.photometric.name not in ("RGB", "YCBCR"):
        return None, False
    extra = [getattr(item, "name", "") for item in page.extrasamples]
    alpha = samples == 4 and any("ALPHA" in name for name in extra)
    return (RGB if samples - alpha == 3 else None), alpha


def drop_alpha(path: Path, image_CS: np.ndarray) -> np.ndarray:
    """The image without its last channel, which must be opaque everywhere."""
    full = np.iinfo(image_CS.dtype).max if image_CS.dtype.kind in "ui" else 1
    if (image_CS[-1] != full).any():
        raise ImageFileError(
            f"{path}: has transparent pixels, of which no grey value is known; save it without "
            "an alpha channel"
        )
    return image_CS[:-1]


def _canonical(path: Path, shape: tuple[int, ...], axes: str, wanted: str) -> tuple[str, str]:
    """The axes by names of TCZYX, and all that the image has of these, in this order.

    Undeclared page axes become Z, or T beside a Z.
    """
    for axis in [a for a in axes if a not in AXES]:
        free = [a for a in "ZT" if a not in axes]
        if axis not in "QIRP" or not free:
            raise ImageFileError(
                f"{path}: axes {axes} of shape {shape} are more than is known here "
                "(time, channel, Z, Y, X); split the file"
            )
        axes = axes.replace(axis, free[0], 1)
    if len(set(axes)) != len(axes):
        raise ImageFileError(f"{path}: axes {axes} are not understood; split the file")
    # One of our own files had axes of extent 1, any file may be one row or column of pixels.
    return axes, "".join(axis for axis in AXES if axis in axes + wanted + "YX")


def _ome_pixels(xml: str) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(xml).find(".//{*}Pixels")
    except ElementTree.ParseError:
        return None


def _ome_names(
    pixels: ElementTree.Element, shape: tuple[int, ...], axes: str
) -> tuple[str, ...] | None:
    names = [channel.get("Name", "") for channel in pixels.findall("{*}Channel")]
    count = shape[axes.index("C")] if "C" in axes else 1
    return tuple(names) if len(names) == count and all(names) else None
