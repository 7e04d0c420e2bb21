"""The patch classifier of Ciresan, Giusti, Gambardella and Schmidhuber (2012): a baseline.

It gives the class of one pixel from a patch around it. Run over an image, patches share almost all
of their arithmetic: ``SlidingWindow`` computes the same for all pixels at once, by pooling with
stride 1 and dilated convolutions ("à trous"), and ``classify_patches`` as published, patch by
patch. Shapes: N (batch), C (channels), K (classes), Y and X.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from septum.geometry import Footprint
from septum.network.heads import output_channels
from septum.network.unet import SampleDropout, initialize
from septum.recipe import Network

KERNELS = {95: (4, 5, 4, 4), 65: (4, 4, 5, 4)}
"""Widths of the convolutions by the extent of the patch; every pooling sees even extents."""
WIDTH, CONNECTED = 48, 200
"""Channels of the published net's convolutions, and of its fully connected layer."""


class SlidingWindow(nn.Module):
    """Four times convolution, pooling of 2 and tanh; a fully connected layer; the scores.

    ``section.width`` 48 is the published net; other widths scale the fully connected layer alike.
    The output is smaller than the input by ``section.patch - 1`` pixels an axis, and logits come
    out, whose channels are those of the head (`septum.network.heads`). An image of one patch goes
    through the net as published, which is faster for it; any larger one through the dilated form.
    The weights are the same.
    """

    def __init__(self, section: Network, input_channels: int, classes: int) -> None:
        super().__init__()
        self.section = section
        self.dimensions: int = section.dimensions
        patch: int = section.patch
        self.footprint = Footprint(1, (patch - 1) // 2, patch - 1, remainder=0, minimum=patch)
        connected = max(CONNECTED * section.width // WIDTH, 1)
        self.widest: int = connected
        outputs = output_channels(section.head, classes)

        left = patch
        for kernel in KERNELS[patch]:
            left = (left - kernel + 1) // 2
        self.convolve = nn.ModuleList(
            nn.Conv2d(section.width if level else input_channels, section.width, kernel)
            for level, kernel in enumerate(KERNELS[patch])
        )
        self.connect = nn.Conv2d(section.width, connected, left)
        self.score = nn.Conv2d(connected, outputs, 1)
        self.dropout = SampleDropout(section.dropout)
        initialize(self, gain=1)

    def forward(self, image: Float[Tensor, "n c y x"]) -> Float[Tensor, "n k v u"]:
        dense = any(extent != self.section.patch for extent in image.shape[2:])
        features, step = image, 1
        for convolve in self.convolve:
            features = _convolve(convolve, features, step)
            features = _largest(features, step) if dense else F.max_pool2d(features, 2)
            features = features.tanh()  # as before the pooling, of a quarter of the values
            step *= 2 if dense else 1
        features = self.dropout(_convolve(self.connect, features, step).tanh(), 0)
        # Single precision for the last sum: it decides the class (see docs/decisions/0008).
        logits: Tensor = self.score(features.to(self.score.weight.dtype))
        return logits

    @torch.no_grad()
    def classify_patches(
        self, image: Float[Tensor, "n c y x"], batch: int = 256
    ) -> Float[Tensor, "n k v u"]:
        """What ``forward`` gives, computed as published: one patch for each pixel of the output.

        ``batch`` patches are computed at a time. Hundreds of times the arithmetic, for comparison.
        Raises TileSizeError for an image smaller than a patch.
        """
        for extent in image.shape[2:]:
            self.footprint.check(extent, "image")
        patch = self.section.patch
        patches = image.unfold(2, patch, 1).unfold(3, patch, 1).movedim(1, 3)  # N, Y, X, C, …
        extents = patches.shape[:3]
        places = torch.arange(extents.numel(), device=image.device)
        parts = torch.split(places, batch)
        scores = [self(patches[torch.unravel_index(part, extents)]) for part in parts]
        return torch.cat(scores).reshape(*extents, -1).movedim(-1, 1)


def _convolve(layer: nn.Module, features: Tensor, step: int) -> Tensor:
    """``layer`` on every ``step``-th pixel along each axis, from each pixel on."""
    if not isinstance(layer, nn.Conv2d):  # ``Pointwise``, 1 wide, in prediction
        found: Tensor = layer(features)
        return found
    return F.conv2d(features, layer.weight, layer.bias, dilation=step)


def _largest(features: Tensor, step: int) -> Tensor:
    """The largest of 2 × 2 pixels that are ``step`` apart, from each pixel on.

    torch's own pooling makes indices besides, of up to four times the memory.
    """
    for axis in (2, 3):
        rest = features.shape[axis] - step
        first, second = (features.narrow(axis, start, rest) for start in (0, step))
        features = torch.maximum(first, second)
    return features
