"""What to do when a training step does not fit into memory."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

from septum.errors import TrainingError
from septum.training.job import Job

_WORDS = (
    "not enough memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "could not create a memory object",
    "could not create a primitive",
    "bad_alloc",
    "CUDA error: out of memory",
    "ALLOC_FAILED",  # of cuBLAS and cuDNN
)
"""What torch says where memory is short and it does not raise OutOfMemoryError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python failed for want of memory, of the GPU or of the processor."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def guarded(step: Callable[[], None], job: Job) -> None:
    """Take a step; what does not fit into memory becomes one line that says what would."""
    try:
        step()
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside the except clause, where nothing holds on to the step's tensors any more.
    raise explain_out_of_memory(job)


def explain_out_of_memory(job: Job) -> TrainingError:
    """The error to raise: the tile that did not fit, the largest that does, and other remedies.

    The largest is found by trying: forward and backward passes of smaller tiles, each half-way
    between one that fits and one that does not. Where ranks wait for each other nothing is tried.
    """
    section = job.recipe.training
    tiles = min(section.micro_batch or section.batch, section.batch)
    what = f"step {job.step}: {tiles} tile{'s' * (tiles > 1)} of {section.tile} pixels an axis"
    fits = largest_tile(job, tiles) if job.ranks.count == 1 else None
    remedies = []
    if tiles > 1:
        remedies.append("--set training.micro_batch=1")
    if fits is not None:
        remedies.append(f"--set training.tile={fits}, the largest that fits now")
    remedies.append(f"--set network.width={max(job.recipe.network.width // 2, 1)}")
    verb = "do" if tiles > 1 else "does"
    return TrainingError(f"{what} {verb} not fit into memory; try {', or '.join(remedies)}")


def largest_tile(job: Job, tiles: int) -> int | None:
    """The largest legal extent below the recipe's with which ``tiles`` tiles fit, or None."""
    footprint = job.network.footprint
    job.optimizer.zero_grad(set_to_none=True)
    step = footprint.stride
    below, above = footprint.minimum - step, job.recipe.training.tile
    while above - below > step:
        middle = below + (above - below) // (2 * step) * step
        if _fits(job, tiles, middle):
            below = middle
        else:
            above = middle
    return below if below >= footprint.minimum else None


def _fits(job: Job, tiles: int, extent: int) -> bool:
    axes = job.recipe.network.dimensions
    before = {name: value.clone() for name, value in job.network.named_buffers()}
    job.network.dropout.seeds = None
    gc.collect()
    if job.device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        image_NCS = torch.zeros((tiles, job.data.channels, *(extent,) * axes), device=job.device)
        with torch.autocast(job.device.type, torch.bfloat16, enabled=job.dtype == torch.bfloat16):
            logits_NKS = job.network(image_NCS)
        logits_NKS.float().mean().backward()
        return True
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        job.optimizer.zero_grad(set_to_none=True)
        for name, value in job.network.named_buffers():  # statistics of batch normalisation
            value.copy_(before[name])
