"""Made-up microscopy: repeatable, with objects that touch, and too hard for a threshold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label

from septum.annotation.labels import LabelMeaning, find_meaning, to_target
from septum.annotation.pairs import find_pairs, load_pairs
from septum.annotation.synthetic import make_cells, make_membranes, write_example_data
from septum.errors import SaveError
from septum.images.files import read_image
from septum.recipe import Labels

Maker = Callable[[tuple[int, int], np.random.Generator], tuple[np.ndarray, np.ndarray]]
MAKERS = pytest.mark.parametrize("make", [make_cells, make_membranes])
SHAPE = (256, 256)


def matched_share(truth: np.ndarray, segmented: np.ndarray) -> float:
    """Share of true objects that a segmented one covers with an overlap (IoU) above one half."""
    columns = int(segmented.max()) + 1
    rows = int(truth.max()) + 1
    index = truth.astype(np.int64).ravel() * columns + segmented.ravel()
    both = np.bincount(index, minlength=rows * columns).reshape(rows, columns)
    union = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
    return float((both[1:, 1:] * 2 > union[1:, 1:]).any(axis=1).mean())


@MAKERS
def test_the_same_seed_gives_the_same_image_and_another_another(make: Maker) -> None:
    first, again, other = (make(SHAPE, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).mean() > 0.5
    assert (first[1] != other[1]).any()


@MAKERS
@pytest.mark.parametrize("shape", [(1, 1), (17, 90), (200, 64)])
def test_any_shape_can_be_made(make: Maker, shape: tuple[int, int]) -> None:
    image, labels = make(shape, np.random.default_rng(0))
    assert image.shape == labels.shape == shape
    assert image.dtype == np.uint8


@MAKERS
def test_no_threshold_on_grey_values_separates_the_cells(make: Maker) -> None:
    for seed in range(3):
        image, labels = make(SHAPE, np.random.default_rng(seed))
        truth = labels if make is make_cells else label(labels, connectivity=1)
        for sigma in (0.0, 1.5):
            grey = ndimage.gaussian_filter(image.astype(float), sigma)
            for threshold in range(10, 250, 12):
                share = matched_share(truth, label(grey > threshold, connectivity=1))
                assert share < (0.3 if make is make_cells else 0.6), (seed, sigma, threshold)


def test_the_labels_are_what_the_image_shows() -> None:
    image, labels = make_cells(SHAPE, np.random.default_rng(5))
    assert image[labels > 0].mean() > 2 * image[labels == 0].mean()
    image, labels = make_membranes(SHAPE, np.random.default_rng(5))
    assert image[labels > 0].mean() > image[labels == 0].mean() + 25


def test_cells_are_one_piece_each_numbered_from_1_and_many_touch() -> None:
    for seed in range(4):
        _, labels = make_cells(SHAPE, np.random.default_rng(seed))
        count = int(labels.max())
        assert count > 20
        assert label(labels, background=0, connectivity=1).max() == count
        assert label(labels > 0, connectivity=1).max() < 0.6 * count
        _, instances = to_target(labels, LabelMeaning("instances", (0, 1)))
        assert len(np.unique(instances)) - 1 > 0.95 * count


def test_membranes_are_about_three_pixels_wide_and_close_their_cells() -> None:
    _, labels = make_membranes(SHAPE, np.random.default_rng(1))
    assert set(np.unique(labels)) == {0, 255}
    assert 0.7 < (labels == 255).mean() < 0.9
    membrane = labels == 0
    half_widths = ndimage.distance_transform_edt(membrane)[membrane]
    assert 1 < np.percentile(half_widths, 90) <= 3
    assert ndimage.label(~membrane)[1] > 25


@pytest.mark.parametrize(
    ("kind", "words"),
    [("cells", "instances: 5 images"), ("membranes", "binary: object = value 255")],
)
def test_example_data_is_found_and_understood(kind: str, words: str, tmp_path: Path) -> None:
    write_example_data(tmp_path / "x", kind, count=5, size=96, seed=2)  # type: ignore[arg-type]
    loaded = load_pairs(find_pairs(tmp_path / "x"))
    assert [part.name for part in loaded] == ["00", "01", "02", "03", "04"]
    found = find_meaning(((part.name, part.labels_S) for part in loaded), Labels())
    assert found.describe().startswith(words)
    assert loaded[0].labels_S.dtype == (np.uint16 if kind == "cells" else np.uint8)


def test_an_image_does_not_depend_on_how_many_are_written(tmp_path: Path) -> None:
    write_example_data(tmp_path / "a", "cells", count=1, size=64)
    write_example_data(tmp_path / "b", "cells", count=2, size=64)
    first, second = (read_image(tmp_path / part / "images/00.png").array for part in "ab")
    np.testing.assert_array_equal(first, second)


def test_a_folder_that_cannot_be_made_is_a_save_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match="cannot be made"):
        write_example_data(tmp_path / "file", "cells", count=1, size=32)
