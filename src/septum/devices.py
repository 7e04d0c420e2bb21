"""What the machine has: device, precision, memory format, and ranks beside this one.

The only file that imports torch.distributed.
"""

from __future__ import annotations

import datetime
import functools
import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from septum.errors import RankError, RecipeError

Precision = Literal["auto", "float32", "bfloat16"]


def choose_device(name: str = "auto") -> torch.device:
    """``auto``: the first CUDA GPU if there is one, otherwise the processor. A GPU has its number.

    Raises RecipeError for a device that this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError(f"device '{name}': this machine has no CUDA GPU; use --device cpu")
    if name != "cpu" and not name.startswith("cuda"):
        raise RecipeError(f"device '{name}' is not known; use auto, cpu, cuda or cuda:N")
    try:
        return (
            torch.device("cuda", torch.cuda.current_device())
            if name == "cuda"
            else (torch.device(name))
        )
    except RuntimeError:
        raise RecipeError(f"device '{name}' is not known; use auto, cpu, cuda or cuda:N") from None


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The type of the network's arithmetic: bfloat16 where ``auto`` finds it in hardware.

    Without hardware support bfloat16 is emulated, many times slower than float32, so ``auto``
    never takes it there. float32 is meant with all its bits: a GPU's convolutions no longer round
    to TF32 in this process once it was chosen.
    """
    fast = precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16(device))
    if device.type == "cuda" and not fast:
        torch.backends.cudnn.allow_tf32 = False
    return torch.bfloat16 if fast else torch.float32


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


@dataclass(frozen=True)
class Ranks:
    """The processes that train together; this one is number ``rank`` of ``count``."""

    rank: int = 0
    count: int = 1
    beside: int = 1
    """How many of them are on this machine."""

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """The samples of a batch that are this rank's; sizes differ by one at most."""
        return range(
            batch * self.rank // self.count,
            batch * (self.rank + 1) // self.count,
        )

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks, element by element; gradients are summed likewise."""
        return tensor if self.count == 1 else _SumOverRanks.apply(tensor)  # type: ignore[no-untyped-call]

    def gather(self, mine: Any) -> list[Any]:
        """Every rank's object, in the order of the ranks, on every rank."""
        if self.count == 1:
            return [mine]
        gathered = [None] * self.count
        dist.all_gather_object(gathered, mine)
        return gathered

    def wait(self) -> None:
        """Return when all ranks have come here."""
        self.gather(None)

    def parallel(self, network: nn.Module) -> nn.Module:
        """``network`` so wrapped that its gradients become means over the ranks."""
        if self.count == 1:
            return network
        # Statistics of batch normalisation are equal already: see network.batch_norm.
        parameters = inspect.signature(nn.parallel.DistributedDataParallel.__init__).parameters
        new = "forward_sync_buffers"
        options: dict[str, Any] = {new if new in parameters else "broadcast_buffers": False}
        return nn.parallel.DistributedDataParallel(network, **options)


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


@contextmanager
def joined_ranks(name: str = "auto") -> Iterator[tuple[Ranks, torch.device]]:
    """The ranks that torchrun started, of which this process is one, and this one's device.

    Without torchrun there is one rank. The backend is NCCL on GPUs, gloo elsewhere; ``auto`` and
    ``cuda`` give each rank of a node the GPU of its local number. When another rank dies, the
    failing exchange is raised as RankError.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    device = choose_device(name)
    if count > 1 and device.type == "cuda":
        local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= gpus:
            raise RecipeError(
                f"rank {local} of this machine has no GPU of its own: there are {gpus}; start "
                f"{gpus} a machine, or use --device cpu"
            )
        device = torch.device("cuda", local)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if count == 1:
        yield Ranks(), device
        return
    # Long, since a rank may wait for another's validation; a process that dies is noticed at once,
    # a machine without power only then.
    patience = datetime.timedelta(hours=4)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)
    try:
        yield Ranks(dist.get_rank(), count, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))), device
        dist.barrier()  # none takes its connections away while another still works
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        # A peer that is gone needs no more words; that NCCL cannot begin does.
        cause = "" if "peer" in str(error) else f" ({str(error).splitlines()[0]})"
        raise RankError(
            f"rank {dist.get_rank()} of {count}: another rank has ended, so this one ends too"
            f"{cause}"
        ) from error
    finally:
        dist.destroy_process_group()


def was_said() -> bool:
    """Whether another rank of torchrun has said already what ends them all: it keeps count."""
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if address is None or port is None:
        return False
    try:
        patience = datetime.timedelta(seconds=5)
        store = dist.TCPStore(  # type: ignore[attr-defined]
            address, int(port), is_master=False, timeout=patience
        )
        return store.add("septum/said", 1) > 1
    except (RuntimeError, ValueError):  # it has ended, too
        return False


def _is_lost_connection(error: BaseException) -> bool:
    if isinstance(error, dist.DistError):
        return True
    words = ("gloo", "connection", "nccl", "timed out")
    return any(word in str(error).lower() for word in words)
