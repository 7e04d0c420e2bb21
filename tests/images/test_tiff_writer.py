"""TIFF out, tile by tile: the same image as at once, in bounded memory, beyond 4 GB."""

from __future__ import annotations

import resource
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from septum.errors import SaveError
from septum.images import tiff_writer
from septum.images.files import Image, read_image, write_image
from septum.images.image import ImageHeader
from septum.images.stored import open_image
from septum.images.tiff_writer import write_tiff_by_tile
from septum.images.zarr_writer import create_image

SHAPES = {
    "YX": (37, 530),
    "CYX": (3, 37, 41),
    "ZYX": (5, 37, 41),
    "TCYX": (2, 1, 600, 37),
    "TCZYX": (2, 3, 4, 17, 16),
}


def pixels(shape: tuple[int, ...], dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random(shape)
    return (values if np.dtype(dtype).kind == "f" else values * 250).astype(dtype)


def image_of(axes: str, dtype: str = "uint8", known: bool = True) -> Image:
    array = pixels(SHAPES[axes], dtype)
    size = (0.5, 0.1234567890123, 0.2)[-(3 if "Z" in axes else 2) :]
    channels = array.shape[axes.index("C")] if "C" in axes else 0
    names = tuple(f"dye {i} é" for i in range(channels)) or None
    return Image(array, axes, size, names) if known else Image(array, axes)


def header_of(array: Any, axes: str = "YX") -> ImageHeader:
    return ImageHeader(axes, array.shape, np.dtype(array.dtype))


def agrees(path: Path, expected: Image) -> None:
    """What is read of the file, as a whole and by region, is the image."""
    read, stored = read_image(path), open_image(path)
    assert read.header == stored.header
    assert (read.axes, read.array.shape) == (expected.axes, expected.array.shape)
    assert (read.pixel_size, read.channel_names) == (expected.pixel_size, expected.channel_names)
    assert read.array.dtype == expected.array.dtype
    np.testing.assert_array_equal(read.array, expected.array)
    height, width = read.array.shape[-2:]
    box = (slice(height // 3, height), slice(width // 2, width))
    whole = tuple(slice(0, extent) for extent in read.array.shape[:-2])
    region = stored.read((*whole, *box)).array
    np.testing.assert_array_equal(region, expected.array[(..., *box)])


@pytest.mark.parametrize("read_bytes", [1, 40_000, 1 << 24])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "float32", "float64"])
@pytest.mark.parametrize("axes", SHAPES)
def test_what_is_written_by_tile_is_read_again(
    axes: str, dtype: str, read_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_writer, "READ_BYTES", read_bytes)
    image = image_of(axes, dtype, known=read_bytes != 1)
    write_tiff_by_tile(tmp_path / "a.tif", image.array, image.header)
    agrees(tmp_path / "a.tif", image)
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("read_bytes", [1, 4000, 1 << 24])
@pytest.mark.parametrize("axes", SHAPES)
def test_a_store_is_written_as_its_pixels_in_memory(
    axes: str, read_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_writer, "READ_BYTES", read_bytes)
    image = image_of(axes, "uint16")
    chunk = (4, 16, 32)[-len(image.spatial_axes) :]
    array = create_image(tmp_path / "a.zarr", image.header, chunk)
    assert isinstance(array, zarr.Array)
    array[...] = image.array
    write_tiff_by_tile(tmp_path / "a.tif", array, open_image(tmp_path / "a.zarr").header)
    agrees(tmp_path / "a.tif", image)


@pytest.mark.parametrize("read_bytes", [1, 1 << 24])
@pytest.mark.parametrize(
    "shape",
    [(1, 7), (7, 1), (1, 1), (16, 16), (512, 512), (513, 512), (1030, 1030), (9, 3), (2, 9, 4)],
)
def test_images_of_every_size(
    shape: tuple[int, ...], read_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_writer, "READ_BYTES", read_bytes)
    image = Image(pixels(shape), "CYX"[-len(shape) :], (1.0, 1.0))
    write_tiff_by_tile(tmp_path / "a.tif", image.array, image.header)
    agrees(tmp_path / "a.tif", image)


@pytest.mark.parametrize(
    ("dtype", "predictor"), [("uint8", 2), ("int16", 2), ("uint32", 2), ("float32", 1)]
)
def test_the_file_is_tiled_and_compressed_ome_tiff(
    dtype: str, predictor: int, tmp_path: Path
) -> None:
    array = np.ones((2, 1030, 20), dtype)
    write_tiff_by_tile(tmp_path / "a.tif", array, header_of(array, "CYX"))
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_ome
        assert not tif.is_bigtiff
        assert len(tif.pages) == 2
        for page in tif.pages:
            page = page.aspage()
            assert page.tile == (512, 32)
            assert len(page.dataoffsets) == 3
            assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
            assert page.predictor == predictor
            assert page.photometric == tifffile.PHOTOMETRIC.MINISBLACK
    assert (tmp_path / "a.tif").stat().st_size < array.nbytes / 10


@pytest.mark.parametrize("dtype", ["float16", "bool", "int64", "uint64", ">u2", ">f4", ">i8"])
def test_types_become_those_that_write_image_gives(dtype: str, tmp_path: Path) -> None:
    image = Image((pixels((2, 20, 30)) > 60).astype(dtype), "CYX")
    if image.array.dtype.kind == "i":
        image.array[0, 3] = -5
    write_tiff_by_tile(tmp_path / "a.tif", image.array, image.header)
    write_image(tmp_path / "b.tif", image)
    expected = read_image(tmp_path / "b.tif")
    np.testing.assert_array_equal(expected.array, image.array)
    agrees(tmp_path / "a.tif", expected)


@pytest.mark.parametrize("values", [[2**40, 0], [-(2**31) - 1, 0], [2**31, -1]])
def test_values_beyond_32_bits_are_refused(values: list[int], tmp_path: Path) -> None:
    array = np.array([values])
    with pytest.raises(SaveError, match=r"a\.tif: values beyond 32 bits"):
        write_tiff_by_tile(tmp_path / "a.tif", array, header_of(array))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("limit", "big"), [(1_000_000, False), (999, True)])
