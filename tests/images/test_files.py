"""Image files: what is read is what was meant, and what is written is read again."""

from __future__ import annotations

import os
import resource
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile

from septum.errors import ImageFileError, InputError, SaveError
from septum.images.files import (
    Image,
    expand_inputs,
    image_files,
    natural_key,
    read_image,
    write_image,
)
from septum.images.stored import open_image

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SEPTUM_DATA", ROOT / "../shared/data")).resolve()
FIXTURES = DATA / "format-fixtures"
REAL = sorted(path for path in FIXTURES.rglob("*.tif*") if path.is_file())
# What the files themselves and their names say: axes, type, pixel size in Y in micrometres.
EXPECTED: dict[str, tuple[str, str, float | None]] = {
    "xy_12bit__saturated_plant.tif": ("YX", "uint16", 2.48592),
    "xy_16bit_calibrated__nuclei_various_shapes.tif": ("YX", "uint16", 0.2),
    "xy_16bit_labels__nuclei.tif": ("YX", "uint16", 0.35),
    "xy_8bit__em_mitochondria_er.tif": ("YX", "uint8", 0.008),
    "xy_8bit_binary__em_mitochondria_er.tif": ("YX", "uint8", None),
    "xy_8bit__mitocheck_incenp_t70.tif": ("YX", "uint8", 0.1),
    "xy_rgb__cells.tif": ("CYX", "uint8", None),
    "xyc_16bit__cell_dna_mts_actin.tif": ("CYX", "uint16", 0.132492),
    "xyc_16bit__hela-cells.tif": ("CYX", "uint16", 0.0514931),
    "xyc_16bit__nup_nuclei.tif": ("CYX", "uint16", None),
    "xyc_16bit__nuclei_tubulin.tif": ("CYX", "uint16", None),
    "xyc_8bit__dapi_tublin.tif": ("CYX", "uint8", 0.454),
    "xyt_8bit_polyp.tif": ("TYX", "uint8", None),
    "r1_DAPI_downsampled.tiff": ("YX", "float32", None),
}


def pixels(shape: tuple[int, ...], dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)


def same(first: Image, second: Image) -> None:
    np.testing.assert_array_equal(first.array, second.array)
    assert first.axes == second.axes
    assert first.pixel_size == second.pixel_size
    assert first.channel_names == second.channel_names


@pytest.mark.skipif(not REAL, reason=f"no format-fixtures in {DATA} (set SEPTUM_DATA)")
def test_all_expected_fixtures_are_there() -> None:
    assert set(EXPECTED) <= {path.name for path in REAL}


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_files_read_as_declared_and_come_back_when_written(path: Path, tmp_path: Path) -> None:
    image = read_image(path)
    raw = tifffile.imread(path)
    assert image.array.dtype == raw.dtype
    assert sorted(image.array.shape) == sorted(raw.shape)
    axes, dtype, size = EXPECTED.get(path.name, (image.axes, str(raw.dtype), None))
    assert (image.axes, str(image.array.dtype)) == (axes, dtype)
    if path.name in EXPECTED:
        assert (image.pixel_size is None) == (size is None)
        assert size is None or image.pixel_size == pytest.approx((size, size), rel=1e-3)
    write_image(tmp_path / "copy.tif", image)
    same(read_image(tmp_path / "copy.tif"), image)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("YX", (5, 6)),
        ("CYX", (1, 5, 6)),
        ("CYX", (3, 5, 6)),
        ("ZYX", (1, 5, 6)),
        ("YX", (1, 7)),
        ("TYX", (3, 5, 6)),
        ("TZYX", (2, 3, 5, 6)),
        ("TCZYX", (2, 3, 4, 5, 6)),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "float32", "float64"])
