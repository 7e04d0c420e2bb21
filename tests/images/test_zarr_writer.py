"""OME-Zarr out: what is written is read again, also by halves, and the pyramid is its mean."""

from __future__ import annotations

import hashlib
import itertools
import json
import resource
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from septum.errors import SaveError
from septum.images import zarr_writer
from septum.images.image import ImageHeader
from septum.images.stored import open_image
from septum.images.zarr_writer import (
    build_pyramid,
    create_image,
    create_labels,
    is_whole_chunks,
    saving,
)

EXTENTS = {"T": 2, "C": 3, "Z": 9, "Y": 37, "X": 41}
CHUNK = {"Z": 8, "Y": 16, "X": 16}
Regions = list[tuple[slice, ...]]


def header_of(axes: str, dtype: str = "uint8", **known: Any) -> ImageHeader:
    shape = tuple(EXTENTS[axis] for axis in axes)
    return ImageHeader(axes, shape, np.dtype(dtype), **known)


def plane(height: int, width: int, dtype: str = "uint8", **known: Any) -> ImageHeader:
    return ImageHeader("YX", (height, width), np.dtype(dtype), **known)


def pixels(shape: tuple[int, ...], dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random(shape)
    return (values if np.dtype(dtype).kind == "f" else values * 250).astype(dtype)


def pieces(array: Any) -> Regions:
    """What one writer each writes; in an order of no use to anyone."""
    units = array.shards or array.chunks
    grid = itertools.product(
        *(range(0, n, unit) for n, unit in zip(array.shape, units, strict=True))
    )
    regions = [
        tuple(slice(s, min(s + u, n)) for s, u, n in zip(place, units, array.shape, strict=True))
        for place in grid
    ]
    return [regions[i] for i in np.random.default_rng(1).permutation(len(regions))]


def write(array: Any, values: np.ndarray) -> None:
    for region in pieces(array):
        assert is_whole_chunks(array, region)
        array[region] = values[region]


def metadata(path: Path) -> dict[str, Any]:
    node: dict[str, Any] = json.loads((path / "zarr.json").read_text())
    assert node["zarr_format"] == 3
    return node


def ome(path: Path) -> dict[str, Any]:
    known = metadata(path)["attributes"]["ome"]
    assert known["version"] == "0.5"
    return dict(known)


def levels_of(path: Path) -> list[np.ndarray]:
    datasets = ome(path)["multiscales"][0]["datasets"]
    return [zarr.open_array(path / dataset["path"], mode="r")[...] for dataset in datasets]


def digests(path: Path) -> dict[str, str]:
    files = (file for file in path.rglob("*") if file.is_file())
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }


@pytest.mark.parametrize(("sharded", "known"), [(False, True), (True, False)])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "uint32", "float16", "float32"])
@pytest.mark.parametrize("axes", ["YX", "CYX", "ZYX", "TCZYX"])
def test_what_is_written_by_region_is_read_again(
    axes: str, dtype: str, sharded: bool, known: bool, tmp_path: Path
) -> None:
    size = (0.9, 0.1234567890123, 0.2)[-(3 if "Z" in axes else 2) :]
    names = tuple(f"dye {i} é" for i in range(3)) if "C" in axes else ("dye",)
    given: dict[str, Any] = {"pixel_size": size, "channel_names": names} if known else {}
    header = header_of(axes, dtype, **given, source=tmp_path / "a.zarr")
    chunk = tuple(CHUNK[axis] for axis in header.spatial_axes)
    shard = tuple(2 * extent for extent in chunk) if sharded else None
    array = create_image(tmp_path / "a.zarr", header, chunk, shard)
    values = pixels(header.shape, dtype)
    write(array, values)
    stored = open_image(tmp_path / "a.zarr")
    assert stored.header == header
    np.testing.assert_array_equal(stored.read().array, values)


def test_an_image_smaller_than_its_chunk_is_one_chunk(tmp_path: Path) -> None:
    array = create_image(tmp_path / "a.zarr", plane(5, 700), (512, 512), (2048, 2048))
    assert (array.chunks, array.shards) == ((5, 512), (5, 1024))
    array[...] = 7
    assert (open_image(tmp_path / "a.zarr").read().array == 7).all()


