"""Outlines become exactly the pixels whose centre they enclose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlines import brute_force
from septum.annotation.shapes import (
    Outline,
    Stencil,
    check_line,
    cut_out,
    ellipse,
    intersect,
    windings,
)

SHAPE = (7, 9)
WHOLE = (0, 0, *SHAPE)
# Whole and half numbers, where centres lie on edges, and others; also outside the image.
PLACES = st.one_of(
    st.integers(-3, 11).map(float), st.integers(-6, 22).map(lambda n: n / 2), st.floats(-3, 11)
)
LINES = st.lists(st.tuples(PLACES, PLACES), min_size=3, max_size=7)


@given(LINES)
def test_windings_are_those_of_each_centre_alone(line: list[tuple[float, float]]) -> None:
    np.testing.assert_array_equal(windings(np.array(line), WHOLE), brute_force([line], SHAPE))


@given(LINES, st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(4, 7), st.integers(5, 9)))
def test_a_window_holds_what_the_whole_holds_there(
    line: list[tuple[float, float]], window: tuple[int, int, int, int]
) -> None:
    top, left, bottom, right = window
    whole = windings(np.array(line), WHOLE)
    np.testing.assert_array_equal(windings(np.array(line), window), whole[top:bottom, left:right])


@given(LINES, LINES)
def test_a_hole_is_cut_out_and_parts_are_joined(
    outer: list[tuple[float, float]], hole: list[tuple[float, float]]
) -> None:
    lines = np.array(outer), np.array(hole)
    once, twice = (brute_force([line], SHAPE) != 0 for line in (outer, hole))
    np.testing.assert_array_equal(Outline("a", (lines,)).mask(WHOLE), once & ~twice)
    joined = Outline("a", ((lines[0],), (lines[1],)))
    np.testing.assert_array_equal(joined.mask(WHOLE), once | twice)


@given(LINES, LINES)
def test_an_alternating_path_has_what_lies_in_an_odd_number_of_lines(
    first: list[tuple[float, float]], second: list[tuple[float, float]]
) -> None:
    outline = Outline("a", ((np.array(first), np.array(second)),), alternating=True)
    np.testing.assert_array_equal(outline.mask(WHOLE), brute_force([first, second], SHAPE) % 2 == 1)


@given(st.integers(0, 8), st.integers(0, 6), st.integers(1, 5), st.integers(1, 5))
def test_a_rectangle_of_whole_numbers_is_these_pixels(
    x: int, y: int, width: int, height: int
) -> None:
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    expected = np.zeros(SHAPE, bool)
    expected[y : y + height, x : x + width] = True
    for line in (corners, corners[::-1]):
        outline = Outline("a", ((np.array(line, float),),))
        np.testing.assert_array_equal(outline.mask(WHOLE), expected)
        assert outline.area == width * height
        assert outline.bounds == (y, x, y + height, x + width)


@given(LINES)
def test_two_outlines_with_a_common_edge_share_no_pixel_and_leave_none_out(
    line: list[tuple[float, float]],
) -> None:
    # A triangle, divided from its first corner to the middle of the opposite side.
    a, b, c = (np.array(point) for point in line[:3])
    middle = (b + c) / 2
    first, second = (windings(np.array(t), WHOLE) for t in ([a, b, middle], [a, middle, c]))
    whole = windings(np.array([a, b, c]), WHOLE)
    if (np.array(line[:3]) * 2 == np.rint(np.array(line[:3]) * 2)).all():  # without rounding
        np.testing.assert_array_equal(first + second, whole)


def test_a_line_that_winds_twice_is_inside_and_counted() -> None:
    square = [(1, 1), (6, 1), (6, 6), (1, 6)]
    twice = Outline("a", ((np.array([*square, (1, 1), (3, 1), (3, 3), (1, 3)], float),),))
    mask, doubt = twice.mask_and_doubt(WHOLE)
    assert (mask.sum(), doubt) == (25, 4)
    bow = Outline("a", ((np.array([(0, 0), (6, 6), (6, 0), (0, 6)], float),),))
    assert bow.mask_and_doubt(WHOLE)[1] == 0


def test_an_ellipse_holds_the_centres_within_it() -> None:
    mask, corner = ellipse(1.5, 2.0, 5.0, 4.0)
    assert corner == (2, 1)
    expected = [
        [((x + 0.5 - 4) / 2.5) ** 2 + ((y + 0.5 - 4) / 2) ** 2 < 1 for x in range(1, 7)]
        for y in range(2, 6)
    ]
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(ellipse(0, 0, 1, 1)[0], [[True]])


@given(st.lists(st.booleans(), min_size=63, max_size=63))
def test_what_is_cut_out_of_a_mask_is_all_of_it(pixels: list[bool]) -> None:
    mask = np.array(pixels).reshape(SHAPE)
    stencil = cut_out("a", mask)
    np.testing.assert_array_equal(stencil.mask(WHOLE), mask)
    np.testing.assert_array_equal(stencil.mask((1, 2, 5, 8)), mask[1:5, 2:8])
    assert stencil.area == mask.sum()


def test_a_stencil_beyond_the_image_is_cut() -> None:
    stencil = Stencil("a", np.ones((4, 4), bool), (-2, 7))
    expected = np.zeros(SHAPE, bool)
    expected[:2, 7:] = True
    np.testing.assert_array_equal(stencil.mask(WHOLE), expected)


def test_windows_that_only_touch_share_nothing() -> None:
    assert intersect((0, 0, 2, 2), (1, 1, 3, 3)) == (1, 1, 2, 2)
    assert intersect((0, 0, 2, 2), (2, 0, 3, 2)) is None


@pytest.mark.parametrize(
    "points",
    [[], [(0, 0), (1, 1)], [(0, 0), (1, 1), (np.nan, 2)], [(1,), (2,), (3,)], [("a", 1)] * 3],
)
def test_what_is_no_outline_is_known(points: list[tuple[object, ...]]) -> None:
    assert check_line(points) is None
