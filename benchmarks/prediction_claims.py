"""What septum claims of its prediction alone; prints one line of JSON.

    python benchmarks/prediction_claims.py paper
    python benchmarks/prediction_claims.py arithmetic
    python benchmarks/prediction_claims.py bf16 runs/em-quick

`paper`: seconds of the paper's network on an image of 512 × 512. `arithmetic`: what is
done in all tiles of 8192 × 8192, over what the whole image would take at once. `bf16`: labels that
bfloat16 changes.
"""

from __future__ import annotations

import copy
import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from prediction_contestants import WINDOW
from prediction_scene import describe, make_image, read_slices, untrained_model
from prediction_worker import margins
from septum.geometry import Span, tile_grid
from septum.memory import raise_allocator_thresholds
from septum.model import load_model
from septum.network.strips import StripUNet
from septum.network.unet import fold_batch_norm
from septum.prediction.overlap_tile import predict_mask, predict_probabilities, prepare
from septum.recipe import load_recipe
from training_rounds import Contestant, time_in_turn

EXTENT, ROUNDS = 8192, 5
RECIPES = ("quick", "default", "paper-2015")


def main() -> None:
    actions: dict[str, Callable[..., dict[str, Any]]] = {
        "paper": paper,
        "arithmetic": arithmetic,
        "bf16": bf16,
    }
    raise_allocator_thresholds(bounded=True)
    print(json.dumps(actions[sys.argv[1]](*sys.argv[2:])))


def paper() -> dict[str, Any]:
    """Seconds in process, warm, from grey values to probabilities in memory."""
    what, slices_CYX = read_slices()
    model, image_CYX = (
        untrained_model(load_recipe("paper-2015"), slices_CYX),
        make_image(512, slices_CYX),
    )
    predictors = {
        "default": prepare(model, orientations=1),
        "float32": prepare(model, precision="float32", orientations=1),
        "8 orientations": prepare(model, orientations=8),
    }
    contestants = {
        name: Contestant(lambda p=predictor: predict_probabilities(p, image_CYX))
        for name, predictor in predictors.items()
    }
    return {
        "image": what,
        "network": describe(model),
        "dtype": str(predictors["default"].dtype).removeprefix("torch."),
        "seconds": time_in_turn(contestants, ROUNDS, seconds=0),
    }


def arithmetic() -> dict[str, Any]:
    """Of recipes with their default tile here, and of the peers' windows with a padded network.

    Over that of the smallest image whose output has all pixels: the image itself if the network is
    padded, the image and its context if not. ``pixels``: those given to the network, over the
    image's.
    """
    _, slices_CYX = read_slices()
    found: dict[str, Any] = {}
    for name in RECIPES:
        model = untrained_model(load_recipe(name), slices_CYX)
        predictor = prepare(model)
        footprint = predictor.footprint
        tiles = list(tile_grid((EXTENT, EXTENT), predictor.tile, footprint))
        kinds = Counter(
            (tuple(stop - start for start, stop in tile.read), tile.crop) for tile in tiles
        )
        whole = footprint.legal_at_least(EXTENT + footprint.shrink)
        strips = StripUNet(fold_batch_norm(copy.deepcopy(model.network)))  # nothing fused: counted
        flop = sum(n * count_flop(strips, *kind) for kind, n in kinds.items())
        found[name] = {
            "tile": predictor.tile,
            "tiles": len(tiles),
            "pixels": sum(n * math.prod(shape) for (shape, _), n in kinds.items()) / EXTENT**2,
            "share": flop / count_flop(model.network, (whole, whole)),
        }
    for overlap in (0.25, 0.5):
        across = math.ceil((EXTENT - WINDOW) / (WINDOW * (1 - overlap))) + 1
        share = (across * WINDOW / EXTENT) ** 2
        windows = {"tile": WINDOW, "tiles": across**2, "pixels": share, "share": share}
        found[f"windows, {overlap * 100:.0f} % overlap"] = windows
    return {"extent": EXTENT, "tiles": found}


def count_flop(network: nn.Module, extents: tuple[int, ...], *keep: tuple[Span, ...]) -> int:
    """Arithmetic of the network on a window, counted without computing it."""
    # In strips, the wrapper's own memory and lock are not copied.
    inner = copy.deepcopy(network.network if isinstance(network, StripUNet) else network)
    shell = inner.to("meta")
    if isinstance(network, StripUNet):
        shell = StripUNet(shell)
    window_NCYX = torch.empty(1, 1, *extents, device="meta", dtype=next(shell.parameters()).dtype)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shell(window_NCYX, *keep)
    return int(counter.get_total_flops())


def bf16(model_file: str) -> dict[str, Any]:
    """Labels at the model's threshold, and logits, of slices in bfloat16 and in float32."""
    model, (what, slices_CYX) = load_model(Path(model_file)), read_slices()
    changed, largest, total, squares = 0, 0.0, 0.0, 0.0
    exact = prepare(model, precision="float32", orientations=1)
    fast = prepare(model, precision="bfloat16", orientations=1)
    for slice_CYX in slices_CYX:
        exact_KYX, fast_KYX = (predict_probabilities(each, slice_CYX) for each in (exact, fast))
        masks = [predict_mask(found_KYX, model.threshold) for found_KYX in (exact_KYX, fast_KYX)]
        changed += int((masks[0] != masks[1]).sum())
        margin_KYX = margins(exact_KYX, "probabilities")
        difference_KYX = np.abs(margin_KYX - margins(fast_KYX, "probabilities"))
        largest = max(largest, float(difference_KYX.max()))
        total += float(difference_KYX.mean())
        squares += float(margin_KYX.std(dtype=np.float64)) ** 2
    deviation = (squares / len(slices_CYX)) ** 0.5
    return {
        "image": what,
        "network": describe(model),
        "slices": len(slices_CYX),
        "threshold": model.threshold,
        "labels": changed / sum(slice_CYX[0].size for slice_CYX in slices_CYX),
        "largest": largest / deviation,
        "mean": total / len(slices_CYX) / deviation,
    }


if __name__ == "__main__":
    main()
