"""Every form of the network learns what is easy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from septum.images.files import Image, write_image
from septum.recipe import Recipe
from septum.training.loop import train

FAST = (
    *("augment.elastic_sigma=0", "network.width=4", "network.dropout=0", "loss.border_weight=0"),
    *("training.steps=60", "training.validate_every=20", "training.learning_rate=0.02"),
    *("training.schedule=cosine", "training.weight_average=0", "training.save_seconds=30"),
)


@pytest.mark.parametrize(
    ("extents", "changes"),
    [
        ((48, 56), ("training.tile=32", "network.head=softmax")),
        ((48, 56), ("training.tile=32", "network.head=sigmoid", "loss.kind=cross_entropy_dice")),
        ((48, 56), ("training.tile=48", "network.padding=valid", "network.up=linear")),
        ((48, 56), ("training.tile=32", "network.reduction=2")),
        ((48, 56), ("training.tile=64", "network.padding=valid", "network.reduction=2")),
        (
            (14, 24, 26),
            ("network.dimensions=3", "training.tile=16", "augment.rotation=0"),
        ),
        (
            (14, 24, 26),
            (
                *("network.dimensions=3", "training.tile=24", "network.padding=valid"),
                *("augment.rotation=0", "network.head=sigmoid"),
            ),
        ),
    ],
    ids=[
        *("softmax", "sigmoid, dice", "valid, linear", "reduced", "valid, reduced"),
        *("3D", "3D, valid, sigmoid"),
    ],
)
def test_bright_squares_are_learnt(
    extents: tuple[int, ...],
    changes: tuple[str, ...],
    write_squares: Callable[..., Path],
    tmp_path: Path,
    tiny: Callable[..., Recipe],
) -> None:
    data = write_squares(tmp_path / "data", 3, extents)
    history = train(data, tmp_path / "run", tiny(*FAST, *changes)).history()
    losses = [record["loss"] for record in history if record["kind"] == "training"]
    assert losses[-1] < 0.7 * losses[0]
    assert min(r["pixel_error"] for r in history if r["kind"] == "validation") < 0.05


def test_three_classes_are_learnt(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    for number in range(3):
        rng = np.random.default_rng(number)
        labels_S = np.kron(rng.integers(0, 3, (6, 7)), np.ones((8, 8))).astype(np.uint8)
        image_S = (40 + 80 * labels_S + rng.normal(0, 8, labels_S.shape)).clip(0, 255)
        for part, array in (("images", image_S.astype(np.uint8)), ("labels", labels_S)):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / "data" / part / f"{number}.png", Image(array, "YX"))
    recipe = tiny(*FAST, "training.tile=32", "labels.kind=classes", "loss.class_weight=balanced")
    history = train(tmp_path / "data", tmp_path / "run", recipe).history()
    assert history[-1]["pixel_error"] < 0.05
    assert history[-1]["iou"] > 0.85
    assert "rand_error" not in history[-1]
