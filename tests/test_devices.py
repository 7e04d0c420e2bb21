"""Device and precision are chosen by what is there."""

from __future__ import annotations

import pytest
import torch

from septum import devices
from septum.errors import RecipeError

CPU = torch.device("cpu")


def test_auto_is_the_processor_where_there_is_no_gpu_and_the_gpu_where_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.choose_device("auto").type == "cuda"


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
