"""The sliding window patch by patch and densely, beside U-Nets: seconds for a slice of 512 × 512.

    python benchmarks/sliding_window.py [--rows 8] [--runs runs]

The patch classifier is run as published, one patch for each pixel (batched), over --rows of the
512 rows, and its seconds are multiplied to all of them (--rows 512: nothing is); densely, over the
whole slice; and the largest difference of the two in their probabilities is taken over those rows.
The U-Nets predict the same slice in turn with the dense form. All once in float32 and once in the
type that prediction takes here by itself. With --runs the trained networks of systems.py, otherwise
untrained ones: speed does not depend on weights. Writes docs/results/sliding-window.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prediction_scene import read_slices, untrained_model
from results import print_tables, write_result
from septum.geometry import ArrayPixels
from septum.memory import raise_allocator_thresholds
from septum.model import Model, load_model
from septum.network.sliding_window import SlidingWindow
from septum.prediction.overlap_tile import predict_probabilities, prepare
from septum.prediction.predictor import Predictor
from septum.recipe import load_recipe
from septum.training.run_folder import RunFolder
from training_rounds import Contestant, time_in_turn

EXTENT, ROUNDS = 512, 3
PATCHES = {"sliding-window-95": (), "sliding-window-65": ("network.patch=65", "training.tile=65")}
U_NETS = ("quick", "default", "paper-2015")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=8, help="rows done patch by patch, at most 512")
    parser.add_argument("--runs", type=Path, help="folder of the runs of systems.py")
    arguments = parser.parse_args()
    raise_allocator_thresholds(bounded=True)
    what, slices_CYX = read_slices()
    image_CYX, numbers = slices_CYX[0], {"image": what, "rows": arguments.rows}
    models = {
        name: trained(name, arguments.runs)
        or untrained_model(load_recipe("sliding-window", changes), slices_CYX)
        for name, changes in PATCHES.items()
    }
    numbers["trained"] = [name for name in PATCHES if trained(name, arguments.runs)]
    models |= {
        name: untrained_model(load_recipe(name, ["prediction.orientations=1"]), slices_CYX)
        for name in U_NETS
    }
    for precision in ("float32", "auto"):
        predictors = {
            name: prepare(model, precision=precision, orientations=1)  # type: ignore[arg-type]
            for name, model in models.items()
        }
        numbers[precision] = measure(predictors, image_CYX, arguments.rows)
    command = f"python benchmarks/sliding_window.py --rows {arguments.rows}"
    write_result("sliding-window", numbers, command + (" --runs runs" if arguments.runs else ""))
    print_tables("systems-sliding-window")


def trained(name: str, runs: Path | None) -> Model | None:
    """The last model of such a run, if there is one."""
    run = None if runs is None else RunFolder(runs / f"systems-{name}")
    return load_model(run.last) if run is not None and run.last.exists() else None


def measure(predictors: dict[str, Predictor], image_CYX: np.ndarray, rows: int) -> dict[str, Any]:
    """Seconds a slice of each, in turn; then of the classifiers patch by patch."""
    contestants = {
        name: Contestant(lambda p=predictor: predict_probabilities(p, image_CYX))
        for name, predictor in predictors.items()
    }
    seconds = time_in_turn(contestants, ROUNDS, seconds=0)
    found: dict[str, Any] = {
        "dtype": str(next(iter(predictors.values())).dtype).removeprefix("torch."),
        "seconds": {name: times["median"] for name, times in seconds.items()},
    }
    for name in PATCHES:
        found[name] = patch_by_patch(predictors[name], image_CYX, rows)
        for other in ("dense", *U_NETS):
            fast = found["seconds"][name if other == "dense" else other]
            found[name][f"times {other}"] = found[name]["seconds"] / fast
    return found


@torch.inference_mode()
def patch_by_patch(predictor: Predictor, image_CYX: np.ndarray, rows: int) -> dict[str, float]:
    """Seconds for the whole slice from those for some rows, and how far the dense form is away."""
    network = predictor.networks[0]
    assert isinstance(network, SlidingWindow)
    dense_KYX = predict_probabilities(predictor, image_CYX)
    # Mirrored at its borders, as every prediction is.
    width = ((0, 0), *[(predictor.footprint.context,) * 2] * 2)
    grey_CYX = predictor.normalize(image_CYX, predictor.ranges(ArrayPixels(image_CYX)))
    padded = np.pad(grey_CYX, width, "reflect")
    window_NCYX = torch.from_numpy(padded[None]).to(predictor.dtype)
    extent, taken, difference = network.section.patch, 0.0, 0.0
    for row in np.linspace(0, EXTENT - 1, rows).round().astype(int):
        start = time.perf_counter()
        scores_NKYX = network.classify_patches(window_NCYX[:, :, row : row + extent])
        taken += time.perf_counter() - start
        probability_KX = predictor.finish(scores_NKYX.float())[0, :, 0].numpy()
        difference = max(difference, float(np.abs(probability_KX - dense_KYX[:, row]).max()))
    return {"seconds": taken * EXTENT / rows, "difference": difference}


if __name__ == "__main__":
    main()
