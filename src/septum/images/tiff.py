"""TIFF in all its dialects: plain, BigTIFF, ImageJ and OME."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from septum.errors import ImageFileError, SaveError
from septum.images.image import AXES, Image

MICROMETRES = {
    "m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "nm": 1e-3, "pm": 1e-6, "Å": 1e-4, "in": 25400.0,
    "meter": 1e6, "metre": 1e6, "centimeter": 1e4, "millimeter": 1e3,
    "um": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "nanometer": 1e-3, "nanometre": 1e-3, "angstrom": 1e-4, "inch": 25400.0, "inches": 25400.0,
}  # fmt: skip
"""Micrometres in one unit, by the names that OME and ImageJ give it."""

# Screens and printers have 72 to 1200 dots an inch: programs write these without having measured
# anything. A light microscope's pixel is below 20 µm, 1270 dots an inch.
LARGEST_MEASURED = 20.0
SMALLEST_MEASURED = 1e-5
RGB = ("red", "green", "blue")
CLASSIC_LIMIT = 3_900_000_000
_OWN_AXES = re.compile(r"septum axes ([TCZYX]+)")


def read_tiff(path: Path) -> Image:
    """Read the first image series of a TIFF file. Raises ImageFileError, or what tifffile raises.

    A page axis of which the file does not say what it is becomes Z, so that a plain multi-page
    file is a stack of planes in 2D and a volume in 3D. Samples of a pixel become channels. Grey
    values are as stored: no palette is applied, no "white is zero" inverted, as in ImageJ.
    """
    import tifffile

    with _complaints() as complaints, tifffile.TiffFile(path) as tif:
        if not tif.series:
            raise ImageFileError(f"{path}: holds no image")
        series = tif.series[0]
        _refuse_other_sizes(path, tif)
        axes = series.get_axes(squeeze=True)
        page = series.keyframe
        if np.dtype(series.dtype or "V1").kind not in "buif":
            raise ImageFileError(
                f"{path}: pixels of type {series.dtype} cannot be used; expected integer or "
                "real values"
            )
        array = series.asarray()
        ome = _ome_pixels(tif.ome_metadata) if tif.is_ome and tif.ome_metadata else None
        names = None
        if "S" in axes:
            array, axes, names = _samples_to_channels(path, array, axes, page)
        wanted = _OWN_AXES.search(tif.ome_metadata or "")
        array, axes = _canonical(path, array, axes, wanted[1] if wanted else "")
        if ome is not None:
            size, names = _ome_pixel_size(ome, axes), _ome_names(ome, array, axes) or names
        elif tif.is_imagej and tif.imagej_metadata is not None:
            size = _imagej_pixel_size(tif.imagej_metadata, page, axes)
        else:
            size = _tag_pixel_size(page, axes)
    if complaints:
        raise ImageFileError(
            f"{path}: damaged or cut short ({complaints[0]}); copy it again from its origin"
        )
    return Image(array, axes, size, names, path)


def write_tiff(path: Path, image: Image, target: Path) -> None:
    """Write an OME-TIFF, zlib-compressed; BigTIFF above 3.9 GB.

    OME keeps axes, pixel size and channel names for all types and opens in Fiji. It has no half
    precision, 64-bit integer or boolean: these become float32, (u)int32 and uint8 (0 and 1), with
    the same values. ``target`` is only named in errors.
    """
    import tifffile

    array = _storable(image.array, target)
    metadata: dict[str, Any] = {"axes": image.axes, "Description": f"septum axes {image.axes}"}
    if image.pixel_size is not None:
        for axis, size in zip(image.spatial_axes, image.pixel_size, strict=True):
            metadata[f"PhysicalSize{axis}"] = float(size)
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    if image.channel_names is not None and "C" in image.axes:
        metadata["Channel"] = {"Name": list(image.channel_names)}
    tifffile.imwrite(
        path,
        array,
        ome=True,
        bigtiff=array.nbytes > CLASSIC_LIMIT,
        photometric="minisblack",
        compression="zlib",
        metadata=metadata,
    )


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


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what tifffile only logs when a file is damaged, and keep it off the terminal."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if record.levelno >= logging.ERROR or "corrupt" in text or "missing" in text:
                found.append(" ".join(text.split()))

    logger = logging.getLogger("tifffile")
    collector, propagate = Collector(), logger.propagate
    logger.addHandler(collector)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate


def _refuse_other_sizes(path: Path, tif: Any) -> None:
    if tif.is_ome or len(tif.series) == 1:
        return  # the first image of an OME file is its main one
    shapes = sorted({s.shape for s in tif.series if not s.keyframe.is_reduced}, reverse=True)
    if len(shapes) > 1:
        raise ImageFileError(
            f"{path}: holds images of different sizes ({shapes[0]}, {shapes[1]}); split it into "
            "one file each"
        )


def _samples_to_channels(
    path: Path, array: np.ndarray, axes: str, page: Any
) -> tuple[np.ndarray, str, tuple[str, ...] | None]:
    """Make the samples of a pixel the channels; colours get their names."""
    array = np.moveaxis(array, axes.index("S"), 0)
    axes = axes.replace("S", "")
    if "C" in axes:
        raise ImageFileError(
            f"{path}: has both channels and colour samples; save it with one grey page a channel"
        )
    names = None
    if page.photometric.name in ("RGB", "YCBCR"):
        extra = [getattr(item, "name", "") for item in page.extrasamples]
        if array.shape[0] == 4 and any("ALPHA" in name for name in extra):
            array = drop_alpha(path, array)
        names = RGB if array.shape[0] == 3 else None
    return array, "C" + axes, names


def drop_alpha(path: Path, image_CS: np.ndarray) -> np.ndarray:
    """The image without its last channel, which must be opaque everywhere."""
    full = np.iinfo(image_CS.dtype).max if image_CS.dtype.kind in "ui" else 1
    if (image_CS[-1] != full).any():
        raise ImageFileError(
            f"{path}: has transparent pixels, of which no grey value is known; save it without "
            "an alpha channel"
        )
    return image_CS[:-1]


def _canonical(path: Path, array: np.ndarray, axes: str, wanted: str) -> tuple[np.ndarray, str]:
    """Bring the axes into the order TCZYX; undeclared page axes become Z, or T beside a Z."""
    for axis in [a for a in axes if a not in AXES]:
        free = [a for a in "ZT" if a not in axes]
        if axis not in "QIRP" or not free:
            raise ImageFileError(
                f"{path}: axes {axes} of shape {array.shape} are more than is known here "
                "(time, channel, Z, Y, X); split the file"
            )
        axes = axes.replace(axis, free[0], 1)
    if wanted:  # one of our own files: axes of extent 1 come back
        for axis in wanted:
            if axis not in axes:
                array, axes = array[np.newaxis], axis + axes
    for axis in "XY":
        if axis not in axes:  # one row or one column of pixels
            array, axes = array[..., np.newaxis], axes + axis
    if len(set(axes)) != len(axes):
        raise ImageFileError(f"{path}: axes {axes} are not understood; split the file")
    order = "".join(a for a in AXES if a in axes)
    return array.transpose([axes.index(a) for a in order]), order


def _ome_pixels(xml: str) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(xml).find(".//{*}Pixels")
    except ElementTree.ParseError:
        return None


def _ome_pixel_size(pixels: ElementTree.Element, axes: str) -> tuple[float, ...] | None:
    sizes = []
    for axis in (a for a in axes if a in "ZYX"):
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        sizes.append(_length(pixels.get(f"PhysicalSize{axis}"), unit))
    return _complete(sizes)


def _ome_names(pixels: ElementTree.Element, array: np.ndarray, axes: str) -> tuple[str, ...] | None:
    names = [channel.get("Name", "") for channel in pixels.findall("{*}Channel")]
    count = array.shape[axes.index("C")] if "C" in axes else 1
    return tuple(names) if len(names) == count and all(names) else None


def _imagej_pixel_size(metadata: dict[str, Any], page: Any, axes: str) -> tuple[float, ...] | None:
    unit = str(metadata.get("unit", "")).replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    sizes = [_resolution(page, f"{axis}Resolution", unit) for axis in "YX"]
    if unit in ("inch", "inches", "in") and not all(map(_measured, sizes)):
        return None
    if "Z" in axes:  # ImageJ leaves out a spacing of 1
        sizes.insert(0, _length(metadata.get("spacing", 1.0), unit))
    return _complete(sizes)


def _tag_pixel_size(page: Any, axes: str) -> tuple[float, ...] | None:
    """In the plane only, so for 2D images only: plain TIFF has no tag for the step in Z."""
    tag = page.tags.get("ResolutionUnit")
    unit = {2: "inch", 3: "cm"}.get(int(tag.value) if tag else 0, "")
    sizes = [_resolution(page, f"{axis}Resolution", unit) for axis in "YX"]
    return _complete(sizes) if "Z" not in axes and all(map(_measured, sizes)) else None


def _resolution(page: Any, name: str, unit: str) -> float | None:
    tag = page.tags.get(name)
    if tag is None or not tag.value[0]:
        return None
    return _length(tag.value[1] / tag.value[0], unit)


def _length(value: object, unit: str) -> float | None:
    factor = MICROMETRES.get(unit) or MICROMETRES.get(unit.lower())
    try:
        length = float(str(value)) * (factor or 0.0)
    except ValueError:
        return None
    return length if 0 < length < float("inf") else None


def _measured(size: float | None) -> bool:
    return size is not None and SMALLEST_MEASURED <= size <= LARGEST_MEASURED


def _complete(sizes: list[float | None]) -> tuple[float, ...] | None:
    known = tuple(size for size in sizes if size is not None)
    return known if len(known) == len(sizes) else None
