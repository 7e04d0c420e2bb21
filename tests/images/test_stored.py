"""Stored images: a region is what reading the whole file would give, at the price of the region."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr

from septum.errors import ImageFileError
from septum.images.files import Image, read_image, write_image
from septum.images.stored import StoredImage, load_image, open_image

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SEPTUM_DATA", ROOT / "../shared/data")).resolve()
REAL = sorted(
    path
    for folder in ("format-fixtures", "isbi2012-em")
    for path in (DATA / folder).rglob("*.tif*")
    if path.is_file()
)


def pixels(shape: tuple[int, ...], dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)


def agrees(stored: StoredImage, image: Image) -> None:
    """Header, names of the parts, and pixels of all parts and of regions of them are equal."""
    assert stored.header == image.header
    for dimensions in (2, 3) if "Z" in image.axes else (2,):
        lazy, parts = stored.stacks(dimensions), image.stacks(dimensions)
        assert [suffix for suffix, _ in lazy] == [suffix for suffix, _ in parts]
        for (_, stack), (_, array_CS) in zip(
            lazy[:: 1 + len(lazy) // 9], parts[:: 1 + len(parts) // 9], strict=True
        ):
            assert (stack.channels, *stack.extents) == array_CS.shape
            assert stack.nbytes == array_CS.nbytes
            for box in (None, *boxes(stack.extents)):
                region_CS = stack.read(box)
                expected_CS = array_CS[:, *box] if box else array_CS
                np.testing.assert_array_equal(region_CS, expected_CS)
                assert region_CS.dtype == stack.dtype == array_CS.dtype
                assert region_CS.flags.c_contiguous


def boxes(extents: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """The first pixel, the last, and three boxes within."""
    rng = np.random.default_rng(sum(extents))
    ends = [[slice(0, 1)] * len(extents), [slice(n - 1, n) for n in extents]]
    for _ in range(3):
        starts = [int(rng.integers(0, n)) for n in extents]
        ends.append(
            [slice(s, int(rng.integers(s, n)) + 1) for s, n in zip(starts, extents, strict=True)]
        )
    return [tuple(end) for end in ends]


@pytest.mark.skipif(not REAL, reason=f"no format-fixtures in {DATA} (set SEPTUM_DATA)")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_files_agree_with_reading_them(path: Path) -> None:
    agrees(open_image(path), read_image(path))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tile": (16, 16)},
        {"rowsperstrip": 3},
        {"rowsperstrip": 3, "compression": "zlib"},
        {"tile": (32, 16), "compression": "zlib", "predictor": True},
        {"predictor": True, "compression": "lzw"},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"byteorder": ">", "compression": "zstd", "metadata": None},
        {"metadata": None},
        {"imagej": True},
        {"imagej": True, "byteorder": ">"},
        {"imagej": True, "truncate": True},
        {"truncate": True},
        {"ome": True, "tile": (16, 16), "compression": "zlib"},
        {"contiguous": False, "metadata": None, "software": "pages apart"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(33, 35), (12, 33, 35)], ids=str)
def test_every_way_of_storing_grey_pages(
    shape: tuple[int, ...], dtype: str, options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels(shape, dtype), photometric="minisblack", **options)
    agrees(open_image(path), read_image(path))


@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("compression", [None, "zlib", "jpeg"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("pages", [(), (3,)])
def test_colour(
    pages: tuple[int, ...], planar: str, compression: str | None, tile: Any, tmp_path: Path
) -> None:
    shape = (33, 35, 3) if planar == "contig" else (3, 33, 35)
    tifffile.imwrite(
        tmp_path / "a.tif",
        pixels((*pages, *shape)),
        photometric="rgb",
        planarconfig=planar,
        compression=compression,
        tile=tile,
    )
    agrees(open_image(tmp_path / "a.tif"), read_image(tmp_path / "a.tif"))


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("YX", (1, 7)),
        ("YX", (7, 1)),
        ("YX", (1, 1)),
        ("CYX", (1, 5, 6)),
        ("ZYX", (1, 5, 6)),
        ("TZYX", (2, 11, 5, 6)),
        ("TCZYX", (2, 3, 4, 5, 6)),
    ],
)
def test_own_files_of_every_shape(axes: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    size = (0.5, 0.25, 0.125)[-(3 if "Z" in axes else 2) :]
    write_image(tmp_path / "a.tif", Image(pixels(shape), axes, size))
    agrees(open_image(tmp_path / "a.tif"), read_image(tmp_path / "a.tif"))


@pytest.mark.parametrize("axes", ["ZCYX", "CTYX", "TZYXS", "CZTYX"])
def test_ome_axes_in_any_order(axes: str, tmp_path: Path) -> None:
    extents = {"T": 2, "Z": 4, "C": 3, "Y": 17, "X": 19, "S": 3}
    array = pixels(tuple(extents[axis] for axis in axes))
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, array, metadata={"axes": axes}, compression="zlib")
    agrees(open_image(path), read_image(path))


@pytest.mark.parametrize("volume", [(16, 16, 16), (1, 16, 16)])
def test_volumetric_tiles(volume: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        pixels((2, 20, 33, 35)),
        tile=volume,
        volumetric=True,
        photometric="minisblack",
        compression="zlib",
        metadata={"axes": "TZYX"},
    )
    agrees(open_image(path), read_image(path))


@pytest.mark.parametrize("pyramid", [True, False])
def test_the_finest_level_of_a_pyramid(pyramid: bool, tmp_path: Path) -> None:
    array = pixels((4, 64, 80), "uint16")
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", bigtiff=True) as tif:
        options: dict[str, Any] = {"tile": (16, 16), "photometric": "minisblack"}
        tif.write(array, subifds=int(pyramid), metadata={"axes": "ZYX"}, **options)
        if pyramid:
            tif.write(array[:, ::2, ::2], subfiletype=1, **options)
    agrees(open_image(tmp_path / "a.ome.tif"), read_image(tmp_path / "a.ome.tif"))


def test_an_ome_image_in_several_files(tmp_path: Path) -> None:
    array = pixels((3, 33, 35), "uint16")
    blocks = ""
    for index in range(3):
        blocks += (
            f'<TiffData FirstZ="{index}" IFD="0" PlaneCount="1"><UUID FileName="z{index}.ome.tif">'
            f"urn:uuid:0000000{index}-0000-0000-0000-000000000000</UUID></TiffData>"
        )
    for index, plane in enumerate(array):
        xml = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:0000000{index}-0000-0000-0000-000000000000"><Image ID="Image:0">'
            '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="35" SizeY="33" '
            f'SizeZ="3" SizeC="1" SizeT="1"><Channel ID="Channel:0:0"/>{blocks}</Pixels>'
            "</Image></OME>"
        )
        tifffile.imwrite(
            tmp_path / f"z{index}.ome.tif",
            plane,
            description=xml,
            metadata=None,
            compression="zlib" if index else None,
        )
    image = read_image(tmp_path / "z0.ome.tif")
    np.testing.assert_array_equal(image.array, array)
    agrees(open_image(tmp_path / "z0.ome.tif"), image)


def test_values_that_are_computed_from_those_stored(tmp_path: Path) -> None:
    gel = [(33445, "I", 1, 2, True), (33446, "2I", 1, (1, 1000), True), (33447, "i", 1, 0, True)]
    for name, layout in {"a.tif": {}, "b.tif": {"tile": (16, 16)}}.items():
        options: dict[str, Any] = {"metadata": None, "extratags": gel, **layout}
        tifffile.imwrite(tmp_path / name, pixels((33, 35), "uint16"), **options)
        image = read_image(tmp_path / name)
        assert image.array.dtype == np.float32
        agrees(open_image(tmp_path / name), image)


def test_one_bit_and_twelve_bit_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels((33, 35)) > 60)
    tifffile.imwrite(tmp_path / "b.tif", pixels((33, 35), "uint16"), bitspersample=12)
    for name in ("a.tif", "b.tif"):
        agrees(open_image(tmp_path / name), read_image(tmp_path / name))


def test_alpha_is_dropped_where_opaque_and_refused_where_not(tmp_path: Path) -> None:
    rgba = pixels((33, 35, 4))
    rgba[..., 3] = 255
    options: dict[str, Any] = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(tmp_path / "a.tif", rgba, **options)
    agrees(open_image(tmp_path / "a.tif"), read_image(tmp_path / "a.tif"))
    rgba[20, 30, 3] = 7
    tifffile.imwrite(tmp_path / "b.tif", rgba, tile=(16, 16), **options)
    ((_, stack),) = open_image(tmp_path / "b.tif").stacks(2)
    np.testing.assert_array_equal(
        stack.read((slice(0, 20), slice(3, 30))), np.moveaxis(rgba[:20, 3:30, :3], -1, 0)
    )
    with pytest.raises(ImageFileError, match=r"b\.tif: has transparent pixels"):
        stack.read((slice(20, 21), slice(30, 31)))


def png(bits: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A black PNG of 4 x 3 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    row = bytes(1 + (4 * bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] + 7) // 8)
    if colour in (4, 6):  # opaque
        sample = [bytes(bits // 8)] * ({4: 1, 6: 3}[colour])
        row = b"\0" + b"".join([*sample, b"\xff" * (bits // 8)]) * 4
    header = struct.pack(">IIBBBBB", 4, 3, bits, colour, 0, 0, 0)
    content = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(row * 3)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in content)


PALETTE = (b"PLTE", bytes(range(12)))
OPAQUE = (b"tRNS", b"\0\5")
PNGS = {
    **{f"grey {bits}": png(bits, 0) for bits in (1, 2, 4, 8, 16)},
    **{f"colour {bits}": png(bits, 2) for bits in (8, 16)},
    **{f"palette {bits}": png(bits, 3, PALETTE) for bits in (1, 2, 4, 8)},
    **{f"alpha {bits} {colour}": png(bits, colour) for bits in (8, 16) for colour in (4, 6)},
    **{f"key {bits}": png(bits, 0, OPAQUE) for bits in (1, 8, 16)},
    "key colour": png(8, 2, (b"tRNS", b"\0\5" * 3)),
    "palette alpha": png(8, 3, PALETTE, (b"tRNS", b"\xff")),
}


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("kind", PNGS)
def test_the_header_of_every_png(kind: str, labels: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNGS[kind])
    agrees(open_image(path, labels), read_image(path, labels))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_jpeg_in_all_orientations(mode: str, orientation: int, tmp_path: Path) -> None:
    shape = {"L": (9, 13), "RGB": (9, 13, 3), "CMYK": (9, 13, 4)}[mode]
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    PIL.Image.fromarray(pixels(shape), mode).save(tmp_path / "a.jpg", exif=exif)
    agrees(open_image(tmp_path / "a.jpg"), read_image(tmp_path / "a.jpg"))


def test_a_loaded_image_is_read_as_a_stored_one(tmp_path: Path) -> None:
    write_image(tmp_path / "a.tif", Image(pixels((2, 3, 12, 9, 10)), "TCZYX", (2.0, 0.5, 0.5)))
    image = read_image(tmp_path / "a.tif")
    for stored in (load_image(tmp_path / "a.tif"), open_image(tmp_path / "a.tif")):
        agrees(stored, image)
        np.testing.assert_array_equal(stored.read().array, image.array)


def write_ome_zarr(path: Path, array: np.ndarray, axes: str, version: str, **options: Any) -> None:
    """As the specification says; the scale is 2, 0.5, 0.25 µm, given in nanometres, twice."""
    scale = [{"Z": 1000.0, "Y": 250.0, "X": 125.0}.get(axis, 1.0) for axis in axes]
    kinds = {"T": "time", "C": "channel"}
    described = [
        {"name": a.lower(), "type": kinds.get(a, "space")}
        | ({} if a in "TC" else {"unit": "nanometer"})
        for a in axes
    ]
    image = {
        "axes": described,
        "datasets": [
            {"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": factors}]}
            for i, factors in enumerate((scale, [2 * s for s in scale]))
        ],
        "coordinateTransformations": [
            {"type": "scale", "scale": [1.0 if a in "TC" else 2.0 for a in axes]}
        ],
    }
    names = [f"dye {i}" for i in range(array.shape[axes.index("C")])] if "C" in axes else ["dye"]
    known = {"multiscales": [image], "omero": {"channels": [{"label": name} for name in names]}}
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    group.attrs.update(known if version == "0.4" else {"ome": {"version": version, **known}})
    for name, level in (("0", array), ("1", array[..., ::2, ::2])):
        made = group.create_array(name, shape=level.shape, dtype=level.dtype, **options)
        made[...] = level


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("0.4", {}),
        ("0.4", {"chunk_key_encoding": {"name": "v2", "separator": "/"}}),
        ("0.5", {}),
        ("0.5", {"shards": True}),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float32", "bool"])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "CYX", "TCZYX", "XZY"])
def test_ome_zarr(
    axes: str, dtype: str, version: str, options: dict[str, Any], tmp_path: Path
) -> None:
    extents = {"T": 2, "C": 3, "Z": 5, "Y": 23, "X": 25}
    array = pixels(tuple(extents[axis] for axis in axes), dtype)
    chunks = tuple(min(n, 12) for n in array.shape)
    given = dict(options)
    if given.pop("shards", False):
        given["shards"] = tuple(2 * n for n in chunks)
    write_ome_zarr(tmp_path / "a.zarr", array, axes, version, chunks=chunks, **given)
    order = "".join(axis for axis in "TCZYX" if axis in axes)
    size = (2.0, 0.5, 0.25)[-(3 if "Z" in axes else 2) :]
    names = tuple(f"dye {i}" for i in range(3)) if "C" in axes else ("dye",)
    native = array.transpose([axes.index(a) for a in order]).astype(array.dtype.newbyteorder("="))
    image = Image(native, order, size, names, tmp_path / "a.zarr")
    agrees(open_image(tmp_path / "a.zarr"), image)


@pytest.mark.parametrize("unit", [None, "parsnip"])
def test_a_scale_without_a_unit_is_no_pixel_size(unit: str | None, tmp_path: Path) -> None:
    write_ome_zarr(tmp_path / "a.zarr", pixels((5, 6)), "YX", "0.4")
    attributes = json.loads((tmp_path / "a.zarr/.zattrs").read_text())
    for axis in attributes["multiscales"][0]["axes"]:
        axis["unit"] = unit
    (tmp_path / "a.zarr/.zattrs").write_text(json.dumps(attributes))
    assert open_image(tmp_path / "a.zarr").pixel_size is None


def test_a_missing_chunk_is_the_fill_value(tmp_path: Path) -> None:
    write_ome_zarr(tmp_path / "a.zarr", pixels((16, 16)) + 1, "YX", "0.4", chunks=(8, 8))
    (tmp_path / "a.zarr/0/1.1").unlink()
    ((_, stack),) = open_image(tmp_path / "a.zarr").stacks(2)
    assert not stack.read((slice(8, 16), slice(8, 16))).any()


def test_stored_images_are_pickled_and_read_in_threads(tmp_path: Path) -> None:
    array = pixels((20, 65, 70), "uint16")
    tifffile.imwrite(tmp_path / "a.tif", array, compression="zlib", photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", array, photometric="minisblack", tile=(16, 16))
    write_ome_zarr(tmp_path / "c.zarr", array, "ZYX", "0.5", chunks=(8, 16, 16))
    handles = [open_image(tmp_path / name).stacks(3)[0][1] for name in ("a.tif", "b.tif", "c.zarr")]
    handles = pickle.loads(pickle.dumps(handles))

    def read(number: int) -> bool:
        box = boxes((20, 65, 70))[2 + number % 3]
        return np.array_equal(handles[number // 3 % 3].read(box)[0], array[box])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(60)))


def test_no_file_stays_open(tmp_path: Path) -> None:
    write_image(tmp_path / "a.tif", Image(pixels((12, 33, 35)), "ZYX"))
    write_image(tmp_path / "a.png", Image(pixels((33, 35)), "YX"))
    write_ome_zarr(tmp_path / "a.zarr", pixels((33, 35)), "YX", "0.4")
    for name in ("a.tif", "a.png", "a.zarr"):
        open_image(tmp_path / name).stacks(2)[0][1].read()
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs Linux, which lists the open files")
    held = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
    assert not [path for path in held if path.startswith(str(tmp_path))]


@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize(
    "dialect",
    [{}, {"compression": "zlib"}, {"compression": "jpeg"}, {"ome": True}, {"metadata": None}],
    ids=str,
)
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}], ids=str)
def test_a_cut_tiff_never_reads_as_a_whole_one(
    kept: float, dialect: dict[str, Any], layout: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels((6, 40, 50)), photometric="minisblack", **dialect, **layout)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageFileError, match=r"a\.tif") as caught:  # noqa: PT012
        for _, stack in open_image(path).stacks(2):
            stack.read()
    assert "\n" not in str(caught.value)


def test_what_lies_before_the_damage_is_read(tmp_path: Path) -> None:
    path, array = tmp_path / "a.tif", pixels((64, 64))
    tifffile.imwrite(path, array, tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages.first.dataoffsets[15]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    ((_, stack),) = open_image(path).stacks(2)
    np.testing.assert_array_equal(stack.read((slice(0, 48), slice(0, 64)))[0], array[:48])
    with pytest.raises(ImageFileError, match=r"a\.tif: cannot be read as TIFF"):
        stack.read((slice(40, 64), slice(40, 64)))


def test_a_file_that_was_replaced_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    for name in ("a.tif", "a.png"):
        write_image(tmp_path / name, Image(pixels((9, 13)), "YX"))
        ((_, stack),) = open_image(tmp_path / name).stacks(2)
        write_image(tmp_path / name, Image(pixels((20, 13)), "YX"))
        with pytest.raises(ImageFileError, match="not the file that was opened"):
            stack.read()


def test_nan_is_refused_where_it_is_read(tmp_path: Path) -> None:
    array = np.zeros((40, 40), np.float32)
    array[35, 35] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", array)
    ((_, stack),) = open_image(tmp_path / "a.tif").stacks(2)
    assert not stack.read((slice(0, 30), slice(0, 40))).any()
    with pytest.raises(ImageFileError, match=r"a\.tif: 1 of 25 pixels are NaN"):
        stack.read((slice(33, 38), slice(33, 38)))


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    write_ome_zarr(folder / "cut.zarr", pixels((5, 6)), "YX", "0.4", compressors=None)
    (folder / "cut.zarr/0/0.0").write_bytes(b"short")
    write_ome_zarr(folder / "garbled.zarr", pixels((5, 6)), "YX", "0.5")
    (folder / "garbled.zarr/0/c/0/0").write_bytes(b"garbled")
    write_ome_zarr(folder / "hollow.zarr", pixels((5, 6)), "YX", "0.5")
    (folder / "hollow.zarr/0/zarr.json").unlink()
    write_ome_zarr(folder / "json.zarr", pixels((5, 6)), "YX", "0.5")
    (folder / "json.zarr/zarr.json").write_text('{"zarr_format": 3,')
    zarr.open_group(folder / "plain.zarr", mode="w")
    write_ome_zarr(folder / "axes.zarr", pixels((2, 2, 5, 6)), "ZVYX", "0.4")
    write_ome_zarr(folder / "complex.zarr", pixels((5, 6), "complex64"), "YX", "0.4")
    write_ome_zarr(folder / "nan.zarr", np.full((5, 6), np.nan), "YX", "0.4")
    (folder / "empty.tif").touch()
    (folder / "text.tif").write_text("not a picture")
    (folder / "text.png").write_text("not a picture")
    (folder / "folder").mkdir()
    words = {
        "cut.zarr": "cannot be read as OME-Zarr",
        "garbled.zarr": "cannot be read as OME-Zarr",
        "hollow.zarr": "cannot be read as OME-Zarr",
        "json.zarr": "cannot be read as OME-Zarr",
        "plain.zarr": "is no OME-Zarr image",
        "axes.zarr": r"axes \['Z', 'V', 'Y', 'X'\] of shape",
        "complex.zarr": "complex64 cannot be used",
        "nan.zarr": "30 of 30 pixels are NaN",
        "none.zarr": "does not exist",
        "empty.tif": "is empty",
        "text.tif": "cannot be read as TIFF",
        "text.png": "cannot be read as PNG",
        "folder": "is a folder",
    }
    return {name: (folder / name, text) for name, text in words.items()}


@pytest.mark.parametrize(
    "case",
    [
        "cut.zarr",
        "garbled.zarr",
        "hollow.zarr",
        "json.zarr",
        "plain.zarr",
        "axes.zarr",
        "complex.zarr",
        "nan.zarr",
        "none.zarr",
        "empty.tif",
        "text.tif",
        "text.png",
        "folder",
    ],
)
def test_a_bad_file_is_one_line_that_names_it(case: str, tmp_path: Path) -> None:
    path, words = bad_files(tmp_path)[case]
    with pytest.raises(ImageFileError, match=words) as caught:
        open_image(path).stacks(2)[0][1].read()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "box",
    [
        (slice(0, 5),),
        (slice(0, 6), slice(0, 6)),
        (slice(-1, 5), slice(0, 6)),
        (slice(0, 5, 2), slice(0, 6)),
        (slice(3, 3), slice(0, 6)),
    ],
    ids=str,
)
def test_a_box_that_is_none_is_refused(box: Any, tmp_path: Path) -> None:
    write_image(tmp_path / "a.tif", Image(pixels((5, 6)), "YX"))
    with pytest.raises(ValueError, match="does not lie in an image"):
        open_image(tmp_path / "a.tif").stacks(2)[0][1].read(box)


MEMORY = """
import sys
from pathlib import Path
import imagecodecs, tifffile, zarr
from septum.images.stored import open_image

