"""The U-Net of Ronneberger, Fischer and Brox (2015), figure 1, read from top to bottom.

One class serves the paper's unpadded form and the padded one, in 2D and in 3D. Shapes are written
N (batch), C (channels), S (the spatial axes, YX or ZYX).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from septum.geometry import Footprint, unet_footprint
from septum.network.heads import output_channels
from septum.network.reduction import channels_to_pixels, pixels_to_channels
from septum.recipe import Network


class UNet(nn.Module):
    """Contracting path, bottom, expanding path; logits, not probabilities, come out.

    With ``section.padding == "valid"`` the output is smaller than the input by
    ``footprint.shrink`` pixels an axis (572 → 388 at depth 4), otherwise it has the input's
    extents. Legal extents are those of ``footprint``. Their channels are those of the
    head (`septum.network.heads`). ``widest``: channels of the maps with as many pixels as the
    input. With ``section.reduction`` above 1 all this is done to blocks of so many pixels an axis,
    which are channels (`septum.network.reduction`); scores are of pixels.
    """

    def __init__(self, section: Network, input_channels: int, classes: int) -> None:
        super().__init__()
        self.section = section
        self.footprint: Footprint = unet_footprint(
            section.depth, section.padding, section.up, section.reduction
        )
        self.dimensions: int = section.dimensions
        block = section.reduction**section.dimensions
        widths = [section.width << level for level in range(section.depth + 1)]
        scores = output_channels(section.head, classes)
        # What is reduced has fewer pixels; then scores, in single precision, are much of it.
        self.widest: int = section.width if block == 1 else section.width // block + 2 * scores
        input_channels *= block
        outputs = scores * block

        self.contract = nn.ModuleList(
            Level(section, before, after)
            for before, after in zip([input_channels, *widths], widths, strict=False)
        )
        self.raise_ = nn.ModuleList(
            Raise(section, below, here) for here, below in itertools.pairwise(widths)
        )
        self.expand = nn.ModuleList(Level(section, 2 * width, width) for width in widths[:-1])
        self.score = _convolution(section.dimensions)(section.width, outputs, 1)
        self.dropout = SampleDropout(section.dropout)
        initialize(self)

    def forward(self, image: Float[Tensor, "n c *s"]) -> Float[Tensor, "n k *t"]:
        depth = self.section.depth
        pool = F.max_pool2d if self.dimensions == 2 else F.max_pool3d
        skips = []
        features = pixels_to_channels(image, self.section.reduction)
        for level, convolve in enumerate(self.contract):
            features = convolve(features if level == 0 else pool(features, 2))
            if level >= depth - 1:  # "at the end of the contracting path"
                features = self.dropout(features, level)
            if level < depth:
                skips.append(features)
        for level in reversed(range(depth)):
            features = self.raise_[level](features)
            features = torch.cat([crop_centre(skips.pop(), features.shape[2:]), features], dim=1)
            for layer in self.expand[level].children():  # each frees what it was given
                features = layer(features)
        # Single precision for the last sum: it decides the class (see docs/decisions/0008).
        logits: Tensor = self.score(features.to(self.score.weight.dtype))
        return channels_to_pixels(logits, self.section.reduction)


class Level(nn.Sequential):
    """Twice: 3-wide convolution, batch normalisation if asked for, ReLU."""

    def __init__(self, section: Network, before: int, after: int) -> None:
        padding = 1 if section.padding == "same" else 0
        batch = section.normalization == "batch"
        layers: list[nn.Module] = []
        for channels in (before, after):
            layers.append(
                _convolution(section.dimensions)(
                    channels, after, 3, padding=padding, bias=not batch
                )
            )
            if batch:
                layers.append(
                    (nn.BatchNorm2d if section.dimensions == 2 else nn.BatchNorm3d)(after)
                )
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class Raise(nn.Module):
    """Double the extents and halve the channels, by up-convolution or by interpolation."""

    def __init__(self, section: Network, below: int, here: int) -> None:
        super().__init__()
        self.linear = section.up == "linear"
        self.crop = self.linear and section.padding == "valid"
        self.mode = "bilinear" if section.dimensions == 2 else "trilinear"
        up = nn.ConvTranspose2d if section.dimensions == 2 else nn.ConvTranspose3d
        self.convolve: nn.Module = (
            _convolution(section.dimensions)(below, here, 1)
            if self.linear
            else up(below, here, 2, stride=2)
        )

    def forward(self, features: Float[Tensor, "n c *s"]) -> Float[Tensor, "n k *t"]:
        if not self.linear:
            raised: Tensor = self.convolve(features)
            return raised
        # The 1-wide convolution commutes with the interpolation and is cheaper before it.
        features = F.interpolate(self.convolve(features), scale_factor=2, mode=self.mode)
        if self.crop:  # the outermost pixel is extrapolated: no valid context
            features = crop_centre(features, [extent - 2 for extent in features.shape[2:]])
        return features


class SampleDropout(nn.Module):
    """Dropout (Srivastava et al. 2014) that draws for each sample by that sample's own seed.

    So a sample's mask depends neither on the samples beside it nor on which rank computes it.
    ``seeds``: one for each sample of the next batch; None: torch's generator, as ``nn.Dropout``.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.seeds: Sequence[int] | None = None

    def forward(self, features: Float[Tensor, "n c *s"], level: int) -> Float[Tensor, "n c *s"]:
        if not self.training or self.probability == 0 or self.seeds is None:
            return F.dropout(features, self.probability, self.training)
        keep = 1 - self.probability
        scale = torch.empty_like(features)
        for sample, seed in zip(scale, self.seeds, strict=True):
            generator = torch.Generator(features.device).manual_seed((seed + level) % 2**63)
            drawn = torch.rand(sample.shape, generator=generator, device=features.device)
            sample.copy_((drawn < keep) / keep)
        return features * scale