def test_bytes_of_another_order_are_written_in_ours(tmp_path: Path) -> None:
    values = pixels((5, 6), "uint16")
    array = create_image(tmp_path / "a.zarr", plane(5, 6, ">u2"), (5, 6))
    assert array.dtype.isnative
    array[...] = values.astype(">u2")
    np.testing.assert_array_equal(open_image(tmp_path / "a.zarr").read().array, values)


@pytest.mark.parametrize("shard", [None, (32, 16)])
def test_a_tile_of_all_classes_is_whole_chunks(shard: Any, tmp_path: Path) -> None:
    array = create_image(tmp_path / "a.zarr", header_of("TCYX"), (16, 8), shard)
    assert array.chunks == (1, 1, 16, 8)
    assert array.shards == (None if shard is None else (1, 3, 32, 16))
    tile = (slice(1, 2), slice(0, 3), slice(32, 37), slice(16, 32))
    assert is_whole_chunks(array, tile)
    assert is_whole_chunks(array, (tile[0], slice(1, 2), *tile[2:])) == (shard is None)


@pytest.mark.parametrize(
    ("rows", "columns", "chunks", "shards"),
    [
        (slice(0, 37), slice(0, 41), True, True),
        (slice(0, 16), slice(0, 8), True, False),
        (slice(0, 32), slice(0, 16), True, True),
        (slice(16, 32), slice(8, 16), True, False),
        (slice(32, 37), slice(32, 41), True, True),
        (slice(32, 36), slice(32, 41), False, False),
        (slice(32, 48), slice(32, 48), False, False),
        (slice(1, 32), slice(0, 16), False, False),
        (slice(0, 32), slice(0, 12), False, False),
        (slice(0, 0), slice(0, 16), False, False),
        (slice(-32, 32), slice(0, 16), False, False),
    ],
    ids=str,
)
def test_whole_chunks_are_told_from_parts(
    rows: slice, columns: slice, chunks: bool, shards: bool, tmp_path: Path
) -> None:
    plain = create_image(tmp_path / "a.zarr", header_of("YX"), (16, 8))
    sharded = create_image(tmp_path / "b.zarr", header_of("YX"), (16, 8), (32, 16))
    assert is_whole_chunks(plain, (rows, columns)) == chunks
    assert is_whole_chunks(sharded, (rows, columns)) == shards


def check_image(path: Path, axes: str, unit: bool) -> dict[str, Any]:
    """What the specification of OME-Zarr 0.5 demands or advises of a multiscale image."""
    assert metadata(path)["node_type"] == "group"
    (image,) = ome(path)["multiscales"]
    kinds = {"T": "time", "C": "channel"}
    for axis, name in zip(image["axes"], axes, strict=True):
        assert axis["name"] == name.lower()
        assert axis["type"] == kinds.get(name, "space")
        expected = "micrometer" if unit and name in "ZYX" else None
        assert axis.get("unit") == expected
    assert image["name"]
    assert image["type"] in ("mean", "nearest")
    assert image["metadata"]["method"]
    sizes = []
    for number, dataset in enumerate(image["datasets"]):
        assert dataset["path"] == str(number)
        array = metadata(path / dataset["path"])
        assert array["node_type"] == "array"
        assert array["dimension_names"] == [axis["name"] for axis in image["axes"]]
        assert [codec["name"] for codec in array["codecs"]] in (
            ["bytes", "zstd"],
            ["sharding_indexed"],
        )
        scale, *rest = dataset["coordinateTransformations"]
        assert scale["type"] == "scale"
        assert len(scale["scale"]) == len(axes)
        assert [step["type"] for step in rest] in ([], ["translation"])
        assert all(len(step["translation"]) == len(axes) for step in rest)
        sizes.append(int(np.prod(array["shape"])))
    assert sizes == sorted(sizes, reverse=True)
    return dict(image)


