"""The table of objects: against scikit-image, the same for all blocks, and as a file."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import regionprops

from septum.errors import InputError, SaveError
from septum.prediction.objects import measure_objects, write_objects


@st.composite
def measured(draw):
    """Instances with gaps in their numbers, an image of some channels and some type, and blocks."""
    dimensions = draw(st.sampled_from([2, 3]))
    extents = tuple(draw(st.integers(1, 20 if dimensions == 2 else 7)) for _ in range(dimensions))
    random = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    instances = random.integers(0, draw(st.integers(1, 30)), extents).astype(np.uint32)
    dtype = draw(st.sampled_from(["u1", "u2", "i2", "f4"]))
    image = (random.random((draw(st.integers(1, 3)), *extents)) * 200 - 100 * (dtype == "i2")) + 3
    block = [draw(st.integers(1, extent + 2)) for extent in extents]
    return instances, image.astype(dtype), block


@given(measured())
def test_the_table_is_that_of_scikit_image(case):
    instances, image, block = case
    classes = np.arange(instances.max()).astype(np.uint8) + 7
    table = measure_objects(instances, image, classes, block)
    found = regionprops(instances, np.moveaxis(image, 0, -1))
    assert table.id_N.tolist() == [one.label for one in found]
    assert table.class_N.tolist() == [one.label + 6 for one in found]
    assert table.pixels_N.tolist() == [one.num_pixels for one in found]
    for row, one in enumerate(found):
        np.testing.assert_allclose(table.centroid_ND[row], one.centroid, rtol=1e-12)
        assert (*table.low_ND[row].tolist(), *table.high_ND[row].tolist()) == one.bbox
        here = image[:, instances == one.label]
        np.testing.assert_allclose(table.mean_NC[row], here.mean(1, np.float64), rtol=1e-12)
        assert np.array_equal(table.least_NC[row], here.min(1))
        assert np.array_equal(table.most_NC[row], here.max(1))
    assert table.least_NC.dtype == table.most_NC.dtype == image.dtype


@given(measured())
def test_the_table_is_the_same_for_all_blocks(case):
    instances, image, block = case
    classes = np.ones(instances.max(), np.uint8)
    whole = measure_objects(instances, image, classes, instances.shape).columns()
    by_block = measure_objects(instances, image, classes, block).columns()
    assert list(by_block) == list(whole)
    for name, column in by_block.items():
        if name.startswith("mean"):
            np.testing.assert_allclose(column, whole[name], rtol=1e-12)
        else:
            assert np.array_equal(column, whole[name]), name


def table_of(extents=(4, 6), channels=1, **known):
    instances = np.zeros(extents, np.uint32)
    instances[..., 1:3, 2:5] = 2
    instances[..., 0, 0] = 1
    image = np.arange(channels * instances.size, dtype=np.uint16).reshape(channels, *extents)
    return measure_objects(instances, image, np.array([3, 1], np.uint8), extents, **known)


def test_the_columns_of_an_image_in_pixels():
    columns = {name: column.tolist() for name, column in table_of().columns().items()}
    assert columns == {
        "id": [1, 2],
        "class": [3, 1],
        "area_px": [1, 6],
        "centroid_y_px": [0, 1.5],
        "centroid_x_px": [0, 3],
        "bbox_y_min": [0, 1],
        "bbox_y_max": [1, 3],
        "bbox_x_min": [0, 2],
        "bbox_x_max": [1, 5],
        "mean_intensity": [0, 12],
        "min_intensity": [0, 8],
        "max_intensity": [0, 16],
    }
    assert list(columns)[:5] == ["id", "class", "area_px", "centroid_y_px", "centroid_x_px"]


def test_with_a_pixel_size_there_are_micrometres_as_well():
    columns = table_of(pixel_size=(0.5, 2.0)).columns()
    assert columns["area_um2"].tolist() == [1, 6]
    assert columns["centroid_y_um"].tolist() == [0, 0.75]
    assert columns["centroid_x_um"].tolist() == [0, 6]
    volume = table_of((2, 4, 6), pixel_size=(3.0, 0.5, 2.0)).columns()
    assert volume["volume_voxels"].tolist() == [2, 12]
    assert volume["volume_um3"].tolist() == [6, 36]
    assert volume["centroid_z_um"].tolist() == [1.5, 1.5]
    assert volume["bbox_z_max"].tolist() == [2, 2]
    assert not {"area_px", "area_um2"} & set(volume)


@pytest.mark.parametrize(
    ("names", "suffixes"),
    [
        (None, ["_0", "_1"]),
        (("DAPI", "GFP (488 nm)"), ["_dapi", "_gfp_488_nm"]),
        (("a b", "A-B"), ["_0", "_1"]),
        (("DAPI", "µ"), ["_0", "_1"]),
    ],
)
def test_channels_are_told_apart_by_their_names_or_numbers(names, suffixes):
    columns = table_of(channels=2, channel_names=names).columns()
    assert [name for name in columns if name.startswith("mean")] == [
        f"mean_intensity{suffix}" for suffix in suffixes
    ]
    assert columns[f"mean_intensity{suffixes[1]}"].tolist() == [24, 36]
    assert "mean_intensity" in table_of(channel_names=("DAPI",)).columns()


def test_the_file_holds_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr("septum.prediction.objects.ROWS", 1)
    path = tmp_path / "cells.objects.csv"
    table = table_of(channels=2, pixel_size=(1 / 3, 1 / 3))
    write_objects(path, {"": table})
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["area_um2"]) for row in rows] == pytest.approx([1 / 9, 6 / 9], rel=1e-8)
    assert [row["max_intensity_1"] for row in rows] == ["24", "40"]
    for name, column in table.columns().items():
        assert [float(row[name]) for row in rows] == pytest.approx(column.tolist(), rel=1e-8)
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_without_objects_is_a_line_of_names(tmp_path):
    empty = measure_objects(
        np.zeros((3, 3), np.uint32), np.zeros((1, 3, 3), bool), np.zeros(0, np.uint8), (2, 2)
    )
    write_objects(tmp_path / "none.csv", {"": empty})
    text = (tmp_path / "none.csv").read_text("utf-8")
    assert text.startswith("id,class,area_px,centroid_y_px,")
    assert text.count("\n") == 1


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SaveError, match="cannot be written"):
        write_objects(tmp_path / "no" / "cells.csv", {"": table_of()})


def test_more_objects_than_16_bits_count_are_measured():
    instances = np.arange(300 * 300, dtype=np.uint32).reshape(300, 300)
    classes = np.ones(300 * 300 - 1, np.uint8)
    table = measure_objects(instances, instances[np.newaxis], classes, (128, 128))
    assert np.array_equal(table.id_N, np.arange(1, 90_000))
    assert np.array_equal(table.mean_NC[:, 0], table.id_N)
    assert (table.pixels_N == 1).all()


def test_zarr_arrays_are_measured(tmp_path):
    random = np.random.default_rng(0)
    instances, image = random.integers(0, 9, (20, 30), "u4"), random.integers(0, 99, (2, 20, 30))
    store = zarr.open_group(tmp_path / "store.zarr", mode="w")
    stored = store.create_array("instances", data=instances, chunks=(8, 8))
    pixels = store.create_array("image", data=image, chunks=(1, 8, 8))
    classes = np.ones(8, np.uint8)
    expected = measure_objects(instances, image, classes, (20, 30)).columns()
    for name, column in measure_objects(stored, pixels, classes, (8, 16)).columns().items():
        np.testing.assert_allclose(column, expected[name], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("instances", "image", "known", "words"),
    [
        (np.zeros((3, 3), "u4"), np.zeros((3, 3)), {}, r"expected \(Y, X\) and \(C, Y, X\)"),
        (np.zeros((3, 3), "u4"), np.zeros((1, 3, 4)), {}, "do not fit"),
        (np.zeros(3, "u4"), np.zeros((1, 3)), {}, "do not fit"),
        (np.zeros((3, 3), "f4"), np.zeros((1, 3, 3)), {}, "type float32; expected integers"),
        (np.full((3, 3), 3, "u4"), np.zeros((1, 3, 3)), {}, "object 3 has no class.*0 to 2"),
        (np.full((3, 3), -1, "i4"), np.zeros((1, 3, 3)), {}, "object -1 has no class"),
        (np.zeros((3, 3), "u4"), np.zeros((1, 3, 3)), {"pixel_size": (1.0,) * 3}, "2 spatial axes"),
        (np.zeros((3, 3), "u4"), np.zeros((1, 3, 3)), {"channel_names": ("a", "b")}, "2 channel"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(instances, image, known, words):
    with pytest.raises(InputError, match=words):
        measure_objects(instances, image, np.ones(2, np.uint8), (2,) * instances.ndim, **known)
