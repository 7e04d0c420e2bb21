"""Components are scipy's, to the number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from septum.evaluation.components import components, offsets, padded_components


@pytest.mark.parametrize("corners", [False, True])
@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from([(40,), (12, 17), (1, 9), (5, 6, 7), (3, 4, 3, 4), (0, 4)]),
    share=st.sampled_from([0.0, 0.2, 0.5, 0.6, 0.8, 1.0]),
)
@settings(max_examples=100, deadline=None)
def test_ids_are_those_of_scipy(corners, seed, shape, share):
    mask = np.random.default_rng(seed).random(shape) < share
    expected, count = ndimage.label(mask, np.ones((3,) * mask.ndim) if corners else None)
    np.testing.assert_array_equal(components(mask, corners), expected)
    padded, found = padded_components(mask, corners)
    assert found == count
    np.testing.assert_array_equal(padded, np.pad(expected, 1))


def test_a_comb_whose_teeth_meet_last_is_one():
    mask = np.zeros((40, 41), bool)
    mask[:, ::2] = True
    mask[-1] = True
    assert (components(mask) == mask).all()
    mask[-1, 20] = mask[-1, 19] = False
    assert components(mask).max() == 3


def test_steps_to_neighbours():
    assert offsets((5, 7)).tolist() == [-7, -1, 1, 7]
    assert offsets((5, 7), corners=True).tolist() == [-8, -7, -6, -1, 1, 6, 7, 8]
    assert offsets((4, 5, 7)).tolist() == [-35, -7, -1, 1, 7, 35]
    assert len(offsets((4, 5, 7), corners=True)) == 26
