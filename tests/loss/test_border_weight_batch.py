"""The border weight of a batch is that of each of its instance maps, which has its own tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from septum.loss.border_weight import border_weight
from septum.loss.border_weight_batch import border_weight_batch


def scattered(extents, cells, seed, largest=3):
    """Blocks at random places, later ones over earlier ones, some over the rim; ids with gaps."""
    rng = np.random.default_rng(seed)
    instances = np.zeros(extents, np.int32)
    for number in range(cells):
        corner = rng.integers(0, extents)
        size = rng.integers(1, largest + 1, len(extents))
        instances[tuple(map(slice, corner, corner + size))] = 7 * number + 3
    return instances


def assert_equal_to_each(instances_BS, w0=10.0, sigma=5.0, spacing=None):
    actual = border_weight_batch(torch.from_numpy(instances_BS), w0, sigma, spacing)
    expected = np.stack([border_weight(each, w0, sigma, spacing) for each in instances_BS])
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-5 * w0, rtol=1e-5)
    return expected


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=2),
    st.lists(st.integers(0, 14), min_size=1, max_size=3),
    st.integers(0, 10**6),
    st.sampled_from([0.1, 1.0, 2.5, 5.0, 40.0]),
)
def test_it_is_that_of_each_plane(extents, cells, seed, sigma):
    planes = [scattered(extents, count, [seed, i]) for i, count in enumerate(cells)]
    assert_equal_to_each(np.stack(planes), sigma=sigma)


@given(
    st.lists(st.integers(1, 14), min_size=3, max_size=3),
    st.lists(st.integers(0, 10), min_size=1, max_size=3),
    st.integers(0, 10**6),
    st.sampled_from([1.0, 3.0]),
    st.sampled_from([None, (4.0, 1.0, 1.0), (2.5, 1.0, 1.3)]),
)
def test_it_is_that_of_each_volume(extents, cells, seed, sigma, spacing):
    volumes = [scattered(extents, count, [seed, i]) for i, count in enumerate(cells)]
    assert_equal_to_each(np.stack(volumes), sigma=sigma, spacing=spacing)


def test_pixels_between_several_equally_near_cells_are_exact():
    instances = np.zeros((2, 21, 21), np.int32)  # a lattice: every pixel between has ties
    for number, (y, x) in enumerate(np.ndindex(6, 6), start=1):
        instances[0, 4 * y, 4 * x] = number
        instances[1, 4 * y, 4 * x] = 37 - number
    expected = assert_equal_to_each(instances)
    assert expected[0, 2, 2] == pytest.approx(10 * np.exp(-((2 * np.sqrt(8)) ** 2) / 50))


@pytest.mark.parametrize("extents", [(30, 20), (6, 8, 10), (1, 1), (1, 9)])
def test_one_cell_or_none_has_no_border_whatever_else_is_in_the_batch(extents):
    instances = np.stack([np.zeros(extents, np.int32), np.zeros(extents, np.int32)])
    instances[1][tuple(n // 2 for n in extents)] = 4
    busy = scattered(extents, 9, 0)[None]
    expected = assert_equal_to_each(np.concatenate([instances, busy]))
    assert not expected[:2].any()


def test_cells_on_the_rim_are_exact():
    instances = np.zeros((1, 25, 25), np.int32)
    instances[0, 0], instances[0, -1] = 1, 2
    instances[0, 2:-2, 0], instances[0, 2:-2, -1] = 3, 4
    assert assert_equal_to_each(instances).max() > 1


def test_a_cell_in_two_pieces_is_one_cell():
    instances = np.zeros((2, 9, 9), np.int32)
    instances[:, 2, 2] = instances[:, 2, 6] = 5
    instances[1, 7, 4] = 6
    expected = assert_equal_to_each(instances)
    assert not expected[0].any()
    assert expected[1].any()


def test_ids_may_be_far_apart_and_negative_ones_are_cells_too():
    instances = scattered((20, 20), 6, 1)
    far = np.array([0, 2**31 - 1, 17, -5, 10**9, 2, -(2**31)], np.int32)
    spread = far[np.searchsorted(np.unique(instances), instances)]
    assert_equal_to_each(np.stack([spread, instances]))


def test_crowded_cells_are_exact():
    rng = np.random.default_rng(0)
    instances = np.zeros((2, 96, 96), np.int32)
    for part in instances:
        part.ravel()[rng.permutation(96 * 96)[:1000]] = np.arange(1, 1001)
    assert_equal_to_each(instances, w0=3.0, sigma=1.5)


def test_it_computes_on_a_device_that_has_no_values_to_wait_for():
    # On the meta device whatever would read a value back, or has a shape that depends on values,
    # raises: so it can be captured in a CUDA graph.
    instances = torch.empty((2, 33, 40), dtype=torch.int32, device="meta")
    weight = border_weight_batch(instances)
    assert (weight.device.type, weight.shape) == ("meta", instances.shape)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_weighs_the_same():
    instances_BS = torch.from_numpy(np.stack([scattered((90, 70), 40, seed) for seed in range(3)]))
    on_gpu = border_weight_batch(instances_BS.cuda()).cpu()
    np.testing.assert_allclose(on_gpu, border_weight_batch(instances_BS), atol=1e-4)


def test_other_than_two_or_three_axes_are_refused():
    with pytest.raises(ValueError, match="BYX or BZYX"):
        border_weight_batch(torch.zeros((2, 5), dtype=torch.int32))
