"""In strips a network gives what it gives as a whole."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from septum.network.strips import StripUNet
from septum.network.unet import UNet, fold_batch_norm
from septum.recipe import Network

PLANES = itertools.product([2], [1, 2, 3], [1, 3000, 20_000, 10**9], [1])
VOLUMES = itertools.product([3], [1, 2], [1, 20_000, 10**9], [1])
REDUCED = itertools.product([2, 3], [1, 2], [1, 10**9], [2])


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("up", ["convolution", "linear"])
@pytest.mark.parametrize(
    ("dimensions", "depth", "strip_bytes", "reduction"), [*PLANES, *VOLUMES, *REDUCED]
)
def test_strips_are_the_whole(dimensions, depth, padding, up, strip_bytes, reduction):
    torch.manual_seed(depth)
    given = {"width": 3, "depth": depth, "padding": padding, "up": up, "reduction": reduction}
    section = Network(dimensions=dimensions, dropout=0.3, **given)
    network = fold_batch_norm(UNet(section, 2, 3)).requires_grad_(False)
    footprint = network.footprint
    rows = footprint.legal_at_least(150 if dimensions == 2 else 60)
    columns = footprint.legal_at_least(40 if dimensions == 2 else 20)
    image = torch.randn(2, 2, rows, *(columns,) * (dimensions - 1))
    strips = StripUNet(network, strip_bytes)
    with torch.inference_mode():
        expected, actual = network(image), strips(image)
        assert actual.shape == expected.shape
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
        chance = random.Random(strip_bytes)
        for _ in range(4):  # any part of it
            ends = [sorted(chance.sample(range(n + 1), 2)) for n in expected.shape[2:]]
            part = expected[(..., *(slice(*span) for span in ends))]
            kept = strips(image, [tuple(span) for span in ends])
            torch.testing.assert_close(kept, part, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)  # still its own memory


@pytest.mark.parametrize("reduction", [2, 3])
def test_pixels_of_blocks_are_finished_in_strips(monkeypatch, reduction):
    monkeypatch.setattr("septum.network.strips.SCORED", 64)
    network = UNet(Network(width=3, depth=1, padding="same", reduction=reduction), 1, 2)
    network = fold_batch_norm(network).requires_grad_(False)
    image = torch.randn(1, 1, 24 * reduction, 8 * reduction)
    with torch.inference_mode():
        expected = network(image).softmax(1)
        found = StripUNet(network, finish=lambda scores: scores.softmax(1))(
            image, [(5, 41), (1, 9)]
        )
    torch.testing.assert_close(found, expected[:, :, 5:41, 1:9], rtol=1e-5, atol=1e-5)


def test_what_nothing_is_kept_of_is_not_computed():
    seen = []
    network = fold_batch_norm(UNet(Network(width=4, depth=2, padding="same"), 1, 2))
    network.expand[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[2:]))
    with torch.inference_mode():
        StripUNet(network)(torch.randn(1, 1, 64, 128), [(20, 30), (100, 128)])
    assert seen == [(14, 30)]


def test_the_memory_is_the_same_from_call_to_call():
    network = fold_batch_norm(UNet(Network(width=4, depth=2, padding="same"), 1, 2))
    strips = StripUNet(network)
    with torch.inference_mode():
        strips(torch.randn(1, 1, 64, 128))
        places = {name: place.data_ptr() for name, place in strips._places.items()}
        strips(torch.randn(2, 1, 32, 64))
    assert {name: place.data_ptr() for name, place in strips._places.items()} == places
    assert set(places) == {"skip 0", "skip 1", "between 0", "between 1"}


def test_there_are_several_strips():
    seen = []
    network = fold_batch_norm(UNet(Network(width=4, depth=2, padding="same"), 1, 2))
    network.contract[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[2]))
    with torch.inference_mode():
        StripUNet(network, 1)(torch.randn(1, 1, 128, 32))
    assert len(seen) == 8
    assert max(seen) <= 16 + 4
