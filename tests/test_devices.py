"""Device and precision are chosen by what is there."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from septum import devices, memory
from septum.errors import RecipeError

CPU = torch.device("cpu")


def test_auto_is_the_processor_where_there_is_no_gpu_and_the_gpu_where_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    for name in ("auto", "cuda"):  # with its number, which set_device asks for
        assert devices.choose_device(name) == torch.device("cuda", 2)
    assert devices.choose_device("cuda:1") == torch.device("cuda", 1)


def test_one_rank_on_a_gpu_makes_it_the_current_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    chosen = []
    monkeypatch.setattr(torch._C, "_cuda_setDevice", chosen.append, raising=False)
    with devices.joined_ranks("auto") as (ranks, device):
        assert (ranks.count, device) == (1, torch.device("cuda", 0))
    assert chosen == [0]


def test_float32_on_a_gpu_is_not_rounded_to_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    gpu = torch.device("cuda", 0)
    assert devices.choose_dtype("bfloat16", gpu) is torch.bfloat16
    assert torch.backends.cudnn.allow_tf32
    assert devices.choose_dtype("float32", gpu) is torch.float32
    assert not torch.backends.cudnn.allow_tf32


def write_system(root, groups, limits):
    """A /proc and /sys as Linux shows them: 8 GB free, the process in ``groups``."""
    for name, text in {
        "proc/meminfo": "MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n",
        "proc/self/cgroup": groups,
        **limits,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_free_memory_is_what_the_system_says(tmp_path):
    assert memory.available_memory(write_system(tmp_path, "0::/\n", {})) == 8_000_000 * 1024


@pytest.mark.parametrize("level", ["", "/job", "/job/step"])
def test_a_limit_of_any_control_group_above_the_process_counts(tmp_path, level):
    limits = {
        f"sys/fs/cgroup{level}/memory.max": "5000\n",
        f"sys/fs/cgroup{level}/memory.current": "1200\n",
        "sys/fs/cgroup/job/step/task/memory.max": "max\n",
        "sys/fs/cgroup/job/step/task/memory.current": "77\n",
        "sys/fs/cgroup/other/memory.max": "1\n",
        "sys/fs/cgroup/other/memory.current": "0\n",
    }
    root = write_system(tmp_path, "0::/job/step/task\n", limits)
    assert memory.available_memory(root) == 3800


def test_a_limit_of_the_first_kind_of_control_groups_counts(tmp_path):
    folder = "sys/fs/cgroup/memory/slurm/job_7"
    limits = {
        f"{folder}/memory.limit_in_bytes": "9000",
        f"{folder}/memory.usage_in_bytes": "9500",
    }
    root = write_system(tmp_path, "5:cpu,memory:/slurm/job_7/step_0\n1:name=a:/x:y\n", limits)
    assert memory.available_memory(root) == 0


def test_a_limit_of_the_address_space_counts(tmp_path):
    resource = pytest.importorskip("resource")
    write_system(tmp_path, "", {"proc/self/statm": "100 1 1 1 0 1 0\n"})
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = 2**45  # above what this process has taken
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        meminfo = tmp_path / "proc/meminfo"
        meminfo.write_text(f"MemAvailable: {2**40} kB\n")
        assert memory.available_memory(tmp_path) == most - 100 * resource.getpagesize()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_refused_with_the_way_out(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="--device cpu"):
        devices.choose_device(name)


def test_auto_takes_bfloat16_only_where_it_is_in_hardware(monkeypatch):
    for fast in (True, False):
        monkeypatch.setattr(devices, "has_fast_bfloat16", lambda _, fast=fast: fast)
        expected = torch.bfloat16 if fast else torch.float32
        assert devices.choose_dtype("auto", CPU) is expected
        assert devices.choose_dtype("float32", CPU) is torch.float32
        assert devices.choose_dtype("bfloat16", CPU) is torch.bfloat16


def test_the_machine_is_described_by_what_a_result_must_be_reported_with():
    machine = devices.describe_machine()
    assert {"device", "threads", "python", "torch", "system"} <= machine.keys()
    assert machine["threads"] == torch.get_num_threads()
    assert machine["torch"] == torch.__version__


def test_the_allocator_is_told_on_glibc_and_elsewhere_nothing_happens(monkeypatch):
    tell = memory.raise_allocator_thresholds
    told = []

    class Library:
        def __init__(self, name):
            self.name = name

        def mallopt(self, name, value):
            told.append((name, value))
            return 1

    monkeypatch.setattr(memory.ctypes, "CDLL", Library)
    monkeypatch.setattr(memory.sys, "platform", "linux")
    assert tell()
    assert {name for name, _ in told} == {-1, -2, -3, -4, -8}
    assert {(-4, 0), (-8, 0)} < set(told)
    told.clear()
    assert tell(bounded=True)
    assert {(-3, 32 << 20), (-4, 1 << 16), (-8, 1)} < set(told)
    told.clear()
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert not tell()
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())  # musl has no mallopt
    assert not tell()
    assert not told


HELD = """
import re, sys
from septum.memory import held_memory, raise_allocator_thresholds, trim_heap
raise_allocator_thresholds(bounded=True)
blocks = [bytearray(10_000_000) for _ in range(20)]
last = bytearray(100)  # on top of them
for block in blocks:
    block[::4096] = bytes(len(block[::4096]))
del blocks, block
before = held_memory()
assert trim_heap()
print(before - held_memory())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heap")
def test_what_the_heap_holds_in_vain_goes_back():
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 150_000_000


def test_a_heap_that_is_not_glibcs_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert not memory.trim_heap()
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.trim_heap()
