"""A run that was stopped, in whatever way, ends as if it had not been."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septum.errors import Interrupted, RunFolderError, SaveError
from septum.images.files import Image, read_image, write_image
from septum.memory import peak_memory
from septum.recipe import Recipe
from septum.training import step_graph
from septum.training.job import Job
from septum.training.loop import train
from septum.training.run_folder import RunFolder, write_recipe

ADAMW: tuple[str, ...] = ("training.steps=12", "training.precision=auto")
SGD = (
    *("training.steps=12", "training.optimizer=sgd", "training.momentum=0.9"),
    *("training.weight_average=0", "training.schedule=cosine", "training.warmup_steps=3"),
)


class Killed(BaseException):
    """Stands for kill -9: nothing catches it, nothing is written after it."""


@pytest.mark.parametrize("changes", [ADAMW, SGD], ids=["adamw, averaged", "sgd, cosine"])
def test_a_run_interrupted_again_and_again_equals_one_that_was_not(
    changes: tuple[str, ...],
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    interrupt_after: Callable[[int | None], None],
    assert_same_run: Callable[[RunFolder, RunFolder], None],
) -> None:
    recipe = tiny(*changes)
    expected = train(squares, tmp_path / "whole", recipe)
    # In the first step, between validations, at one, and with one step left.
    for stop in (1, 6, 8, 11):
        interrupt_after(stop)
        with pytest.raises(Interrupted, match=f"stopped at step {stop} of 12"):
            train(squares, tmp_path / "parts", recipe if stop == 1 else None, resume=stop > 1)
    interrupt_after(None)
    assert_same_run(train(squares, tmp_path / "parts", resume=True), expected)


def test_ctrl_c_in_the_last_step_finishes_the_run(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    interrupt_after: Callable[[int | None], None],
) -> None:
    interrupt_after(4)
    run = train(squares, tmp_path / "run", tiny("training.steps=4"))
    assert run.last.exists()
    assert run.best.exists()


def test_the_way_to_go_on_can_be_pasted_into_a_shell(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    interrupt_after: Callable[[int | None], None],
) -> None:
    data, out = tmp_path / "my cells", tmp_path / "Müller's run"
    shutil.copytree(squares, data)
    interrupt_after(2)
    with pytest.raises(Interrupted) as stopped:
        train(data, out, tiny())
    command = str(stopped.value).split("go on with: ")[1]
    assert shlex.split(command) == ["septum", "train", str(data), "--out", str(out), "--resume"]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("act", ["save_best", "append", "save_state", "save_last"])
def test_a_run_killed_between_any_two_writes_goes_on(
    act: str,
    moment: str,
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    whole_run: RunFolder,
    assert_same_run: Callable[[RunFolder, RunFolder], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, write = 0, getattr(RunFolder, act)

    def die(run: RunFolder, *given: Any) -> None:
        nonlocal calls
        calls += 1
        fatal = calls == (1 if act == "save_last" else 2)
        if moment == "after" or not fatal:
            write(run, *given)
        if fatal:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, act, die)
        with pytest.raises(Killed):
            train(squares, tmp_path / "run", tiny())
    # What a kill in the middle of a write leaves: a temporary file, a line that is cut short.
    (tmp_path / "run" / ".model.safetensors.0badcafe.safetensors").write_bytes(b"\x10\x00")
    with (tmp_path / "run" / "history.jsonl").open("a") as file:
        file.write('{"kind": "training", "st')
    assert_same_run(train(squares, tmp_path / "run", resume=True), whole_run)


@pytest.fixture(scope="module")
def whole_run(
    squares: Path, tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe]
) -> RunFolder:
    """The tiny recipe, uninterrupted. Not to be changed."""
    return train(squares, tmp_path_factory.mktemp("whole") / "run", tiny())


def test_a_run_killed_while_it_is_taken_up_goes_on(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    whole_run: RunFolder,
    interrupt_after: Callable[[int | None], None],
    assert_same_run: Callable[[RunFolder, RunFolder], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupt_after(6)
    with pytest.raises(Interrupted):
        train(squares, tmp_path / "run", tiny())
    interrupt_after(None)

    def die(run: RunFolder, step: int, cooling: bool) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "rewind_history", die)
        with pytest.raises(Killed):
            train(squares, tmp_path / "run", resume=True)
    assert_same_run(train(squares, tmp_path / "run", resume=True), whole_run)


def test_more_steps_on_resume_equal_as_many_from_the_start(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    whole_run: RunFolder,
    assert_same_run: Callable[[RunFolder, RunFolder], None],
) -> None:
    longer = tiny("training.steps=12")
    shutil.copytree(whole_run.path, tmp_path / "grown")
    grown = train(squares, tmp_path / "grown", longer, resume=True)
    assert_same_run(grown, train(squares, tmp_path / "long", longer))


def test_a_run_counted_in_epochs_is_not_cut_short_by_steps(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], capfd: pytest.CaptureFixture[str]
) -> None:
    epochs = tiny("training.steps=0", "training.epochs=3")
    run = train(squares, tmp_path / "run", epochs)
    done = run.history()[-1]["step"]
    shorter = tiny(f"training.steps={done - 1}")
    with pytest.raises(RunFolderError, match=f"begun with {done} steps, not {done - 1}"):
        train(squares, run.path, shorter, resume=True)
    capfd.readouterr()
    longer = tiny(f"training.steps={done + 2}")
    assert train(squares, run.path, longer, resume=True).history()[-1]["step"] == done + 2
    assert "longer cosine" not in capfd.readouterr().err


def test_a_longer_cosine_is_said(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], capfd: pytest.CaptureFixture[str]
) -> None:
    train(squares, tmp_path / "run", tiny("training.schedule=cosine"))
    train(squares, tmp_path / "run", resume=True)
    assert "longer cosine" not in capfd.readouterr().err
    longer = tiny("training.schedule=cosine", "training.steps=10")
    train(squares, tmp_path / "run", longer, resume=True)
    assert "not that of as many steps from the start" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("loss.border_sigma=3", "loss.border_sigma = 2.0, not 3.0"),
        ("training.steps=6", "begun with 8 steps, not 6"),
        ("network.width=4", "network.width = 2, not 4"),
        ("validation.last=2", "validation.last = 1, not 2"),
    ],
)
def test_another_recipe_on_resume_is_refused_and_the_key_named(
    change: str,
    named: str,
    squares: Path,
    tiny: Callable[..., Recipe],
    whole_run: RunFolder,
    contents: Callable[[Path], dict[str, bytes]],
) -> None:
    before = contents(whole_run.path)
    with pytest.raises(RunFolderError) as refused:
        train(squares, whole_run.path, tiny(change), resume=True)
    assert named in str(refused.value)
    assert str(whole_run.path) in str(refused.value)
    assert contents(whole_run.path) == before


@pytest.mark.parametrize("part", ["images", "labels"])
@pytest.mark.parametrize("name", ["square0.png", "square3.png"], ids=["training", "validation"])
def test_other_data_on_resume_is_refused(
    part: str,
    name: str,
    squares: Path,
    tmp_path: Path,
    whole_run: RunFolder,
    contents: Callable[[Path], dict[str, bytes]],
) -> None:
    shutil.copytree(squares, tmp_path / "data")
    array = np.array(read_image(squares / part / name).array)
    array[0, 0] = 255 - array[0, 0]
    write_image(tmp_path / "data" / part / name, Image(array, "YX"))
    before = contents(whole_run.path)
    with pytest.raises(RunFolderError, match="images or labels changed"):
        train(tmp_path / "data", whole_run.path, resume=True)
    assert contents(whole_run.path) == before


def test_a_folder_without_saved_state_starts_again(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    whole_run: RunFolder,
    assert_same_run: Callable[[RunFolder, RunFolder], None],
) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    write_recipe(run, tiny())
    shutil.copy(whole_run.history_file, run.history_file)  # lost with its state, so not to be kept
    assert_same_run(train(squares, run.path, resume=True), whole_run)


def test_resume_where_nothing_is_starts_a_run(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    whole_run: RunFolder,
    assert_same_run: Callable[[RunFolder, RunFolder], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_same_run(train(squares, tmp_path / "a" / "b", tiny(), resume=True), whole_run)
    assert "a/b holds no run to resume: one begins" in capsys.readouterr().err


def test_a_finished_run_taken_up_stays_what_it_is(
    squares: Path,
    tmp_path: Path,
    whole_run: RunFolder,
    assert_same_run: Callable[[RunFolder, RunFolder], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(whole_run.path, tmp_path / "run")
    assert_same_run(train(squares, tmp_path / "run", resume=True), whole_run)
    steps = whole_run.history()[-1]["step"]
    said = capsys.readouterr().err
    assert f"training has ended at step {steps}" in said
    assert f"--resume --set training.steps={2 * steps}" in said


def test_a_folder_that_holds_a_run_is_refused_untouched(
    squares: Path,
    tiny: Callable[..., Recipe],
    whole_run: RunFolder,
    contents: Callable[[Path], dict[str, bytes]],
) -> None:
    before = contents(whole_run.path)
    with pytest.raises(RunFolderError, match=r"--resume .* another --out"):
        train(squares, whole_run.path, tiny())
    assert contents(whole_run.path) == before


def test_a_damaged_state_is_refused_and_the_file_named(
    squares: Path, tmp_path: Path, whole_run: RunFolder
) -> None:
    shutil.copytree(whole_run.path, tmp_path / "run")
    state = RunFolder(tmp_path / "run").state_file
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(RunFolderError, match=r"state\.safetensors.*remove the file"):
        train(squares, tmp_path / "run", resume=True)


def test_the_history_says_what_happened_in_order(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny("training.steps=13", "training.validate_every=6", "training.learning_rate=0.02")
    history = train(squares, tmp_path / "run", recipe).history()
    # Losses every 10 steps and before each validation; validations as asked for, and at the end.
    assert [(record["kind"], record["step"]) for record in history] == [
        *(("training", 6), ("validation", 6), ("training", 10)),
        *(("training", 12), ("validation", 12), ("training", 13), ("validation", 13)),
    ]
    shared = {"kind", "step", "epoch", "loss", "seconds"}
    scores = {
        "pixel_error",
        "iou",
        "iou_error",
        "rand_error",
        "object_share",
        "predicted_share",
        "best",
    }
    for record in history:
        more = {"learning_rate"} if record["kind"] == "training" else scores
        assert record.keys() == shared | more
        assert record["epoch"] == record["step"] / 2  # 3 images in batches of 2: 2 steps
        assert record.get("learning_rate", 0.02) == 0.02
    assert [r["seconds"] for r in history] == sorted(r["seconds"] for r in history)
    losses = [r["loss"] for r in history if r["kind"] == "validation"]
    bests = [r["best"] for r in history if r["kind"] == "validation"]
    assert bests == [loss < min(losses[:i], default=np.inf) for i, loss in enumerate(losses)]


def test_a_run_is_saved_between_validations_too(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("training.steps=9", "training.validate_every=9", "training.save_seconds=0")

    def die(job: Job) -> None:
        if job.step == 5:
            raise KeyboardInterrupt  # at once, as a crash would
        step(job)

    step = step_graph.train_step
    with monkeypatch.context() as patch:
        patch.setattr(step_graph, "train_step", die)
        with pytest.raises(KeyboardInterrupt):
            train(squares, tmp_path / "run", recipe)
    saved = RunFolder(tmp_path / "run").load_state()
    assert saved is not None
    assert saved[1]["step"] == 5


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(SaveError, match=r"run: cannot be made a run's folder: Permission denied"):
        train(squares, tmp_path / "run", tiny())
    assert not list((tmp_path / "run").iterdir())


def test_the_last_line_says_what_memory_it_took(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], capfd: pytest.CaptureFixture[str]
) -> None:
    before = peak_memory(torch.device("cpu"))
    train(squares, tmp_path / "run", tiny())
    (said,) = re.findall(r"finished .* peak memory ([\d.]+) GB", capfd.readouterr().err)
    assert before - 0.1e9 < float(said) * 1e9 < peak_memory(torch.device("cpu")) + 0.1e9
