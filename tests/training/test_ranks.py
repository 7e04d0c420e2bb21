"""A run is the same on any number of ranks, and no rank is left waiting for another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from septum.devices import Ranks
from septum.errors import RecipeError
from septum.network.batch_norm import BatchNormOverRanks
from septum.recipe import Recipe, dump_recipe
from septum.training.data import load_data
from septum.training.job import Job
from septum.training.loop import train
from septum.training.run_folder import RunFolder
from septum.training.step import divide

PATIENCE = 240.0


def torchrun(count: int, *words: object) -> subprocess.Popen[str]:
    """``septum WORDS`` in ``count`` processes, as the README says."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={count}", "-m", "septum", *map(str, words)]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    with safe_open(run.state_file, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def assert_close(actual: RunFolder, expected: RunFolder) -> None:
    """Weights, averages, statistics, optimiser and records, but for the rounding of sums."""
    mine, theirs = weights(actual), weights(expected)
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, rtol=2e-4, atol=2e-5, msg=name)
    for record, wanted in zip(actual.history(), expected.history(), strict=True):
        assert record["step"] == wanted["step"]
        assert record["loss"] == pytest.approx(wanted["loss"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])  # of 3 ranks one has two of the four tiles
def test_ranks_learn_what_one_rank_learns_from_the_whole_batch(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], count: int
) -> None:
    recipe = tiny("training.batch=4", "training.steps=6", "validation.last=2")
    file, run = tmp_path / "recipe.toml", RunFolder(tmp_path / "many")
    file.write_text(dump_recipe(recipe), "utf-8")
    expected = train(squares, tmp_path / "one", recipe)
    process = torchrun(count, "train", squares, "--out", run.path, "--recipe", file)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert said.count("starting at step 0") == 1, "one rank speaks for all"
    assert_close(run, expected)
    assert run.report.exists()


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_run_in_words_and_one_rank_can_go_on(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    # At a low rate, since rounding grows from step to step.
    changes = ("training.steps=120", "training.validate_every=120", "training.batch=3")
    recipe = tiny(*changes, "training.learning_rate=0.0005")
    file, run = tmp_path / "recipe.toml", RunFolder(tmp_path / "many")
    file.write_text(dump_recipe(recipe), "utf-8")
    process = torchrun(3, "train", squares, "--out", run.path, "--recipe", file)
    end = time.monotonic() + PATIENCE
    while len(run.history()) < 2 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(pid_of_rank(1, process.pid), signal.SIGKILL)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    (line,) = [line for line in said.splitlines() if line.startswith("septum:")]
    assert "another rank has ended" in line
    assert f"septum train {squares} --out {run.path} --resume" in line
    assert "Traceback (most recent call last)" not in said.split("torch/distributed")[0]
    assert_close(train(squares, run.path, resume=True), train(squares, tmp_path / "one", recipe))


@pytest.mark.slow
def test_an_interrupted_launcher_saves_and_more_ranks_go_on(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    changes = ("training.steps=120", "training.validate_every=120", "training.batch=3")
    recipe = tiny(*changes, "training.learning_rate=0.0005", "training.save_seconds=600")
    file, run = tmp_path / "recipe.toml", RunFolder(tmp_path / "many")
    file.write_text(dump_recipe(recipe), "utf-8")
    process = torchrun(2, "train", squares, "--out", run.path, "--recipe", file)
    end = time.monotonic() + PATIENCE
    while len(run.history()) < 2 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert said.count("everything is saved; go on with") >= 1, said
    process = torchrun(3, "train", squares, "--out", run.path, "--resume")
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert "resuming at step 0" not in said
    assert_close(run, train(squares, tmp_path / "one", recipe))


def pid_of_rank(rank: int, launcher: int) -> int:
    """The process of that rank among the children of torchrun."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for pid in children:
        if f"\0RANK={rank}\0".encode() in b"\0" + Path(f"/proc/{pid}/environ").read_bytes():
            return int(pid)
    raise AssertionError(f"no rank {rank} among {children}")


@pytest.mark.parametrize(
    ("batch", "micro_batch", "count"), [(1, 0, 1), (4, 0, 3), (7, 2, 3), (3, 1, 2), (16, 3, 4)]
)
def test_every_sample_is_in_one_part_and_all_ranks_have_as_many_parts(
    batch: int, micro_batch: int, count: int
) -> None:
    parts = [divide(batch, micro_batch, Ranks(rank, count)) for rank in range(count)]
    assert len({len(mine) for mine in parts}) == 1
    assert sorted(i for mine in parts for part in mine for i in part) == list(range(batch))
    sizes = [len(part) for mine in parts for part in mine]
    assert min(sizes) >= 1
    assert max(sizes) <= (micro_batch or batch) + 1


def test_gradients_summed_over_parts_are_those_of_the_whole_batch(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    changes = ("training.batch=3", "network.normalization=none")
    whole = train(squares, tmp_path / "whole", tiny(*changes))
    parts = train(squares, tmp_path / "parts", tiny(*changes, "training.micro_batch=1"))
    assert_close(parts, whole)


def test_parts_may_be_resumed_with_other_parts(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    train(squares, tmp_path / "run", tiny())
    longer = tiny("training.steps=10", "training.micro_batch=1")
    assert train(squares, tmp_path / "run", longer, resume=True).history()[-1]["step"] == 10


def test_more_ranks_than_tiles_are_refused(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny("training.batch=2")
    with pytest.raises(RecipeError, match=r"batch = 2 .* 3 ranks; .* --set training.batch=3"):
        Job(
            RunFolder(tmp_path),
            recipe,
            load_data(squares, recipe),
            torch.device("cpu"),
            Ranks(2, 3),
        )


@pytest.mark.parametrize("extents", [(5, 6), (3, 4, 5)])
def test_batch_norm_over_ranks_is_torchs_own_on_one_rank(extents: tuple[int, ...]) -> None:
    kind = nn.BatchNorm2d if len(extents) == 2 else nn.BatchNorm3d
    usual = kind(3, momentum=0.2)
    nn.init.normal_(usual.weight)
    nn.init.normal_(usual.bias)
    shared = BatchNormOverRanks(usual, Ranks())
    features = torch.randn(2, 3, *extents).mul(3).add(50)
    outputs, gradients = [], []
    for layer in (usual, shared):
        given = features.clone().requires_grad_()
        outputs.append(layer(given))
        outputs[-1].square().mul(torch.arange(3).view(-1, *[1] * len(extents))).sum().backward()
        gradients.append([given.grad, layer.weight.grad, layer.bias.grad])
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(shared.state_dict(), usual.state_dict())
    torch.testing.assert_close(shared.eval()(features), usual.eval()(features))
