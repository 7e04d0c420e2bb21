"""Ranges of single images: what they make of exposure, and what they must not depend on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septum.errors import ImageFileError
from septum.geometry import ArrayPixels
from septum.images import own_range
from septum.images.image import Image
from septum.images.intensity_range import IntensityRange, fit_intensity_range, ranges_of
from septum.images.own_range import sample_greys
from septum.images.stored import open_image
from septum.images.zarr_writer import create_image
from septum.recipe import Intensity

OWN = [Intensity(scope="image", method="zscore"), Intensity(scope="image", method="percentile")]


def cells(seed: int = 0, channels: int = 2) -> np.ndarray:
    """Dark, with some bright blocks."""
    rng = np.random.default_rng(seed)
    image = rng.normal(10, 1, (channels, 60, 70))
    image[:, 10:30, 20:40] += 50
    return image


@pytest.mark.parametrize("section", OWN)
@given(factor=st.floats(0.01, 100.0), shift=st.floats(-1e3, 1e3))
def test_an_image_exposed_otherwise_becomes_the_same(
    section: Intensity, factor: float, shift: float
) -> None:
    image = cells(2)
    fitted = fit_intensity_range([image, cells(1) * [[[1]], [[9]]]], section)
    changed = image * factor + shift
    once, again = (fitted.of(each).apply(each) for each in (image, changed))
    np.testing.assert_allclose(once, again, atol=1e-3)


def test_it_is_that_of_all_pixels_of_the_image_and_of_each_channel() -> None:
    image = cells(3)
    image[1] *= 7
    least = [cells(4) * 0.1]
    flat = image.reshape(2, -1)
    low, high = np.percentile(flat, (1.0, 99.8), axis=1)
    by_percentile = fit_intensity_range(least, OWN[1]).of(image)
    np.testing.assert_allclose(by_percentile.offset, low)
    np.testing.assert_allclose(by_percentile.scale, high - low)
    by_score = fit_intensity_range(least, OWN[0]).of(image)
    np.testing.assert_allclose(by_score.offset, flat.mean(1))
    np.testing.assert_allclose(by_score.scale, flat.std(1))


@pytest.mark.parametrize("section", OWN)
def test_noise_of_an_empty_image_is_not_enlarged_to_objects(
    section: Intensity,
) -> None:
    dim, bright = cells(0), cells(1) * 20
    fitted = fit_intensity_range([dim, bright, np.full_like(dim, 3.0)], section)
    alone = fit_intensity_range([dim], section)
    assert fitted.own is not None
    np.testing.assert_allclose(fitted.own.least, alone.of(dim).scale)  # a constant one counts not
    noise = np.random.default_rng(5).normal(10, 1, dim.shape)
    found = fitted.of(noise)
    own = fitted.own.measure(sample_greys(ArrayPixels(noise)))[1]
    assert (found.scale > 5 * own).all()
    assert (found.scale <= np.array(fitted.own.least)).all()
    # But where there are objects, a darker image than any in training has its own range.
    dark = fitted.of(dim / 20)
    np.testing.assert_allclose(dark.scale, np.array(fitted.of(dim).scale) / 20)
    assert found.apply(noise).std() < 0.5 * fitted.of(dim).apply(dim).std()
    flat = fitted.of(np.full_like(dim, 9.0)).apply(np.full_like(dim, 9.0))
    assert np.isfinite(flat).all()
    assert (flat == 0).all()


@pytest.mark.parametrize("shape", [(1, 50, 70), (2, 9, 40, 33)])
@pytest.mark.parametrize("most", [100, 3000])
def test_a_large_image_is_sampled_on_a_grid_however_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], most: int
) -> None:
    monkeypatch.setattr(own_range, "LOOKED_AT", most)
    monkeypatch.setattr(own_range, "BLOCK", 500)
    array = np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16)
    greys = sample_greys(ArrayPixels(array))
    assert greys.values_CS[0].size <= most
    grids = (
        array[(slice(None), *(slice(None, None, step),) * (array.ndim - 1))]
        for step in range(1, 99)
    )
    finest = next(grid for grid in grids if grid[0].size <= most)
    assert np.array_equal(greys.values_CS, finest)
    noise = np.abs(np.diff(array.astype(float))).reshape(len(array), -1).mean(1)
    np.testing.assert_allclose(greys.noise_C, noise, rtol=0.2)
    axes = "CZYX" if len(shape) == 4 else "CYX"
    image = Image(array, axes, (1.0,) * (len(shape) - 1))
    create_image(tmp_path / "a.zarr", image.header, (13,) * (len(shape) - 1))[...] = array
    ((_, stored),) = open_image(tmp_path / "a.zarr").stacks(len(shape) - 1)
    again = sample_greys(stored)
    assert np.array_equal(again.values_CS, greys.values_CS)
    assert np.array_equal(again.noise_C, greys.noise_C)


def test_a_range_of_the_set_looks_at_no_image_and_own_ones_look_once() -> None:
    reads: list[tuple[slice, ...]] = []

    class Watched(ArrayPixels):
        def read(self, box: tuple[slice, ...]) -> np.ndarray:
            reads.append(box)
            return super().read(box)

    image = Watched(cells(0))
    of_set = fit_intensity_range([cells(1)], Intensity())
    assert ranges_of((of_set, of_set), image) == (of_set, of_set)
    assert not reads
    own = fit_intensity_range([cells(1)], OWN[0])
    both = ranges_of((own, of_set, own), image)
    assert both == (own.of(cells(0)), of_set, own.of(cells(0)))
    assert len(reads) == 1


def test_it_is_stored_as_it_is_and_must_be_of_an_image() -> None:
    fitted = fit_intensity_range([cells(0), cells(1) * 3], OWN[1])
    again = IntensityRange.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again == fitted
    assert again.own is not None
    with pytest.raises(AssertionError, match="of which image"):
        fitted.apply(cells(0))
    plain = fit_intensity_range([cells(0)], Intensity())
    assert "own" not in plain.to_dict()
    assert fit_intensity_range([cells(0)], Intensity(scope="image", method="none")).own is None


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(ImageFileError, match=r"image 2 has 1 channels.*before it 2"):
        fit_intensity_range([cells(0), cells(1, channels=1)], OWN[0])
    with pytest.raises(ImageFileError, match="no image"):
        fit_intensity_range([], OWN[0])
    found = fit_intensity_range([cells(0)], OWN[0]).of(cells(1))
    with pytest.raises(ImageFileError, match="trained on"):
        found.apply(cells(1, channels=1))
