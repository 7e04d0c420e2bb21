"""What is measured of each object, and the table of it.

Shapes: C channels, S the spatial axes (YX or ZYX), D their number, N objects.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from septum.atomic_file import replace_file
from septum.errors import InputError
from septum.images.blocks import blocks
from septum.images.tiff_regions import Box
from septum.images.tiff_writer import LazyArray

ROWS = 10_000
"""Objects whose rows are in memory as text at a time."""


@dataclass(frozen=True, eq=False)
class ObjectTable:
    """A row an object, by id. Pixels are points at whole coordinates, the first at 0.

    ``axes``: ``YX`` or ``ZYX``, the order of D; ``pixel_size`` in µm, along D, None if unknown.
    ``id_N`` has the ids that occur. ``low_ND`` (inclusive) and ``high_ND`` (exclusive) are the
    bounding box. ``mean_NC``, ``least_NC`` and ``most_NC`` are of the object's grey values.
    """

    axes: str
    pixel_size: tuple[float, ...] | None
    channel_names: tuple[str, ...] | None
    id_N: npt.NDArray[np.int64]
    class_N: npt.NDArray[np.uint8]
    pixels_N: npt.NDArray[np.int64]
    centroid_ND: npt.NDArray[np.float64]
    low_ND: npt.NDArray[np.int64]
    high_ND: npt.NDArray[np.int64]
    mean_NC: npt.NDArray[np.float64]
    least_NC: npt.NDArray[Any]
    most_NC: npt.NDArray[Any]
    class_names: tuple[str, ...] = ()

    def followed_by(self, other: ObjectTable) -> ObjectTable:
        """The rows of both, which are of one image."""
        rows: dict[str, Any] = {
            field.name: np.concatenate([getattr(self, field.name), getattr(other, field.name)])
            for field in dataclasses.fields(self)
            if "_N" in field.name
        }
        return dataclasses.replace(self, **rows)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The columns by name, in this order:

        - ``id``, ``class`` and, if the classes have names, ``class_name``
        - ``area_px`` and, if the pixel size is known, ``area_um2``; of a volume ``volume_voxels``
          and ``volume_um3``
        - an axis each, (z,) y, x: ``centroid_y_px``; then ``centroid_y_um`` if the pixel size is
          known, the centroid in pixels times the pixel size
        - an axis each: ``bbox_y_min`` (inclusive) and ``bbox_y_max`` (exclusive), in pixels
        - ``mean_intensity``, ``min_intensity``, ``max_intensity``; with several channels a trio a
          channel, ``mean_intensity_0`` … or, if they have names that differ in more than case and
          signs, ``mean_intensity_dapi`` …
        """
        axes = self.axes.lower()
        size, cubic = ("area_px", "area_um2") if len(axes) == 2 else ("volume_voxels", "volume_um3")
        columns: dict[str, npt.NDArray[Any]] = {"id": self.id_N, "class": self.class_N}
        if self.class_names:
            columns["class_name"] = np.array(self.class_names)[self.class_N]
        columns[size] = self.pixels_N
        if self.pixel_size is not None:
            columns[cubic] = self.pixels_N * math.prod(self.pixel_size)
        for axis, centroid_N in zip(axes, self.centroid_ND.T, strict=True):
            columns[f"centroid_{axis}_px"] = centroid_N
        if self.pixel_size is not None:
            for axis, centroid_N, pixel in zip(
                axes, self.centroid_ND.T, self.pixel_size, strict=True
            ):
                columns[f"centroid_{axis}_um"] = centroid_N * pixel
        for axis, low_N, high_N in zip(axes, self.low_ND.T, self.high_ND.T, strict=True):
            columns[f"bbox_{axis}_min"], columns[f"bbox_{axis}_max"] = low_N, high_N
        suffixes = _suffixes(self.mean_NC.shape[1], self.channel_names)
        for channel, suffix in enumerate(suffixes):
            columns[f"mean_intensity{suffix}"] = self.mean_NC[:, channel]
            columns[f"min_intensity{suffix}"] = self.least_NC[:, channel]
            columns[f"max_intensity{suffix}"] = self.most_NC[:, channel]
        return columns