def test_a_written_tiff_keeps_everything(
    axes: str, shape: tuple[int, ...], dtype: str, tmp_path: Path
) -> None:
    size = (0.5, 0.1234567890123, 0.2)[-(3 if "Z" in axes else 2) :]
    names = tuple(f"dye {i} é" for i in range(shape[axes.index("C")])) if "C" in axes else None
    image = Image(pixels(shape, dtype), axes, size, names)
    write_image(tmp_path / "a.tif", image)
    again = read_image(tmp_path / "a.tif")
    same(again, image)
    assert again.array.dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("float16", "float32"), ("bool", "uint8"), ("int64", "uint32"), ("uint64", "uint32")],
)
def test_types_that_ome_lacks_keep_their_values(dtype: str, stored: str, tmp_path: Path) -> None:
    image = Image(pixels((5, 6), dtype), "YX")
    write_image(tmp_path / "a.tif", image)
    again = read_image(tmp_path / "a.tif")
    assert again.array.dtype == np.dtype(stored)
    np.testing.assert_array_equal(again.array, image.array)


def test_values_beyond_32_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="beyond 32 bits"):
        write_image(tmp_path / "a.tif", Image(np.array([[2**40]]), "YX"))
    assert not list(tmp_path.iterdir())


def test_a_large_image_is_written_as_bigtiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("septum.images.tiff.CLASSIC_LIMIT", 100)
    image = Image(pixels((20, 20)), "YX")
    write_image(tmp_path / "a.tif", image)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_bigtiff
        assert tif.is_ome
    same(read_image(tmp_path / "a.tif"), image)