def test_bigtiff_is_for_what_classic_tiff_cannot_hold(
    limit: int, big: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_writer, "CLASSIC_LIMIT", limit)
    image = image_of("TCZYX", "uint16")
    write_tiff_by_tile(tmp_path / "a.tif", image.array, image.header)
    content = (tmp_path / "a.tif").read_bytes()
    assert content[:4] == (b"II\x2b\0" if big else b"II\x2a\0")
    agrees(tmp_path / "a.tif", image)


def test_many_small_pages_count_as_what_they_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.zeros((200, 2, 2), np.uint8)
    write_tiff_by_tile(tmp_path / "a.tif", array, header_of(array, "ZYX"))
    size = (tmp_path / "a.tif").stat().st_size
    assert size > 50 * array.nbytes
    monkeypatch.setattr(tiff_writer, "CLASSIC_LIMIT", size)
    write_tiff_by_tile(tmp_path / "b.tif", array, header_of(array, "ZYX"))
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.is_bigtiff


class Sparse:
    """An array of zeros, but for blocks of one value at the places given; what is read is noted."""

    def __init__(self, shape: tuple[int, ...], dtype: str, blocks: dict[tuple[int, ...], int]):
        self.shape, self.dtype, self.blocks = shape, np.dtype(dtype), blocks
        self.boxes: list[tuple[slice, ...]] = []

    def __getitem__(self, region: Any, /) -> np.ndarray:
        box = tuple(slice(i, i + 1) if isinstance(i, int) else i for i in region)
        assert all(0 <= b.start < b.stop <= n for b, n in zip(box, self.shape, strict=True))
        self.boxes.append(box)
        values = np.zeros([part.stop - part.start for part in box], self.dtype)
        for corner, value in self.blocks.items():
            ends = zip(corner, box, strict=True)
            span = [slice(max(c - b.start, 0), max(c + 100 - b.start, 0)) for c, b in ends]
            values[tuple(span)] = value
        return values.reshape(
            [n for n, i in zip(values.shape, region, strict=True) if not isinstance(i, int)]
        )


