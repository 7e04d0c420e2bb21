"""A file written tensor by tensor has the bytes that safetensors gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from septum import tensor_file
from septum.tensor_file import write_tensors


def some_tensors() -> dict[str, torch.Tensor]:
    """Every type that can be written, scalars, nothing, and one in channels-last order."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for dtype in tensor_file._DTYPES:
        values = torch.randint(0, 2, (3, 5), generator=generator).to(dtype)
        found[f"{dtype}".removeprefix("torch.")] = values
    weight = torch.randn(4, 6, 3, 3, generator=generator)
    return found | {
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "b.weight": weight.to(memory_format=torch.channels_last),
        "a.weight": weight.clone().transpose(0, 1),
        "a parameter of ü": torch.nn.Parameter(weight[0]),
    }


@pytest.mark.parametrize("metadata", [{}, {"a": json.dumps({"µ": 'quoted "text"\n'})}])
def test_the_bytes_are_those_of_the_library(tmp_path: Path, metadata: dict[str, str]) -> None:
    tensors = some_tensors()
    file = tmp_path / "x.safetensors"
    write_tensors(file, tensors, metadata)
    plain = {name: value.detach().contiguous() for name, value in tensors.items()}
    assert file.read_bytes() == save(plain, metadata=metadata or None)
    with safe_open(file, framework="pt") as read:
        assert (read.metadata() or {}) == metadata
        for name, value in tensors.items():
            assert torch.equal(read.get_tensor(name), value), name


SCRIPT = """
import sys, torch
from pathlib import Path
from septum.memory import peak_memory
from septum.tensor_file import write_tensors
each = torch.zeros(16, 2**18).t()  # 16 MB, not contiguous
write_tensors(Path(sys.argv[1]), {"0": each}, {})
before = peak_memory(each.device)
write_tensors(Path(sys.argv[1]), {f"{number}": each for number in range(32)}, {})
print(peak_memory(each.device) - before)
"""


def test_no_more_than_a_tensor_is_held_beside_those_to_be_written(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, file], capture_output=True, text=True, check=True
    )
    assert file.stat().st_size > 512e6
    assert int(done.stdout) < 128e6
