"""A U-Net on a large tile, level by level in strips: the same numbers, less memory.

The maps of the first levels are the largest by far, and several of them are alive at once: what
two convolutions hand to each other, what is raised, and both halves of what is joined. Here such a
level is computed strip by strip along its first spatial axis, and only what other levels need is
kept whole: the skip connection on the way down, the output on the way up. A strip reads as many
rows more as its layers look beyond it, so that each row is computed from what it always is. On the
way up only that part of the tile is computed which something is kept of: around it lies context.

Shapes: N (batch), C (channels), S (the spatial axes); rows are along the first of them.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from septum.geometry import Span
from septum.network.parts import Part, narrow, pool_largest, room_for, source_of
from septum.network.reduction import channels_to_pixels, pixels_to_channels
from septum.network.unet import Raise, UNet, crop_centre

STRIP_BYTES = 16 << 20
"""About the size of one map of a strip. Smaller ones take less memory, but more of their rows are
computed twice."""
SCORED = 1 << 15
"""Pixels whose classes are scored at a time: what is made of them stays in the cache."""
LAST = "last"
KEPT = 2
"""Skip connections of so many levels have their place from tile to tile. Those of the others go
back to the system when they have been read: they are small, and soon mapped again, but there would
be most in memory just when the way up needs it."""
LEVELS = 4
"""So many levels, from the first, go in strips; the maps of the others are small."""


class StripUNet(nn.Module):
    """``network`` for inference, its first levels in strips; ``finish`` is applied to the scores.

    Gives what ``network`` does, in evaluation; nothing here can be trained. What levels keep whole
    has its place from call to call, so that memory is the same after the thousandth tile as after
    the first; of several threads one computes at a time.
    """

    def __init__(
        self,
        network: UNet,
        strip_bytes: int = STRIP_BYTES,
        finish: Callable[[Tensor], Tensor] = lambda scores: scores,
    ) -> None:
        super().__init__()
        self.finish = finish
        self.network = network
        self.strip_bytes = strip_bytes
        self._padded = network.section.padding == "same"
        self._shrink = 0 if self._padded else 4
        """Pixels that the two convolutions of a level lose."""
        self._places: dict[str, Tensor] = {}
        self._lock = threading.Lock()

    def forward(
        self, image: Float[Tensor, "n c *s"], keep: Sequence[Span] | None = None
    ) -> Float[Tensor, "n k *t"]:
        """Scores of the classes (float32), finished; of the spatial axes ``keep``, if given."""
        times = self.network.section.reduction
        with self._lock:
            if times == 1:
                return self._forward(image, keep)
            if keep is None:
                keep = [(0, self.network.footprint.output_extent(n)) for n in image.shape[2:]]
            blocks = [(start // times, -(-stop // times)) for start, stop in keep]
            coarse = self._forward(pixels_to_channels(image, times), blocks)
        return self._finish_pixels(coarse, [times * start for start, _ in blocks], keep)

    def _finish_pixels(self, coarse: Tensor, first: Sequence[int], keep: Sequence[Span]) -> Tensor:
        """The pixels ``keep`` of what is coarse and begins at ``first``, finished, in strips."""
        times = self.network.section.reduction
        height = max(SCORED // math.prod(coarse.shape[3:]) // times ** (coarse.ndim - 2), 1)
        starts = [start - begin for (start, _), begin in zip(keep, first, strict=True)]
        lengths = [stop - start for start, stop in keep]
        out = None
        for row in range(0, coarse.shape[2], height):
            part = self.finish(channels_to_pixels(coarse[:, :, row : row + height], times))
            if out is None:
                out = self._place(LAST, part, keep)
            low = max(starts[0] - times * row, 0)
            high = min(starts[0] + lengths[0] - times * row, part.shape[2])
            part = narrow(part, [low, *starts[1:]], [high - low, *lengths[1:]])
            begin = times * row + low - starts[0]
            out[:, :, begin : begin + high - low] = part
        assert out is not None
        return out

    def _forward(self, image: Tensor, keep: Sequence[Span] | None) -> Tensor:
        network, depth = self.network, self.network.section.depth
        parts = self._plan_way_up(self._bottom(image.shape[2:]), keep)
        skips = []
        features = image
        for level, convolve in enumerate(network.contract):
            if level == depth:
                features = convolve(features)
            elif level < LEVELS:
                skip, features = self._down(level, convolve, features, parts[level])
                skips.append(skip)
            else:
                skips.append(convolve(features))
                features = pool_largest(skips[-1])
        for level in reversed(range(depth)):
            if level < LEVELS:
                features = self._up(level, skips.pop(), features, *parts[level : level + 2])
                if level >= KEPT:
                    self._places.pop(f"skip {level}", None)
            else:
                features = network.raise_[level](features)
                features = torch.cat([crop_centre(skips.pop(), features.shape[2:]), features], 1)
                for layer in network.expand[level].children():  # each frees what it was given
                    features = layer(features)
        return features

    def _bottom(self, extents: Sequence[int]) -> tuple[int, ...]:
        """What the lowest level has of an image of ``extents``."""
        for _ in range(self.network.section.depth):
            extents = [(extent - self._shrink) // 2 for extent in extents]
        return tuple(extent - self._shrink for extent in extents)

    def _down(
        self, level: int, layers: nn.Module, features: Tensor, want: Part
    ) -> tuple[Tensor, Tensor]:
        """Two convolutions of ``features``: what ``want`` needs of them, and all of them pooled."""
        extents = tuple(features.shape[2:])
        whole = [(0, extent - self._shrink) for extent in extents]
        halves = [(0, stop // 2) for _, stop in whole]
        raised = [extent + self._shrink for extent in want.whole]
        # The skip connection is the middle of it.
        margins = [(stop - n) // 2 for (_, stop), n in zip(whole, raised, strict=True)]
        context = self._context(want.spans, raised)
        kept = [(low + m, high + m) for (low, high), m in zip(context, margins, strict=True)]
        columns = [(start, stop - start) for start, stop in kept[1:]]
        out: Tensor | None = None
        pooled: Tensor | None = None
        for span in self._strips(features, self._channels(level), whole[0]):
            (low, high), *_ = self._context([span], extents)
            part = layers(features[:, :, low:high])
            if out is None or pooled is None:
                out = self._place(f"skip {level}", part, kept)
                pooled = self._place(f"between {level % 2}", part, halves)
            part = self._cut(part, [span, *whole[1:]])
            first, last = max(span[0], kept[0][0]), min(span[1], kept[0][1])
            if first < last:
                starts, lengths = zip((first - span[0], last - first), *columns, strict=True)
                out[:, :, first - kept[0][0] : last - kept[0][0]] = narrow(part, starts, lengths)
            pooled[:, :, span[0] // 2 : span[1] // 2] = pool_largest(part)
        assert out is not None
        assert pooled is not None
        return out, pooled

    def _up(self, level: int, skip: Tensor, below: Tensor, want: Part, lower: Part) -> Tensor:
        """``below`` raised, joined with ``skip`` and convolved twice: the spans ``want`` of it.

        ``skip``: as far as these need it; ``lower``: where ``below`` lies in all of its level.
        """
        raise_ = self.network.raise_[level]
        assert isinstance(raise_, Raise)
        layers: Callable[[Tensor], Tensor] = self.network.expand[level]
        if level == 0:
            layers = self._score
        raised = [extent + self._shrink for extent in want.whole]
        origin = [start for start, _ in self._context(want.spans, raised)]
        out = None
        for rows in self._strips(skip, 2 * self._channels(level), want.spans[0]):
            spans = [rows, *want.spans[1:]]
            reads = self._context(spans, raised)
            sources = [
                source_of(raise_, read, n) for read, n in zip(reads, lower.whole, strict=True)
            ]
            starts = [
                source[0] - span[0] for source, span in zip(sources, lower.spans, strict=True)
            ]
            lengths = [stop - start for start, stop in sources]
            part = raise_(narrow(below, starts, lengths))
            # Raising a part crops its outermost pixels as those of the whole: they are number 1.
            starts = [read[0] - 2 * source[0] for read, source in zip(reads, sources, strict=True)]
            lengths = [stop - start for start, stop in reads]
            part = narrow(part, starts, lengths)
            starts = [read[0] - first for read, first in zip(reads, origin, strict=True)]
            part = torch.cat([narrow(skip, starts, lengths), part], dim=1)
            part = layers(part)
            if out is None:
                name = f"between {(level + 1) % 2}" if level else LAST
                out = self._place(name, part, want.spans)
            first = rows[0] - want.spans[0][0]
            out[:, :, first : first + rows[1] - rows[0]] = self._cut(part, spans)
        assert out is not None
        return out

    def _plan_way_up(self, bottom: Sequence[int], keep: Sequence[Span] | None) -> list[Part]:
        """What each level, from the first to the lowest, has to give for ``keep`` of the first."""
        wholes = [tuple(bottom)]
        for raise_ in reversed(self.network.raise_):
            assert isinstance(raise_, Raise)
            lost = (2 if raise_.crop else 0) + self._shrink
            wholes.insert(0, tuple(2 * extent - lost for extent in wholes[0]))
        spans = [(0, extent) for extent in wholes[0]] if keep is None else list(keep)
        parts = [Part(wholes[0], spans)]
        for raise_, whole in zip(self.network.raise_, wholes[1:], strict=True):
            assert isinstance(raise_, Raise)
            raised = [extent + self._shrink for extent in parts[-1].whole]
            reads = self._context(parts[-1].spans, raised)
            spans = [source_of(raise_, read, n) for read, n in zip(reads, whole, strict=True)]
            if len(parts) >= min(LEVELS, len(wholes) - 1):  # which are computed whole
                spans = [(0, extent) for extent in whole]
            parts.append(Part(whole, spans))
        return parts

    def _context(self, spans: Sequence[Span], extents: Sequence[int]) -> list[Span]:
        """The pixels that ``spans`` of the output of two convolutions are made of.

        Beyond the first and the last pixel a padded network sees zeros, as it does of the whole.
        """
        if not self._padded:
            return [(start, stop + 4) for start, stop in spans]
        axes = zip(spans, extents, strict=False)
        return [(max(start - 2, 0), min(stop + 2, extent)) for (start, stop), extent in axes]

    def _cut(self, part: Tensor, spans: Sequence[Span]) -> Tensor:
        """What of two padded convolutions of ``_context(spans)`` is the same as of the whole."""
        first = [min(start, 2) if self._padded else 0 for start, _ in spans]
        return narrow(part, first, [stop - start for start, stop in spans])

    def _score(self, features: Tensor) -> Tensor:
        """The last two convolutions, and the scores of the classes in single precision.

        A product of matrices, whose sums have one order however many threads there are; those of
        oneDNN's 1-wide convolution have not, and all workers of a cluster are to agree on each bit.
        """
        features = self.network.expand[0](features).movedim(1, -1)
        pixels_PC = features.reshape(-1, features.shape[-1])
        weight_KC, bias_K = self.network.score.weight.flatten(1), self.network.score.bias
        assert bias_K is not None
        scores_KP = weight_KC.new_empty(len(weight_KC), len(pixels_PC))
        for start in range(0, len(pixels_PC), SCORED):
            part = slice(start, start + SCORED)
            part_CP = pixels_PC[part].to(weight_KC.dtype).t()
            scores_KP[:, part] = torch.addmm(bias_K[:, None], weight_KC, part_CP)
        scores = scores_KP.view(-1, *features.shape[:-1]).movedim(0, 1)
        return scores if self.network.section.reduction > 1 else self.finish(scores)

    def _channels(self, level: int) -> int:
        """Of the maps of a level."""
        return self.network.section.width << level

    def _place(self, name: str, part: Tensor, spans: Sequence[Span]) -> Tensor:
        """Room for ``spans`` of what ``part`` is a part of, channels last.

        It is the same memory as in the call before, if that was enough; but what comes out at the
        end is the caller's own, channels first.
        """
        batch, channels = part.shape[:2]
        extents = [stop - start for start, stop in spans]
        size = batch * channels * math.prod(extents) * part.element_size()
        if name == LAST:
            return room_for(size, part).view(part.dtype).view(batch, channels, *extents)
        place = self._places.get(name)
        if place is None or place.numel() < size:
            self._places.pop(name, None)
            place = room_for(size, part)
            self._places[name] = place
        return place[:size].view(part.dtype).view(batch, *extents, channels).movedim(-1, 1)

    def _strips(self, like: Tensor, channels: int, rows: Span) -> list[Span]:
        """``rows`` in spans, in each of which ``channels`` maps take about ``strip_bytes``."""
        row = like[:, :1, :1].numel() * channels * like.element_size()
        height = max(self.strip_bytes // row, 16)
        start, stop = rows
        count = max((stop - start) // height, 1)
        # Even, where all rows are wanted: whole pooling windows.
        cuts = [start + (stop - start) * number // (2 * count) * 2 for number in range(count)]
        return list(itertools.pairwise([*cuts, stop]))
