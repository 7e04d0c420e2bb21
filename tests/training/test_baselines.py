"""The baselines are trained, resumed, reported and used for prediction as the U-Net is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from septum.errors import Interrupted
from septum.images.files import read_image
from septum.model import load_model
from septum.prediction.overlap_tile import predict_probabilities, prepare
from septum.recipe import Recipe, load_recipe
from septum.report.page import write_report
from septum.training.data import load_data
from septum.training.job import Job
from septum.training.loop import train
from septum.training.run_folder import RunFolder

SHORT = (
    *("training.precision=float32", "training.warmup_steps=0", "training.save_seconds=0"),
    *("validation.last=1", "augment.elastic_sigma=0", "training.threshold=half"),
)
CHANGES = {
    "fcn-8s": (
        *("network.width=8", "network.dropout=0", "training.tile=64", "training.batch=2"),
        *("training.learning_rate=0.003", "training.steps=80", "training.validate_every=20"),
    ),
    "sliding-window": (
        *("network.width=12", "network.patch=65", "training.tile=65", "training.batch=32"),
        *("training.learning_rate=0.005", "training.steps=100", "training.validate_every=50"),
        "augment.rotation=0",
    ),
}
BOTH = pytest.mark.parametrize("name", CHANGES)


def recipe(name: str, *changes: str) -> Recipe:
    return load_recipe(name, (*SHORT, *CHANGES[name], *changes))


@BOTH
def test_bright_squares_are_learnt_predicted_and_reported(
    name: str, squares: Path, tmp_path: Path
) -> None:
    run = train(squares, tmp_path / "run", recipe(name), device="cpu")
    history = run.history()
    losses = [record["loss"] for record in history if record["kind"] == "training"]
    assert losses[-1] < 0.7 * losses[0]
    errors = [record["pixel_error"] for record in history if record["kind"] == "validation"]
    labels_YX = read_image(squares / "labels" / "square3.png").array > 0
    assert min(errors) < 0.5 * min(labels_YX.mean(), 1 - labels_YX.mean())

    model = load_model(run.path)
    image_CYX = read_image(squares / "images" / "square3.png").array[None]
    probability_KYX = predict_probabilities(prepare(model), image_CYX)
    wrong = float(np.mean((probability_KYX[1] > 0.5) != labels_YX))
    assert wrong == pytest.approx(min(errors), abs=1e-3)
    page = write_report(run, squares).read_text("utf-8")
    assert f"architecture = &quot;{name}&quot;" in page or f'architecture = "{name}"' in page


@BOTH
def test_an_interrupted_run_equals_one_that_was_not(
    name: str,
    squares: Path,
    tmp_path: Path,
    interrupt_after: Callable[[int | None], None],
    assert_same_run: Callable[[RunFolder, RunFolder], None],
) -> None:
    short = recipe(name, "training.steps=4", "training.validate_every=2", "network.dropout=0.3")
    expected = train(squares, tmp_path / "whole", short, device="cpu")
    interrupt_after(3)
    with pytest.raises(Interrupted):
        train(squares, tmp_path / "parts", short, device="cpu")
    interrupt_after(None)
    assert_same_run(train(squares, tmp_path / "parts", resume=True, device="cpu"), expected)


def test_a_patch_of_training_has_the_class_of_its_central_pixel(
    squares: Path, tmp_path: Path
) -> None:
    chosen = recipe("sliding-window", "augment.rotation=0", "augment.flip=false")
    job = Job(RunFolder(tmp_path), chosen, load_data(squares, chosen), torch.device("cpu"))
    _, image_NCYX, classes_NYX, weights_NYX = job.tiles.batch(0, range(32), job.device)
    assert classes_NYX.shape == weights_NYX.shape == (32, 1, 1)
    assert set(classes_NYX.unique().tolist()) == {0, 1}
    # Squares are brighter than the threshold halfway between them and the ground, noise apart.
    centre_N = image_NCYX[:, 0, 31:34, 31:34].mean((1, 2))
    bright, dark = (centre_N[classes_NYX[:, 0, 0] == value] for value in (1, 0))
    assert bright.mean() > dark.mean() + 1
