"""FCN-8s (Long, Shelhamer and Darrell 2015) on the contracting path of VGG-16: a baseline.

As published, but for what cannot be had or is not needed here: it learns from scratch, up-sampling
is bilinear throughout and not learnt, and fc6 is padded by 3 where the published net pads its image
by 100 and crops in the end; so it is the same net wherever a tile lies. Shapes: N (batch),
C (channels), K (classes), Y and X.
"""

from __future__ import annotations

import itertools

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from septum.geometry import Footprint
from septum.network.heads import output_channels
from septum.network.unet import SampleDropout, initialize
from septum.recipe import Network

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""3-wide convolutions of each block of VGG-16 (Simonyan and Zisserman 2014, configuration D)."""
WIDTHS = (1, 2, 4, 8, 8)
"""Channels of each block, times ``section.width``."""
CONNECTED = 64
"""Channels of fc6 and fc7, times ``section.width``: 4096."""
SCORED = (2, 3)
"""Blocks that are scored before the last one's score: pool3 and pool4."""
STRIDE = 1 << len(CONVOLUTIONS)


class FCN8s(nn.Module):
    """Five blocks, two fully connected layers as convolutions, scores at 1/8, 1/16 and 1/32.

    ``section.width`` 64 is the published net, other widths scale all of it alike. The output has
    the input's extents, multiples of 32; logits, not probabilities, come out; their
    channels are those of the head (`septum.network.heads`).
    """

    def __init__(self, section: Network, input_channels: int, classes: int) -> None:
        super().__init__()
        self.section = section
        self.dimensions: int = section.dimensions
        self.footprint = Footprint(STRIDE, _context(), shrink=0, remainder=0, minimum=STRIDE)
        self.widest: int = section.width
        widths = [section.width * width for width in WIDTHS]
        connected = section.width * CONNECTED
        outputs = output_channels(section.head, classes)

        self.blocks = nn.ModuleList(
            _block(before, after, convolutions)
            for (before, after), convolutions in zip(
                itertools.pairwise([input_channels, *widths]), CONVOLUTIONS, strict=True
            )
        )
        self.fc6 = nn.Conv2d(widths[-1], connected, 7, padding=3)
        self.fc7 = nn.Conv2d(connected, connected, 1)
        scored = [*(widths[block] for block in SCORED), connected]
        self.score = nn.ModuleList(nn.Conv2d(channels, outputs, 1) for channels in scored)
        self.dropout = SampleDropout(section.dropout)
        initialize(self)

    def forward(self, image: Float[Tensor, "n c y x"]) -> Float[Tensor, "n k y x"]:
        features, pooled = image, []
        for number, block in enumerate(self.blocks):
            features = F.max_pool2d(block(features), 2)
            if number in SCORED:
                pooled.append(features)
        features = self.dropout(F.relu(self.fc6(features)), 0)
        features = self.dropout(F.relu(self.fc7(features)), 1)
        score_8, score_16, score_32 = self.score
        scores = _raise(_score(score_32, features), 2) + _score(score_16, pooled.pop())
        scores = _raise(scores, 2) + _score(score_8, pooled.pop())
        return _raise(scores, 8)


def _block(before: int, after: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, *[after] * (convolutions - 1)):
        layers += [nn.Conv2d(channels, after, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _score(layer: nn.Module, features: Tensor) -> Tensor:
    """In single precision, as are the sums that follow (see docs/decisions/0008)."""
    precise = next(layer.parameters()).dtype
    scores: Tensor = layer(features.to(precise)).to(precise)  # autocast gives back bfloat16
    return scores


def _raise(scores: Tensor, factor: int) -> Tensor:
    raised: Tensor = F.interpolate(
        scores, scale_factor=float(factor), mode="bilinear", align_corners=False
    )
    return raised


def _context() -> int:
    """One block of output pixels, followed back to the input through fc6.

    The ways that leave at pool3 and pool4 see less: they lack what fc6 and the blocks below see.
    """
    low, high = 0, STRIDE - 1
    for factor in (8, 2, 2):
        # Half-pixel centres: output p reads floor((p + 1/2) / factor − 1/2), and the next pixel.
        low = (2 * low + 1 - factor) // (2 * factor)
        high = (2 * high + 1 - factor) // (2 * factor) + 1
    low, high = low - 3, high + 3  # fc6 is 7 wide
    for convolutions in reversed(CONVOLUTIONS):
        low, high = 2 * low - convolutions, 2 * high + 1 + convolutions
    return max(-low, high - (STRIDE - 1))