def crop_centre(features: Tensor, extents: Any) -> Tensor:
    """The central part of the spatial axes of ``features`` (N, C, S)."""
    for axis, extent in enumerate(extents, start=2):
        margin = (features.shape[axis] - extent) // 2
        features = features.narrow(axis, margin, extent)
    return features


def initialize(network: nn.Module, gain: float = 2.0) -> None:
    """Gaussian weights with standard deviation sqrt(gain / N), N the incoming nodes of one neuron.

    (Gain 2 before a ReLU, He et al. 2015, as in section 3 of the paper; N = 576 for a 3 × 3
    convolution on 64 channels. Gain 1 before tanh, LeCun et al. 1998.) A pixel of an
    up-convolution with stride = width gets one weight per channel, so there N is the number of
    channels alone. Biases start at 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            incoming = module.in_channels * math.prod(module.kernel_size)
        elif isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):
            incoming = module.in_channels
        else:
            continue
        if module.weight.is_meta:  # it has no numbers, and torch would load its compiler for them
            continue
        nn.init.normal_(module.weight, 0.0, math.sqrt(gain / incoming))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def fold_batch_norm(network: UNet) -> UNet:
    """Replace each convolution + batch normalisation by one convolution, in place.

    Uses the stored statistics, so the result equals ``network.eval()`` to rounding.
    """
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    network.eval()
    for level in [*network.contract, *network.expand]:
        layers = list(level.children())
        folded: list[nn.Module] = []
        for layer in layers:
            if isinstance(layer, _BatchNorm):
                folded[-1] = fuse_conv_bn_eval(folded[-1], layer)  # type: ignore[type-var]
            else:
                folded.append(layer)
        level._modules.clear()
        for index, layer in enumerate(folded):
            level.add_module(str(index), layer)
    return network


def _convolution(dimensions: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    return nn.Conv2d if dimensions == 2 else nn.Conv3d
