"""One step of training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from septum.devices import Ranks
from septum.loss.losses import segmentation_loss
from septum.training.ending import rate_of
from septum.training.job import Job
from septum.training.optimization import update_average

Tiles = tuple[Tensor, Tensor, Tensor]
"""Images (N, C, S), classes (N, S), weights (N, S)."""


def train_step(job: Job) -> None:
    """One optimiser step: draw, predict, weigh, go downhill.

    The batch is divided among the ranks, and each rank's share into parts that fit into memory;
    gradients are summed, so that neither changes what is learnt. Raises TrainingError, here or
    (on a GPU) a few steps later, on a loss or gradient that is not finite; the weights are not
    touched by it.
    """
    section = job.recipe.training
    rate = rate_of(job)
    for group in job.optimizer.param_groups:
        group["lr"] = rate
    job.optimizer.zero_grad(set_to_none=True)
    names: list[str] = []

    parts = divide(section.batch, section.micro_batch, job.ranks)

    def drawn() -> Iterator[Tiles]:
        for part in parts:
            images, *tiles = job.tiles.batch(job.step, part, job.device)
            names.extend(images)
            # Seeded by step and sample, dropout needs no state to resume.
            job.network.dropout.seeds = [dropout_seed(section.seed, job.step, i) for i in part]
            yield tiles[0], tiles[1], tiles[2]

    loss, finite = descend(job, drawn(), len(parts))
    job.losses.add(job.step, loss, finite, names, rate)
    if job.average is not None:
        update_average(job.average, job.network, job.step, section.weight_average)
    job.count(rate)


def descend(job: Job, parts: Iterable[Tiles], count: int = 1) -> tuple[Tensor, Tensor]:
    """One step of the optimiser down the gradient that ``count`` parts of a batch give together.

    Returns the loss of the whole batch, and whether it and the gradient were finite; if not, the
    step was left out. Nothing here waits for a GPU.
    """
    job.network.train()
    total = torch.zeros((), device=job.device)
    for number, (image_NCS, classes_NS, weights_NS) in enumerate(parts, start=1):
        with job.exchange_gradients(number == count):
            with torch.autocast(
                job.device.type, torch.bfloat16, enabled=job.dtype == torch.bfloat16
            ):
                logits_NKS = job.parallel(image_NCS)
            logits_NKS = logits_NKS.float()
            head = job.recipe.network.head
            loss = segmentation_loss(logits_NKS, classes_NS, weights_NS, job.recipe.loss, head)
            loss = loss * (len(image_NCS) / job.recipe.training.batch)
            total += loss.detach()
            # The mean of the ranks' gradients is taken, and their sum is meant.
            (loss * job.ranks.count).backward()  # type: ignore[no-untyped-call]
    total = job.ranks.sum(total)
    gradients = [p.grad for p in job.network.parameters() if p.grad is not None]
    norm = torch.stack(torch._foreach_norm(gradients)).sum()
    finite = torch.isfinite(total) & torch.isfinite(norm)
    # The fused optimisers leave weights and state alone where this is 1, without being waited for.
    job.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
    job.optimizer.step()
    return total, finite


def divide(batch: int, micro_batch: int, ranks: Ranks) -> list[range]:
    """The samples of a batch that are this rank's, in as many parts on every rank.

    Exchanges between the ranks need equally many parts; ``micro_batch`` (0: all) is exceeded by
    one where shares of different sizes leave no other way.
    """
    shares = [Ranks(rank, ranks.count).share(batch) for rank in range(ranks.count)]
    sizes = [len(share) for share in shares]
    parts = min(math.ceil(max(sizes) / (micro_batch or batch)), *sizes)
    mine = ranks.share(batch)
    cuts = [len(mine) * part // parts for part in range(parts + 1)]
    return [mine[start:stop] for start, stop in itertools.pairwise(cuts)]


def dropout_seed(seed: int, step: int, index: int) -> int:
    """The seed of the dropout of one sample, scattered over 62 bits."""
    return int(np.random.SeedSequence([seed, step, index]).generate_state(1, np.uint64)[0] >> 2)