def peak():  # not ru_maxrss, which begins with that of the process that started this one
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

before = peak()
stack = open_image(sys.argv[1]).stacks(int(sys.argv[2]))[0][1]
for number in range(50):
    starts = [number * n // 50 for n in stack.extents]
    box = tuple(slice(s, min(s + 200, n)) for s, n in zip(starts, stack.extents))
    assert stack.read(box)[(0,) * (1 + len(box))] == number + 1
print((peak() - before) // 1024)
"""


def megabytes_for_fifty_boxes(path: Path, dimensions: int) -> int:
    """What reading them adds to the memory of a new process; their first pixels are checked."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux, which says what the peak was")
    command = [sys.executable, "-c", MEMORY, str(path), str(dimensions)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_regions_of_a_2_gb_tiled_bigtiff_take_little_memory(
    compression: str | None, tmp_path: Path
) -> None:
    shape, side = (32_000, 64_000), 400
    places = {tuple(number * n // 50 for n in shape): number + 1 for number in range(50)}
    columns = shape[1] // side
    tiles: list[np.ndarray | None] = [None] * (shape[0] // side * columns)
    for (y, x), value in places.items():
        tiles[y // side * columns + x // side] = np.full((side, side), value, np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        iter(tiles),
        shape=shape,
        dtype=np.uint8,
        tile=(side, side),
        bigtiff=True,
        compression=compression,
    )
    assert megabytes_for_fifty_boxes(path, 2) < 200


def test_regions_of_a_2_gb_stack_of_plain_pixels_take_little_memory(tmp_path: Path) -> None:
    shape = (500, 2000, 2000)
    path = tmp_path / "a.tif"
    stack = tifffile.memmap(path, shape=shape, dtype=np.uint8, photometric="minisblack")
    for number in range(50):
        stack[tuple(number * n // 50 for n in shape)] = number + 1
    del stack
    assert megabytes_for_fifty_boxes(path, 3) < 200


@pytest.mark.parametrize("sharded", [False, True])
def test_regions_of_a_2_gb_ome_zarr_take_little_memory(sharded: bool, tmp_path: Path) -> None:
    shape, path = (500, 2000, 2000), tmp_path / "a.zarr"
    write_ome_zarr(path, pixels((4, 4, 4)), "ZYX", "0.5")
    options: dict[str, Any] = {"shards": (100, 200, 200)} if sharded else {}
    array = zarr.open_group(path).create_array(
        "0", shape=shape, dtype=np.uint8, chunks=(50, 100, 100), overwrite=True, **options
    )
    for number in range(50):
        array[tuple(number * n // 50 for n in shape)] = number + 1
    assert megabytes_for_fifty_boxes(path, 3) < 200


def test_an_array_is_told_from_an_image(tmp_path):
    import zarr

    zarr.create_array(tmp_path / "a.zarr", shape=(9, 9), dtype="u1")[...] = 1
    with pytest.raises(ImageFileError, match=r"a\.zarr: is a Zarr array, without what OME-Zarr"):
        open_image(tmp_path / "a.zarr")
