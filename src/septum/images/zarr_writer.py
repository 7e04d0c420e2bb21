"""OME-Zarr 0.5 images and labels: made, or opened again to go on, and given their pyramid.

The caller writes the pixels of level 0, region by region. A region is whole chunks (whole shards,
where there are any), each of one writer only: what is written in part, Zarr reads, changes and
writes back, and of two that do so at once one loses pixels without a word (zarr-python, #3682).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from septum.errors import SaveError
from septum.images.image import ImageHeader
from septum.images.tiff_regions import Box
from septum.images.zarr_store import PROGRESS

VERSION = "0.5"
LARGEST_COARSEST, FLATTEST_HALVED = 512, 1.5
ZSTD_LEVEL = 1

# Before its first file there are the record of its progress, and the file's other name.
_BEGUN = {".partial", Path(PROGRESS).suffix}
_COLOURS = ("FFFFFF", "FF00FF", "00FF00", "00FFFF", "FFFF00", "FF0000", "0000FF")


def create_image(
    path: Path, header: ImageHeader, chunk: tuple[int, ...], shard: tuple[int, ...] | None = None
) -> Any:
    """Make the OME-Zarr image ``path``, of which ``header`` says all; return its full resolution.

    That is a writable zarr.Array of shape ``header.shape``, 0 where nothing has been written. If
    the image is there already, alike in axes, shape, type, chunks, pixel size and channel names,
    it is opened with what it holds, so that a job that was interrupted can go on.

    ``chunk`` and ``shard`` are extents in pixels along the spatial axes (Z)YX, cut where the image
    is smaller; a shard gathers chunks, of which it is a multiple, in one file. A chunk holds one
    time and one channel: who looks at one class fetches no other, and a tile of all classes fills
    whole chunks still, one of each class. A shard holds all channels of one time, for its writer
    has all classes of a tile.

    Raises SaveError: something else stands there, the disk is full, the folder is not writable.
    """
    layout = _first_level(header, chunk, shard)
    return _open_or_create(path, layout, _describe(path.name, header, "mean"))


def create_labels(
    image: Path,
    name: str,
    header: ImageHeader,
    chunk: tuple[int, ...],
    shard: tuple[int, ...] | None = None,
) -> Any:
    """Make the label image ``labels/NAME`` of the OME-Zarr ``image``, and enter it in its list.

    ``header``, of an integer type, is that of the labels; its spatial axes are those of the image.
    All else is as in `create_image`. Raises SaveError, also if ``image`` is none of version 0.5.
    """
    assert header.dtype.kind in "ui", header.dtype
    assert not set(name) & set("/\\"), name
    import zarr

    layout, described = _first_level(header, chunk, shard), _describe(name, header, "nearest")
    described["image-label"] = {"version": VERSION, "source": {"image": "../../"}}
    with saving(image):
        if _ome(image) is None:
            raise SaveError(f"{image}: is no OME-Zarr image yet that labels could be added to")
        array = _open_or_create(image / "labels" / name, layout, described)
        group = zarr.open_group(image / "labels", mode="a", zarr_format=3)
        attributes: dict[str, Any] = group.attrs.asdict()
        listed = attributes.get("ome", {}).get("labels", [])
        if name not in listed:  # at the end, so that what is listed is there
            group.attrs["ome"] = {"version": VERSION, "labels": [*listed, name]}
    return array


def build_pyramid(path: Path, watch: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Give the OME-Zarr image or label image ``path``, written in full, its coarser levels.

    A level halves Y and X of the one before, until planes are at most 512 pixels wide and high; Z
    too, while its step is at most 1.5 pixels of the plane, never where pixel sizes are unknown. So
    an image and its labels have as many levels. In images, pixels become the mean of those there
    are (the last of an odd number stands alone), integers rounded, halves up, exact up to 32 bits;
    as this moves their centres, levels have a translation. Of labels, every second pixel is kept.

    Whole chunks (shards) are made one by one: memory depends on their size only; ``watch(done,
    total)`` hears of them. Levels are entered in the metadata when all are there; a build that was
    interrupted, or whose image has changed, is repeated. Raises SaveError.
    """
    import zarr

    with saving(path):
        group = zarr.open_group(path, mode="r+")
        ome: dict[str, Any] = dict(group.attrs)["ome"]  # type: ignore[assignment]
        image, mean = ome["multiscales"][0], "image-label" not in ome
        image["datasets"] = image["datasets"][:1]
        group.attrs["ome"] = ome  # until they are made, no levels are promised
        finer = zarr.open_array(path / image["datasets"][0]["path"], mode="r")
        levels = [finer]
        for shape, dataset in _plan_levels(image, finer.shape, mean):
            layout = _layout(shape, finer.dtype, finer.chunks, finer.shards)
            levels.append(_create_array(path / dataset["path"], layout, image))
            image["datasets"].append(dataset)
        total, done = sum(1 for level in levels[1:] for _ in _regions(level)), itertools.count(1)
        for finer, coarser in itertools.pairwise(levels):
            for region in _regions(coarser):
                coarser[region] = _halve(finer, region, coarser.shape, mean)
                watch(next(done), total)
        group.attrs["ome"] = ome