@pytest.mark.parametrize(
    ("axes", "shape"), [("YX", (1500, 3000)), ("CZYX", (2, 5, 600, 700)), ("ZYX", (40, 90, 100))]
)
@pytest.mark.parametrize("read_bytes", [1, 600_000, 1_200_000])
def test_every_pixel_is_read_once_and_never_too_many_at_once(
    axes: str,
    shape: tuple[int, ...],
    read_bytes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiff_writer, "READ_BYTES", read_bytes)
    array = Sparse(shape, "uint8", {})
    write_tiff_by_tile(tmp_path / "a.tif", array, header_of(array, axes))
    count = np.zeros(shape, np.uint8)
    for box in array.boxes:
        count[box] += 1
        assert count[box].size <= max(read_bytes, 512 * 512)
    assert (count == 1).all()


def test_small_planes_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_writer, "READ_BYTES", 10 * 90 * 100)
    array = Sparse((2, 25, 90, 100), "uint8", {})
    write_tiff_by_tile(tmp_path / "a.tif", array, header_of(array, "CZYX"))
    assert [box[1] for box in array.boxes] == 2 * [slice(0, 10), slice(10, 20), slice(20, 25)]


def peak_of_writing(path: Path, side: int) -> int:
    array = Sparse((side, side), "uint8", {})
    tracemalloc.start()
    write_tiff_by_tile(path, array, header_of(array))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_does_not_depend_on_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_writer, "READ_BYTES", 1 << 20)
    monkeypatch.setattr(tifffile.TIFF, "MAXWORKERS", 2)  # threads, of which two cores have none
    peak_of_writing(tmp_path / "first.tif", 1024)
    small = peak_of_writing(tmp_path / "small.tif", 2048)
    large = peak_of_writing(tmp_path / "large.tif", 8192)
    assert large < 1.2 * small
    assert large < 5 << 20


@pytest.mark.slow
def test_beyond_4_gb_single_tiles_are_read_again(tmp_path: Path) -> None:
    """Of 4.4 GB of zeros that take no place, blocks that lie before, at and beyond byte 2^32."""
    path, side = tmp_path / "a.tif", 33_000
    corners = [(0, 0), (500, 31_000), (2**32 // 4 // side - 50, 17_000), (side - 100, side - 100)]
    blocks = {corner: 7 + number for number, corner in enumerate(corners)}
    array = Sparse((side, side), "float32", blocks)
    header = ImageHeader("YX", array.shape, array.dtype, (0.5, 0.5))
    write_tiff_by_tile(path, array, header)
    assert path.stat().st_size < 100 << 20
    with tifffile.TiffFile(path) as tif:
        assert tif.is_bigtiff
        tag = tif.pages.first.tags["TileOffsets"]
        assert tag.dtype == tifffile.DATATYPE.LONG8
        assert len(tag.value) == 65**2
    stored = open_image(path)
    assert (stored.shape, stored.dtype, stored.pixel_size) == (array.shape, "float32", (0.5, 0.5))
    for y, x in corners:
        box = (slice(max(y - 30, 0), y + 100), slice(max(x - 30, 0), x + 100))
        region = stored.read(box).array
        np.testing.assert_array_equal(region, array[box])
        assert np.count_nonzero(region) == 100 * 100


def test_the_same_pixels_are_the_same_bytes(tmp_path: Path) -> None:
    image = image_of("CYX")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_tiff_by_tile(tmp_path / folder / "a.tif", image.array, image.header)
    assert (tmp_path / "one/a.tif").read_bytes() == (tmp_path / "two/a.tif").read_bytes()
    write_tiff_by_tile(tmp_path / "b.tif", image.array, image.header)
    names = [tifffile.tiffcomment(tmp_path / name) for name in ("one/a.tif", "b.tif")]
    assert names[0] != names[1]  # other files have other identifiers


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path) -> None:
    path, array = tmp_path / "a.tif", np.random.default_rng(0).random((300, 300))
    write_tiff_by_tile(path, array[:9, :9], header_of(array[:9, :9]))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(SaveError, match=r"a\.tif: cannot be written"):
            write_tiff_by_tile(path, array, header_of(array))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.tif"]


def test_a_source_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    class Failing(Sparse):
        def __getitem__(self, region: Any, /) -> np.ndarray:
            if self.boxes:
                raise RuntimeError("a chunk is damaged")
            return super().__getitem__(region)

    path, array = tmp_path / "a.tif", Failing((2000, 20_000), "uint8", {})
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="damaged"):
        write_tiff_by_tile(path, array, header_of(array))
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.tif"]
