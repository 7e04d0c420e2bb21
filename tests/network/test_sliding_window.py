"""The patch classifier is the published net, and its dense form computes the very same."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from septum.errors import TileSizeError
from septum.network.sliding_window import SlidingWindow
from septum.recipe import Network

TOLERANCE = {"rtol": 0, "atol": 1e-4}
BOTH = pytest.mark.parametrize("patch", [95, 65])


def small(patch=95, channels=1, classes=2, **values):
    torch.manual_seed(patch)
    section = Network(**({"architecture": "sliding-window", "width": 6, "patch": patch} | values))
    network = SlidingWindow(section, channels, classes)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.bias, 0.0, 0.3)
    return network


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("patch", "kernels", "left"), [(95, (4, 5, 4, 4), 3), (65, (4, 4, 5, 4), 1)]
)
def test_the_published_net_has_48_maps_200_neurons_and_no_other_parameters(patch, kernels, left):
    network = SlidingWindow(Network(architecture="sliding-window", patch=patch), 1, 2)
    first, *others = kernels
    expected = 48 * first**2 + 48 + sum(48 * 48 * kernel**2 + 48 for kernel in others)
    expected += 200 * 48 * left**2 + 200 + 2 * 200 + 2
    assert parameters(network) == expected
    assert [layer.kernel_size[0] for layer in network.convolve] == list(kernels)


@BOTH
def test_one_patch_is_classified_by_the_published_net(patch):
    """Written out in torch's own layers, tanh before each pooling as published."""
    network = small(patch, channels=2).double().eval().requires_grad_(False)
    layers = []
    for convolve in network.convolve:
        layers += [convolve, nn.Tanh(), nn.MaxPool2d(2)]
    published = nn.Sequential(
        *(*layers, nn.Flatten()),
        *(nn.Linear(network.connect.weight[0].numel(), len(network.connect.weight)), nn.Tanh()),
        nn.Linear(len(network.connect.weight), 2),
    ).double()
    with torch.no_grad():
        for linear, layer in ((published[-3], network.connect), (published[-1], network.score)):
            linear.weight.copy_(layer.weight.flatten(1))
            linear.bias.copy_(layer.bias)
        patches = torch.randn(5, 2, patch, patch, dtype=torch.double)
        expected = published(patches)
    assert expected.std(0).min() > 1e-3
    torch.testing.assert_close(network(patches)[:, :, 0, 0], expected)


@BOTH
@pytest.mark.parametrize("channels", [1, 3])
def test_the_dense_form_gives_what_each_patch_gives(patch, channels):
    network = small(patch, channels, classes=3).eval().requires_grad_(False)
    image = torch.randn(2, channels, patch + 6, patch + 9)
    dense = network(image)
    assert dense.std((0, 2, 3)).min() > 0.01
    torch.testing.assert_close(network.classify_patches(image, batch=50), dense, **TOLERANCE)
    by_hand = [
        [network(image[:, :, y : y + patch, x : x + patch])[:, :, 0, 0] for x in range(10)]
        for y in range(7)
    ]
    expected = torch.stack([torch.stack(row, -1) for row in by_hand], -2)
    torch.testing.assert_close(dense, expected, **TOLERANCE)


@BOTH
def test_the_dense_form_shifts_with_the_image(patch):
    network = small(patch).eval().requires_grad_(False)
    image = torch.randn(1, 1, patch + 20, patch + 17)
    whole = network(image)
    for y, x in ((1, 0), (0, 1), (3, 5), (20, 9)):
        torch.testing.assert_close(
            network(image[:, :, y:, x:]), whole[:, :, y:, x:], rtol=0, atol=1e-5
        )


@BOTH
def test_a_pixel_is_told_by_its_patch_to_the_last_pixel_and_by_nothing_beyond(patch):
    network = small(patch).double().eval()
    footprint = network.footprint
    assert (footprint.context, footprint.shrink) == ((patch - 1) // 2, patch - 1)
    # Max pooling hands the gradient to one pixel: many images, until each pixel was one.
    seen = torch.zeros(patch + 8, patch + 8, dtype=torch.bool)
    for _ in range(30):
        image = torch.randn(1, 1, *seen.shape, dtype=torch.double, requires_grad=True)
        network(image)[0, 0, 4, 4].backward()
        seen |= image.grad[0, 0] != 0
    for axis in (0, 1):
        rows = seen.any(1 - axis).nonzero()
        assert (int(rows[0]), int(rows[-1])) == (4, 4 + patch - 1)


@BOTH
def test_gradients_of_a_patch_are_those_of_the_dense_form(patch):
    """Trained on patches, used densely: the weights mean the same."""
    network = small(patch).double()
    image = torch.randn(1, 1, patch + 1, patch + 1, dtype=torch.double)
    one, other = copy.deepcopy(network), copy.deepcopy(network)
    one(image)[:, 0, 0, 0].sum().backward()
    other(image[:, :, :patch, :patch])[:, 0].sum().backward()
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
        assert theirs.grad.abs().max() > 0


def test_dropout_strikes_the_fully_connected_layer_by_the_seed_of_each_sample():
    network = small(width=48, dropout=0.5).train().requires_grad_(False)
    given = []
    network.score.register_forward_pre_hook(lambda _, features: given.append(features[0]))
    network.dropout.seeds = [5, 9, 5]
    scores = network(torch.randn(1, 1, 95, 95).expand(3, 1, 95, 95))
    assert torch.equal(scores[0], scores[2])
    assert not torch.equal(scores[0], scores[1])
    assert 0.35 < float((given[0] == 0).float().mean()) < 0.65


def test_an_image_smaller_than_a_patch_is_refused():
    with pytest.raises(TileSizeError, match="at least 95"):
        small().classify_patches(torch.zeros(1, 1, 94, 200))
