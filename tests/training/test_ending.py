"""Runs that end early, when validation gets no better: after a cool-down, and no sooner."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from septum.errors import Interrupted
from septum.model import load_model
from septum.recipe import Recipe
from septum.report.contents import gather
from septum.report.page import write_report
from septum.training.data import load_data
from septum.training.ending import last_step, rate_of
from septum.training.job import Job
from septum.training.loop import train
from septum.training.optimization import learning_rate
from septum.training.run_folder import RunFolder


def test_training_ends_when_validation_has_not_improved_for_long(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    validate_as: Callable[[Sequence[float]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = ("training.steps=20", "training.validate_every=2", "training.schedule=cosine")
    validate_as([0.5, 0.3, 0.4, 0.3, 0.6, 0.5, 0.3, 0.4, 0.3, 0.6])
    run = train(squares, tmp_path / "run", tiny(*changes, "training.patience=3"))
    steps = [record["step"] for record in run.history() if record["kind"] == "validation"]
    assert steps == [2, 4, 6, 8, 10, 12, 14], "three after the best, at step 4, and two to cool"
    said = capsys.readouterr().err
    assert "3 validations in a row were no better than that of step 4: the learning" in said
    assert "falls to 0 until step 14, where training ends" in said
    assert run.last.exists()
    contents = gather(run, None)
    assert contents.finished
    rates = {r["step"]: r["learning_rate"] for r in run.history() if r["kind"] == "training"}
    of_cosine = {s: learning_rate(s - 1, 20, 1, contents.recipe.training) for s in rates}
    assert rates[10] == of_cosine[10]
    assert [rates[s] / of_cosine[s] for s in (12, 14)] == pytest.approx([0.8536, 0.1464], abs=1e-4)
    (advised,) = re.findall(r"--resume (--set [^<]*)", write_report(run).read_text("utf-8"))
    assert advised == "--set training.patience=0"
    train(squares, run.path, resume=True)
    said = capsys.readouterr().err
    assert "has ended at step 14" in said
    assert "(for more: --resume --set training.patience=0)" in said

    validate_as([0.1, 0.1, 0.1])
    train(squares, tmp_path / "run", tiny(*changes, "training.patience=0"), resume=True)
    assert run.history()[-1]["step"] == 20
    assert gather(run, None).finished
    assert not [r for r in run.history() if r["kind"] == "cooling"]


@pytest.mark.parametrize("change", ["training.patience=5", "training.steps=30"])
def test_an_ended_run_that_is_to_be_longer_is_not_finished(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    validate_as: Callable[[Sequence[float]], None],
    interrupt_after: Callable[[int | None], None],
    change: str,
) -> None:
    changes = ("training.steps=20", "training.validate_every=2", "training.patience=3")
    validate_as([0.3, *[0.4] * 20])
    run = train(squares, tmp_path / "run", tiny(*changes))
    assert run.history()[-1]["step"] == 12
    interrupt_after(13)
    with pytest.raises(Interrupted):
        train(squares, run.path, tiny(*changes, change), resume=True)
    assert not gather(run, None).finished
    assert run.history()[-1]["step"] == 12


def test_the_lowest_error_counts_also_after_a_model_that_has_settled(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    validate_as: Callable[[Sequence[float]], None],
) -> None:
    changes = ("training.validate_every=1", "training.schedule=cosine")
    validate_as([0.30, 0.32, 0.329])
    run = train(squares, tmp_path / "run", tiny("training.steps=3", *changes))
    assert load_model(run.best).provenance["step"] == 3
    validate_as([0.31, 0.36])  # neither lower than 0.3 nor within a tenth of it
    train(squares, run.path, tiny("training.steps=5", *changes), resume=True)
    assert load_model(run.best).provenance["step"] == 3
    assert [r["best"] for r in run.history() if r["kind"] == "validation"][3:] == [False, False]


def test_a_run_that_ends_as_soon_by_itself_is_not_ended_early(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    validate_as: Callable[[Sequence[float]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for steps, early in ((5, False), (6, True)):
        validate_as([0.5, 0.6, 0.6, 0.6, 0.6, 0.6])
        recipe = tiny(f"training.steps={steps}", "training.validate_every=1", "training.patience=2")
        run = train(squares, tmp_path / f"run{steps}", recipe)
        assert ("in a row were no better" in capsys.readouterr().err) == early
        assert run.history()[-1]["step"] == 5
        assert gather(run, None).finished


def test_what_was_stopped_while_it_cooled_ends_as_uninterrupted(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    validate_as: Callable[[Sequence[float]], None],
    interrupt_after: Callable[[int | None], None],
    assert_same_run: Callable[[RunFolder, RunFolder], None],
) -> None:
    recipe = tiny(
        "training.steps=40", "training.validate_every=3", "training.patience=2",
        "training.schedule=cosine",
    )  # fmt: skip
    errors = [0.5, *[0.6] * 12]
    validate_as(errors)
    whole = train(squares, tmp_path / "whole", recipe)
    assert whole.history()[-1]["step"] == 15  # cools from 9 on
    cut = RunFolder(tmp_path / "cut")
    validate_as(errors)
    for step in (9, 11):
        interrupt_after(step)
        with pytest.raises(Interrupted, match=f"at step {step} of 15"):
            train(squares, cut.path, recipe, resume=cut.holds_a_run())
        assert not gather(cut, None).finished
        validate_as(errors[3:])
    interrupt_after(None)
    train(squares, cut.path, resume=True)
    assert_same_run(cut, whole)


def test_the_learning_rate_falls_to_0_where_a_run_ends_early(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny("training.steps=100", "training.validate_every=10", "training.schedule=cosine")
    job = Job(RunFolder(tmp_path / "run"), recipe, load_data(squares, recipe), torch.device("cpu"))
    usual = []
    for job.step in range(100):
        usual.append(rate_of(job))
    assert last_step(job) == 100
    job.cooling = 40
    assert last_step(job) == 60
    shares = []
    for job.step in range(40, 60):
        shares.append(rate_of(job) / usual[job.step])
    assert shares[0] == 1
    assert all(a > b for a, b in itertools.pairwise(shares))
    assert shares[10] == pytest.approx(0.5)
    assert 0 < shares[-1] < 0.01


def test_without_patience_no_run_ends_early(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    validate_as: Callable[[Sequence[float]], None],
) -> None:
    validate_as([0.1, *[0.5] * 7])
    changes = ("training.steps=8", "training.validate_every=1")
    run = train(squares, tmp_path / "run", tiny(*changes))
    assert run.history()[-1]["step"] == 8


@pytest.mark.parametrize(
    ("schedule", "patience", "last", "kept"),
    [
        ("cosine", 0, 0.329, 6),  # within a tenth of the best, and settled
        ("cosine", 0, 0.331, 2),
        ("constant", 0, 0.3, 2),  # as much in motion as the best
        ("constant", 2, 0.329, 6),  # cooled
        ("constant", 2, 0.331, 2),
    ],
)
def test_the_last_model_is_kept_where_it_has_settled_and_is_nearly_the_best(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    validate_as: Callable[[Sequence[float]], None],
    capsys: pytest.CaptureFixture[str],
    schedule: str,
    patience: int,
    last: float,
    kept: int,
) -> None:
    validate_as([0.5, 0.3, 0.32, 0.5, 0.31, last])
    recipe = tiny(
        f"training.steps={9 if patience else 6}", "training.validate_every=1",
        f"training.schedule={schedule}", f"training.patience={patience}",
    )  # fmt: skip
    run = train(squares, tmp_path / "run", recipe)
    said = capsys.readouterr().err
    assert run.history()[-1]["step"] == 6
    assert load_model(run.best).provenance["step"] == kept
    settled = [r["step"] for r in run.history() if r.get("settled")]
    assert settled == [6] * (kept == 6)
    assert ("the last is nearly as good as the best" in said) == (kept == 6)
    assert f"kept: validation loss {last if kept == 6 else 0.3:.4f} at step {kept}" in said
    assert gather(run, None).finished
