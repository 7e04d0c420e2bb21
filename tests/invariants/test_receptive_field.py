"""What the geometry says of a network's context is what its computation graph says."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from septum.network.unet import UNet
from septum.recipe import Network


def transparent(monkeypatch, **values):
    """A network without dead ends: a derivative is 0 exactly where there is no path.

    All weights are 1, so every ReLU is open, and pooling takes means.
    """
    monkeypatch.setattr(F, "max_pool2d", F.avg_pool2d)
    network = UNet(Network(width=1, dropout=0, **values), 1, 2).double().requires_grad_(False)
    for module in network.modules():
        if hasattr(module, "weight"):
            module.weight.fill_(1)
            module.bias.fill_(0)
    return network


def field(network, extent, start, stop):
    """First input pixel, and the one after the last, along Y, that outputs [start, stop) see."""
    image = torch.ones(1, 1, extent, extent, dtype=torch.double, requires_grad=True)
    network(image)[0, 0, start:stop, start:stop].sum().backward()
    rows = image.grad[0, 0].sum(1).nonzero()
    return int(rows[0]), int(rows[-1]) + 1


@pytest.mark.parametrize("up", ["convolution", "linear"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("reduction", [1, 2])
def test_a_block_of_the_padded_networks_output_sees_its_context_and_nothing_beyond(
    monkeypatch, depth, up, reduction
):
    network = transparent(monkeypatch, depth=depth, padding="same", up=up, reduction=reduction)
    stride, lead = network.footprint.stride, network.footprint.lead
    extent = 2 * lead + 3 * stride
    first, last = field(network, extent, lead + stride, lead + 2 * stride)
    assert first > 0  # else the image's border has cut it off, and nothing is proved
    assert last < extent
    before, after = lead + stride - first, last - (lead + 2 * stride)
    assert max(before, after) == network.footprint.context


@pytest.mark.parametrize("up", ["convolution", "linear"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("reduction", [1, 2])
def test_the_unpadded_networks_output_sees_its_whole_input_and_loses_its_context(
    monkeypatch, depth, up, reduction
):
    network = transparent(monkeypatch, depth=depth, padding="valid", up=up, reduction=reduction)
    footprint = network.footprint
    extent = footprint.extent_for_core(footprint.stride)
    output = footprint.output_extent(extent)
    assert extent == output + 2 * footprint.context
    assert field(network, extent, 0, 1)[0] == 0
    assert field(network, extent, output - 1, output)[1] == extent
