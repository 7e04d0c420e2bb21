"""An object divided among its seeds: against a flood carried out pixel by pixel."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from septum.prediction.flooding import divide_object, join_small_parts


def flood(height_S, seed_S, inside_S):
    """Of all pixels with a number the lowest hands it to its neighbours; one after the other."""
    part_S, done = seed_S.copy(), np.zeros(seed_S.shape, bool)
    reached = {tuple(pixel): 0 for pixel in np.argwhere(seed_S > 0).tolist()}
    turn = 0
    while waiting := [pixel for pixel in reached if not done[pixel]]:
        turn += 1
        lowest = min(waiting, key=lambda pixel: (height_S[pixel], reached[pixel]))
        done[lowest] = True
        for axis, step in itertools.product(range(part_S.ndim), (-1, 1)):
            near = tuple(x + step * (a == axis) for a, x in enumerate(lowest))
            here = all(0 <= x < n for x, n in zip(near, part_S.shape, strict=True))
            if here and inside_S[near] and not part_S[near]:
                part_S[near], reached[near] = part_S[lowest], turn
    return part_S


@settings(max_examples=80)
@given(st.integers(0, 1 << 30), st.sampled_from([(7, 9), (12, 5), (3, 4, 5), (1, 30)]))
def test_a_flood_pixel_by_pixel_divides_in_the_same_way(seed, extents):
    random = np.random.default_rng(seed)
    height = random.permutation(int(np.prod(extents))).reshape(extents) / 100  # no ties
    inside = random.random(extents) < 0.85
    seeds = np.zeros(extents, np.int64)
    chosen = np.flatnonzero(inside)[:: max(int(inside.sum()) // 5, 1)]
    seeds.ravel()[chosen] = random.permutation(len(chosen)) + 1
    divided = divide_object(height, seeds, inside, 0)
    assert np.array_equal(divided, flood(height, seeds, inside))


def test_the_smallest_part_goes_across_the_lowest_pass_and_takes_the_others_number():
    parts = np.array([[5, 5, 5, 2, 9, 9, 9, 9]])
    height = np.array([[1, 1, 3, 0, 2, 1, 1, 1.0]])
    # 2 is a single pixel: its pass to 5 is 3 high, that to 9 is 2.
    assert join_small_parts(parts, height, 2).tolist() == [[5, 5, 5, 9, 9, 9, 9, 9]]
    # Then 5 is too small as well: there is one neighbour left.
    assert join_small_parts(parts, height, 4).tolist() == [[9] * 8]
    assert join_small_parts(parts, height, 1).tolist() == parts.tolist()
    assert join_small_parts(parts, height, 100).tolist() in ([[9] * 8], [[5] * 8])


def test_two_parts_that_are_large_enough_together_are_not_lost_to_a_third():
    parts = np.array([[1, 1, 2, 2, 3, 3, 3, 3, 3]])
    height = np.array([[0, 1, 1, 5, 9, 0, 0, 0, 0.0]])
    assert join_small_parts(parts, height, 3).tolist() == [[2, 2, 2, 2, 3, 3, 3, 3, 3]]


@given(st.integers(0, 1 << 30), st.integers(2, 20))
def test_what_is_joined_depends_on_no_number(seed, minimum):
    random = np.random.default_rng(seed)
    parts = np.kron(random.permutation(12).reshape(3, 4) + 1, np.ones((3, 2), int))
    height = np.round(random.random(parts.shape), 1)  # many ties
    names = np.concatenate([[0], random.permutation(12) + 1])
    joined = join_small_parts(parts, height, minimum)
    assert np.array_equal(join_small_parts(names[parts], height, minimum), names[joined])
    assert np.unique(joined, return_counts=True)[1].min() >= min(minimum, parts.size)
