"""One step of training."""

from __future__ import annotations

import math

import torch

from septum.errors import TrainingError
from septum.loss.losses import segmentation_loss
from septum.training.job import Job
from septum.training.optimization import learning_rate, update_average


def train_step(job: Job) -> float:
    """One optimiser step: draw, predict, weigh, go downhill. Returns the loss.

    Raises TrainingError on a loss that is not finite, before the weights are touched by it.
    """
    section = job.recipe.training
    rate = learning_rate(job.step, job.steps, job.steps_per_epoch, section)
    for group in job.optimizer.param_groups:
        group["lr"] = rate
    # Dropout draws from torch's generator; seeded by the step it needs no state to resume.
    torch.manual_seed((section.seed * 1_000_003 + job.step) % 2**63)

    names, image_NCS, classes_NS, weights_NS = job.sampler.batch(job.step, job.device)
    job.network.train()
    with torch.autocast(job.device.type, torch.bfloat16, enabled=job.dtype == torch.bfloat16):
        logits_NKS = job.network(image_NCS)
    loss = segmentation_loss(logits_NKS.float(), classes_NS, weights_NS, job.recipe.loss)
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingError(
            f"step {job.step}: the loss is {value} (learning rate {rate:g}, images "
            f"{', '.join(names)}); the models saved so far are kept; try --set "
            f"training.learning_rate={section.learning_rate / 10:g}"
        )
    job.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    job.optimizer.step()
    if job.average is not None:
        update_average(job.average, job.network, job.step, section.weight_average)
    job.count(value, rate)
    return value
