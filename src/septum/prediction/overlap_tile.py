"""The overlap-tile strategy (Ronneberger et al. 2015, figure 2), exact.

Every pixel's result is what the network would give for the whole image at once: tiles are read
with the full context of what they write, on the grid of the pooling windows, and nothing that the
network computes depends on the tile (see ``septum.geometry`` and docs/decisions/0001). The
context that is missing at the image's border is the mirrored image.

Shapes: C channels, K classes, S the spatial axes (YX or ZYX).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32

from septum.devices import Precision, channels_last, choose_dtype
from septum.errors import InputError
from septum.geometry import Footprint, Tile, read_mirrored, tile_grid
from septum.images.intensity_range import IntensityRange
from septum.model import Model
from septum.network.unet import UNet, fold_batch_norm

TILE_BYTES = 768 << 20
"""About how much the activations of one tile may take when the tile size is chosen here."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network made ready for prediction. ``tile``: largest input extent of a tile, pixels."""

    network: torch.nn.Module
    footprint: Footprint
    intensity: IntensityRange
    classes: int
    sigmoid: bool
    dimensions: int
    orientations: Literal[1, 8]
    tile: int
    device: torch.device
    dtype: torch.dtype


def prepare(
    model: Model,
    device: torch.device | str = "cpu",
    precision: Precision | None = None,
    tile: int | None = None,
    orientations: Literal[1, 8] | None = None,
) -> Predictor:
    """Copy a model's network, fold its batch normalisation and put it into its fastest form.

    What is None comes from the model's recipe. Raises TileSizeError for a tile that the network
    cannot take.
    """
    recipe = model.recipe
    device = torch.device(device)
    dtype = choose_dtype(precision or recipe.training.precision, device)
    network: UNet = fold_batch_norm(copy.deepcopy(model.network)).requires_grad_(False)
    footprint = network.footprint
    extent = recipe.prediction.tile if tile is None else tile
    if extent:
        footprint.check_tile(extent, "prediction.tile" if tile is None else "tile")
    else:
        extent = default_tile(recipe.network.width, recipe.network.dimensions, footprint, dtype)
    network.to(device=device, dtype=dtype, memory_format=channels_last(network.dimensions))  # type: ignore[call-overload]
    network.score.float()
    return Predictor(
        network=network,
        footprint=footprint,
        intensity=model.intensity,
        classes=model.classes,
        sigmoid=recipe.network.head == "sigmoid",
        dimensions=recipe.network.dimensions,
        orientations=recipe.prediction.orientations if orientations is None else orientations,
        tile=extent,
        device=device,
        dtype=dtype,
    )


def default_tile(width: int, dimensions: int, footprint: Footprint, dtype: torch.dtype) -> int:
    """The largest legal tile whose activations stay near ``TILE_BYTES``.

    Large tiles waste less on context; beyond some size that gain is gone and only memory is left.
    The first level dominates: about four maps of ``width`` channels are alive at once.
    """
    pixels = TILE_BYTES / (4 * width * dtype.itemsize)
    extent = math.floor(pixels ** (1 / dimensions))
    legal = footprint.legal_at_least(extent + 1) - footprint.stride
    return max(legal, footprint.extent_for_core(footprint.stride))


def predict_tiles(
    predictor: Predictor, image_CS: np.ndarray
) -> Iterator[tuple[Tile, Float32[np.ndarray, "k *t"]]]:
    """Class probabilities, tile by tile: each pixel of the image is in exactly one of them.

    ``image_CS`` holds grey values as they are in the file, (C, Y, X) or (C, Z, Y, X), of any
    extents from 1 up; only the windows that are read are converted to floating point, so it may
    be a memory map. The array yielded covers ``tile.write``. Raises InputError if the number of
    channels or axes is not the model's.
    """
    if image_CS.ndim != predictor.dimensions + 1:
        axes = "C, Y, X" if predictor.dimensions == 2 else "C, Z, Y, X"
        raise InputError(
            f"image has shape {image_CS.shape}; this {predictor.dimensions}D model takes ({axes})"
        )
    if len(image_CS) != len(predictor.intensity.offset):
        raise InputError(
            f"image has {len(image_CS)} channels; this model was trained on "
            f"{len(predictor.intensity.offset)}"
        )
    for tile in tile_grid(image_CS.shape[1:], predictor.tile, predictor.footprint):
        window_CS = predictor.intensity.apply(read_mirrored(image_CS, tile.read))
        window_1CS = torch.from_numpy(window_CS)[None].to(predictor.device, predictor.dtype)
        with torch.inference_mode():
            total_KS = sum(
                _undo(_probabilities(predictor, _orient(window_1CS, way)), way)
                for way in range(predictor.orientations)
            )
            assert isinstance(total_KS, torch.Tensor)
            mean_KS = (total_KS / predictor.orientations)[(slice(None), *tile.crop_slices)]
            yield tile, mean_KS.cpu().numpy()


def _probabilities(predictor: Predictor, window_1CS: torch.Tensor) -> torch.Tensor:
    """Run the network on one window; (K, S) in single precision."""
    window_1CS = window_1CS.contiguous(memory_format=channels_last(predictor.dimensions))
    logits_KS: torch.Tensor = predictor.network(window_1CS).float()[0]
    if predictor.sigmoid:
        return torch.cat([(-logits_KS).sigmoid(), logits_KS.sigmoid()])
    return logits_KS.softmax(0)


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


def _undo(window: torch.Tensor, way: int) -> torch.Tensor:
    if way & 4:
        window = window.transpose(-1, -2)
    if way & 2:
        window = window.flip(-2)
    return window.flip(-1) if way & 1 else window


def predict_probabilities(
    predictor: Predictor, image_CS: np.ndarray
) -> Float32[np.ndarray, "k *s"]:
    """Class probabilities (K, S) of a whole image that fits in memory; they sum to 1 over K."""
    probability_KS = np.empty((predictor.classes, *image_CS.shape[1:]), np.float32)
    for tile, part in predict_tiles(predictor, image_CS):
        probability_KS[(slice(None), *tile.write_slices)] = part
    return probability_KS


def predict_mask(
    probability_KS: Float[np.ndarray, "k *s"], threshold: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Class ids: with two classes, 1 where p(1) > threshold; with more, the likeliest class."""
    if len(probability_KS) == 2:
        mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = (
            probability_KS[1] > threshold
        ).astype(np.uint8)
        return mask
    likeliest: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = probability_KS.argmax(0).astype(
        np.uint8
    )
    return likeliest