@pytest.mark.parametrize(
    "options",
    [{}, {"tile": (16, 16)}, {"rowsperstrip": 3}, {"bigtiff": True}, {"byteorder": ">"}]
    + [{"compression": c} for c in ("zlib", "lzw", "packbits", "zstd")]
    + [{"metadata": None}],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_undeclared_pages_are_a_stack_in_z(
    options: dict[str, Any], dtype: str, tmp_path: Path
) -> None:
    array = pixels((4, 33, 35), dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", **options)
    image = read_image(tmp_path / "a.tif")
    assert image.axes == "ZYX"
    np.testing.assert_array_equal(image.array, array)
    assert [part.shape for _, part in image.stacks(2)] == [(1, 33, 35)] * 4
    assert [part.shape for _, part in image.stacks(3)] == [(1, 4, 33, 35)]


def test_one_bit_tiff_is_boolean(tmp_path: Path) -> None:
    array = pixels((9, 13)) > 60
    tifffile.imwrite(tmp_path / "a.tif", array)
    image = read_image(tmp_path / "a.tif")
    assert image.array.dtype == bool
    np.testing.assert_array_equal(image.array, array)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_rgb_tiff_is_three_named_channels(planar: str, tmp_path: Path) -> None:
    array = pixels((3, 9, 13))
    stored = array if planar == "separate" else np.moveaxis(array, 0, -1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    image = read_image(tmp_path / "a.tif")
    same(image, Image(array, "CYX", None, ("red", "green", "blue")))


@pytest.mark.parametrize(
    ("unit", "per_unit", "micrometres"),
    [
        ("micron", 5.0, 0.2),
        ("um", 5.0, 0.2),
        ("\\u00B5m", 5.0, 0.2),
        ("nm", 0.25, 0.004),
        ("mm", 2000.0, 0.5),
        ("cm", 20000.0, 0.5),
        ("inch", 25400.0, 1.0),
        ("inch", 72.0, None),
        ("pixel", 1.0, None),
        ("", 1.0, None),
    ],
)
def test_imagej_units(
    unit: str, per_unit: float, micrometres: float | None, tmp_path: Path
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        pixels((2, 9, 13)),
        imagej=True,
        resolution=(per_unit, per_unit),
        metadata={"axes": "ZYX", "unit": unit, "spacing": 3 / per_unit},
    )
    size = read_image(tmp_path / "a.tif").pixel_size
    if micrometres is None:
        assert size is None
    else:
        assert size == pytest.approx((3 * micrometres, micrometres, micrometres), rel=1e-5)


@pytest.mark.parametrize(
    ("unit", "per_unit", "micrometres"),
    [
        ("centimeter", 20000, 0.5),
        ("inch", 300, None),
        ("inch", 72, None),
        ("centimeter", 28, None),
        ("inch", 254000, 0.1),
        ("none", 20000, None),
    ],
)
def test_plain_resolution_tags_are_believed_only_if_a_microscope_could_have_measured_them(
    unit: Any, per_unit: int, micrometres: float | None, tmp_path: Path
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        pixels((9, 13)),
        resolution=(per_unit, per_unit),
        resolutionunit=unit,
        metadata=None,
    )
    size = read_image(tmp_path / "a.tif").pixel_size
    expected = None if micrometres is None else pytest.approx((micrometres, micrometres))
    assert size == expected


@pytest.mark.parametrize(("unit", "factor"), [("µm", 1.0), ("nm", 1e-3), ("mm", 1e3)])
def test_ome_axes_units_and_channel_names(unit: str, factor: float, tmp_path: Path) -> None:
    array = pixels((3, 2, 9, 13))
    metadata = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    for axis, size in {"X": 2.0, "Y": 3.0, "Z": 4.0}.items():
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", array, photometric="minisblack", metadata=metadata)
    image = read_image(tmp_path / "a.ome.tif")
    assert image.axes == "CZYX"
    np.testing.assert_array_equal(image.array, array.swapaxes(0, 1))
    assert image.pixel_size == pytest.approx((4 * factor, 3 * factor, 2 * factor))
    assert image.channel_names == ("DAPI", "GFP")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(9, 13), (3, 9, 13)])
def test_png_keeps_pixels_and_depth(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    array = pixels(shape, dtype) * (500 if dtype == "uint16" else 1)
    image = Image(array.astype(dtype), "CYX"[-len(shape) :])
    write_image(tmp_path / "a.png", image)
    again = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(again.array, image.array)
    assert again.array.dtype == np.dtype(dtype)
    assert again.axes == image.axes


def test_palette_png_is_colours_as_image_and_indices_as_labels(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    picture = PIL.Image.fromarray(indices, "L")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    assert picture.mode == "P"
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", labels=True).array, indices)
    colours = read_image(tmp_path / "a.png")
    assert colours.axes == "CYX"
    np.testing.assert_array_equal(colours.array[0], np.where(indices == 1, 255, 0))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


@pytest.mark.parametrize("bits", [2, 4])
def test_label_png_of_few_bits_keeps_its_numbers(bits: int, tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 8 // bits, 1, bits, 0, 0, 0, 0)
    row = {2: 0b00_01_10_11, 4: 0b0010_1111}[bits]
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(bytes([0, row])))
        + png_chunk(b"IEND", b"")
    )
    numbers = read_image(tmp_path / "a.png", labels=True).array.tolist()
    assert numbers == [{2: [0, 1, 2, 3], 4: [2, 15]}[bits]]


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_cut_picture_never_reads_as_a_whole_one(name: str, kept: float, tmp_path: Path) -> None:
    PIL.Image.fromarray(pixels((40, 50, 3))).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageFileError, match="cut short"):
        read_image(tmp_path / name)


def test_one_bit_png_is_boolean(tmp_path: Path) -> None:
    array = pixels((9, 13)) > 60
    PIL.Image.fromarray(array).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, array)


def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path: Path) -> None:
    rgba = pixels((9, 13, 4))
    rgba[..., 3] = 255
    PIL.Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png").array, np.moveaxis(rgba[..., :3], -1, 0)
    )
    rgba[0, 0, 3] = 254
    PIL.Image.fromarray(rgba).save(tmp_path / "b.png")
    with pytest.raises(ImageFileError, match=r"b\.png.*transparent"):
        read_image(tmp_path / "b.png")


