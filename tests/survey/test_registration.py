"""Labels beside what they outline are found, and how far; nothing else is taken for that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import grey_dilation, grey_erosion

from septum.annotation.pairs import find_pairs, load_pairs
from septum.annotation.synthetic import make_cells
from septum.survey.registration import REACH, Shift, clear_shift, fit_surface


def surfaces(
    count: int, change: Callable[[np.ndarray], np.ndarray], size: int = 200
) -> list[np.ndarray]:
    found = []
    for seed in range(count):
        image, labels = make_cells((size, size), np.random.default_rng([5, seed]))
        surface = fit_surface(image[np.newaxis], change(labels))
        assert surface is not None
        found.append(surface)
    return found


def moved(down: int, right: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda labels: np.roll(labels, (down, right), (0, 1))


@pytest.mark.parametrize(("down", "right"), [(5, 0), (0, -7), (-6, 6), (12, 3)])
def test_a_shift_is_found_and_how_to_undo_it(down: int, right: int) -> None:
    shift = clear_shift(surfaces(5, moved(down, right)))
    assert shift is not None
    assert abs(shift.down + down) <= 1
    assert abs(shift.right + right) <= 1
    assert shift.share < 0.6


@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels,
        moved(2, -1),  # annotators are no more exact
        lambda labels: grey_dilation(labels, (9, 9)),  # drawn too large: no direction is better
        lambda labels: grey_erosion(labels, (7, 7)),
    ],
)
def test_nothing_is_said_of_labels_that_lie_where_they_should(
    change: Callable[[np.ndarray], np.ndarray],
) -> None:
    found = surfaces(6, change)
    assert clear_shift(found) is None
    assert [clear_shift([surface]) for surface in found] == [None] * 6


def test_nothing_is_said_of_labels_that_belong_to_no_edges() -> None:
    rng = np.random.default_rng(0)
    _, labels = make_cells((200, 200), np.random.default_rng(3))
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(100, 20, (1, 200, 200))
        surface = fit_surface(noise, labels)
        assert surface is not None
        assert clear_shift([surface]) is None
    assert fit_surface(np.full((1, 200, 200), 7), labels) is None
    assert fit_surface(rng.normal(0, 1, (1, 200, 200)), np.zeros_like(labels)) is None


def test_where_ignored_pixels_begin_is_no_outline() -> None:
    image, labels = make_cells((200, 200), np.random.default_rng(3))
    covered = labels.copy()
    covered[100:] = 999
    one = fit_surface(image[np.newaxis], covered, ignore=(999,))
    assert one is not None
    other = fit_surface(image[np.newaxis], np.where(covered == 999, 0, covered))
    assert other is not None
    assert one[REACH, REACH] > other[REACH, REACH]


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (np.flipud, "flipped upside down"),
        (np.fliplr, "mirrored left to right"),
        (np.transpose, "transposed (rows and columns swapped)"),
        # What was rotated to the left has to be rotated to the right.
        (np.rot90, "rotated by 90° to the right"),
    ],
)
def test_labels_that_were_turned_are_told_how_to_fit(data: Path, spoil, only, turn, words) -> None:  # type: ignore[no-untyped-def]
    path = spoil("labels/03.png", lambda array: turn(array).copy())
    problem = only("turned", "warning")
    assert problem.files == (str(path),)
    assert problem.text.endswith(f"but would if {words}")
    for number in range(8):
        if number != 3:
            spoil(f"labels/{number:02d}.png", lambda array: turn(array).copy())
    problem = only("turned", "warning")
    assert len(problem.files) == 8
    assert problem.text.endswith(f"but would if {words}")


def test_labels_of_other_images_are_said_to_fit_nowhere(data: Path, only) -> None:  # type: ignore[no-untyped-def]
    for number in range(8):
        (data / f"labels/{number:02d}.png").rename(data / f"labels/x{number}.png")
    for number in range(8):
        (data / f"labels/x{number}.png").rename(data / f"labels/{(number + 1) % 8:02d}.png")
    problem = only("unfit", "warning")
    assert len(problem.files) == 8
    assert "other images (pairs go by name)" in problem.text


def test_a_shift_in_words() -> None:
    assert str(Shift(-5, 0, 0.1)) == "5 pixels up"
    assert str(Shift(3, 4, 0.1)) == "3 pixels down and 4 pixels right"
    assert str(Shift(0, -9, 0.1)) == "9 pixels left"


def test_a_whole_set_that_lies_beside_its_images(data: Path, spoil, only) -> None:  # type: ignore[no-untyped-def]
    for number in range(8):
        spoil(f"labels/{number:02d}.png", lambda array: np.roll(array, (6, 0), (0, 1)))
    problem = only("shift", "warning")
    assert len(problem.files) == 8
    assert "6 pixels up" in problem.text


def test_one_label_beside_its_image(data: Path, spoil, only) -> None:  # type: ignore[no-untyped-def]
    path = spoil("labels/03.png", lambda array: np.roll(array, (0, -8), (0, 1)))
    problem = only("shift", "warning")
    assert problem.files == (str(path),)
    assert "8 pixels right" in problem.text


REAL = {
    "isbi2012-em": 1,
    "PhC-C2DH-U373/02_GT": 1,
    "PhC-C2DH-U373/02_ST": 4,
    "dsb2018/fluorescence": 3,
    "white-blood-cells": 2,
}
"""Every how many-th pair of files is looked at."""


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_labels_raise_no_alarm_and_shifted_ones_do(data_folder: Path, name: str) -> None:
    pairs = find_pairs(data_folder / name)[:: REAL[name]]
    items = [item for pair in pairs for item in load_pairs([pair])]
    found: dict[tuple[int, int], list[np.ndarray]] = {}
    for place in ((0, 0), (5, 0), (-4, 4)):
        for item in items:
            surface = fit_surface(item.image_CS, moved(*place)(item.labels_S))
            if surface is not None:
                found.setdefault(place, []).append(surface)
    assert clear_shift(found[0, 0]) is None
    assert [shift for surface in found[0, 0] if (shift := clear_shift([surface]))] == []
    for down, right in ((5, 0), (-4, 4)):
        shift = clear_shift(found[down, right])
        assert shift is not None
        assert abs(shift.down + down) <= 1
        assert abs(shift.right + right) <= 1
