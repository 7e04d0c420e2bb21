"""Convolution and ReLU in one pass over memory, where torch has oneDNN: the same to rounding."""

from __future__ import annotations

import copy
import itertools
import math

import torch
from torch import Tensor, nn

from septum.network.unet import UNet


class ConvolutionReLU(nn.Module):
    """``convolution`` followed by ReLU, on a processor; for inference."""

    def __init__(self, convolution: nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self._how = (convolution.padding, convolution.stride, convolution.dilation)

    def forward(self, features: Tensor) -> Tensor:
        """As the two layers."""
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            features, self.weight, self.bias, *self._how, 1, "relu", [], ""
        )
        return found


def fuse_relu(network: UNet) -> UNet:
    """Replace convolution + ReLU in a network on a processor, in place.

    The call is what torch.compile makes of the two layers. It is no public function of torch, so it
    is tried first, for the network's type and dimensions: where it is missing, or gives anything
    else, the network stays as it is. Names of parameters stay.
    """
    pairs = [
        (level, name, layer, next_name)
        for level in [*network.contract, *network.expand]
        for (name, layer), (next_name, following) in itertools.pairwise(level.named_children())
        if isinstance(layer, nn.Conv2d | nn.Conv3d) and isinstance(following, nn.ReLU)
    ]
    if all(_works(layer) for _, _, layer, _ in pairs):
        for level, name, layer, next_name in pairs:
            level._modules[name] = ConvolutionReLU(layer)
            level._modules[next_name] = nn.Identity()
    return network


class Pointwise(nn.Module):
    """A 1-wide convolution as a product of matrices; for inference.

    Its sums have one order however many threads there are, those of oneDNN's single-precision
    convolution have not.
    """

    def __init__(self, convolution: nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, features: Tensor) -> Tensor:
        """As the convolution."""
        found = nn.functional.linear(features.movedim(1, -1), self.weight.flatten(1), self.bias)
        return found.movedim(-1, 1)


def order_sums(network: nn.Module) -> None:
    """Make what is computed on a processor independent of the number of threads, in place."""
    for module in list(network.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, nn.Conv2d | nn.Conv3d) and math.prod(layer.kernel_size) == 1:
                module.register_module(name, Pointwise(layer))


def _works(layer: nn.Conv2d | nn.Conv3d) -> bool:
    """On a few pixels, the numbers that the two layers give."""
    extents = [8] * (layer.weight.ndim - 2)
    memory_format = torch.channels_last if len(extents) == 2 else torch.channels_last_3d
    features = torch.linspace(-1, 1, layer.in_channels * 8 ** len(extents))
    features = features.view(1, layer.in_channels, *extents).to(layer.weight.dtype)
    features = features.contiguous(memory_format=memory_format)
    with torch.inference_mode():
        try:
            found = ConvolutionReLU(copy.deepcopy(layer))(features)
        except (RuntimeError, AttributeError, NotImplementedError, TypeError):
            return False
        expected = layer(features).relu()
        if found.shape != expected.shape:
            return False
        # What the sums are made of, as the scale of what rounding may do.
        scale = copy.deepcopy(layer)
        scale.weight.abs_()
        near = 4 * torch.finfo(expected.dtype).eps * scale(features.abs()).abs()
        return bool(((found - expected).abs() <= near).all())