def test_jpeg_reads_grey_and_colour(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.full((9, 13), 80, np.uint8)).save(tmp_path / "a.jpg")
    PIL.Image.fromarray(np.full((9, 13, 3), 80, np.uint8)).save(tmp_path / "b.jpeg")
    grey, colour = read_image(tmp_path / "a.jpg"), read_image(tmp_path / "b.jpeg")
    assert (grey.axes, colour.axes) == ("YX", "CYX")
    assert abs(grey.array.astype(int) - 80).max() <= 1


def test_bmp_reads_grey_colour_and_palettes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grey_YX = rng.integers(0, 256, (9, 13)).astype(np.uint8)
    colour_YXC = rng.integers(0, 256, (9, 13, 3)).astype(np.uint8)
    indices_YX = rng.integers(0, 3, (9, 13)).astype(np.uint8)
    PIL.Image.fromarray(grey_YX).save(tmp_path / "grey.bmp")
    PIL.Image.fromarray(colour_YXC).save(tmp_path / "colour.BMP")
    PIL.Image.fromarray(np.dstack([colour_YXC, 255 + 0 * grey_YX])).save(tmp_path / "opaque.bmp")
    palette = PIL.Image.fromarray(indices_YX, "P")
    palette.putpalette([9, 8, 7, 50, 60, 70, 250, 0, 5])
    palette.save(tmp_path / "palette.bmp")
    expected = {
        ("grey.bmp", False): grey_YX,
        ("colour.BMP", False): colour_YXC.transpose(2, 0, 1),
        ("opaque.bmp", False): colour_YXC.transpose(2, 0, 1),
        ("palette.bmp", True): indices_YX,
        ("palette.bmp", False): np.array([[9, 8, 7], [50, 60, 70], [250, 0, 5]], np.uint8)[
            indices_YX
        ].transpose(2, 0, 1),
    }
    for (name, labels), array in expected.items():
        found, header = read_image(tmp_path / name, labels), open_image(tmp_path / name, labels)
        np.testing.assert_array_equal(found.array, array)
        assert (header.axes, header.shape, header.dtype) == (found.axes, array.shape, array.dtype)


def test_parts_are_named_by_their_place() -> None:
    image = Image(np.arange(2 * 3 * 12).reshape(3, 2, 12, 1, 1), "TCZYX")
    parts = dict(image.stacks(2))
    assert list(parts)[:2] == ["[t00,z00]", "[t00,z01]"]
    np.testing.assert_array_equal(parts["[t02,z11]"], image.array[2, :, 11])
    volumes = dict(image.stacks(3))
    assert list(volumes) == ["[00]", "[01]", "[02]"]
    np.testing.assert_array_equal(volumes["[01]"], image.array[1])
    assert [name for name, _ in Image(np.zeros((2, 2)), "YX").stacks(2)] == [""]


def test_time_is_never_taken_for_depth() -> None:
    with pytest.raises(ImageFileError, match="TYX have no Z"):
        Image(np.zeros((3, 4, 5)), "TYX").stacks(3)


