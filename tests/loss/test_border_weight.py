"""The border weight is equation 2, found without one distance transform per cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from septum.loss.border_weight import NEGLIGIBLE, border_weight, weight_radius


def by_brute_force(instances, w0=10.0, sigma=5.0, spacing=None):
    """One Euclidean distance transform of the whole image per cell, the two smallest kept."""
    ids = np.unique(instances[instances != 0])
    weight = np.zeros(instances.shape)
    if len(ids) < 2:
        return weight
    distances = np.stack(
        [ndimage.distance_transform_edt(instances != cell, sampling=spacing) for cell in ids]
    )
    nearest = np.partition(distances, 1, axis=0)[:2].sum(0)
    weight = w0 * np.exp(-(nearest**2) / (2 * sigma**2))
    weight[weight < NEGLIGIBLE * w0 * (1 - 1e-4)] = 0
    weight[instances != 0] = 0
    return weight


def assert_exact(instances, **options):
    actual = border_weight(instances, **options)
    expected = by_brute_force(instances, **options)
    scale = options.get("w0", 10.0)
    np.testing.assert_allclose(actual, expected, atol=1e-5 * scale, rtol=1e-5)
    return expected


def scattered(extents, cells, seed, largest=3):
    """Blocks at random places, later ones over earlier ones; ids with gaps."""
    rng = np.random.default_rng(seed)
    instances = np.zeros(extents, np.int32)
    for number in range(cells):
        corner = rng.integers(0, extents)
        size = rng.integers(1, largest + 1, len(extents))
        box = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
        instances[box] = 7 * number + 3
    return instances


@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=2),
    st.integers(0, 12),
    st.integers(0, 10**6),
    st.sampled_from([1.0, 2.5, 5.0]),
)
def test_it_is_exact_on_random_planes(extents, cells, seed, sigma):
    assert_exact(scattered(extents, cells, seed), sigma=sigma)


@given(
    st.lists(st.integers(1, 12), min_size=3, max_size=3),
    st.integers(0, 8),
    st.integers(0, 10**6),
    st.tuples(*[st.sampled_from([0.3, 1.0, 2.0, 7.5])] * 3),
)
def test_it_is_exact_in_volumes_of_any_spacing(extents, cells, seed, spacing):
    assert_exact(scattered(extents, cells, seed), sigma=3.0, spacing=spacing)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.5), (0.25, 3.0)])
def test_it_is_exact_where_the_pixels_are_not_square(spacing):
    expected = assert_exact(scattered((40, 45), 12, 3), sigma=4.0, spacing=spacing)
    assert expected.max() > 0.5


def test_pixels_between_several_equally_near_cells_are_exact():
    instances = np.zeros((21, 21), np.int32)  # a lattice: every pixel between has ties
    for number, (y, x) in enumerate(np.ndindex(6, 6), start=1):
        instances[4 * y, 4 * x] = number
    expected = assert_exact(instances)
    assert expected[2, 2] == pytest.approx(10 * np.exp(-((2 * np.sqrt(8)) ** 2) / 50))


def test_two_pixels_apart_the_weight_is_that_of_equation_2():
    instances = np.zeros((1, 5), np.int32)
    instances[0, 0], instances[0, 4] = 1, 2
    expected = 10 * np.exp(-(4.0**2) / 50)
    np.testing.assert_allclose(border_weight(instances), [[0, *[expected] * 3, 0]], rtol=1e-6)


@pytest.mark.parametrize("extents", [(30, 20), (6, 8, 10), (1, 1), (1, 9)])
def test_one_cell_or_none_has_no_border(extents):
    instances = np.zeros(extents, np.int32)
    assert not border_weight(instances).any()
    instances[tuple(n // 2 for n in extents)] = 4
    assert not border_weight(instances).any()


def test_a_cell_in_two_pieces_is_one_cell():
    instances = np.zeros((9, 9), np.int32)
    instances[2, 2] = instances[2, 6] = 5
    assert not border_weight(instances).any()
    instances[7, 4] = 6
    assert_exact(instances)


def test_cells_that_fill_the_rim_are_exact():
    instances = np.zeros((25, 25), np.int32)
    instances[0], instances[-1], instances[2:-2, 0], instances[2:-2, -1] = 1, 2, 3, 4
    assert assert_exact(instances).max() > 1


def test_ids_may_be_far_apart_and_negative_ones_are_cells_too():
    instances = scattered((20, 20), 6, 1)
    far = np.array([0, 2**31 - 1, 17, -5, 10**9, 2, -(2**31)], np.int32)
    spread = far[np.searchsorted(np.unique(instances), instances)]
    assert np.array_equal(border_weight(spread), border_weight(instances))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64])
def test_the_type_of_the_ids_does_not_matter(kind):
    instances = scattered((20, 20), 6, 1)
    assert np.array_equal(border_weight(instances.astype(kind)), border_weight(instances))


def test_a_thousand_cells_are_exact():
    instances = np.zeros((96, 96), np.int32)
    rng = np.random.default_rng(0)
    places = rng.permutation(96 * 96)[:1000]
    instances.ravel()[places] = np.arange(1, 1001)
    assert_exact(instances, sigma=1.5)


@given(st.integers(0, 10**6), st.integers(2, 3))
def test_turning_the_cells_turns_the_weight(seed, axes):
    instances = scattered((17, 23, 9)[:axes], 7, seed)
    weight = border_weight(instances)
    for axis in range(axes):
        flipped = border_weight(np.flip(instances, axis))
        np.testing.assert_allclose(flipped, np.flip(weight, axis), rtol=1e-5)
    transposed = border_weight(instances.T)
    np.testing.assert_allclose(transposed, weight.T, rtol=1e-5)


def test_it_is_0_on_cells_and_grows_with_w0():
    instances = scattered((40, 40), 10, 2)
    weight = border_weight(instances, w0=4)
    assert not weight[instances != 0].any()
    assert (weight[instances == 0] > 0).any()
    np.testing.assert_allclose(border_weight(instances, w0=8), 2 * weight, rtol=1e-6)
    assert not border_weight(instances, w0=0).any()


def test_the_labels_are_read_as_they_are_laid_out():
    instances = scattered((30, 20), 8, 4)
    view = np.asfortranarray(np.repeat(instances, 2, axis=1))[:, ::2]
    assert not view.flags.c_contiguous
    assert np.array_equal(border_weight(view), border_weight(instances))


def test_nothing_beyond_the_radius_has_an_effect():
    sigma = 2.0
    reach = int(np.ceil(weight_radius(sigma)))
    instances = scattered((20, 20), 5, 6)
    wide = np.zeros((20 + 2 * reach, 20 + 2 * reach), np.int32)
    wide[reach:-reach, reach:-reach] = instances
    inner = border_weight(wide, sigma=sigma)[reach:-reach, reach:-reach]
    assert np.array_equal(inner, border_weight(instances, sigma=sigma))
    # So a tile with this rim has in its middle the weights of the whole image.
    image = scattered((90, 90), 60, 7)
    whole = border_weight(image, sigma=sigma)
    part = border_weight(image[20:70, 20:70], sigma=sigma)
    middle = part[reach:-reach, reach:-reach]
    assert middle.any()
    assert np.array_equal(middle, whole[20 + reach : 70 - reach, 20 + reach : 70 - reach])


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, -2.0), (1.0, 1.0, 1.0)])
def test_a_spacing_that_is_none_is_refused(spacing):
    with pytest.raises(ValueError, match="expected 2 extents above 0"):
        border_weight(scattered((9, 9), 3, 1), spacing=spacing)


def test_a_radius_far_beyond_the_image_takes_no_memory():
    instances = scattered((12, 9), 4, 1)
    assert_exact(instances, sigma=50.0)
    assert np.isfinite(border_weight(instances, sigma=1e9)).all()


def test_other_than_two_or_three_axes_are_refused():
    with pytest.raises(ValueError, match="YX or ZYX"):
        border_weight(np.zeros(5, np.int32))


def test_ids_wider_than_32_bits_stay_distinct():
    narrow = np.zeros((5, 9), np.int32)
    narrow[:, :3], narrow[:, 6:] = 1, 2
    wide = narrow.astype(np.int64) << 32
    assert np.array_equal(border_weight(wide), border_weight(narrow))
    assert border_weight(wide).max() > 0
