"""OME-Zarr images (0.4 and 0.5): what they say of themselves, and their pixels by region.

Stores of `septum predict` also say how far they are, in a file that `septum.prediction.manifest`
writes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from septum.errors import ImageFileError
from septum.images.image import AXES, ImageHeader, in_order
from septum.images.pixel_size import complete, length_in_micrometres
from septum.images.tiff_regions import Box

FILES_KEPT = 16
PROGRESS = ".septum-progress.jsonl"
"""In a store of `septum predict`: what is computed, the tiles done, and that all is."""
FINISHED, RUN = "finished", "run"
_METADATA = ("zarr.json", ".zgroup", ".zattrs")


@dataclass(frozen=True)
class ZarrRegions:
    """The pixels of an OME-Zarr image at full resolution; ``file_axes`` in the store's order."""

    path: Path
    dataset: str
    file_axes: str
    axes: str

    def read(self, box: Box) -> np.ndarray:
        """The region ``box`` of the image's axes; only the chunks that it touches are read.

        A chunk that is missing is read as the store's fill value, as Zarr means it: that a store
        was not copied in full cannot be told. Raises what Zarr or a decoder raises.
        """
        extents = dict(zip(self.axes, box, strict=True))
        array = _open_array(self.path / self.dataset)
        region = np.asarray(array[tuple(extents[axis] for axis in self.file_axes)])
        region = region.astype(region.dtype.newbyteorder("="), copy=False)
        return in_order(region, self.file_axes, self.axes)

    def missing_chunks(self, most: int) -> tuple[int, int]:
        """How many chunks are not in the store, of how many; 0 if over ``most``, or in shards."""
        array = _open_array(self.path / self.dataset)
        total = int(array.nchunks)
        if total > most or array.shards is not None:  # whose chunks lie in common files
            return 0, total
        return max(total - int(array.nchunks_initialized), 0), total


def is_zarr(path: Path) -> bool:
    """Whether this is the folder of a Zarr group; a group need not be named .zarr."""
    return path.is_dir() and any((path / name).is_file() for name in _METADATA)


def open_zarr(path: Path) -> tuple[ImageHeader, ZarrRegions]:
    """Read the metadata only: axes, units and scale of the finest image of ``multiscales``.

    Raises ImageFileError for a group that is no image, or whose axes are not some of TCZYX.
    """
    import zarr

    try:
        attributes: dict[str, Any] = dict(zarr.open_group(path, mode="r").attrs)
    except zarr.errors.ContainsArrayError:
        raise ImageFileError(
            f"{path}: is a Zarr array, without what OME-Zarr says of an image; of an OME-Zarr name "
            "the folder above, else copy it into a TIFF or an OME-Zarr"
        ) from None
    attributes = attributes.get("ome", attributes)  # 0.5 has moved it there
    try:
        image = attributes["multiscales"][0]
        dataset, axes = image["datasets"][0], image["axes"]
        names = [_axis_name(axis) for axis in axes]
    except (KeyError, IndexError, TypeError) as error:
        raise ImageFileError(
            f"{path}: is no OME-Zarr image (no multiscales with axes); expected version 0.4 or "
            "0.5: name the image within it, such as STORE.zarr/0"
        ) from error
    array = _open_array(path / dataset["path"])
    file_axes = "".join(names)
    if sorted(set(file_axes) & set(AXES)) != sorted(file_axes) or len(names) != array.ndim:
        raise ImageFileError(
            f"{path}: axes {names} of shape {array.shape} are not understood; expected time, "
            "channel, Z, Y, X, each at most once"
        )
    order = "".join(axis for axis in AXES if axis in file_axes)
    shape = tuple(array.shape[file_axes.index(axis)] for axis in order)
    channels = shape[order.index("C")] if "C" in order else 1
    header = ImageHeader(
        order,
        shape,
        array.dtype.newbyteorder("="),
        _pixel_size(image, dict(zip(file_axes, axes, strict=True)), order),
        _channel_names(attributes, channels),
        path,
    )
    return header, ZarrRegions(path, dataset["path"], file_axes, order)


def is_finished(store: Path) -> bool | None:
    """Whether a store holds all results; None if it is no store of `septum predict`."""
    if not (store / PROGRESS).is_file():
        return None
    return any(line.get(FINISHED) for line in read_progress(store))


def read_run(store: Path) -> str:
    """The word of the run that a store belongs to; "" where there is none any more."""
    try:
        with (store / PROGRESS).open(encoding="utf-8") as file:
            return str(json.loads(file.readline()).get(RUN, ""))
    except (OSError, ValueError, AttributeError):
        return ""


def read_progress(store: Path) -> list[dict[str, Any]]:
    """The records of the file PROGRESS; none without it, nor for lines that were cut short."""
    found = []
    try:
        text = (store / PROGRESS).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(record)
    return found


def _open_array(path: Path) -> Any:
    states = [file.stat() for file in (path / "zarr.json", path / ".zarray") if file.is_file()]
    return _keep_array(path, *((state.st_mtime_ns, state.st_size) for state in states))


@functools.lru_cache(FILES_KEPT)
def _keep_array(path: Path, *_changed: tuple[int, int]) -> Any:
    import zarr

    return zarr.open_array(path, mode="r")


def _axis_name(axis: str | Mapping[str, Any]) -> str:
    """T, C, Z, Y or X; by its type where time or channel has another name."""
    name = axis if isinstance(axis, str) else str(axis["name"])
    kind = "" if isinstance(axis, str) else axis.get("type", "")
    return {"time": "T", "channel": "C"}.get(kind, name.upper())


def _pixel_size(
    image: Mapping[str, Any], axes: Mapping[str, Any], order: str
) -> tuple[float, ...] | None:
    """In micrometres: the scale of the finest dataset times that of all of them."""
    steps = [*image["datasets"][0].get("coordinateTransformations", ())]
    steps += image.get("coordinateTransformations", ())
    sizes: dict[str, float] = dict.fromkeys(axes, 1.0)
    scales = [step["scale"] for step in steps if step.get("type") == "scale"]
    for scale in scales:
        for axis, factor in zip(axes, scale, strict=True):
            sizes[axis] *= factor
    units = {name: axis.get("unit", "") for name, axis in axes.items() if not isinstance(axis, str)}
    if not scales:
        return None
    spatial = [axis for axis in order if axis in "ZYX"]
    return complete([length_in_micrometres(sizes[a], units.get(a) or "") for a in spatial])


def _channel_names(attributes: Mapping[str, Any], channels: int) -> tuple[str, ...] | None:
    names = [channel.get("label") for channel in attributes.get("omero", {}).get("channels", ())]
    return tuple(map(str, names)) if len(names) == channels and all(names) else None
