"""Pairs left in their files: what is read of them is what loading them would give."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr

from septum.annotation.pairs import Pair, find_pairs, load_pairs
from septum.annotation.stored_pairs import StoredAnnotated, open_pairs
from septum.errors import AnnotationError, ImageFileError, InputError
from septum.images.files import Image, write_image

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SEPTUM_DATA", ROOT / "../shared/data")).resolve()


def pixels(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 9, shape).astype(dtype)


def agree(pairs: list[Pair], dimensions: int = 2) -> list[StoredAnnotated]:
    """Stored and loaded pairs are equal, as a whole and in a region."""
    opened, loaded = open_pairs(pairs, dimensions), load_pairs(pairs, dimensions)
    assert [part.name for part in opened] == [part.name for part in loaded]
    for part, whole in zip(opened, loaded, strict=True):
        assert (part.channels, *part.extents) == whole.image_CS.shape
        assert part.nbytes == whole.image_CS.nbytes + whole.labels_S.nbytes
        assert part.pixel_size == whole.pixel_size
        box = tuple(slice(n // 3, n // 3 + max(1, n // 2)) for n in part.extents)
        for region, cut in ((None, ()), (box, box)):
            read = part.read(region)
            np.testing.assert_array_equal(read.image_CS, whole.image_CS[:, *cut])
            np.testing.assert_array_equal(read.labels_S, whole.labels_S[cut])
            assert read.image_CS.dtype == whole.image_CS.dtype
            assert read.labels_S.dtype == whole.labels_S.dtype
            assert (read.name, read.pixel_size) == (whole.name, whole.pixel_size)
            assert (read.image_path, read.label_path) == (part.image_path, part.label_path)
    return opened


def pair(folder: Path, image: Image, labels: Image, name: str = "a") -> Pair:
    made = Pair(name, folder / f"{name}.tif", folder / f"{name}_labels.tif")
    write_image(made.image, image)
    write_image(made.labels, labels)
    return made


@pytest.mark.parametrize(
    "folder", ["isbi2012-em", "PhC-C2DH-U373", "format-fixtures/batch_process"]
)
def test_real_data_sets_agree(folder: str) -> None:
    if not (DATA / folder).is_dir():
        pytest.skip(f"no {folder} in {DATA} (set SEPTUM_DATA)")
    agree(find_pairs(DATA / folder))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "float32", "bool"])
def test_labels_of_every_type(dtype: str, tmp_path: Path) -> None:
    drawn = pixels(20, 30, dtype=dtype)
    made = pair(tmp_path, Image(pixels(20, 30), "YX", (0.5, 0.25)), Image(drawn, "YX"))
    tifffile.imwrite(made.labels, drawn)
    agree([made])


@pytest.mark.parametrize("axes", ["ZYX", "TYX", "CYX"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_stacks_whose_label_pages_have_any_name(axes: str, dimensions: int, tmp_path: Path) -> None:
    image = Image(pixels(4, 20, 30), "ZYX", (3.0, 0.5, 0.25))
    agree([pair(tmp_path, image, Image(pixels(4, 20, 30, seed=1), axes))], dimensions)


@pytest.mark.parametrize("axes", ["CZYX", "TCZYX"])
def test_channels_and_times(axes: str, tmp_path: Path) -> None:
    shape = (2, 3, 4, 20, 30)[-len(axes) :]
    drawn = pixels(*(n for n, axis in zip(shape, axes, strict=True) if axis != "C"), seed=1)
    made = pair(tmp_path, Image(pixels(*shape), axes), Image(drawn, axes.replace("C", "")))
    agree([made], 2)
    agree([made], 3)


def test_labels_in_equal_colours_and_palettes_are_numbers(tmp_path: Path) -> None:
    drawn = pixels(20, 30)
    made = pair(tmp_path, Image(pixels(20, 30), "YX"), Image(np.stack([drawn] * 3), "CYX"))
    palette = PIL.Image.fromarray(drawn)
    palette.putpalette(list(range(27)))
    palette.save(tmp_path / "b.png")
    agree([made, Pair("b", made.image, tmp_path / "b.png")])


def test_grey_and_colour_images_mix_if_the_colours_are_grey(tmp_path: Path) -> None:
    grey, labels = pixels(20, 30), Image(pixels(20, 30, seed=1), "YX")
    first = pair(tmp_path, Image(grey, "YX"), labels)
    second = pair(tmp_path, Image(np.stack([grey] * 3), "CYX"), labels, "b")
    assert [part.channels for part in agree([first, second])] == [1, 1]
    assert [part.channels for part in agree([second])] == [3]
    third = pair(tmp_path, Image(pixels(3, 20, 30), "CYX"), labels, "c")
    opened = open_pairs([first, second, third])
    with pytest.raises(AnnotationError, match=r"c\.tif: 3 channels, but .*a\.tif has 1"):
        opened[2].read()
    fourth = pair(tmp_path, Image(pixels(2, 20, 30), "CYX"), labels, "d")
    with pytest.raises(AnnotationError, match=r"d\.tif: 2 channels, but .*a\.tif has 1"):
        open_pairs([first, fourth])


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        (Image(pixels(5, 6), "YX"), Image(pixels(6, 5), "YX")),
        (Image(pixels(3, 5, 6), "ZYX"), Image(pixels(2, 5, 6), "ZYX")),
        (Image(pixels(5, 6), "YX"), Image(pixels(3, 5, 6), "ZYX")),
    ],
)
def test_what_headers_tell_is_said_on_opening_in_the_same_words(
    image: Image, labels: Image, tmp_path: Path
) -> None:
    made = pair(tmp_path, image, labels)
    with pytest.raises(AnnotationError) as opening:
        open_pairs([made])
    with pytest.raises(AnnotationError) as loading:
        load_pairs([made])
    assert str(opening.value) == str(loading.value)


def test_what_pixels_tell_is_said_on_reading_in_the_same_words(tmp_path: Path) -> None:
    made = pair(tmp_path, Image(pixels(5, 6), "YX"), Image(pixels(5, 6), "YX"))
    bad: list[tuple[np.ndarray, dict[str, Any]]] = [
        (pixels(5, 6, dtype="float32") + 0.5, {}),
        (np.full((5, 6), 2**32 - 1, np.uint32), {}),
        (pixels(5, 6, 3, dtype="uint16"), {"photometric": "rgb"}),
    ]
    for drawn, options in bad:
        tifffile.imwrite(made.labels, drawn, **options)
        (part,) = open_pairs([made])
        with pytest.raises(AnnotationError) as reading:
            part.read()
        with pytest.raises(AnnotationError) as loading:
            load_pairs([made])
        assert str(reading.value) == str(loading.value)


def test_opening_reads_no_pixels(tmp_path: Path) -> None:
    made = pair(tmp_path, Image(pixels(99, 99), "YX"), Image(pixels(99, 99), "YX"))
    for path in (made.image, made.labels):
        with tifffile.TiffFile(path) as tif:
            page = tif.pages.first
            offset, count = page.dataoffsets[0], page.databytecounts[0]
        content = bytearray(path.read_bytes())
        content[offset : offset + count] = bytes(count)
        path.write_bytes(content)
    (part,) = pickle.loads(pickle.dumps(open_pairs([made])))
    assert part.extents == (99, 99)
    with pytest.raises(ImageFileError, match=r"a_labels\.tif: cannot be read as TIFF"):
        part.read()


def write_zarr(path: Path, array: np.ndarray, version: str = "0.4") -> Path:
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"[-array.ndim :]]
    scale = {"type": "scale", "scale": [0.5] * array.ndim}
    dataset = {"path": "0", "coordinateTransformations": [scale]}
    known = {"multiscales": [{"axes": axes, "datasets": [dataset]}]}
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    group.attrs.update(known if version == "0.4" else {"ome": {"version": version, **known}})
    group.create_array("0", shape=array.shape, dtype=array.dtype, chunks=(8,) * array.ndim)
    group["0"][...] = array
    return path


def write_with_labels(
    path: Path, version: str = "0.4", names: tuple[str, ...] = ("nuclei",)
) -> Path:
    image = write_zarr(path, pixels(4, 20, 30), version)
    if names:
        zarr.open_group(path / "labels", mode="w", zarr_format=2 if version == "0.4" else 3)
    for name in names:
        write_zarr(path / "labels" / name, pixels(4, 20, 30, dtype="int32", seed=1), version)
    return image


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_ome_zarr_with_its_labels_within(version: str, tmp_path: Path) -> None:
    store = write_with_labels(tmp_path / "cells.ome.zarr", version)
    for data in (store, tmp_path):
        assert find_pairs(data) == [Pair("cells", store, store / "labels/nuclei")]
    (volume,) = agree(find_pairs(store), 3)
    assert volume.pixel_size == (0.5, 0.5, 0.5)
    assert volume.extents == (4, 20, 30)
    assert [part.name for part in agree(find_pairs(store))] == [f"cells[0{z}]" for z in range(4)]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images/{}.zarr", "labels/{}.zarr"),
        ("images/{}.zarr", "masks/{}_mask.tif"),
        ("{}.zarr", "{}_labels.zarr"),
        ("{}.tif", "{}_labels.zarr"),
    ],
)
def test_ome_zarr_wherever_files_may_be(images: str, labels: str, tmp_path: Path) -> None:
    for name in ("a10", "a9"):
        for pattern, seed in ((images, 0), (labels, 1)):
            path = tmp_path / pattern.format(name)
            path.parent.mkdir(exist_ok=True)
            array = pixels(20, 30, seed=seed)
            if path.suffix == ".zarr":
                write_zarr(path, array)
            else:
                write_image(path, Image(array, "YX"))
    pairs = find_pairs(tmp_path)
    assert pairs == [
        Pair(name, tmp_path / images.format(name), tmp_path / labels.format(name))
        for name in ("a9", "a10")
    ]
    agree(pairs)


@pytest.mark.parametrize("header", ["", "image,labels\n"])
def test_a_table_may_name_ome_zarr_and_labels_within(header: str, tmp_path: Path) -> None:
    store = write_with_labels(tmp_path / "a.zarr", names=("cells", "nuclei"))
    write_zarr(tmp_path / "b.zarr/0", pixels(4, 20, 30))
    write_zarr(tmp_path / "b.zarr/0/labels/cells", pixels(4, 20, 30))
    (tmp_path / "pairs.csv").write_text(
        header + "b.zarr/0,b.zarr/0/labels/cells\na.zarr,a.zarr/labels/nuclei\n"
    )
    pairs = find_pairs(tmp_path / "pairs.csv")
    assert [(part.name, part.labels) for part in pairs] == [
        ("0", tmp_path / "b.zarr/0/labels/cells"),
        ("a", store / "labels/nuclei"),
    ]
    agree(pairs)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), r"a\.zarr: OME-Zarr without labels; expected .*labels/NAME"),
        (("cells", "nuclei"), r"labels: 2 label images \(cells, nuclei\); name the one"),
    ],
)
def test_an_ome_zarr_needs_one_label_image(
    names: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    write_with_labels(tmp_path / "a.zarr", names=names)
    for data in (tmp_path, tmp_path / "a.zarr"):
        with pytest.raises(AnnotationError, match=words):
            find_pairs(data)


def test_a_folder_named_zarr_that_is_none_is_in_no_layout(tmp_path: Path) -> None:
    (tmp_path / "data" / "a.zarr").mkdir(parents=True)
    with pytest.raises(InputError, match="no image files in a layout known here"):
        find_pairs(tmp_path / "data")
