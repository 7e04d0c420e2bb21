"""Grey values vary within what the recipe says, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septum.augment.intensity import GreyValues, sample_grey_values, vary_grey_values
from septum.recipe import Augment

NEUTRAL = GreyValues()


def random_image(extents=(20, 25), channels=2):
    rng = np.random.default_rng(0)
    return rng.standard_normal((channels, *extents)).astype(np.float32)


def test_neutral_values_change_no_bit():
    image = random_image()
    assert np.array_equal(vary_grey_values(image, NEUTRAL), image)


def test_a_recipe_without_variation_draws_neutral_values():
    values = sample_grey_values(Augment(), np.random.default_rng(0))
    assert (values.contrast, values.brightness, values.gamma, values.noise) == (1, 0, 1, 0)


@given(st.floats(0.3, 3.0))
def test_gamma_keeps_each_channels_darkest_and_brightest_value_and_the_order(gamma):
    image = random_image() * np.float32([1, 50])[:, None, None]
    bent = vary_grey_values(image, GreyValues(gamma=gamma))
    for before, after in zip(image, bent, strict=True):
        extent = float(np.ptp(before))
        assert after.min() == pytest.approx(float(before.min()), abs=1e-5 * extent)
        assert after.max() == pytest.approx(float(before.max()), abs=1e-5 * extent)
        order = np.argsort(before, axis=None)
        assert (np.diff(after.ravel()[order]) >= -1e-6 * extent).all()
    if abs(gamma - 1) > 0.1:
        assert np.abs(bent - image).max() > 0.01


@pytest.mark.parametrize("extents", [(4, 4), (3, 4, 5), (1, 1)])
def test_a_constant_image_survives_every_change_without_nan(extents):
    flat = np.full((1, *extents), -2.5, np.float32)
    assert np.array_equal(vary_grey_values(flat, GreyValues(gamma=0.5)), flat)
    values = GreyValues(contrast=1.5, brightness=1.0, gamma=2.0, noise=0.1)
    assert np.isfinite(vary_grey_values(flat, values)).all()


def test_contrast_multiplies_and_brightness_is_added():
    image = random_image()
    changed = vary_grey_values(image, GreyValues(contrast=1.25, brightness=-0.5))
    np.testing.assert_allclose(changed, 1.25 * image - 0.5, atol=1e-6)


def test_noise_has_the_standard_deviation_drawn_and_is_repeatable():
    image = np.zeros((1, 200, 200), np.float32)
    values = GreyValues(noise=0.3, noise_seed=5)
    noise = vary_grey_values(image, values)
    assert noise.std() == pytest.approx(0.3, rel=5 / np.sqrt(2 * noise.size))
    assert np.array_equal(vary_grey_values(image, values), noise)
    assert not np.array_equal(vary_grey_values(image, GreyValues(noise=0.3, noise_seed=6)), noise)


def test_draws_fill_the_ranges_of_the_recipe_and_stay_within():
    section = Augment(brightness=0.2, contrast=0.25, gamma=0.3, noise=0.1)
    rng = np.random.default_rng(0)
    drawn = [sample_grey_values(section, rng) for _ in range(500)]
    ranges = {
        "brightness": (-0.2, 0.2),
        "contrast": (0.75, 1.25),
        "gamma": (0.7, 1 / 0.7),
        "noise": (0.0, 0.1),
    }
    for name, (low, high) in ranges.items():
        values = np.array([getattr(item, name) for item in drawn])
        margin = 0.02 * (high - low)
        assert low - 1e-9 <= values.min() < low + margin, name
        assert high - margin < values.max() <= high + 1e-9, name


def test_the_given_image_is_never_written_to():
    image = random_image()
    kept = image.copy()
    vary_grey_values(image, GreyValues(contrast=2, brightness=1, gamma=1.4, noise=1))
    assert np.array_equal(image, kept)


def test_each_channel_varies_by_itself_in_units_of_its_own_deviation():
    image = random_image(channels=3) * np.float32([1, 10, 0])[:, None, None] + 2
    changed = vary_grey_values(image, GreyValues(channels=((1.2, 0.5), (0.8, -0.5), (1.0, 0.5))))
    deviation = image.std((1, 2))
    expected = [
        1.2 * image[0] + 0.5 * deviation[0],
        0.8 * image[1] - 0.5 * deviation[1],
        image[2],  # constant: nothing is added
    ]
    np.testing.assert_allclose(changed, expected, atol=1e-5)


def test_channels_are_drawn_last_within_the_range_and_not_for_one_alone():
    section = Augment(brightness=0.2, noise=0.1, channels=0.3)
    usual = sample_grey_values(section, np.random.default_rng(3))
    drawn = sample_grey_values(section, np.random.default_rng(3), 4)
    assert usual.channels == ()
    assert sample_grey_values(Augment(), np.random.default_rng(3), 4).channels == ()
    assert (drawn.brightness, drawn.noise_seed) == (usual.brightness, usual.noise_seed)
    rng = np.random.default_rng(0)
    many = np.array([sample_grey_values(section, rng, 4).channels for _ in range(300)])
    assert many.shape == (300, 4, 2)
    for values, middle in ((many[..., 0], 1), (many[..., 1], 0)):
        assert middle - 0.3 <= values.min() < middle - 0.29
        assert middle + 0.29 < values.max() <= middle + 0.3
        assert abs(np.corrcoef(values.T)[0, 1]) < 0.2  # each by itself
