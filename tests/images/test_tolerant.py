"""Parts of an image that cannot be read are left out, and known."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from predictions import noise, write_zarr
from septum.errors import ImageFileError
from septum.images.image import ImageHeader
from septum.images.rescaled import rescale
from septum.images.stored import open_image
from septum.images.tolerant import damage, describe_damage, tolerate
from septum.images.zarr_writer import create_image


@pytest.fixture
def damaged(tmp_path):
    """600 × 1100 pixels in chunks of 256; the chunk (1, 2) cannot be decoded."""
    header = ImageHeader("YX", (600, 1100), np.dtype(np.uint8), (0.5, 0.5))
    array = create_image(tmp_path / "a.zarr", header, (256, 256))
    pixels = np.random.default_rng(0).integers(1, 255, (600, 1100), dtype=np.uint8)
    array[...] = pixels
    (tmp_path / "a.zarr" / "0" / "c" / "1" / "2").write_bytes(b"nothing")
    return open_image(tmp_path / "a.zarr"), pixels


def test_only_what_cannot_be_read_is_left_out(damaged):
    image, pixels = damaged
    with pytest.raises(ImageFileError):
        image.read()
    tolerated = tolerate(image, [7.4])
    found = tolerated.read().array
    wrong = found != pixels
    assert (found[wrong] == 7).all()
    assert wrong[256:512, 512:768].mean() > 0.99
    # What is given up with it: less than as much again on each side.
    _, columns = np.nonzero(wrong)
    assert columns.min() >= 512 - 256
    assert columns.max() < 768 + 256
    assert wrong.sum() <= 6 * 256**2
    covered = np.zeros_like(wrong)
    for box in damage(tolerated):
        covered[box] = True
    assert (covered >= wrong).all()


def test_it_is_said_where(damaged):
    image, _ = damaged
    tolerated = tolerate(image, [0])
    assert describe_damage(tolerated) == ""
    tolerated.read((slice(0, 200), slice(0, 200)))
    assert describe_damage(tolerated) == ""
    box = (slice(300, 310), slice(600, 620))
    for _ in range(2):  # said once
        np.testing.assert_array_equal(tolerated.read(box).array, 0)
    assert describe_damage(tolerated) == "1 region cannot be read, within Y 300–310, X 600–620"
    tolerated.read((slice(400, 410), slice(600, 620)))
    assert describe_damage(tolerated) == "2 regions cannot be read, within Y 300–410, X 600–620"
    assert damage(rescale(tolerated, (1.0, 1.0))) == damage(tolerated)
    assert describe_damage(image) == ""


def test_a_pixel_that_is_not_finite_is_one_that_cannot_be_read(tmp_path):
    header = ImageHeader("YX", (40, 40), np.dtype(np.float32))
    array = create_image(tmp_path / "a.zarr", header, (40, 40))
    array[...] = 1
    array[3, 5] = np.nan
    found = tolerate(open_image(tmp_path / "a.zarr"), [2.5]).read().array
    assert np.isfinite(found).all()
    assert found[3, 5] == 2.5


@pytest.mark.parametrize(("dtype", "fill", "kept"), [("u1", 300.0, 255), ("i2", -4.6, -5)])
def test_the_fill_is_a_value_of_the_type(tmp_path, dtype, fill, kept):
    array = create_image(tmp_path / "a.zarr", ImageHeader("YX", (9, 9), np.dtype(dtype)), (9, 9))
    array[...] = 1
    (tmp_path / "a.zarr" / "0" / "c" / "0" / "0").write_bytes(b"nothing")
    tolerated = pickle.loads(pickle.dumps(tolerate(open_image(tmp_path / "a.zarr"), [fill])))
    np.testing.assert_array_equal(tolerated.read().array, kept)


def test_nothing_is_lost_of_an_image_that_can_be_read(tmp_path):
    image = open_image(write_zarr(tmp_path / "a.zarr", noise("YX", (50, 60))))
    tolerated = tolerate(image, [0])
    np.testing.assert_array_equal(tolerated.read().array, image.read().array)
    assert damage(tolerated) == []


def test_each_channel_has_its_own_fill(tmp_path):
    header = ImageHeader("TCYX", (2, 3, 9, 9), np.dtype(np.uint8))
    array = create_image(tmp_path / "a.zarr", header, (9, 9))
    array[...] = 1
    (tmp_path / "a.zarr" / "0" / "c" / "0" / "1" / "0" / "0").write_bytes(b"nothing")
    tolerated = tolerate(open_image(tmp_path / "a.zarr"), [10, 20, 300])
    whole = (slice(0, 3), slice(0, 9), slice(0, 9))
    lost = tolerated.read((slice(0, 1), *whole)).array
    assert [set(channel.ravel().tolist()) for channel in lost[0]] == [{10}, {20}, {255}]
    assert (tolerated.read((slice(1, 2), *whole)).array == 1).all()