@pytest.mark.parametrize("axes", ["YX", "CYX", "ZYX", "TCZYX"])
def test_metadata_follow_the_specification(axes: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    size = (2.0, 0.5, 0.25)[-(3 if "Z" in axes else 2) :]
    names = ("a", "b", "c") if "C" in axes else None
    header = header_of(axes, "uint16", pixel_size=size, channel_names=names)
    create_image(path, header, tuple(CHUNK[axis] for axis in header.spatial_axes))
    image = check_image(path, axes, unit=True)
    steps = image["datasets"][0]["coordinateTransformations"]
    scale = [1.0] * (len(axes) - len(size)) + list(size)
    assert steps == [{"type": "scale", "scale": scale}]
    if names is None:
        assert "omero" not in ome(path)
        return
    channels = ome(path)["omero"]["channels"]
    assert [channel["label"] for channel in channels] == list(names)
    assert len({channel["color"] for channel in channels}) == 3
    for channel in channels:
        assert len(bytes.fromhex(channel["color"])) == 3
        assert channel["window"] == {"min": 0, "max": 65535, "start": 0, "end": 65535}


def test_an_unknown_pixel_size_has_no_unit(tmp_path: Path) -> None:
    create_image(tmp_path / "a.zarr", header_of("ZYX"), (8, 16, 16))
    image = check_image(tmp_path / "a.zarr", "ZYX", unit=False)
    steps = image["datasets"][0]["coordinateTransformations"]
    assert steps == [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]


def test_probabilities_are_shown_from_0_to_1(tmp_path: Path) -> None:
    header = header_of("CYX", "float16", channel_names=("a", "b", "c"))
    create_image(tmp_path / "a.zarr", header, (16, 8))
    channel = ome(tmp_path / "a.zarr")["omero"]["channels"][1]
    assert channel["window"] == {"min": 0, "max": 1, "start": 0, "end": 1}


def test_an_image_that_is_there_is_opened_with_what_it_holds(tmp_path: Path) -> None:
    header = header_of("CYX", pixel_size=(0.5, 0.25), channel_names=("a", "b", "c"))
    values = pixels(header.shape)
    first = create_image(tmp_path / "a.zarr", header, (16, 8))
    regions = pieces(first)
    for region in regions[: len(regions) // 2]:
        first[region] = values[region]
    (tmp_path / "a.zarr").rename(tmp_path / "b.zarr")
    again = create_image(tmp_path / "b.zarr", header, (16, 8))
    for region in regions[len(regions) // 2 :]:
        again[region] = values[region]
    np.testing.assert_array_equal(open_image(tmp_path / "b.zarr").read().array, values)


OTHERS: dict[str, tuple[ImageHeader, Any, Any]] = {
    "shape": (plane(37, 42, pixel_size=(1.0, 1.0)), (16, 8), None),
    "type": (plane(37, 41, "uint16", pixel_size=(1.0, 1.0)), (16, 8), None),
    "chunks": (plane(37, 41, pixel_size=(1.0, 1.0)), (8, 8), None),
    "shards": (plane(37, 41, pixel_size=(1.0, 1.0)), (16, 8), (32, 16)),
    "pixel size": (plane(37, 41, pixel_size=(1.0, 2.0)), (16, 8), None),
    "no pixel size": (plane(37, 41), (16, 8), None),
    "names": (plane(37, 41, pixel_size=(1.0, 1.0), channel_names=("a",)), (16, 8), None),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_image_in_its_place_is_refused(other: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    create_image(path, plane(37, 41, pixel_size=(1.0, 1.0)), (16, 8))[...] = 3
    before = digests(path)
    header, chunk, shard = OTHERS[other]
    with pytest.raises(SaveError, match=r"a\.zarr: holds .* not one of .*another store") as caught:
        create_image(path, header, chunk, shard)
    assert "\n" not in str(caught.value)
    assert "shape (37, 41)" in str(caught.value)
    assert f"shape {header.shape}" in str(caught.value)
    assert digests(path) == before


def test_other_axes_of_the_same_extents_are_refused(tmp_path: Path) -> None:
    shape = (3, 37, 41)
    create_image(tmp_path / "a.zarr", ImageHeader("CYX", shape, np.dtype("uint8")), (16, 8))
    with pytest.raises(SaveError, match="of other axes"):
        create_image(tmp_path / "a.zarr", ImageHeader("TYX", shape, np.dtype("uint8")), (16, 8))


def a_file(path: Path) -> None:
    path.write_text("a file")


def a_folder(path: Path) -> None:
    (path / "0").mkdir(parents=True)
    (path / "0" / "precious.tif").touch()


def ome_zarr_04(path: Path) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs["multiscales"] = [{"version": "0.4"}]


def ome_zarr_06(path: Path) -> None:
    create_image(path, plane(37, 41), (16, 8))
    known = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(known.replace('"version": "0.5"', '"version": "0.6.dev1"'))


def a_group(path: Path) -> None:
    zarr.create_group(path, attributes={"mine": 1})


def an_array(path: Path) -> None:
    zarr.create_array(path, shape=(37, 41), dtype="uint8", chunks=(16, 8))


def garbage(path: Path) -> None:
    path.mkdir()
    (path / "zarr.json").write_text('{"zarr_format": 3,')


def a_list(path: Path) -> None:
    path.mkdir()
    (path / "zarr.json").write_text("[]")


STRANGERS = [a_file, a_folder, ome_zarr_04, ome_zarr_06, a_group, an_array, garbage, a_list]


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda made: made.__name__)
def test_what_is_not_ours_is_left_alone(stranger: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    stranger(path)
    before = digests(tmp_path)
    with pytest.raises(SaveError, match=r"a\.zarr: holds something else"):
        create_image(path, plane(37, 41), (16, 8))
    with pytest.raises(SaveError, match=r"a\.zarr: holds something else"):
        create_labels(path, "mask", plane(37, 41), (16, 8))
    assert digests(tmp_path) == before


def test_an_image_of_another_program_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    create_image(path, plane(37, 41), (16, 8))
    known = metadata(path)
    known["attributes"]["ome"]["multiscales"][0]["metadata"]["method"] = "skimage.transform"
    (path / "zarr.json").write_text(json.dumps(known))
    with pytest.raises(SaveError, match="or origin"):
        create_image(path, plane(37, 41), (16, 8))


def test_a_process_killed_while_it_made_the_image_can_make_it_again(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    path.mkdir()
    (path / "zarr.0123456789abcdef.partial").write_text("{")
    create_image(path, plane(37, 41), (16, 8))
    (path / "0" / "zarr.json").unlink()
    create_image(path, plane(37, 41), (16, 8))[...] = 5
    assert (open_image(path).read().array == 5).all()


def test_label_images_are_listed_once_each_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    create_image(path, header_of("CYX", "float32", pixel_size=(0.5, 0.25)), (16, 8))
    header = header_of("YX", "uint32", pixel_size=(0.5, 0.25), channel_names=None)
    values = pixels(header.shape, "uint32")
    for name in ("mask", "instances", "mask"):
        array = create_labels(path, name, header, (16, 8), (32, 16))
        assert array.shards == (32, 16)
        write(array, values)
    assert metadata(path / "labels")["node_type"] == "group"
    assert ome(path / "labels")["labels"] == ["mask", "instances"]
    for name in ("mask", "instances"):
        labels = path / "labels" / name
        assert check_image(labels, "YX", unit=True)["type"] == "nearest"
        assert ome(labels)["image-label"] == {"version": "0.5", "source": {"image": "../../"}}
        stored = open_image(labels)
        assert (stored.axes, stored.pixel_size, stored.dtype) == ("YX", (0.5, 0.25), "uint32")
        np.testing.assert_array_equal(stored.read().array, values)
    assert open_image(path).axes == "CYX"
    with pytest.raises(SaveError, match=r"mask: holds an image"):
        create_labels(path, "mask", header_of("YX", "uint8"), (16, 8))


def test_labels_need_an_image(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match=r"a\.zarr: is no OME-Zarr image yet"):
        create_labels(tmp_path / "a.zarr", "mask", header_of("YX"), (16, 8))
    assert not (tmp_path / "a.zarr").exists()


def halved(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The mean of two along each axis, or of one at an odd end, by way of NaN."""
    wide = values.astype(np.float64)
    for axis in axes:
        odd = [(0, values.shape[i] % 2 if i == axis else 0) for i in range(values.ndim)]
        wide = np.pad(wide, odd, constant_values=np.nan)
        wide = np.stack([wide.take(range(k, wide.shape[axis], 2), axis) for k in (0, 1)])
        wide = np.nanmean(wide, axis=0)
    return wide if values.dtype.kind == "f" else np.floor(wide + 0.5).astype(values.dtype)


@pytest.fixture
def small_pyramid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pyramids that end with planes of at most 8 pixels."""
    monkeypatch.setattr(zarr_writer, "LARGEST_COARSEST", 8)


@pytest.mark.usefixtures("small_pyramid")
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize(
    ("axes", "dtype"),
    [("TCZYX", "uint8"), ("ZYX", "uint16"), ("CYX", "float32")]
    + [("YX", dtype) for dtype in ("bool", "uint8", "int16", "uint32", "float16", "float64")],
)
def test_levels_are_the_mean_of_the_one_before(
    axes: str, dtype: str, sharded: bool, tmp_path: Path
) -> None:
    path, header = tmp_path / "a.zarr", header_of(axes, dtype)
    chunk = tuple(CHUNK[axis] for axis in header.spatial_axes)
    shard = tuple(2 * extent for extent in chunk) if sharded else None
    values = pixels(header.shape, dtype)
    if dtype == "int16":
        values -= 125
    write(create_image(path, header, chunk, shard), values)
    build_pyramid(path)
    check_image(path, axes, unit=False)
    levels = levels_of(path)
    assert [level.shape[-2:] for level in levels] == [(37, 41), (19, 21), (10, 11), (5, 6)]
    np.testing.assert_array_equal(levels[0], values)
    for finer, coarser in itertools.pairwise(levels):
        expected = halved(finer, (values.ndim - 2, values.ndim - 1))
        assert coarser.dtype == np.dtype(dtype)
        tolerance = {"float16": 1e-3, "float32": 1e-6, "float64": 1e-15}.get(dtype, 0)
        np.testing.assert_allclose(
            coarser.astype(float), expected.astype(float), rtol=tolerance, atol=0
        )
    assert open_image(path).header == header_of(axes, dtype, source=path)


@pytest.mark.usefixtures("small_pyramid")
@pytest.mark.parametrize(("dtype", "value"), [("uint8", 255), ("uint32", 2**32 - 1), ("int8", -1)])
def test_a_constant_stays_what_it_is(dtype: str, value: int, tmp_path: Path) -> None:
    create_image(tmp_path / "a.zarr", plane(37, 41, dtype), (16, 8))[...] = value
    build_pyramid(tmp_path / "a.zarr")
    assert all((level == value).all() for level in levels_of(tmp_path / "a.zarr"))


@pytest.mark.usefixtures("small_pyramid")
def test_labels_keep_every_second_pixel(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    create_image(path, header_of("CYX", "uint8"), (16, 8))
    header = header_of("ZYX", "uint32", pixel_size=(0.5, 0.5, 0.5))
    values = pixels(header.shape, "uint32")
    write(create_labels(path, "mask", header, (8, 16, 16)), values)
    build_pyramid(path / "labels/mask")
    image = check_image(path / "labels/mask", "ZYX", unit=True)
    levels = levels_of(path / "labels/mask")
    assert len(levels) == 4
    for number, (level, dataset) in enumerate(zip(levels, image["datasets"], strict=True)):
        step = 2**number
        np.testing.assert_array_equal(level, values[::step, ::step, ::step])
        scale = {"type": "scale", "scale": [0.5 * step] * 3}
        assert dataset["coordinateTransformations"] == [scale]


@pytest.mark.usefixtures("small_pyramid")
@pytest.mark.parametrize("size", [(1.0, 0.5, 0.25), (0.5, 0.5, 0.25), None])
def test_a_pixel_of_a_level_lies_where_the_metadata_say(size: Any, tmp_path: Path) -> None:
    """The mean of the places of pixels is the place of their mean."""
    path, shape = tmp_path / "a.zarr", (8, 16, 32)
    header = ImageHeader("ZYX", shape, np.dtype("float64"), size)
    array = create_image(path, header, (4, 8, 8))
    places = [np.arange(n) * s for n, s in zip(shape, size or (1.0,) * 3, strict=True)]
    array[...] = sum(np.meshgrid(*places, indexing="ij"))
    build_pyramid(path)
    datasets = ome(path)["multiscales"][0]["datasets"]
    assert len(datasets) == 3
    for level, dataset in zip(levels_of(path), datasets, strict=True):
        scale, *rest = dataset["coordinateTransformations"]
        moved = rest[0]["translation"] if rest else (0.0, 0.0, 0.0)
        assert bool(rest) == (dataset["path"] != "0")
        places = [
            np.arange(n) * s + t for n, s, t in zip(level.shape, scale["scale"], moved, strict=True)
        ]
        np.testing.assert_allclose(level, sum(np.meshgrid(*places, indexing="ij")), rtol=1e-12)


@pytest.mark.usefixtures("small_pyramid")
@pytest.mark.parametrize(
    ("size", "depths"),
    [
        ((0.5, 0.5, 0.5), [9, 5, 3, 2]),
        ((0.75, 0.5, 0.5), [9, 5, 3, 2]),
        ((1.0, 0.5, 0.5), [9, 9, 5, 3]),
        ((4.0, 0.5, 0.5), [9, 9, 9, 9]),
        (None, [9, 9, 9, 9]),
    ],
)
def test_z_is_halved_once_its_step_is_that_of_the_plane(
    size: Any, depths: list[int], tmp_path: Path
) -> None:
    header = header_of("TCZYX", pixel_size=size)
    create_image(tmp_path / "a.zarr", header, (8, 16, 16))
    build_pyramid(tmp_path / "a.zarr")
    shapes = [level.shape for level in levels_of(tmp_path / "a.zarr")]
    assert [shape[2] for shape in shapes] == depths
    assert [shape[3:] for shape in shapes] == [(37, 41), (19, 21), (10, 11), (5, 6)]
    assert {shape[:2] for shape in shapes} == {(2, 3)}


@pytest.mark.usefixtures("small_pyramid")
def test_an_axis_of_one_pixel_is_not_halved(tmp_path: Path) -> None:
    header = plane(2, 40, pixel_size=(1.0, 1.0))
    create_image(tmp_path / "a.zarr", header, (16, 16))[...] = 9
    build_pyramid(tmp_path / "a.zarr")
    datasets = ome(tmp_path / "a.zarr")["multiscales"][0]["datasets"]
    scales = [dataset["coordinateTransformations"][0]["scale"] for dataset in datasets]
    assert scales == [[1, 1], [2, 2], [2, 4], [2, 8]]
    assert [level.shape for level in levels_of(tmp_path / "a.zarr")] == [
        (2, 40),
        (1, 20),
        (1, 10),
        (1, 5),
    ]


def test_an_image_of_512_pixels_needs_no_pyramid(tmp_path: Path) -> None:
    for name, side, levels in (("a", 512, 1), ("b", 513, 2)):
        path = tmp_path / name
        create_image(path, plane(20, side), (512, 512))
        build_pyramid(path)
        assert len(levels_of(path)) == levels


@pytest.mark.usefixtures("small_pyramid")
def test_an_image_and_its_labels_have_as_many_levels(tmp_path: Path) -> None:
    path, size = tmp_path / "a.zarr", (1.0, 0.5, 0.5)
    create_image(path, header_of("CZYX", "float32", pixel_size=size), (8, 16, 16))
    create_labels(path, "mask", header_of("ZYX", "uint8", pixel_size=size), (8, 16, 16))
    for each in (path, path / "labels/mask"):
        build_pyramid(each)
    assert len(levels_of(path)) == len(levels_of(path / "labels/mask")) == 4


class StoppedError(Exception):
    """As if the process had ended."""


def stop_after(count: int) -> Callable[[int, int], None]:
    def watch(done: int, total: int) -> None:
        assert 1 <= done <= total
        if done == count:
            raise StoppedError

    return watch


@pytest.mark.usefixtures("small_pyramid")
def test_progress_ends_with_the_last_chunk(tmp_path: Path) -> None:
    create_image(tmp_path / "a.zarr", header_of("CYX"), (16, 8))
    heard: list[tuple[int, int]] = []
    build_pyramid(tmp_path / "a.zarr", lambda done, total: heard.append((done, total)))
    total = 3 * (2 * 3 + 1 * 2 + 1 * 1)
    assert heard == [(number, total) for number in range(1, total + 1)]


@pytest.mark.usefixtures("small_pyramid")
@pytest.mark.parametrize("count", [1, 7, 20, 27])
@pytest.mark.parametrize("built", [False, True])
def test_a_pyramid_that_was_interrupted_is_built_again(
    count: int, built: bool, tmp_path: Path
) -> None:
    values = pixels((3, 37, 41))
    for name in ("a.zarr", "whole/a.zarr"):
        write(create_image(tmp_path / name, header_of("CYX"), (16, 8)), values)
    build_pyramid(tmp_path / "whole/a.zarr")
    if built:
        build_pyramid(tmp_path / "a.zarr")
    with pytest.raises(StoppedError):
        build_pyramid(tmp_path / "a.zarr", stop_after(count))
    assert len(levels_of(tmp_path / "a.zarr")) == 1  # none is promised that is not there
    create_image(tmp_path / "a.zarr", header_of("CYX"), (16, 8))
    build_pyramid(tmp_path / "a.zarr")
    assert digests(tmp_path / "a.zarr") == digests(tmp_path / "whole/a.zarr")


@pytest.mark.usefixtures("small_pyramid")
def test_a_pyramid_follows_its_image(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    create_image(path, header_of("YX"), (16, 8))[...] = 200
    build_pyramid(path)
    array = create_image(path, header_of("YX"), (16, 8))
    assert (array[...] == 200).all()
    array[...] = 0
    build_pyramid(path)
    levels = levels_of(path)
    assert len(levels) == 4
    assert not any(level.any() for level in levels)


@pytest.mark.usefixtures("small_pyramid")
def test_the_same_pixels_are_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    header = header_of("CYX", "float16", pixel_size=(0.5, 0.5), channel_names=("a", "b", "c"))
    values = pixels(header.shape, "float16")
    found = []
    for name in ("one", "two"):
        path = tmp_path / name / "a.zarr"
        array = create_image(path, header, (16, 8), (32, 16))
        for region in pieces(array)[:: 1 if name == "one" else -1]:
            array[region] = values[region]
        labels = create_labels(path, "mask", header_of("YX"), (16, 8))
        write(labels, (values[0] * 200).astype("uint8"))
        for each in (path, path / "labels/mask"):
            build_pyramid(each)
        found.append(digests(path))
    assert found[0] == found[1]


def limited(size: int) -> tuple[int, int]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    return limits


@pytest.mark.usefixtures("small_pyramid")
def test_a_full_disk_is_one_line_and_the_job_goes_on_afterwards(tmp_path: Path) -> None:
    path, values = tmp_path / "a.zarr", pixels((64, 64), "float64")
    header = plane(64, 64, "float64")
    words = r"a\.zarr: cannot be written: .*is kept, run the command again"
    jobs: list[Callable[[], object]] = [
        lambda: create_image(path, header, (32, 32)),
        lambda: write(create_image(path, header, (32, 32)), values),
        lambda: build_pyramid(path),
    ]
    for size, job in zip((100, 2000, 4000), jobs, strict=True):
        limits = limited(size)
        try:
            with pytest.raises(SaveError, match=words) as caught, saving(path):
                job()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "\n" not in str(caught.value)
        job()
    assert len(levels_of(path)) == 4
    np.testing.assert_array_equal(open_image(path).read().array, values)
    assert not list(path.rglob("*.partial"))


def peak_of_pyramid(path: Path, side: int, shard: Any) -> int:
    """Bytes that building the pyramid holds at most."""
    array = create_image(path, plane(side, side), (128, 128), shard)
    rows = pixels((256 if shard else 128, side))
    for top in range(0, side, len(rows)):
        array[top : top + len(rows)] = rows
    tracemalloc.start()
    build_pyramid(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("shard", [None, (256, 256)])
def test_memory_depends_on_the_chunk_not_on_the_image(
    shard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zarr_writer, "LARGEST_COARSEST", 256)
    peak_of_pyramid(tmp_path / "first.zarr", 512, shard)  # which imports, and fills caches
    small = peak_of_pyramid(tmp_path / "small.zarr", 512, shard)
    large = peak_of_pyramid(tmp_path / "large.zarr", 4096, shard)
    assert large < 2 * small
