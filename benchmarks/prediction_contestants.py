"""Who predicts an image: septum in several ways, and its peers with the same weights.

All are given the grey values as they are in the file (1, Y, X) and normalise them alike.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from septum.devices import Precision
from septum.geometry import ArrayPixels, read_mirrored, tile_grid
from septum.memory import raise_allocator_thresholds
from septum.model import Model
from septum.network.strips import StripUNet
from septum.prediction.overlap_tile import (
    predict_mask,
    predict_probabilities,
    predict_tiles,
    prepare,
)

WINDOW = 512
"""Extent of the peers' windows."""
WHOLE = 2048
"""Largest extent that is predicted as a whole, to compare with."""

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Contestant:
    """How to make one from a model, in how many rounds it runs, and what it yields.

    ``large``: rounds at extents above ``WHOLE``; 0 where it is left out for its time or memory.
    ``border``: how it goes on beyond the image's border.
    """

    build: Callable[[Model], Predict]
    rounds: int = 3
    large: int = 0
    yields: Literal["probabilities", "mask", "logits"] = "logits"
    border: Literal["mirrored", "zero"] = "zero"

    def rounds_at(self, extent: int) -> int:
        """How many rounds it takes part in."""
        return self.rounds if extent <= WHOLE else self.large


def septum(precision: Precision = "auto", tile: int | None = None) -> Callable[[Model], Predict]:
    """Septum's probabilities of the whole image, float32."""

    def build(model: Model) -> Predict:
        raise_allocator_thresholds(bounded=True)  # as `septum predict` does
        predictor = prepare(model, precision=precision, tile=tile, orientations=1)
        return lambda image_CYX: predict_probabilities(predictor, image_CYX)

    return build


def septum_mask(model: Model) -> Predict:
    """Septum tile by tile; the whole image is held as a mask alone (1, Y, X), a byte a pixel."""
    raise_allocator_thresholds(bounded=True)
    predictor = prepare(model, precision="auto", orientations=1)

    def predict(image_CYX: np.ndarray) -> np.ndarray:
        mask_YX = np.empty(image_CYX.shape[1:], np.uint8)
        for tile, probability_KYX in predict_tiles(predictor, image_CYX):
            mask_YX[tile.write_slices] = predict_mask(probability_KYX, 0.5)
        return mask_YX[None]

    return predict


def monai(overlap: float, mode: str, tuned: bool = False) -> Callable[[Model], Predict]:
    """MONAI's sliding window around the network as it is, or around septum's tuned form of it."""

    def build(model: Model) -> Predict:
        from monai.inferers import SlidingWindowInferer

        network = tuned_network(model) if tuned else model.network
        infer = SlidingWindowInferer((WINDOW, WINDOW), overlap=overlap, mode=mode)
        return lambda image_CYX: infer(normalize(model, image_CYX), network)[0].numpy()

    return build


def tuned_network(model: Model) -> Callable[[Tensor], Tensor]:
    """All of septum's but its tiles: folded, channels last, bfloat16, memory kept."""
    raise_allocator_thresholds(bounded=True)
    predictor = prepare(model, precision="auto", orientations=1)
    assert isinstance(predictor.networks[0], StripUNet)
    network = StripUNet(predictor.networks[0].network)

    def run(window_NCYX: Tensor) -> Tensor:
        window_NCYX = window_NCYX.to(predictor.dtype, memory_format=torch.channels_last)
        logits_NKYX: Tensor = network(window_NCYX)
        return logits_NKYX

    return run


def nnunet(mirrored: bool = False) -> Callable[[Model], Predict]:
    """nnU-Net's predictor at its defaults: steps of half a window, Gaussian; with mirroring or not.

    It is set by hand where ``initialize_from_trained_model_folder`` would read nnU-Net's own files.
    """

    def build(model: Model) -> Predict:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        with contextlib.redirect_stdout(sys.stderr):
            predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
        predictor.network = model.network
        predictor.label_manager = Heads(model.network.score.out_channels)
        predictor.configuration_manager = Windows()
        predictor.allowed_mirroring_axes = (0, 1) if mirrored else None

        def predict(image_CYX: np.ndarray) -> np.ndarray:
            volume_CZYX = normalize(model, image_CYX)[0][:, None]  # it takes 2D slice by slice
            logits_KYX = predictor.predict_sliding_window_return_logits(volume_CZYX)[:, 0]
            found: np.ndarray = logits_KYX.float().numpy()
            return found

        return predict

    return build


@dataclass(frozen=True)
class Heads:
    """What nnU-Net's predictor asks its label manager for."""

    num_segmentation_heads: int


@dataclass(frozen=True)
class Windows:
    """What nnU-Net's predictor asks its configuration for."""

    patch_size: tuple[int, int] = (WINDOW, WINDOW)


def whole(model: Model) -> Predict:
    """The plain float32 network on the whole image, whose border its own padding continues."""
    network: nn.Module = model.network
    return lambda image_CYX: network(normalize(model, image_CYX))[0].numpy()


def whole_mirrored(model: Model) -> Predict:
    """As ``whole``, the image being mirrored around its border beforehand."""
    network, footprint = model.network, model.network.footprint

    def predict(image_CYX: np.ndarray) -> np.ndarray:
        extents = image_CYX.shape[1:]
        (tile,) = tile_grid(extents, footprint.extent_for_core(max(extents)), footprint)
        window_NCYX = normalize(model, read_mirrored(ArrayPixels(image_CYX), tile.read))
        logits_KYX: Tensor = network(window_NCYX)[0]
        return logits_KYX[(slice(None), *tile.crop_slices)].numpy()

    return predict


def normalize(model: Model, image_CYX: np.ndarray) -> Tensor:
    """The image in the range that the network was trained for, as a batch of one."""
    return torch.from_numpy(model.intensity.apply(image_CYX))[None]


NNUNET, MONAI = "nnU-Net, 50 %, Gaussian", "MONAI, 25 %, Gaussian"
TUNED = "MONAI, 25 %, Gaussian, septum's network"
FLOAT32, SMALL_TILES, WHOLE_IMAGE = "septum, float32", "septum, float32, tile 512", "whole image"
_OURS = {"yields": "probabilities", "border": "mirrored"}
CONTESTANTS = {
    "septum": Contestant(septum(), large=3, **_OURS),
    "septum, mask alone": Contestant(septum_mask, large=2, yields="mask", border="mirrored"),
    FLOAT32: Contestant(septum("float32"), large=2, **_OURS),
    SMALL_TILES: Contestant(septum("float32", WINDOW), rounds=1, **_OURS),
    TUNED: Contestant(monai(0.25, "gaussian", tuned=True), large=2),
    "MONAI, 25 %, constant": Contestant(monai(0.25, "constant")),
    MONAI: Contestant(monai(0.25, "gaussian"), large=1),
    "MONAI, 50 %, constant": Contestant(monai(0.5, "constant")),
    "MONAI, 50 %, Gaussian": Contestant(monai(0.5, "gaussian"), large=1),
    NNUNET: Contestant(nnunet(), large=1),
    "nnU-Net, 50 %, mirrored": Contestant(nnunet(mirrored=True), rounds=1),
    WHOLE_IMAGE: Contestant(whole),
}
