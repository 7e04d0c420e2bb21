"""One step of training."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from septum.devices import Ranks
from septum.loss.losses import segmentation_loss
from septum.training.job import Job
from septum.training.optimization import learning_rate, update_average


def train_step(job: Job) -> None:
    """One optimiser step: draw, predict, weigh, go downhill.

    The batch is divided among the ranks, and each rank's share into parts that fit into memory;
    gradients are summed, so that neither changes what is learnt. Raises TrainingError, here or
    (on a GPU) a few steps later, on a loss or gradient that is not finite; the weights are not
    touched by it.
    """
    section = job.recipe.training
    rate = learning_rate(job.step, job.steps, job.steps_per_epoch, section)
    for group in job.optimizer.param_groups:
        group["lr"] = rate
    job.network.train()
    job.optimizer.zero_grad(set_to_none=True)

    names: list[str] = []
    total = torch.zeros((), device=job.device)
    parts = divide(section.batch, section.micro_batch, job.ranks)
    for part in parts:
        drawn, image_NCS, classes_NS, weights_NS = job.tiles.batch(job.step, part, job.device)
        names += drawn
        # Seeded by step and sample, dropout needs no state to resume.
        job.network.dropout.seeds = [dropout_seed(section.seed, job.step, i) for i in part]
        with job.exchange_gradients(part is parts[-1]):
            with torch.autocast(
                job.device.type, torch.bfloat16, enabled=job.dtype == torch.bfloat16
            ):
                logits_NKS = job.parallel(image_NCS)
            loss = segmentation_loss(logits_NKS.float(), classes_NS, weights_NS, job.recipe.loss)
            loss = loss * (len(part) / section.batch)
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
    job.losses.add(job.step, total, finite, names, rate)
    if job.average is not None:
        update_average(job.average, job.network, job.step, section.weight_average)
    job.count(rate)


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
