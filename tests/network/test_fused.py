"""Convolution and ReLU in one call give what the two layers give, or are left alone."""

from __future__ import annotations

import copy

import pytest
import torch

from septum.network import fused
from septum.network.fused import ConvolutionReLU, fuse_relu
from septum.network.unet import UNet, fold_batch_norm
from septum.recipe import Network


def network_of(dimensions=2, padding="same", dtype=torch.float32):
    torch.manual_seed(0)
    section = Network(width=4, depth=2, padding=padding, dimensions=dimensions, dropout=0.2)
    memory_format = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    network = fold_batch_norm(UNet(section, 2, 3)).requires_grad_(False)
    network.to(dtype=dtype, memory_format=memory_format)
    network.score.float()
    return network


def fused_layers(network):
    return [layer for layer in network.modules() if isinstance(layer, ConvolutionReLU)]


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_numbers_are_the_same(dimensions, padding, dtype):
    plain = network_of(dimensions, padding, dtype)
    network = fuse_relu(copy.deepcopy(plain))
    extent = plain.footprint.legal_at_least(50)
    image = torch.randn(1, 2, *(extent,) * dimensions).to(dtype)
    with torch.inference_mode():
        near = 1e-4 if dtype is torch.float32 else 0.05
        torch.testing.assert_close(network(image), plain(image), rtol=near, atol=near)
    assert network.state_dict().keys() == plain.state_dict().keys()


def test_all_of_them_are_fused_where_torch_has_onednn():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch without oneDNN")
    assert len(fused_layers(fuse_relu(network_of()))) == 10


def test_where_it_fails_or_gives_something_else_the_network_stays(monkeypatch):
    for wrong in (
        lambda self, features: (_ for _ in ()).throw(RuntimeError("no such operator")),
        lambda self, features: torch.zeros(1),
        lambda self, features: torch.nn.functional.conv2d(features, self.weight, padding=1),
    ):
        monkeypatch.setattr(fused.ConvolutionReLU, "forward", wrong)
        network = fuse_relu(network_of())
        assert fused_layers(network) == []
        assert sum(isinstance(layer, torch.nn.ReLU) for layer in network.modules()) == 10
