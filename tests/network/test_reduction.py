"""Pixels become channels and pixels again, and nothing is lost on the way."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from septum.errors import RecipeError
from septum.network.reduction import channels_to_pixels, pixels_to_channels
from septum.network.unet import UNet
from septum.recipe import Network, load_recipe


@pytest.mark.parametrize("times", [1, 2, 3, 5])
@pytest.mark.parametrize("extents", [(1, 1), (2, 5), (3, 1, 2)])
def test_what_becomes_channels_comes_back(times, extents):
    image = torch.randn(2, 3, *(times * extent for extent in extents))
    blocks = pixels_to_channels(image, times)
    assert blocks.shape == (2, 3 * times ** len(extents), *extents)
    assert torch.equal(channels_to_pixels(blocks, times), image)


@pytest.mark.parametrize("times", [2, 3])
def test_of_planes_it_is_torchs_own_shuffle(times):
    image = torch.randn(2, 3, 6 * times, 4 * times)
    blocks = pixels_to_channels(image, times)
    assert torch.equal(blocks, F.pixel_unshuffle(image, times))
    assert torch.equal(channels_to_pixels(blocks, times), F.pixel_shuffle(blocks, times))


def test_each_pixel_of_a_volume_goes_to_the_channel_of_its_place_in_the_block():
    image = torch.arange(4.0 * 4 * 4).view(1, 1, 4, 4, 4)
    blocks = pixels_to_channels(image, 2)
    assert blocks[0, :, 1, 0, 1].tolist() == image[0, 0, 2:4, 0:2, 2:4].flatten().tolist()


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("reduction", [2, 3])
def test_only_the_first_and_the_last_layer_know_of_a_reduction(padding, reduction):
    plain, reduced = (
        UNet(Network(width=4, depth=2, padding=padding, dropout=0, reduction=times), 1, 2)
        for times in (1, reduction)
    )
    shapes = {name: tuple(value.shape) for name, value in plain.state_dict().items()}
    changed = {
        name for name, value in reduced.state_dict().items() if tuple(value.shape) != shapes[name]
    }
    assert changed == {"contract.0.0.weight", "score.weight", "score.bias"}
    extent = reduced.footprint.extent_for_core(1)
    image = torch.randn(1, 1, extent, extent)
    assert reduced(image).shape[2:] == (reduced.footprint.output_extent(extent),) * 2
    assert extent == reduction * plain.footprint.extent_for_core(1)


def test_a_reduced_network_can_tell_the_pixels_of_a_block_apart():
    torch.manual_seed(0)
    network = UNet(Network(width=8, depth=1, padding="same", dropout=0, reduction=2), 1, 2)
    image = torch.randint(0, 2, (1, 1, 32, 32)).float()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(network(image), image[:, 0].long()).backward()
        optimizer.step()
    assert (network(image).argmax(1) == image[:, 0]).float().mean() > 0.9
    # One score for a whole block would be right for 0.69 of the pixels.


@pytest.mark.parametrize("architecture", ["fcn-8s", "sliding-window"])
def test_the_baselines_have_none(architecture):
    with pytest.raises(RecipeError, match="reduction"):
        load_recipe(architecture, ["network.reduction=2"])
