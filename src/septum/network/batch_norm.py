"""Batch normalisation over the tiles of all ranks, and the statistics of averaged weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from septum.devices import Ranks


class BatchNormOverRanks(_BatchNorm):
    """In training, mean and variance over the batches of all ranks (Ioffe and Szegedy 2015).

    Parameters, stored statistics and evaluation are those of ``nn.BatchNorm2d`` and ``3d``. Mean
    and squared deviation are exchanged one after the other, in single precision: two exchanges of
    one number a channel, and none of the cancellation that a sum of squares suffers.
    """

    def __init__(self, like: _BatchNorm, ranks: Ranks) -> None:
        super().__init__(like.num_features, like.eps, like.momentum)
        self.load_state_dict(like.state_dict())
        self.to(like.weight.device)
        self.ranks = ranks

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # 2D and 3D alike

    def forward(self, input: Float[Tensor, "n c *s"]) -> Float[Tensor, "n c *s"]:
        if not self.training:
            return super().forward(input)
        features = input.float()
        axes = [axis for axis in range(features.ndim) if axis != 1]
        shape = [1, -1, *[1] * (features.ndim - 2)]
        places = features.new_full((1,), features.numel() // features.shape[1])
        sums = self.ranks.sum(torch.cat([features.sum(axes), places]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = features - mean.view(shape)
        squares = self.ranks.sum((centred * centred).sum(axes))
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            momentum = 0.1 if self.momentum is None else self.momentum
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(squares / (count - 1), momentum)
        scale = torch.rsqrt(squares / count + self.eps) * self.weight
        return (centred * scale.view(shape) + self.bias.view(shape)).to(input.dtype)


def share_batch_norm(network: nn.Module, ranks: Ranks) -> None:
    """Let every batch normalisation of ``network`` see the batches of all ranks, in place."""
    if ranks.count == 1:
        return
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d | nn.BatchNorm3d):
                module.register_module(name, BatchNormOverRanks(child, ranks))


@torch.no_grad()
def measure_batch_norm(
    network: nn.Module, batches: Iterable[Float[Tensor, "n c *s"]], count: int, ranks: Ranks
) -> None:
    """Replace the stored statistics of ``network`` by those of ``batches``, in place.

    They become the means, over ``count`` batches of all ``ranks`` together, of what batch
    normalisation sees of each of them; ``batches`` are this rank's. For weights that were never
    trained with, as averaged ones are, whose own statistics are those of no network (Izmailov et
    al. 2018, section 3; Wu and Johnson 2021, section 3).
    """
    layers = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]
    if not layers:
        return
    network.eval()  # nothing is dropped
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # each batch counts alike
        layer.train()
    for batch_NCS in batches:
        network(batch_NCS)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
        if ranks.count > 1:
            assert layer.running_mean is not None
            assert layer.running_var is not None
            assert layer.num_batches_tracked is not None
            share = layer.num_batches_tracked / count
            layer.num_batches_tracked.fill_(count)
            layer.running_mean.copy_(ranks.sum(layer.running_mean * share))
            layer.running_var.copy_(ranks.sum(layer.running_var * share))
