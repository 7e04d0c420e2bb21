"""A trained network made ready for prediction: folded, in its fastest form, with its tile."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32

from septum.devices import Precision, channels_last, choose_dtype
from septum.geometry import Footprint, Pixels, Span
from septum.images.intensity_range import IntensityRange, ranges_of
from septum.memory import available_memory
from septum.model import AnyNetwork, Model
from septum.network.fused import fuse_relu, order_sums
from septum.network.heads import Maps, finisher
from septum.network.strips import StripUNet
from septum.network.unet import UNet, fold_batch_norm

TILE_BYTES = 640 << 20
"""About how much the activations of one tile may take when the tile size is chosen here."""
MOST_VALUES = 2**31 - 1

Ranges = tuple[IntensityRange, ...]
"""Of one image, for each of the networks."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """The networks of a model, mostly one, made ready for prediction, each with its grey values.

    ``tile``: largest input extent of a tile, pixels.
    """

    networks: tuple[torch.nn.Module, ...]
    footprint: Footprint
    intensities: Ranges
    classes: int
    finish: Callable[[torch.Tensor], torch.Tensor]
    """From scores (N, K, S) to maps (N, M, S), probabilities of the classes and what else there
    is: ``maps``."""
    dimensions: int
    orientations: Literal[1, 8]
    tile: int
    device: torch.device
    dtype: torch.dtype
    maps: Maps = "classes"
    names: tuple[str, ...] = ("class 0", "class 1")
    """Of the maps, and of the uncertainty."""

    @property
    def map_count(self) -> int:
        """Maps of a prediction, background included, uncertainty not."""
        return self.classes + (self.maps == "core")

    @property
    def stored_count(self) -> int:
        """The same, with the uncertainty of several networks."""
        return self.map_count + (len(self.networks) > 1)

    @property
    def channels(self) -> int:
        """Of the images."""
        return len(self.intensities[0].offset)

    def ranges(self, image: Pixels) -> Ranges:
        """Of all that is read of one image. Raises what reading raises."""
        return ranges_of(self.intensities, image)

    def normalize(self, window_CS: np.ndarray, ranges: Ranges) -> Float32[np.ndarray, "_ *s"]:
        """Grey values as the networks want them, for one after the other along the channels.

        ``ranges``: those of the image that the window is of.
        """
        parts = [intensity.apply(window_CS) for intensity in ranges]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @torch.inference_mode()
    def probabilities(
        self, window_NCS: Float[torch.Tensor, "n c *s"], keep: Sequence[Span]
    ) -> Float32[torch.Tensor, "n k *t"]:
        """Class probabilities of windows of grey values that ``normalize`` gave.

        The mean over orientations and networks; of several networks the last map is their
        uncertainty: the standard deviation of what they say, of the class where it is largest. Of
        the output's spatial axes only the spans ``keep`` are given, and on a processor computed.
        """
        window_NCS = window_NCS.to(self.device, self.dtype, non_blocking=True)
        found = []
        for number, network in enumerate(self.networks):
            part_NCS = window_NCS.narrow(1, number * self.channels, self.channels)
            found.append(self._oriented(network, part_NCS, keep))
        if len(found) == 1:
            return found[0]
        # Sum by sum: a reduction over an axis may depend on where in a tile a pixel lies.
        mean_NKS = found[0].clone()
        for map_NKS in found[1:]:
            mean_NKS += map_NKS
        mean_NKS /= len(found)
        square_NKS = torch.zeros_like(mean_NKS)
        for map_NKS in found:
            square_NKS += (map_NKS - mean_NKS).square_()
        deviation_N1S = (square_NKS / len(found)).amax(1, keepdim=True).sqrt_()
        return torch.cat([mean_NKS, deviation_N1S], dim=1)

    def _oriented(
        self,
        network: torch.nn.Module,
        window_NCS: Float[torch.Tensor, "n c *s"],
        keep: Sequence[Span],
    ) -> Float32[torch.Tensor, "n k *t"]:
        extents = [self.footprint.output_extent(extent) for extent in window_NCS.shape[2:]]
        mean_NKS = self._run(network, window_NCS, keep)
        for way in range(1, self.orientations):
            turned = _orient_spans(keep, extents, way)
            mean_NKS += _undo(self._run(network, _orient(window_NCS, way), turned), way)
        return mean_NKS / self.orientations if self.orientations > 1 else mean_NKS

    def _run(
        self,
        network: torch.nn.Module,
        window_NCS: Float[torch.Tensor, "n c *s"],
        keep: Sequence[Span],
    ) -> Float32[torch.Tensor, "n k *t"]:
        window_NCS = window_NCS.contiguous(memory_format=channels_last(self.dimensions))
        if isinstance(network, StripUNet):
            probability_NKS: torch.Tensor = network(window_NCS, keep)
            return probability_NKS
        kept = (slice(None), slice(None), *(slice(*span) for span in keep))
        return self.finish(network(window_NCS)[kept].float())


def prepare(
    model: Model,
    device: torch.device | str = "cpu",
    precision: Precision | None = None,
    tile: int | None = None,
    orientations: Literal[1, 8] | None = None,
    memory: int | None = None,
) -> Predictor:
    """Copy a model's networks, fold their batch normalisation, put them into their fastest form.

    What is None comes from the model's recipe. ``memory``: bytes that the network may take for a
    tile, where the recipe leaves the tile open; None: what suits the device. Raises TileSizeError
    for a tile that the network cannot take.
    """
    recipe = model.recipe
    device = torch.device(device)
    dtype = choose_dtype(precision or recipe.training.precision, device)
    footprint, widest = model.network.footprint, model.network.widest
    extent = recipe.prediction.tile if tile is None and memory is None else tile
    if extent:
        footprint.check_tile(extent, "prediction.tile" if tile is None else "tile")
    else:
        budget = tile_budget(device) if memory is None else memory
        extent = default_tile(widest, recipe.network.dimensions, footprint, dtype, budget)
    finish = finisher(recipe.network.head)
    return Predictor(
        networks=tuple(_fastest(member.network, device, dtype, finish) for member in model.members),
        footprint=footprint,
        intensities=tuple(member.intensity for member in model.members),
        classes=model.classes,
        finish=finish,
        dimensions=recipe.network.dimensions,
        orientations=recipe.prediction.orientations if orientations is None else orientations,
        tile=extent,
        device=device,
        dtype=dtype,
        maps=model.maps,
        names=model.map_names,
    )


def _fastest(
    trained: AnyNetwork,
    device: torch.device,
    dtype: torch.dtype,
    finish: Callable[[torch.Tensor], torch.Tensor],
) -> torch.nn.Module:
    network = copy.deepcopy(trained).eval()
    if isinstance(network, UNet):
        fold_batch_norm(network)
    network.requires_grad_(False)
    network.to(device=device, dtype=dtype, memory_format=channels_last(network.dimensions))  # type: ignore[call-overload]
    network.score.float()
    if device.type == "cpu":
        order_sums(network)
        if isinstance(network, UNet):
            # A processor's cache is small, its memory is shared; a GPU wants large pieces of work.
            return StripUNet(fuse_relu(network), finish=finish)
    return network


def tile_budget(device: torch.device) -> int:
    """Bytes that the network may take for a tile: a share of what is free, and no more than pays.

    On a processor the gain of larger tiles ends at ``TILE_BYTES``; on a GPU somewhat later.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return min(free // 2, 16 * TILE_BYTES)
    return min(available_memory() // 2, TILE_BYTES)


def default_tile(
    width: int, dimensions: int, footprint: Footprint, dtype: torch.dtype, budget: int = TILE_BYTES
) -> int:
    """The largest legal tile whose activations stay near ``budget`` bytes.

    Large tiles waste less on context; beyond some size that gain is gone and only memory is left.
    The maps with as many pixels as the tile dominate: of the widest, of ``width`` channels, about
    four are alive at once. No map has 2³¹ values or more, for which cuDNN is slow or lacks kernels.
    """
    pixels = min(budget / (4 * width * dtype.itemsize), MOST_VALUES / (2 * width))
    extent = math.floor(pixels ** (1 / dimensions))
    legal = footprint.legal_at_least(extent + 1) - footprint.stride
    return max(legal, footprint.extent_for_core(footprint.stride))


def _orient(window: torch.Tensor, way: int) -> torch.Tensor:
    """One of the 8 symmetries of the image plane; 0 is the identity.

    Exact in tiles too: a tile's far end lies on the grid of the pooling windows like its near
    end, so a turned tile meets the same windows as the turned whole image.
    """
    if way & 1:
        window = window.flip(-1)
    if way & 2:
        window = window.flip(-2)
    return window.transpose(-1, -2) if way & 4 else window


def _orient_spans(spans: Sequence[Span], extents: Sequence[int], way: int) -> list[Span]:
    """Where ``spans`` of an image of ``extents`` lie in the image that ``_orient`` gives."""
    turned = list(spans)
    for bit, axis in ((1, -1), (2, -2)):
        if way & bit:
            start, stop = turned[axis]
            turned[axis] = (extents[axis] - stop, extents[axis] - start)
    if way & 4:
        turned[-1], turned[-2] = turned[-2], turned[-1]
    return turned


def _undo(window: torch.Tensor, way: int) -> torch.Tensor:
    if way & 4:
        window = window.transpose(-1, -2)
    if way & 2:
        window = window.flip(-2)
    return window.flip(-1) if way & 1 else window
