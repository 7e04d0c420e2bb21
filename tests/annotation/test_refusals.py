"""Label values that could mean two things are refused, with what says which."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from septum.annotation.labels import LabelMeaning, find_meaning
from septum.errors import AnnotationError
from septum.recipe import Labels


def meaning_of(*arrays: np.ndarray, suffix: str = "png", **settings: Any) -> LabelMeaning:
    named = [(f"m{number}.{suffix}", array) for number, array in enumerate(arrays)]
    return find_meaning(iter(named), Labels(**settings))


def mask(value: int = 1) -> np.ndarray:
    labels = np.zeros((40, 40), np.uint8)
    labels[5:20, 5:20] = value
    return labels


def numbered(count: int = 25, background: int = 0) -> np.ndarray:
    """A row of small squares, numbered from 1 above the background."""
    labels = np.full((8, 8 * count), background, np.uint16)
    for number in range(count):
        labels[3:5, 8 * number + 3 : 8 * number + 5] = background + number + 1
    return labels


def noise(seed: int) -> np.ndarray:
    """A grey image."""
    return np.random.default_rng(seed).integers(0, 250, (40, 40)).astype(np.uint8)


def test_masks_of_0_and_1_beside_masks_of_0_and_255_are_not_taken_for_two_classes() -> None:
    with pytest.raises(AnnotationError, match=r"m0.png and 1 other file: .*, but in m1.png it is"):
        meaning_of(mask(1), mask(255), mask(1))
    assert meaning_of(mask(1), mask(255), kind="binary").object_values == (1, 255)
    assert meaning_of(mask(1), mask(255), kind="classes").class_values == (0, 1, 255)


def test_1_and_255_in_one_mask_are_classes() -> None:
    both = mask(1)
    both[25:30, 25:30] = 255
    assert meaning_of(both, mask(255)).kind == "classes"


def test_two_classes_of_which_each_image_has_one_are_classes() -> None:
    assert meaning_of(mask(1), mask(2)).class_values == (0, 1, 2)


@pytest.mark.parametrize("count", [6, 25])
def test_a_numbered_background_is_no_object(count: int) -> None:
    labels = numbered(count, background=1)
    with pytest.raises(AnnotationError, match=r"hold no 0, .* but 1 at 9\d % of the pixels"):
        meaning_of(labels)
    assert meaning_of(labels, kind="instances").objects == count + 1


def test_a_tissue_without_background_is_objects() -> None:
    cells = np.kron(np.arange(1, 26).reshape(5, 5), np.ones((6, 6), np.uint16)).astype(np.uint16)
    assert meaning_of(cells).objects == 25


@pytest.mark.parametrize("others", [mask(255), numbered()], ids=["masks", "numbered objects"])
def test_a_grey_image_among_labels_is_named(others: np.ndarray) -> None:
    with pytest.raises(AnnotationError, match=r"^m1.png: many values in scattered pieces, unlike"):
        meaning_of(others, noise(0), others)


def test_values_beside_those_of_smoothed_edges_are_ignored_with_them() -> None:
    """A blur leaves rims of 1, 2, … and …, 254 beside 0 and 255."""
    y, x = np.indices((300, 300))
    hard = sum(255.0 * (np.hypot(y - r, x - c) < r / 6) for r in (60, 150, 240) for c in (80, 220))
    smooth = np.rint(gaussian_filter(hard, 0.8)).astype(np.uint8)
    found = meaning_of(smooth, strays="ignore")
    assert (found.kind, found.class_values) == ("binary", (0, 255))


def test_jpeg_is_what_is_said_to_be_wrong_with_a_mask_saved_as_jpeg() -> None:
    rng = np.random.default_rng(0)
    labels = mask(255).astype(np.int64)
    labels[4:21, 4:21] += rng.integers(-6, 7, (17, 17)) * (rng.random((17, 17)) < 0.1)
    edge = np.array([60, 120, 180] * 5)
    labels[5, 5:20] = edge
    labels = np.clip(labels, 0, 255).astype(np.uint8)
    big = np.zeros((200, 200), np.uint8)
    big[:40, :40] = labels
    with pytest.raises(AnnotationError, match="JPEG changes the values of a mask"):
        meaning_of(big, suffix="jpg")
    red = np.stack([big, big // 40, big // 60]).astype(np.int64)
    colours = red[0] << 16 | red[1] << 8 | red[2]
    for settings in ({}, {"kind": "binary"}, {"kind": "instances"}):
        with pytest.raises(AnnotationError, match=r"m0\.jpg: up to \d+ values: JPEG changes"):
            meaning_of(colours, suffix="jpg", **settings)
    assert meaning_of(mask(255), suffix="jpg").kind == "binary"