def measure_objects(
    instances: LazyArray,
    image: LazyArray,
    classes: npt.NDArray[np.uint8],
    block: Sequence[int],
    pixel_size: tuple[float, ...] | None = None,
    channel_names: tuple[str, ...] | None = None,
) -> ObjectTable:
    """Measure the objects of ``instances`` (*S; 0 is none) in ``image`` (C, *S).

    Both are read by regions of extents ``block`` or smaller. The result is the same for all
    block sizes, intensity means to rounding: they are summed in double precision.
    ``classes``: entry i is the class of object i + 1, as `label_objects` gives them. Pixels of an
    object need not hang together. ``pixel_size``: µm, one entry a spatial axis; None if unknown.
    Memory: some 30 bytes, and 8 a channel, a pixel of a block; 150, and 30 a channel, an object.

    Raises InputError for arrays that do not fit each other, and ids above the number of classes.
    """
    extents, dimensions = tuple(instances.shape), len(instances.shape)
    if tuple(image.shape[1:]) != extents or dimensions not in (2, 3):
        raise InputError(
            f"objects of shape {extents} and an image of shape {tuple(image.shape)} do not fit; "
            "expected (Y, X) and (C, Y, X), or (Z, Y, X) and (C, Z, Y, X)"
        )
    channels, count = image.shape[0], len(classes) + 1
    if instances.dtype.kind not in "iu":
        raise InputError(f"objects are of type {instances.dtype}; expected integers")
    if pixel_size is not None and len(pixel_size) != dimensions:
        raise InputError(f"pixel size {pixel_size} does not fit {dimensions} spatial axes")
    if channel_names is not None and len(channel_names) != channels:
        raise InputError(f"{len(channel_names)} channel names for {channels} channels")
    pixels_N, place_N3 = np.zeros(count, np.int64), np.zeros((count, 3), np.int64)
    low_N3, high_N3 = np.full((count, 3), np.iinfo(np.int64).max), np.zeros((count, 3), np.int64)
    total_CN = np.zeros((channels, count))
    least_CN, most_CN = np.full_like(total_CN, np.inf), np.full_like(total_CN, -np.inf)
    for box in blocks(extents, block):
        id_ZYX, image_CZYX, corner_3 = _block(instances, image, box)
        for number in (id_ZYX.min(), id_ZYX.max()):  # compiled code does not check its indices
            if not 0 <= number < count:
                raise InputError(f"object {number} has no class; expected 0 to {count - 1}")
        _add_shapes(id_ZYX, corner_3, pixels_N, place_N3, low_N3, high_N3)
        for channel in range(channels):
            grey = (total_CN[channel], least_CN[channel], most_CN[channel])
            _add_intensities(id_ZYX, image_CZYX[channel], *grey)
    present = 1 + np.flatnonzero(pixels_N[1:])
    pixels_N1 = pixels_N[present, np.newaxis]
    kind = image.dtype if image.dtype.kind in "iuf" else np.dtype(np.uint8)
    return ObjectTable(
        axes="ZYX"[-dimensions:],
        pixel_size=pixel_size,
        channel_names=channel_names,
        id_N=present,
        class_N=classes[present - 1],
        pixels_N=pixels_N[present],
        centroid_ND=place_N3[present, -dimensions:] / pixels_N1,
        low_ND=low_N3[present, -dimensions:],
        high_ND=high_N3[present, -dimensions:],
        mean_NC=total_CN[:, present].T / pixels_N1,
        least_NC=least_CN[:, present].T.astype(kind),
        most_NC=most_CN[:, present].T.astype(kind),
    )


def write_objects(path: Path, tables: Mapping[str, ObjectTable]) -> None:
    """Write ``columns()`` of the tables as CSV (UTF-8, commas, one line of names), or nothing.

    ``tables``: by the suffix of the plane or volume, ``""`` where there is only one. Of several,
    a first column ``part`` tells which: ``07``, or ``t03 z07``. Integers are written in full,
    other numbers with 9 digits. Raises SaveError.
    """
    with (
        replace_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for number, (suffix, table) in enumerate(tables.items()):
            columns = table.columns()
            if suffix:
                part = suffix.strip("[]").replace(",", " ")
                columns = {"part": np.full(len(table.id_N), part), **columns}
            if number == 0:
                file.write(",".join(columns) + "\n")
            for start in range(0, len(table.id_N), ROWS):
                texts = [_texts(column[start : start + ROWS]) for column in columns.values()]
                file.writelines(",".join(row) + "\n" for row in zip(*texts, strict=True))


def _block(
    instances: LazyArray, image: LazyArray, box: Box
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Ids and grey values of a block, and its first pixel, with axis Z in any case."""
    id_S = np.ascontiguousarray(instances[box])
    image_CS = np.ascontiguousarray(image[(slice(0, image.shape[0]), *box)], np.float64)
    more = (1,) * (3 - id_S.ndim)
    corner_3 = np.array([0] * len(more) + [span.start for span in box], np.int64)
    return (
        id_S.reshape(more + id_S.shape),
        image_CS.reshape(image_CS.shape[:1] + more + id_S.shape),
        corner_3,
    )


@njit(cache=True)
def _add_shapes(id_ZYX, corner_3, pixels_N, place_N3, low_N3, high_N3):  # type: ignore[no-untyped-def]  # numba infers
    for z in range(id_ZYX.shape[0]):
        for y in range(id_ZYX.shape[1]):
            for x in range(id_ZYX.shape[2]):
                k = id_ZYX[z, y, x]
                if k:
                    pixels_N[k] += 1
                    place = (z + corner_3[0], y + corner_3[1], x + corner_3[2])
                    for axis in range(3):
                        place_N3[k, axis] += place[axis]
                        low_N3[k, axis] = min(low_N3[k, axis], place[axis])
                        high_N3[k, axis] = max(high_N3[k, axis], place[axis] + 1)


@njit(cache=True)
def _add_intensities(id_ZYX, image_ZYX, total_N, least_N, most_N):  # type: ignore[no-untyped-def]  # numba infers
    for z in range(id_ZYX.shape[0]):
        for y in range(id_ZYX.shape[1]):
            for x in range(id_ZYX.shape[2]):
                k = id_ZYX[z, y, x]
                if k:
                    value = image_ZYX[z, y, x]
                    total_N[k] += value
                    least_N[k] = min(least_N[k], value)
                    most_N[k] = max(most_N[k], value)


def _suffixes(channels: int, names: tuple[str, ...] | None) -> list[str]:
    """What tells the columns of each channel from those of the others."""
    if channels == 1:
        return [""]
    safe = [re.sub("[^a-z0-9]+", "_", name.lower()).strip("_") for name in names or ()]
    if not all(safe) or len(set(safe)) < channels:
        safe = [str(channel) for channel in range(channels)]
    return [f"_{name}" for name in safe]


def _texts(column: npt.NDArray[Any]) -> list[str]:
    if column.dtype.kind == "U":  # a name may hold what separates the columns
        quoted = {name: name.replace('"', '""') for name in np.unique(column).tolist()}
        marks = {name: '"' if re.search('[,"\r\n]', name) else "" for name in quoted}
        return [f"{marks[name]}{quoted[name]}{marks[name]}" for name in column.tolist()]
    if column.dtype.kind == "f":
        return [f"{value:.9g}" for value in column.tolist()]
    return [str(value) for value in column.tolist()]
