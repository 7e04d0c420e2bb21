"""A step that does not fit into memory says what does."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from septum.devices import Ranks
from septum.errors import TrainingError
from septum.recipe import Recipe, dump_recipe, load_recipe
from septum.training import loop, memory, step_graph
from septum.training.data import load_data
from septum.training.job import Job
from septum.training.memory import (
    bytes_at_most,
    check_memory,
    count_bytes,
    is_out_of_memory,
    largest_tile,
    step_bytes,
)
from septum.training.run_folder import RunFolder


def job_of(squares: Path, folder: Path, recipe: Recipe) -> Job:
    return Job(RunFolder(folder), recipe, load_data(squares, recipe), torch.device("cpu"))


@pytest.mark.parametrize("expected", [50, 2, None])
def test_the_largest_tile_whose_step_fits_is_named(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
    expected: int | None,
) -> None:
    job = job_of(squares, tmp_path, tiny("training.tile=96"))
    least = step_bytes(job, 2, expected or 2) / memory.SHARE
    free = int(least) + 1 if expected else int(least) - 9
    monkeypatch.setattr(memory, "free_memory", lambda job: free)
    assert largest_tile(job, 2, free) == expected
    with pytest.raises(TrainingError) as found:
        check_memory(job)
    assert "2 tiles of 96 pixels" in str(found.value)
    one_fits = step_bytes(job, 1, 96) <= memory.SHARE * free
    assert ("--set training.micro_batch=1" in str(found.value)) == one_fits
    assert "another --out" not in str(found.value)  # this one is not taken
    assert (f"--set training.tile={expected}," in str(found.value)) == (expected is not None)
    monkeypatch.setattr(memory, "free_memory", lambda job: step_bytes(job, 2, 96))
    check_memory(job)


def test_nothing_is_made_where_the_first_step_would_not_fit(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 10**5)
    with pytest.raises(TrainingError, match=r"step 0: 2 tiles of 48 .* \(0.0 GB are free\)"):
        loop.train(squares, tmp_path / "run", tiny("training.tile=48"))
    assert not (tmp_path / "run").exists()


def test_what_a_step_keeps_is_counted_to_the_byte(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    job = job_of(squares, tmp_path, tiny("training.tile=64", "training.precision=float32"))
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = job.network(torch.zeros(2, 1, 64, 64))
    for parameter in job.network.parameters():
        kept.pop(parameter.untyped_storage()._cdata, None)
    sizes = [storage.nbytes() for storage in kept.values()]
    parameters = sum(4 * p.numel() for p in job.network.parameters())
    loss, states = 6 * 4 * logits.numel(), 1 if job.recipe.training.optimizer == "sgd" else 2
    expected = sum(sizes) + 2 * max(sizes) + loss + (1 + states) * parameters
    assert step_bytes(job, 2, 64) == int(memory.OVERHEAD * expected)


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("tiles", [1, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((name, []) for name in ("quick", "default", "paper-2015", "blog-2018")),
        ("quick", ["network.width=2", "training.tile=32"]),
        ("quick", ["network.reduction=4"]),
        ("quick", ["network.dimensions=3", "network.depth=2", "training.tile=64"]),
        ("default", ["network.up=linear", "network.head=border", "training.tile=508"]),
    ],
)
def test_what_needs_no_counting_is_no_less_than_what_is_counted(
    name: str, changes: list[str], dtype: torch.dtype, tiles: int, channels: int
) -> None:
    recipe = load_recipe(name, changes)
    tile, outer = recipe.training.tile, (channels, 2)
    most = bytes_at_most(recipe.network, outer, dtype, tiles, tile)
    assert count_bytes(recipe, outer, dtype, tiles, tile) <= most


def test_memory_that_is_ample_is_not_counted_and_other_networks_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = []
    monkeypatch.setattr(memory, "count_bytes", lambda *given: counted.append(given) or 10**9)
    for free, name, asked in ((10**12, "quick", 0), (2 * 10**9, "blog-2018", 1)):
        monkeypatch.setattr(memory, "free_bytes", lambda device, beside, free=free: free)
        fits = memory.fits_memory(1, 2, torch.device("cpu"), Ranks())
        assert fits(load_recipe(name), 2)
        assert len(counted) == asked
    assert fits(load_recipe("fcn-8s"), 1)
    assert len(counted) == 2


def test_training_ends_in_that_line_and_other_errors_pass(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(job: Job) -> None:
        raise failure

    monkeypatch.setattr(step_graph, "train_step", fail)
    failure: Exception = RuntimeError("DefaultCPUAllocator: not enough memory: you tried to …")
    with pytest.raises(TrainingError, match="in another --out try"):
        loop.train(squares, tmp_path / "a", tiny())
    failure = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        loop.train(squares, tmp_path / "b", tiny())


def test_messages_of_torch_are_known() -> None:
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(ValueError("not enough memory"))
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**46)
    assert is_out_of_memory(found.value)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits address space by ulimit")
def test_a_real_shortage_of_memory_names_a_tile_that_then_trains(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny("training.tile=2048", "network.width=4", "training.batch=1", "training.steps=1")
    file = tmp_path / "recipe.toml"
    file.write_text(dump_recipe(recipe), "utf-8")

    def run(name: str, *changes: str) -> subprocess.CompletedProcess[str]:
        script = (
            "import sys; from septum.recipe import load_recipe; from septum.training.loop import "
            "train; train(sys.argv[1], sys.argv[2], load_recipe(sys.argv[3], sys.argv[4:]))"
        )
        words = (script, squares, tmp_path / name, file, *changes)
        command = f"ulimit -v 2000000; exec {shlex.join([sys.executable, '-c', *map(str, words)])}"
        return subprocess.run(
            ["bash", "-c", command],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    done = run("large")
    assert done.returncode == 1, done.stderr
    found = re.search(r"training\.tile=(\d+), the largest that fits", done.stderr)
    assert found, done.stderr
    smaller = run("small", f"training.tile={found[1]}")
    assert smaller.returncode == 0, smaller.stderr
