"""What the machine has: device, precision, memory format, allocator."""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Literal

import torch

from septum.errors import RecipeError

Precision = Literal["auto", "float32", "bfloat16"]


def choose_device(name: str = "auto") -> torch.device:
    """``auto``: the first CUDA GPU if there is one, otherwise the processor.

    Raises RecipeError for a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError(f"device '{name}': this machine has no CUDA GPU; use --device cpu")
    if name != "cpu" and not name.startswith("cuda"):
        raise RecipeError(f"device '{name}' is not known; use auto, cpu, cuda or cuda:N")
    try:
        return torch.device(name)
    except RuntimeError:
        raise RecipeError(f"device '{name}' is not known; use auto, cpu, cuda or cuda:N") from None


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The type of the network's arithmetic: bfloat16 where ``auto`` finds it in hardware.

    Without hardware support bfloat16 is emulated, many times slower than float32, so ``auto``
    never takes it there.
    """
    if precision == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


@functools.cache
def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware (AVX-512 BF16 or AMX; Ampere or later)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def channels_last(dimensions: int) -> torch.memory_format:
    """The memory format in which convolutions run fastest on every device tried."""
    return torch.channels_last if dimensions == 2 else torch.channels_last_3d


@functools.cache
def raise_allocator_thresholds() -> bool:
    """Let glibc keep freed memory, instead of returning and faulting it in again at every step.

    A training step frees and takes hundreds of megabytes; by default glibc maps each large block
    anew, and the page faults cost more than the arithmetic of a layer. Sets M_MMAP_MAX = 0,
    M_TRIM_THRESHOLD to its maximum and M_TOP_PAD to 64 MiB, once a process. Elsewhere than on
    glibc it does nothing and returns False.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    settings = ((m_mmap_max, 0), (m_trim_threshold, 2**31 - 1), (m_top_pad, 64 << 20))
    return bool(sum(mallopt(name, value) for name, value in settings) == len(settings))


def describe_machine() -> dict[str, str | int]:
    """Processor or GPU, threads, versions: what a result must be reported with."""
    import platform

    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            models = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
        processor = models[0] if models else processor
    except OSError:
        pass
    machine: dict[str, str | int] = {
        "device": processor,
        "threads": torch.get_num_threads(),
        "fast_bfloat16": str(has_fast_bfloat16(torch.device("cpu"))).lower(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
    }
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name(0)
    return machine
