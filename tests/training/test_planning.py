"""A plan by time fills the time, and is written down to be trained with again."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from septum.recipe import Recipe, load_recipe
from septum.training import planning
from septum.training.data import load_data
from septum.training.job import Job
from septum.training.loop import train
from septum.training.run_folder import RunFolder


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def spend(self, seconds: float) -> Callable[..., None]:
        def work(*_: Any) -> None:
            self.now += seconds

        return work


@pytest.mark.parametrize("every", [0, 50], ids=["free", "every 50 steps"])
def test_the_planned_steps_and_validations_fill_the_hours(
    every: int,
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tiny("validation.last=2", f"training.validate_every={every}")
    job = Job(RunFolder(tmp_path), recipe, load_data(squares, recipe), torch.device("cpu"))
    clock = Clock()
    monkeypatch.setattr(planning, "time", clock)
    monkeypatch.setattr(planning, "train_step", clock.spend(0.5))
    monkeypatch.setattr(planning, "validate", clock.spend(3.0))  # an image, and there are two
    planned = planning.plan_steps(job, hours=1.0)
    section = planned.training
    validations = section.steps // section.validate_every
    assert 0.92 * 3600 < 0.5 * section.steps + 6.0 * validations <= 3600
    assert validations == 12 if every == 0 else section.validate_every == 50
    expected = {"steps": section.steps, "validate_every": section.validate_every}
    assert planned.training == recipe.training.model_copy(update=expected)
    assert planned.model_copy(update={"training": recipe.training}) == recipe


def test_a_moment_at_which_the_machine_is_slow_does_not_plan_the_run(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("validation.last=2", "training.validate_every=0")
    job = Job(RunFolder(tmp_path), recipe, load_data(squares, recipe), torch.device("cpu"))
    clock = Clock()
    taken = iter([0.5] * 2 + [2.0] * 7)  # two warm up; seven of those timed are slow

    def step(_: Job) -> None:
        clock.now += next(taken, 0.5)

    monkeypatch.setattr(planning, "time", clock)
    monkeypatch.setattr(planning, "train_step", step)
    monkeypatch.setattr(planning, "validate", clock.spend(3.0))
    section = planning.plan_steps(job, hours=1.0).training
    assert 0.92 * 3600 < 0.5 * section.steps + 6.0 * 12 <= 3600


def test_time_for_less_than_one_step_plans_one(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny()
    job = Job(RunFolder(tmp_path), recipe, load_data(squares, recipe), torch.device("cpu"))
    clock = Clock()
    monkeypatch.setattr(planning, "time", clock)
    monkeypatch.setattr(planning, "train_step", clock.spend(100.0))
    monkeypatch.setattr(planning, "validate", clock.spend(100.0))
    assert planning.plan_steps(job, hours=0.001).training.steps == 1


def test_the_plan_is_in_the_recipe_of_the_run_and_gives_the_same_run_again(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    assert_same_run: Callable[[RunFolder, RunFolder], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, step = Clock(), planning.train_step

    def timed_step(job: Job) -> float:  # the real work, which must leave no trace in the run
        clock.now += 1.0
        return step(job)

    monkeypatch.setattr(planning, "time", clock)
    monkeypatch.setattr(planning, "train_step", timed_step)
    recipe = tiny("training.validate_every=3", "training.schedule=cosine")
    run = train(squares, tmp_path / "run", recipe, hours=7.3 / 3600)
    written = tomllib.loads(run.recipe_file.read_text("utf-8"))
    assert written["training"]["steps"] == 7 == run.history()[-1]["step"]
    full = Recipe().model_dump(exclude_none=True)
    assert written.keys() == {*full.keys(), "base"}
    for section, values in full.items():
        assert not isinstance(values, dict) or written[section].keys() == values.keys()
    again = load_recipe(str(run.recipe_file))
    assert_same_run(train(squares, tmp_path / "again", again), run)
