"""Resampling by region: the same as the whole, linear, and without aliases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from septum.images.image import Image
from septum.images.rescaled import read_rescaled, rescale
from septum.images.stored import hold_image


def whole(array, to):
    return read_rescaled(
        lambda box: array[box], array.shape, to, tuple(slice(0, extent) for extent in to)
    )


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.data())
def test_a_region_is_that_of_the_whole_bit_for_bit(rows, columns, new_rows, new_columns, data):
    array = np.random.default_rng(rows).normal(size=(2, rows, columns)).astype(np.float32)
    to = (2, new_rows, new_columns)
    expected = whole(array, to)
    box = []
    for extent in to:
        start = data.draw(st.integers(0, extent - 1))
        box.append(slice(start, data.draw(st.integers(start + 1, extent))))
    found = read_rescaled(lambda part: array[part], array.shape, to, tuple(box))
    np.testing.assert_array_equal(found, expected[tuple(box)])


@given(st.integers(1, 40), st.integers(1, 90), st.floats(-10, 10, width=32))
def test_a_constant_stays_one(before, after, value):
    array = np.full((before, 3), value, np.float32)
    np.testing.assert_allclose(whole(array, (after, 3)), value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("to", [(30, 41), (77, 90), (200, 31), (64, 64), (7, 300)])
def test_it_is_what_pillow_makes_of_the_whole(to):
    array = np.random.default_rng(0).normal(size=(64, 80)).astype(np.float32)
    expected = np.asarray(Picture.fromarray(array).resize(to[::-1], Picture.Resampling.BILINEAR))
    np.testing.assert_allclose(whole(array, to), expected, atol=1e-5)


def test_a_ramp_stays_where_it_is():
    ramp = np.linspace(0.5, 99.5, 100, dtype=np.float32)[:, None]
    for extent in (50, 100, 310):
        found = whole(ramp, (extent, 1))[:, 0]
        expected = (np.arange(extent) + 0.5) * 100 / extent
        inside = slice(5, -5)  # at the ends, what is beyond is not known
        np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-5)


def test_fine_detail_does_not_become_coarse_waves():
    stripes = np.tile(np.array([0, 255], np.float32), 300)[:, None]
    found = whole(stripes, (171, 1))
    assert np.ptp(found[3:-3]) < 0.15 * 255


def test_what_is_known_of_the_image_goes_with_it():
    image = Image(np.zeros((2, 4, 50, 70), np.uint16), "CZYX", (2.0, 0.25, 0.5), ("a", "b"))
    found = rescale(hold_image(image), (2.0, 0.5, 1.0))
    assert found.shape == (2, 4, 25, 35)
    assert found.axes == "CZYX"
    assert found.pixel_size == (2.0, 0.5, 1.0)
    assert found.channel_names == ("a", "b")
    assert found.dtype == np.float32
    assert found.read().array.shape == (2, 4, 25, 35)


def test_pixel_sizes_are_those_of_whole_pixels():
    image = Image(np.zeros((10, 10), np.uint8), "YX", (1.0, 1.0))
    found = rescale(hold_image(image), (3.0, 40.0))
    assert found.shape == (3, 1)
    assert found.pixel_size == pytest.approx((10 / 3, 10.0))
