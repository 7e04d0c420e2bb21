"""Normalisation: what it makes of grey values, and what it must not depend on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septum.errors import ImageFileError
from septum.images.intensity_range import IntensityRange, fit_intensity_range
from septum.recipe import Intensity

ZSCORE, PERCENTILE = Intensity(), Intensity(method="percentile")


def images(seed: int = 0, channels: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 200, (channels, 20 + i, 30)).astype(np.uint8) for i in range(3)]


def pooled(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([part.reshape(part.shape[0], -1) for part in parts], axis=1)


def test_zscore_gives_mean_0_and_deviation_1_over_all_images_in_each_channel() -> None:
    parts = images()
    fitted = fit_intensity_range(iter(parts), ZSCORE)
    values = pooled([fitted.apply(part) for part in parts]).astype(np.float64)
    np.testing.assert_allclose(values.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(values.std(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "int32"])
def test_percentiles_are_those_of_all_pixels(dtype: str) -> None:
    rng = np.random.default_rng(1)
    parts = [(rng.gamma(2, 20, (1, 50, 61)) - (dtype[0] != "u")).astype(dtype) for _ in range(3)]
    fitted = fit_intensity_range(parts, PERCENTILE)
    low, high = np.percentile(pooled(parts)[0].astype(np.float64), [1.0, 99.8])
    assert fitted.offset[0] == pytest.approx(low)
    assert fitted.scale[0] == pytest.approx(high - low)


@pytest.mark.parametrize("section", [ZSCORE, PERCENTILE])
@given(factor=st.floats(0.01, 1000), shift=st.floats(-1e4, 1e4))
def test_brighter_or_shifted_images_normalise_to_the_same(
    section: Intensity, factor: float, shift: float
) -> None:
    parts = [part.astype(np.float64) for part in images(2)]
    changed = [part * factor + shift for part in parts]
    first = fit_intensity_range(parts, section).apply(parts[0])
    second = fit_intensity_range(changed, section).apply(changed[0])
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_a_large_offset_does_not_swallow_the_deviation() -> None:
    part = np.random.default_rng(3).normal(1e8, 1.0, (1, 100, 100))
    assert fit_intensity_range([part, part], ZSCORE).scale[0] == pytest.approx(part.std(), rel=1e-6)


def test_unsigned_values_below_the_offset_become_negative() -> None:
    ranged = IntensityRange((40000.0,), (2.0,))
    image = np.array([[[0, 40000, 65535]]], np.uint16)
    np.testing.assert_array_equal(ranged.apply(image), [[[-20000, 0, 12767.5]]])
    assert ranged.apply(image).dtype == np.float32
    assert image.dtype == np.uint16
    assert image[0, 0, 0] == 0


def test_apply_leaves_a_float32_image_untouched() -> None:
    image = np.ones((1, 2, 2), np.float32)
    IntensityRange((1.0,), (2.0,)).apply(image)
    assert (image == 1).all()


@pytest.mark.parametrize("method", ["zscore", "percentile", "none"])
@pytest.mark.parametrize("value", [0, 7, 0.1])
def test_a_constant_image_has_scale_1(method: str, value: float) -> None:
    part = np.full((1, 31, 17), value, np.uint8 if isinstance(value, int) else np.float32)
    fitted = fit_intensity_range([part, part], Intensity(method=method))  # type: ignore[arg-type]
    assert fitted.scale == (1.0,)
    assert np.isfinite(fitted.apply(part)).all()


def test_none_leaves_the_values() -> None:
    part = images()[0]
    fitted = fit_intensity_range([part], Intensity(method="none"))
    np.testing.assert_array_equal(fitted.apply(part), part)


def test_different_channel_numbers_are_refused() -> None:
    with pytest.raises(ImageFileError, match="image 2 has 1 channels, those before it 2"):
        fit_intensity_range([images()[0], images(channels=1)[0]], ZSCORE)
    fitted = fit_intensity_range(images(), ZSCORE)
    with pytest.raises(ImageFileError, match="1 channels cannot be used where images of 2"):
        fitted.apply(images(channels=1)[0])


def test_no_image_is_refused() -> None:
    with pytest.raises(ImageFileError, match="no image"):
        fit_intensity_range([], ZSCORE)


def test_json_gives_back_exactly_the_same_range() -> None:
    fitted = fit_intensity_range(images(), ZSCORE)
    assert IntensityRange.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted
