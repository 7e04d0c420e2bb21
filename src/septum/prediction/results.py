"""Where the results of one image go, tile by tile: into memory, or into an OME-Zarr store.

Shapes: K classes, S the spatial axes (YX or ZYX), T those of a tile.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from septum.annotation.masks import masks_of
from septum.errors import SaveError
from septum.geometry import Tile
from septum.images.image import ImageHeader
from septum.images.zarr_store import read_run
from septum.images.zarr_writer import (
    build_pyramid,
    create_image,
    create_labels,
    is_whole_chunks,
    saving,
)
from septum.network.heads import UNCERTAINTY_NAME, Maps, count_classes
from septum.prediction.overlap_tile import predict_mask

ProbabilityType = Literal["uint8", "float16", "float32"]
Place = Mapping[str, int]
"""Which plane or volume of an image: a number for each axis that is split."""


@dataclass(frozen=True, eq=False)
class Results:
    """Mask, probabilities and, if asked for, instances of one image, of all its axes.

    ``store``: the OME-Zarr image of the probabilities, whose labels are mask and instances; None:
    they are in memory. Arrays have the axes that their headers say. ``run``: nothing is written
    once the store is another run's: workers may outlive the command that they worked for.
    ``maps``: what is stored as probabilities.
    """

    headers: dict[str, ImageHeader]
    arrays: dict[str, Any]
    store: Path | None = None
    run: str = ""
    maps: Maps = "classes"

    @property
    def map_count(self) -> int:
        """Of what is stored as probabilities, all but the uncertainty."""
        names = self.headers["probability"].channel_names or ()
        return len(names) - (names[-1] == UNCERTAINTY_NAME)

    def mean_uncertainty(self) -> float | None:
        """How far several networks disagree, in [0, 0.5], the mean of all pixels; None of one.

        Of a store it is read chunk by chunk.
        """
        header, array = self.headers["probability"], self.arrays["probability"]
        if (header.channel_names or ("",))[-1] != UNCERTAINTY_NAME:
            return None
        chunks = array.shape if self.store is None else array.chunks
        corners = [range(0, n, c) for n, c in zip(array.shape, chunks, strict=True)]
        axis = header.axes.index("C")
        corners[axis] = range(array.shape[axis] - 1, array.shape[axis])
        total, count = 0.0, 0
        for corner in itertools.product(*corners):
            part = array[tuple(slice(c, c + n) for c, n in zip(corner, chunks, strict=True))]
            total += float(_probabilities(np.asarray(part)).sum(dtype=np.float64))
            count += part.size
        return total / count

    def write(
        self, place: Place, tile: Tile, probability_KT: Float[np.ndarray, "k *t"], threshold: float
    ) -> int:
        """Keep a tile's probabilities and the mask of them, as rounded; return its pixels."""
        if self.run and self.store is not None and read_run(self.store) != self.run:
            raise SaveError(f"{self.store}: was begun anew by another command; this one ends")
        first, *others = tile.write_slices
        array = self.arrays["probability"]
        step = first.stop - first.start
        if self.store is not None:  # a row of chunks at a time: what is made on the way stays small
            step = array.chunks[-len(tile.write)]
        for start in range(first.start, first.stop, step):
            rows = slice(start, min(start + step, first.stop))
            part_KT = probability_KT[:, start - first.start : rows.stop - first.start]
            self._write_rows(place, (rows, *others), part_KT, threshold)
        return int(probability_KT[0].size)

    def _write_rows(
        self, place: Place, spatial: tuple[slice, ...], probability_KT: np.ndarray, threshold: float
    ) -> None:
        stored_KT = _rounded(probability_KT, self.arrays["probability"].dtype)
        map_KT = stored_KT[: self.map_count]
        mask_T = predict_mask(_probabilities(map_KT), threshold, self.maps)
        if self.maps == "overlapping":
            mask_T = masks_of(mask_T, len(map_KT))
        for name, values in (("probability", stored_KT), ("mask", mask_T)):
            array, header = self.arrays[name], self.headers[name]
            region = region_of(header.axes, place, spatial, header.channels)
            shape = [part.stop - part.start for part in region]
            # Two writers of one chunk would lose pixels without a word.
            assert self.store is None or is_whole_chunks(array, region)
            with self.saving():
                array[region] = values.reshape(shape)

    def saving(self) -> AbstractContextManager[None]:
        """While this writes to the store: a disk that is full becomes SaveError."""
        return nullcontext() if self.store is None else saving(self.store)

    def part(self, name: str, place: Place) -> PartOf:
        """One plane or volume of ``probability`` (K, *S), ``mask`` or ``instances`` (*S)."""
        return PartOf(self.arrays[name], self.headers[name].axes, place)

    def finish(self) -> None:
        """Give a store its coarser levels."""
        if self.store is not None:
            build_pyramid(self.store)
            for name in self.arrays:
                if name != "probability":
                    build_pyramid(self.store / "labels" / name)