def _bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    good = pixels((6, 40, 50))
    tifffile.imwrite(folder / "good.tif", good, photometric="minisblack")
    content = (folder / "good.tif").read_bytes()
    cases = {
        "missing": (folder / "none.tif", "does not exist"),
        "folder": (folder, "is a folder"),
        "empty": (folder / "empty.tif", "is empty"),
        "cut short": (folder / "short.tif", "damaged|cut short"),
        "text": (folder / "text.tif", "cannot be read as TIFF"),
        "text as png": (folder / "text.png", "cannot be read as PNG"),
        "jpeg as png": (folder / "wrong.png", "cannot be read as PNG"),
        "suffix": (folder / "a.czi", r"'\.czi' files are not read"),
        "nan": (folder / "nan.tif", "3 of 30 pixels are NaN or infinite"),
        "complex": (folder / "complex.tif", "complex64 cannot be used"),
        "axes": (folder / "axes.tif", "more than is known"),
        "sizes": (folder / "sizes.tif", "different sizes"),
    }
    cases["empty"][0].touch()
    cases["cut short"][0].write_bytes(content[: len(content) // 2])
    cases["text"][0].write_text("not a picture")
    cases["text as png"][0].write_text("not a picture")
    PIL.Image.fromarray(good[0]).save(cases["jpeg as png"][0], format="JPEG")
    cases["suffix"][0].touch()
    holed = np.zeros((5, 6), np.float32)
    holed[0, :3] = np.nan, np.inf, -np.inf
    tifffile.imwrite(cases["nan"][0], holed)
    tifffile.imwrite(cases["complex"][0], holed.astype(np.complex64))
    tifffile.imwrite(cases["axes"][0], pixels((2, 2, 2, 5, 6)), photometric="minisblack")
    with tifffile.TiffWriter(cases["sizes"][0]) as tif:
        tif.write(good[0])
        tif.write(good[0, :20])
    return cases


@pytest.mark.parametrize(
    "case",
    [
        "missing",
        "folder",
        "empty",
        "cut short",
        "text",
        "text as png",
        "jpeg as png",
        "suffix",
        "nan",
        "complex",
        "axes",
        "sizes",
    ],
)
def test_a_bad_file_is_one_line_that_names_it(case: str, tmp_path: Path) -> None:
    path, words = _bad_files(tmp_path)[case]
    with pytest.raises(ImageFileError, match=words) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize(
    "dialect", [{}, {"compression": "zlib"}, {"ome": True}, {"metadata": None}]
)
def test_a_cut_file_never_reads_as_a_whole_one(
    kept: float, dialect: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels((6, 40, 50)), photometric="minisblack", **dialect)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageFileError):
        read_image(path)


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_a_disk_that_is_full_leaves_the_old_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write_image(path, Image(np.zeros((4, 4), np.uint8), "YX"))
    before = path.read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(SaveError, match=name):
            write_image(path, Image(noise, "YX"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("a.jpg", Image(np.zeros((4, 4), np.uint8), "YX")),
        ("a.png", Image(np.zeros((4, 4), np.float32), "YX")),
        ("a.png", Image(np.zeros((2, 4, 4), np.uint8), "ZYX")),
    ],
)
def test_what_a_format_cannot_hold_is_refused(name: str, image: Image, tmp_path: Path) -> None:
    with pytest.raises(SaveError, match=r"use \.tif"):
        write_image(tmp_path / name, image)


@pytest.mark.parametrize(
    ("axes", "shape", "words"),
    [("XY", (2, 2), "in this order"), ("ZYX", (2, 2), "do not fit"), ("YX", (0, 2), "no pixels")],
)
def test_an_impossible_image_is_refused(axes: str, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ImageFileError, match=words):
        Image(np.zeros(shape), axes)


def test_files_come_in_natural_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ["t10.tif", "t2.TIF", "T1.png", ".t0.tif", "notes.txt"]:
        (tmp_path / name).touch()
    (tmp_path / "t3.tif").mkdir()
    assert [path.name for path in image_files(tmp_path)] == ["T1.png", "t2.TIF", "t10.tif"]


def test_natural_order_of_mixed_names() -> None:
    names = ["10", "b", "a2b10", "2", "a2b9", "a", "²"]
    assert sorted(names, key=natural_key)[:2] == ["2", "10"]
    assert sorted(["a2b10", "a2b9"], key=natural_key) == ["a2b9", "a2b10"]


def test_inputs_expand_once_each_in_the_order_given(tmp_path: Path) -> None:
    for name in ["b10.tif", "b9.tif", "a[1].tif"]:
        (tmp_path / name).touch()
    given = [tmp_path / "a[1].tif", str(tmp_path / "b*.tif"), tmp_path]
    assert [path.name for path in expand_inputs(given)] == ["a[1].tif", "b9.tif", "b10.tif"]


@pytest.mark.parametrize("name", ["none.tif", "none*.tif", "empty", "notes.txt"])
def test_an_input_that_gives_nothing_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError) as caught:
        expand_inputs([tmp_path / name])
    assert str(tmp_path / name) in str(caught.value)
