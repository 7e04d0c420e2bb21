"""A step that fails touches nothing; any seed will do."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from septum.errors import TrainingError
from septum.recipe import Recipe
from septum.training import step as step_module
from septum.training.data import load_data
from septum.training.job import Job
from septum.training.loop import train
from septum.training.optimization import optimizer_tensors
from septum.training.run_folder import RunFolder
from septum.training.step import train_step


def open_job(squares: Path, out: Path, recipe: Recipe) -> Job:
    return Job(RunFolder(out), recipe, load_data(squares, recipe), torch.device("cpu"))


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = open_job(squares, tmp_path, tiny("training.learning_rate=0.25"))
    for _ in range(3):
        train_step(job)
    loss = step_module.segmentation_loss
    monkeypatch.setattr(
        step_module, "segmentation_loss", lambda *given: loss(*given) * torch.tensor(math.nan)
    )
    networks = (job.network, job.average)
    assert job.average is not None
    before = [
        {name: value.clone() for name, value in tensors.items()}
        for tensors in (
            *(dict(network.named_parameters()) for network in networks if network is not None),
            optimizer_tensors(job.optimizer),
        )
    ]
    with pytest.raises(TrainingError) as stopped:
        train_step(job)
    after = (*(dict(n.named_parameters()) for n in networks if n is not None),)
    for old, new in zip(before, (*after, optimizer_tensors(job.optimizer)), strict=True):
        assert all(torch.equal(value, new[name]) for name, value in old.items())
    assert job.step == 3
    names = job.sampler.batch(3, range(job.recipe.training.batch), torch.device("cpu"))[0]
    for part in ("step 3:", "nan", "learning rate 0.25", *names, "learning_rate=0.025"):
        assert part in str(stopped.value)
    assert stopped.value.exit_status == 1


def test_a_run_that_diverges_keeps_its_models_and_can_be_taken_up(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    contents: Callable[[Path], dict[str, bytes]],
    assert_same_run: Callable[[RunFolder, RunFolder], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longer = tiny("training.steps=12")
    run = train(squares, tmp_path / "run", tiny())
    shutil.copytree(run.path, tmp_path / "whole")
    before, loss = contents(run.path), step_module.segmentation_loss
    calls = 0

    def diverge(*given: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return loss(*given) if calls < 3 else loss(*given) * math.inf

    with monkeypatch.context() as patch:
        patch.setattr(step_module, "segmentation_loss", diverge)
        with pytest.raises(TrainingError, match="step 10: the loss is inf"):
            train(squares, run.path, longer, resume=True)
    after = contents(run.path)
    for name in ("model.safetensors", "last.safetensors"):
        assert after[name] == before[name]
    assert_same_run(
        train(squares, run.path, longer, resume=True),
        train(squares, tmp_path / "whole", longer, resume=True),
    )


def test_a_learning_rate_beyond_reason_ends_in_a_training_error(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    # The first loss is finite, the weights after it are not; a validation comes before the
    # next loss can tell.
    changes = ("training.learning_rate=1e38", "training.optimizer=sgd", "training.momentum=0")
    more = ("training.validate_every=1", "training.weight_average=0", "network.normalization=none")
    with pytest.raises(TrainingError, match="square3"):
        train(squares, tmp_path / "run", tiny(*changes, *more, "loss.border_weight=1e9"))
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_any_seed_will_do_and_another_seed_is_another_run(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    losses = set()
    for seed in (0, 1, 20261122105438, 2**63, 2**64 + 1):
        job = open_job(squares, tmp_path, tiny(f"training.seed={seed}"))
        train_step(job)
        losses.add(job.losses.last)
    assert len(losses) == 5
