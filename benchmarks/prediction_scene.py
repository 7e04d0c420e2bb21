"""What is predicted in the benchmarks: an image made of EM slices, and a network for it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from em_slices import DATA
from septum.annotation.labels import LabelMeaning
from septum.annotation.synthetic import make_membranes, write_example_data
from septum.images.files import read_image
from septum.images.intensity_range import fit_intensity_range
from septum.model import Model, build_network, model_path
from septum.recipe import Recipe, load_recipe
from septum.training.loop import train

EM = "ISBI 2012 EM, test slices"


def read_slices() -> tuple[str, list[np.ndarray]]:
    """What they are, and 30 slices (1, 512, 512) that no model here has seen in training.

    Without the data, three made-up ones.
    """
    path = DATA / "test-volume.tif"
    if path.exists():
        return EM, list(read_image(path).array[:, None])
    made = [make_membranes((512, 512), np.random.default_rng(number))[0] for number in range(3)]
    return "made-up membranes", [image_YX[None] for image_YX in made]


def make_image(extent: int, slices_CYX: Sequence[np.ndarray]) -> np.ndarray:
    """Slices side by side, over and over, as a square image (1, Y, X)."""
    across = -(-extent // slices_CYX[0].shape[-1])
    rows = [
        np.concatenate([slices_CYX[(row * across + n) % len(slices_CYX)] for n in range(across)], 2)
        for row in range(across)
    ]
    return np.ascontiguousarray(np.concatenate(rows, 1)[:, :extent, :extent])


def train_model(run: Path, width: int, steps: int) -> Path:
    """The file of a model of the recipe `quick`, trained for a minute or less on what there is.

    On the training slices of the EM stack, or on made-up ones without the data.
    """
    data = DATA
    if not data.exists():
        data = run.with_name("data")
        write_example_data(data, "membranes", count=3, size=512)
    recipe = load_recipe("quick", [f"network.width={width}", f"training.steps={steps}"])
    with contextlib.redirect_stdout(sys.stderr):
        train(data, run, recipe)
    return model_path(run)


def untrained_model(recipe: Recipe, slices_CYX: Sequence[np.ndarray]) -> Model:
    """A network whose speed is of interest, not its result; equal in every run.

    Its initial weights (He et al. 2015) keep the scale of the activations from layer to layer.
    """
    torch.manual_seed(0)
    return Model(
        network=build_network(recipe.network, 1, 2).eval(),
        recipe=recipe,
        meaning=LabelMeaning("binary", (0, 255), object_values=(255,)),
        intensity=fit_intensity_range(slices_CYX, recipe.intensity),
        channels=1,
    )


def describe(model: Model) -> dict[str, str | int]:
    """What a result says of its network."""
    return {
        "recipe": model.recipe.name,
        "width": model.recipe.network.width,
        "depth": model.recipe.network.depth,
        "parameters": sum(each.numel() for each in model.network.parameters()),
        "steps": int(model.provenance.get("step", 0)),
    }


def check_model(model: Model, path: Path) -> Model:
    """End the program if the peers could not run the network."""
    section = model.recipe.network
    if section.padding != "same" or section.dimensions != 2 or model.channels != 1:
        raise SystemExit(
            f"{path}: the peers need a padded 2D network for one channel, such as that of "
            "`septum train --recipe quick`"
        )
    return model
