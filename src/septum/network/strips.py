"""A U-Net on a large tile, level by level in strips: the same numbers, less memory.

The maps of the first levels are the largest by far, and several of them are alive at once: what
two convolutions hand to each other, what is raised, and both halves of what is joined. Here such a
level is computed strip by strip along its first spatial axis, and only what other levels need is
kept whole: the skip connection on the way down, the output on the way up. A strip reads as many
rows more as its layers look beyond it, so that each row is computed from what it always is.

Shapes: N (batch), C (channels), S (the spatial axes); rows are along the first of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from septum.network.unet import Raise, UNet, crop_centre

STRIP_BYTES = 16 << 20
"""About the size of one map of a strip. Smaller ones take less memory, but more of their rows are
computed twice."""
LEVELS = 2
"""So many levels, from the first, go in strips; the maps of the others are small."""


class StripUNet(nn.Module):
    """``network`` for inference, its first levels in strips.

    Takes and gives what ``network`` does, in evaluation; nothing here can be trained.
    """

    def __init__(self, network: UNet, strip_bytes: int = STRIP_BYTES) -> None:
        super().__init__()
        self.network = network
        self.strip_bytes = strip_bytes

    def forward(self, image: Float[Tensor, "n c *s"]) -> Float[Tensor, "n k *t"]:
        network, depth = self.network, self.network.section.depth
        pool = F.max_pool2d if network.dimensions == 2 else F.max_pool3d
        skips = []
        features = image
        for level, convolve in enumerate(network.contract):
            if level:
                features = pool(features, 2)
            features = self._down(convolve, features) if level < LEVELS else convolve(features)
            if level < depth:
                skips.append(features)
        for level in reversed(range(depth)):
            layers: Callable[[Tensor], Tensor] = network.expand[level]
            if level == 0:
                layers = _Scored(network.expand[0], network.score)
            if level < LEVELS:
                features = self._up(network.raise_[level], layers, skips.pop(), features)
            else:
                features = network.raise_[level](features)
                features = torch.cat([crop_centre(skips.pop(), features.shape[2:]), features], 1)
                for layer in network.expand[level].children():  # each frees what it was given
                    features = layer(features)
        return features

    def _down(self, layers: nn.Module, features: Tensor) -> Tensor:
        """Two convolutions of ``features``."""
        shrink, rows = 4 - 4 * self._padded, features.shape[2]
        out: Tensor | None = None
        for start, stop in self._strips(features, rows - shrink, 2):
            low, high = self._context(start, stop, rows)
            part = layers(features[:, :, low:high])
            out = _keep(out, part, start - low if self._padded else 0, (start, stop), rows - shrink)
        assert out is not None
        return out

    def _up(
        self, raise_: nn.Module, layers: Callable[[Tensor], Tensor], skip: Tensor, below: Tensor
    ) -> Tensor:
        """``below`` raised, joined with ``skip`` and convolved twice."""
        assert isinstance(raise_, Raise)
        cut = 2 if raise_.crop else 0  # rows that raising loses
        raised = [2 * extent - cut for extent in below.shape[2:]]
        skip = crop_centre(skip, raised)
        shrink, rows = 4 - 4 * self._padded, raised[0]
        out: Tensor | None = None
        for start, stop in self._strips(skip, rows - shrink, 4):
            low, high = self._context(start, stop, rows)
            # Row r of what is raised is made of row (r + cut / 2) / 2 below, and its neighbours.
            first = max((low + cut // 2) // 2 - raise_.linear, 0)
            last = min((high + cut // 2 + 1) // 2 + raise_.linear, below.shape[2])
            part = raise_(below[:, :, first:last])
            # Raising a part crops its outermost rows as those of the whole: they are row 1 of it.
            part = part[:, :, low - 2 * first : high - 2 * first]
            part = torch.cat([skip[:, :, low:high], part], dim=1)
            part = layers(part)
            out = _keep(out, part, start - low if self._padded else 0, (start, stop), rows - shrink)
        assert out is not None
        return out

    @property
    def _padded(self) -> bool:
        return self.network.section.padding == "same"

    def _context(self, start: int, stop: int, rows: int) -> tuple[int, int]:
        """The rows that rows ``start`` to ``stop`` of the output of two convolutions are made of.

        Beyond the first and the last row a padded network sees zeros, as it does of the whole.
        """
        if self._padded:
            return max(start - 2, 0), min(stop + 2, rows)
        return start, stop + 4

    def _strips(self, like: Tensor, rows: int, factor: int) -> list[tuple[int, int]]:
        """Spans of rows of an output, each of which takes about ``strip_bytes`` a map."""
        row = like[:, :, :1].numel() * like.element_size() * factor // 2
        height = max(self.strip_bytes // max(row, 1), 16)
        count = max(rows // height, 1)
        cuts = [rows * number // count for number in range(count + 1)]
        return list(itertools.pairwise(cuts))


class _Scored:
    """The last two convolutions, and the scores of the classes in single precision."""

    def __init__(self, layers: nn.Module, score: nn.Module) -> None:
        self._layers, self._score = layers, score

    def __call__(self, features: Tensor) -> Tensor:
        features = self._layers(features)
        weight = self._score.weight
        assert isinstance(weight, Tensor)
        logits: Tensor = self._score(features.to(weight.dtype))
        return logits


def _keep(
    out: Tensor | None, part: Tensor, skipped: int, span: tuple[int, int], rows: int
) -> Tensor:
    """Put the rows of a strip's output, but the first ``skipped``, to where they belong."""
    start, stop = span
    if out is None:
        memory_format = torch.channels_last if part.ndim == 4 else torch.channels_last_3d
        shape = (*part.shape[:2], rows, *part.shape[3:])
        out = torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=memory_format)
    out[:, :, start:stop] = part[:, :, skipped : skipped + stop - start]
    return out