def is_whole_chunks(array: Any, region: Box) -> bool:
    """Whether a region of a zarr.Array is whole chunks, or whole shards of a sharded one.

    Then its writer shares no file with that of another such region. Chunks end with the array.
    """
    parts = zip(region, array.shape, array.shards or array.chunks, strict=True)
    return all(
        0 <= part.start < part.stop <= n
        and part.start % unit == 0
        and (part.stop % unit == 0 or part.stop == n)
        for part, n, unit in parts
    )


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """An OSError (disk full, not writable), the caller's too, becomes SaveError with the store."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
        raise SaveError(
            f"{path}: cannot be written: {reason}; what is written is kept, run the command again"
        ) from error


def _first_level(
    header: ImageHeader, chunk: tuple[int, ...], shard: tuple[int, ...] | None
) -> dict[str, Any]:
    assert len(chunk) == len(header.spatial_axes), (chunk, header.axes)
    others = header.axes[: -len(chunk)]
    chunks = (*(1 for _ in others), *chunk)
    shards = shard and (*(header.channels if axis == "C" else 1 for axis in others), *shard)
    return _layout(header.shape, header.dtype.newbyteorder("="), chunks, shards)


def _layout(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None,
) -> dict[str, Any]:
    """What zarr.create_array is told of an array: chunks and shards are cut to what they hold."""
    chunks = tuple(map(min, chunks, shape))
    full = (-(-n // chunk) * chunk for n, chunk in zip(shape, chunks, strict=True))
    shards = shards and tuple(map(min, shards, full))
    return {"shape": shape, "dtype": dtype, "chunks": chunks, "shards": shards}


def _create_array(path: Path, layout: Mapping[str, Any], image: Mapping[str, Any]) -> Any:
    """An array of which nothing is written, in place of whatever was there."""
    import zarr
    from zarr.codecs import ZstdCodec

    known: dict[str, Any] = {**layout, "compressors": ZstdCodec(level=ZSTD_LEVEL)}
    names = [axis["name"] for axis in image["axes"]]
    return zarr.create_array(path, dimension_names=names, overwrite=True, **known)


def _regions(array: Any) -> Iterator[Box]:
    """The pieces of an array, each of one writer, in order."""
    units = array.shards or array.chunks
    starts = (range(0, n, unit) for n, unit in zip(array.shape, units, strict=True))
    for corner in itertools.product(*starts):
        parts = zip(corner, units, array.shape, strict=True)
        yield tuple(slice(start, min(start + unit, n)) for start, unit, n in parts)


def _describe(name: str, header: ImageHeader, method: str) -> dict[str, Any]:
    """The metadata of an image of one level, as the specification of OME-Zarr 0.5 wants them."""
    kinds = {"T": "time", "C": "channel"}
    axes = [{"name": a.lower(), "type": kinds.get(a, "space")} for a in header.axes]
    sizes = header.pixel_size or ()
    for axis in axes[len(axes) - len(sizes) :]:
        axis["unit"] = "micrometer"
    scale = {"type": "scale", "scale": [*(1.0 for _ in axes[len(sizes) :]), *sizes]}
    image = {
        "name": name,
        "axes": axes,
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
        "type": method,
        "metadata": {"method": f"{__name__}.build_pyramid"},
    }
    described: dict[str, Any] = {"version": VERSION, "multiscales": [image]}
    if header.channel_names is not None:  # viewers want colours, and a range of values, with them
        top = float(np.iinfo(header.dtype).max) if header.dtype.kind in "ui" else 1.0
        shown = {"window": {"min": 0.0, "max": top, "start": 0.0, "end": top}, "active": True}
        named = zip(header.channel_names, itertools.cycle(_COLOURS), strict=False)
        described["omero"] = {"channels": [{"label": n, "color": c, **shown} for n, c in named]}
    return described


def _open_or_create(path: Path, layout: Mapping[str, Any], described: Mapping[str, Any]) -> Any:
    import zarr

    with saving(path):
        known, full = _ome(path), path / "0"
        array = zarr.open_array(full, mode="r+") if (full / "zarr.json").is_file() else None
        if known is None:
            zarr.create_group(path, zarr_format=3, attributes={"ome": dict(described)})
        else:
            found = layout if array is None else {key: getattr(array, key) for key in layout}
            alike = _comparable(known) == _comparable(described)
            if found != layout or not alike:
                other = "" if alike else ", and of other axes, pixel size, channel names or origin"
                _refuse(path, f"an image of {_say(found)}{other}", f"one of {_say(layout)}")
        if array is None:  # new, or a process ended between the group and this
            array = _create_array(full, layout, described["multiscales"][0])
        return array


def _comparable(ome: Mapping[str, Any]) -> dict[str, Any]:
    """What must be alike where an image goes on: not its name, nor its coarser levels."""
    images = [{**i, "name": "", "datasets": i["datasets"][:1]} for i in ome.get("multiscales", ())]
    return {**ome, "multiscales": images}


def _say(layout: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in layout.items() if value is not None)


def _refuse(path: Path, found: str, wanted: str) -> NoReturn:
    raise SaveError(
        f"{path}: holds {found}, not {wanted}: name another store, or remove this one to start anew"
    )


def _ome(path: Path) -> dict[str, Any] | None:
    """What a group of OME-Zarr 0.5 says of itself; None where nothing is yet. Raises SaveError."""
    try:
        ome = json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]["ome"]
        if ome["version"] == VERSION:
            return dict(ome)
    except FileNotFoundError:
        if not path.exists() or {each.suffix for each in path.iterdir()} <= _BEGUN:
            return None
    except (NotADirectoryError, ValueError, KeyError, TypeError):
        pass  # a file, or what another program has written
    _refuse(path, "something else", f"an OME-Zarr {VERSION} image")


def _plan_levels(
    image: Mapping[str, Any], shape: tuple[int, ...], mean: bool
) -> list[tuple[tuple[int, ...], dict[str, Any]]]:
    """The shape of each level but the first, and what the metadata say of it."""
    scale: list[float] = image["datasets"][0]["coordinateTransformations"][0]["scale"]
    volume = [axis["type"] == "space" and "unit" in axis for axis in image["axes"][-3:]]
    levels: list[tuple[tuple[int, ...], dict[str, Any]]] = []
    factors, extents, sizes = [1] * len(shape), shape, scale
    while max(extents[-2:]) > LARGEST_COARSEST:
        deep = volume == [True] * 3 and sizes[-3] <= FLATTEST_HALVED * min(sizes[-2:])
        for axis in range(len(shape) - 2 - deep, len(shape)):
            factors[axis] *= 2 if extents[axis] > 1 else 1
        extents = tuple(-(-n // factor) for n, factor in zip(shape, factors, strict=True))
        sizes = [size * factor for size, factor in zip(scale, factors, strict=True)]
        steps = [{"type": "scale", "scale": sizes}]
        if mean:  # the middle of the first 2 pixels lies half a pixel from that of the first
            moved = [(size - finest) / 2 for size, finest in zip(sizes, scale, strict=True)]
            steps.append({"type": "translation", "translation": moved})
        path = str(len(levels) + 1)
        levels.append((extents, {"path": path, "coordinateTransformations": steps}))
    return levels


def _halve(finer: Any, region: Box, shape: tuple[int, ...], mean: bool) -> np.ndarray:
    """The pixels ``region`` of the level of extents ``shape`` that follows ``finer``."""
    factors = [1 + (n != m) for n, m in zip(finer.shape, shape, strict=True)]
    box = zip(region, factors, finer.shape, strict=True)
    block = finer[tuple(slice(part.start * f, min(part.stop * f, n)) for part, f, n in box)]
    if not mean:
        return np.asarray(block[tuple(slice(None, None, f) for f in factors)])
    kind = "u" if block.dtype.kind == "b" else block.dtype.kind
    total = block.astype(f"{kind}{min(8, 2 * block.dtype.itemsize)}")
    for axis in (axis for axis, factor in enumerate(factors) if factor == 2):
        if total.shape[axis] % 2:  # the last one twice, whose mean it is
            total = np.concatenate((total, total.take([-1], axis)), axis)
        pairs = np.moveaxis(total, axis, 0)
        total = np.moveaxis(pairs[::2] + pairs[1::2], 0, axis)
    count = math.prod(factors)
    total = total / count if kind == "f" else (total + count // 2) // count
    return np.asarray(total, block.dtype)
