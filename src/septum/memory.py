"""What memory the machine has for this process, and how glibc gives it out."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch


def peak_memory(device: torch.device) -> int:
    """Most bytes that this process has held so far, on the GPU or (resident) on the processor."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def held_memory() -> int:
    """Bytes that this process holds now (resident); where that is not told, at most so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return peak_memory(torch.device("cpu"))


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may still take without swapping, as far as the system says.

    By the machine, by ``ulimit -v``, and by the control groups of a container or batch job.
    """
    try:
        lines = (root / "proc/meminfo").read_text("utf-8").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        free = int(fields["MemAvailable"].split()[0]) * 1024
        return min(free, *_address_space(root), *_group_memory(root))
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 8 << 30


def _address_space(root: Path) -> Iterator[int]:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            pages = int((root / "proc/self/statm").read_text().split()[0])
            yield max(limit - pages * resource.getpagesize(), 0)


def _group_memory(root: Path) -> Iterator[int]:
    """What each control group of this process leaves to it, from its own up to the topmost.

    A limit is set anywhere on that way: a container sees itself at the top, a batch job does not.
    """
    yield sys.maxsize
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text("utf-8").splitlines():
            _, controllers, place = line.split(":", 2)
            if controllers == "":
                top, most, used = "sys/fs/cgroup", "memory.max", "memory.current"
            elif "memory" in controllers.split(","):
                top, most = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
                used = "memory.usage_in_bytes"
            else:
                continue
            own = PurePosixPath(place.lstrip("/"))
            for group in (own, *own.parents):
                folder = root / top / group
                with contextlib.suppress(OSError, ValueError):  # "max" is no number
                    limit = int((folder / most).read_text())
                    yield max(limit - int((folder / used).read_text()), 0)


def raise_allocator_thresholds(bounded: bool = False) -> bool:
    """Let glibc keep freed memory, instead of returning and faulting it in again at every step.

    A training step frees and takes hundreds of megabytes; by default glibc maps each large block
    anew, and the page faults cost more than the arithmetic of a layer. Sets M_MMAP_MAX = 0,
    M_TRIM_THRESHOLD to its maximum and M_TOP_PAD to 64 MiB. ``bounded``: blocks of 32 MiB and
    more (glibc's largest M_MMAP_THRESHOLD) are mapped, so that the heap is not left in pieces that
    they do not fit into, and threads have no heaps of their own; for what has few such blocks, as
    prediction in strips. Elsewhere than on glibc it does nothing and returns False.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    m_trim_threshold, m_top_pad, m_mmap_threshold, m_mmap_max, m_arena_max = -1, -2, -3, -4, -8
    settings = [(m_trim_threshold, 2**31 - 1), (m_top_pad, 64 << 20), (m_mmap_threshold, 32 << 20)]
    # Both ways, as one process may predict and then train; 65,536 maps are glibc's own limit.
    settings += [(m_mmap_max, 1 << 16 if bounded else 0), (m_arena_max, 1 if bounded else 0)]
    return bool(sum(mallopt(name, value) for name, value in settings) == len(settings))


def trim_heap() -> bool:
    """Give the system back what glibc's heap holds and nobody uses: a millisecond or so.

    Between tiles it keeps the heap, whose free blocks are never quite those that the next tile
    asks for, from growing. Elsewhere than on glibc it does nothing and returns False.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return False
    return True


def array_off_heap(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array of zeros that is no part of the heap, and goes back to the system when it goes.

    What outlives the work around it would leave the heap in pieces, into which the next large
    block does not fit: after `raise_allocator_thresholds` the heap would grow from tile to tile.
    """
    size = max(math.prod(shape) * dtype.itemsize, 1)
    if hasattr(mmap, "MAP_PRIVATE"):  # shared, as is the default, forks would write into one
        room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    else:
        room = mmap.mmap(-1, size)  # Windows, which has no forks
    return np.frombuffer(room, dtype, math.prod(shape)).reshape(shape)