def result_headers(
    image: ImageHeader,
    names: tuple[str, ...],
    probability: ProbabilityType,
    instances: bool,
    overlapping: bool = False,
) -> dict[str, ImageHeader]:
    """What will be known of the results of ``image``: axes and pixel size are its own.

    ``names``: of the maps, the background's first. Of ``overlapping`` classes mask and instances
    have the axis C, one entry a class but the background.
    """
    plain = [(axis, n) for axis, n in zip(image.axes, image.shape, strict=True) if axis != "C"]
    first = next(i for i, (axis, _) in enumerate([*plain, ("", 0)]) if axis != "T")
    channels = [*plain[:first], ("C", len(names)), *plain[first:]]

    def header(axes: list[tuple[str, int]], kind: str, names: Any = None) -> ImageHeader:
        return ImageHeader(
            "".join(axis for axis, _ in axes),
            tuple(n for _, n in axes),
            np.dtype(kind),
            image.pixel_size,
            names,
            image.source,
        )

    told, of_classes = plain, None
    if overlapping:
        of_classes = names[1 : count_classes(names, len(names))]
        told = [*plain[:first], ("C", len(of_classes)), *plain[first:]]
    headers = {"probability": header(channels, probability, names)}
    headers["mask"] = header(told, "uint8", of_classes)
    if instances:
        headers["instances"] = header(told, "uint32", of_classes)
    return headers


def results_in_memory(headers: dict[str, ImageHeader], maps: Maps = "classes") -> Results:
    """Arrays in memory, of zeros."""
    arrays = {name: np.zeros(h.shape, h.dtype) for name, h in headers.items()}
    return Results(headers, arrays, maps=maps)


def results_in_store(
    headers: dict[str, ImageHeader],
    store: Path,
    chunk: int,
    dimensions: int,
    run: str = "",
    maps: Maps = "classes",
) -> Results:
    """Arrays in the OME-Zarr image ``store``, which is made, or taken up where it is there.

    Chunks are of ``chunk`` pixels along the ``dimensions`` axes that a tile has. Raises SaveError
    if something else is there.
    """
    planes = len(headers["mask"].spatial_axes) - dimensions
    extents = (1,) * planes + (chunk,) * dimensions
    arrays = {}
    for name, header in headers.items():
        if name == "probability":
            arrays[name] = create_image(store, header, extents)
        else:
            arrays[name] = create_labels(store, name, header, extents)
    return Results(headers, arrays, store, run, maps)


def nbytes(headers: Mapping[str, ImageHeader]) -> int:
    """Bytes of all results."""
    return sum(math.prod(h.shape) * h.dtype.itemsize for h in headers.values())


def region_of(
    axes: str, place: Place, spatial: tuple[slice, ...], channels: int
) -> tuple[slice, ...]:
    """One slice for each of ``axes``: a plane's or volume's number, all channels, ``spatial``."""
    inside = iter(spatial)
    region = []
    for axis in axes:
        if axis in place:
            region.append(slice(place[axis], place[axis] + 1))
        else:
            region.append(slice(0, channels) if axis == "C" else next(inside))
    return tuple(region)


@dataclass(frozen=True, eq=False)
class PartOf:
    """A plane or volume of an array of all axes, read and written by region as (K, *S) or (*S)."""

    array: Any
    axes: str
    place: Place

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the axes that are not split."""
        axes = zip(self.axes, self.array.shape, strict=True)
        return tuple(int(n) for axis, n in axes if axis not in self.place)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the pixels."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        part = np.asarray(self.array[self._region(index)])
        kept = zip(self.axes, part.shape, strict=True)
        return part.reshape([n for axis, n in kept if axis not in self.place])

    def __setitem__(self, index: tuple[slice, ...], values: np.ndarray) -> None:
        region = self._region(index)
        self.array[region] = values.reshape([part.stop - part.start for part in region])

    def _region(self, index: tuple[slice, ...]) -> tuple[slice, ...]:
        inside = iter(index)
        region = []
        for axis, extent in zip(self.axes, self.array.shape, strict=True):
            if axis in self.place:
                region.append(slice(self.place[axis], self.place[axis] + 1))
            else:
                start, stop, _ = next(inside).indices(extent)
                region.append(slice(start, stop))
        return tuple(region)


def _rounded(probability_KT: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    if dtype == np.uint8:
        return np.rint(probability_KT * np.float32(255)).astype(np.uint8)
    return probability_KT.astype(dtype, copy=False)


def _probabilities(stored_KT: np.ndarray) -> np.ndarray:
    if stored_KT.dtype == np.uint8:
        return stored_KT / np.float32(255)
    return stored_KT.astype(np.float32, copy=False)
