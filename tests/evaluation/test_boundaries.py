"""Boundaries near each other count as one, and only as near as was said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septum.errors import InputError
from septum.evaluation.boundaries import BoundaryScore, boundaries, boundary_f1


def square(at=5, extent=10, shape=(24, 24)):
    mask = np.zeros(shape, bool)
    mask[at : at + extent, at : at + extent] = True
    return mask


def score_by_hand(found, true, tolerance):
    """Every pixel of one boundary beside every pixel of the other."""

    def share(of, others):
        if not len(of):
            return float(not len(others))
        near = [any(np.hypot(*(p - q)) <= tolerance for q in others) for p in of]
        return float(np.mean(near))

    precision, recall = share(found, true), share(true, found)
    total = precision + recall
    return (2 * precision * recall / total if total else 0.0, precision, recall)


@given(st.integers(0, 10_000), st.sampled_from([0, 1, 1.5, 3]))
@settings(max_examples=60, deadline=None)
def test_the_score_is_that_of_looking_at_every_pair(seed, tolerance):
    generator = np.random.default_rng(seed)
    prediction = np.kron(generator.integers(0, 3, (4, 5)), np.ones((3, 3), int))
    truth = np.roll(prediction, generator.integers(-2, 3, 2), (0, 1))
    places = [np.argwhere(boundaries(ids)) for ids in (prediction, truth)]
    found = boundary_f1(prediction, truth, tolerance)
    expected = score_by_hand(*places, tolerance)
    assert (found.f1, found.precision, found.recall) == pytest.approx(expected)


def test_the_boundary_is_the_objects_outermost_pixels():
    inside = boundaries(square())
    assert inside.sum() == 4 * 10 - 4
    assert not inside[7:13, 7:13].any()
    touching = np.ones((6, 8), int)
    touching[:, 4:] = 2
    assert np.flatnonzero(boundaries(touching)[0]).tolist() == [3, 4]
    assert not boundaries(np.ones((5, 5), int)).any()  # beyond the image there is no boundary


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (1, 1.0), (2, 1.0), (3, None)])
def test_what_lies_within_the_tolerance_costs_nothing(shift, expected):
    found = boundary_f1(np.roll(square(), shift, axis=0), square(), tolerance=2)
    assert found.f1 == expected if expected else found.f1 < 1


def test_volumes_and_ignored_pixels():
    volume = np.zeros((9, 12, 12), int)
    volume[2:7, 3:9, 3:9] = 1
    assert boundary_f1(np.roll(volume, 1, axis=0), volume, 1).f1 == 1.0
    assert boundary_f1(np.roll(volume, 3, axis=0), volume, 1).f1 < 1.0
    valid = np.zeros((24, 24), bool)
    valid[:, :12] = True
    wrong = square()
    wrong[:, 16:] = True
    assert boundary_f1(wrong, square(), 1).precision < 0.9
    assert boundary_f1(wrong, square(), 1, valid).f1 == 1.0


def test_edge_cases():
    nothing = np.zeros((24, 24), bool)
    assert boundary_f1(nothing, nothing) == BoundaryScore(1.0, 1.0, 1.0)
    assert boundary_f1(nothing, square()) == BoundaryScore(0.0, 0.0, 0.0)
    assert boundary_f1(square(), nothing) == BoundaryScore(0.0, 0.0, 0.0)
    with pytest.raises(InputError, match="use 0 or more"):
        boundary_f1(nothing, nothing, -1)
    with pytest.raises(InputError, match="one shape"):
        boundary_f1(nothing, nothing[1:])
