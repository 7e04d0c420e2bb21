"""The size of a pixel, in micrometres, from what files say of it."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

MICROMETRES = {
    "m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "nm": 1e-3, "pm": 1e-6, "Å": 1e-4, "in": 25400.0,
    "meter": 1e6, "metre": 1e6, "centimeter": 1e4, "millimeter": 1e3,
    "um": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "nanometer": 1e-3, "nanometre": 1e-3, "picometer": 1e-6, "angstrom": 1e-4,
    "inch": 25400.0, "inches": 25400.0,
}  # fmt: skip
"""Micrometres in one unit, by the names that OME, OME-Zarr and ImageJ give it."""

# Screens and printers have 72 to 1200 dots an inch: programs write these without having measured
# anything. A light microscope's pixel is below 20 µm, 1270 dots an inch.
LARGEST_MEASURED = 20.0
SMALLEST_MEASURED = 1e-5


def ome_pixel_size(pixels: ElementTree.Element, axes: str) -> tuple[float, ...] | None:
    """Of the element Pixels of OME-XML: one size a spatial axis in ``axes``, or None."""
    sizes = []
    for axis in (a for a in axes if a in "ZYX"):
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        sizes.append(length_in_micrometres(pixels.get(f"PhysicalSize{axis}"), unit))
    return complete(sizes)


def imagej_pixel_size(metadata: dict[str, Any], page: Any, axes: str) -> tuple[float, ...] | None:
    """Of ImageJ's metadata and the tags of its first page; None where no unit of length is said."""
    unit = str(metadata.get("unit", "")).replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    sizes = [_resolution(page, f"{axis}Resolution", unit) for axis in "YX"]
    if unit in ("inch", "inches", "in") and not all(map(_measured, sizes)):
        return None
    if "Z" in axes:  # ImageJ leaves out a spacing of 1
        sizes.insert(0, length_in_micrometres(metadata.get("spacing", 1.0), unit))
    return complete(sizes)


def tag_pixel_size(page: Any, axes: str) -> tuple[float, ...] | None:
    """In the plane only, so for 2D images only: plain TIFF has no tag for the step in Z."""
    tag = page.tags.get("ResolutionUnit")
    unit = {2: "inch", 3: "cm"}.get(int(tag.value) if tag else 0, "")
    sizes = [_resolution(page, f"{axis}Resolution", unit) for axis in "YX"]
    return complete(sizes) if "Z" not in axes and all(map(_measured, sizes)) else None


def _resolution(page: Any, name: str, unit: str) -> float | None:
    tag = page.tags.get(name)
    if tag is None or not tag.value[0]:
        return None
    return length_in_micrometres(tag.value[1] / tag.value[0], unit)


def length_in_micrometres(value: object, unit: str) -> float | None:
    """None where the unit is not known or the value is no positive number."""
    factor = MICROMETRES.get(unit) or MICROMETRES.get(unit.lower())
    try:
        length = float(str(value)) * (factor or 0.0)
    except ValueError:
        return None
    return length if 0 < length < float("inf") else None


def _measured(size: float | None) -> bool:
    return size is not None and SMALLEST_MEASURED <= size <= LARGEST_MEASURED


def complete(sizes: list[float | None]) -> tuple[float, ...] | None:
    """The sizes, if all are known."""
    known = tuple(size for size in sizes if size is not None)
    return known if len(known) == len(sizes) else None


def relative_spacing(pixel_size: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Extents of a pixel in those of its shortest side; None: equal to a hundredth, or unknown."""
    if pixel_size is None or max(pixel_size) <= 1.01 * min(pixel_size):
        return None
    return tuple(size / min(pixel_size) for size in pixel_size)
