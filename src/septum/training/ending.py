"""When a run ends: after its steps, or, where validation gets no better, after a cool-down.

A schedule that is left half-way leaves a model that still moves from step to step: it settles in
the steps in which the learning rate falls to 0 (decision 32).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from septum.training.optimization import learning_rate

if TYPE_CHECKING:
    from septum.training.job import Job

COOLING = 2
"""Times ``validate_every`` in which the learning rate falls to 0."""

NEARLY = 1.1
"""Times the error of the best model: by less a few validation images tell nothing apart."""


def last_step(job: Job) -> int:
    """After how many steps the run ends, as far as is known now."""
    return job.cooling + COOLING * job.validate_every if job.cooling else job.steps


def begin_to_cool(job: Job) -> str:
    """After a validation: begin to end where as many in a row as the recipe's patience were no
    better, unless the run ends as soon by itself. Says so in words; else "".
    """
    patience = job.recipe.training.patience
    stale = patience and job.best and job.step - job.best["step"] >= patience * job.validate_every
    if job.cooling or not stale or job.step + COOLING * job.validate_every >= job.steps:
        return ""
    job.cooling = job.step
    end = last_step(job)
    job.run.append(
        {
            "kind": "cooling",
            "step": job.step,
            "epoch": job.step / job.steps_per_epoch,
            "end": end,
            "seconds": round(job.seconds, 2),
        }
    )
    return (
        f"{patience} validations in a row were no better than that of step {job.best['step']}: the "
        f"learning rate falls to 0 until step {end}, where training ends (--resume --set "
        "training.patience=0 goes on)"
    )


def rate_of(job: Job) -> float:
    """The learning rate of the next step: the schedule's, times what a cool-down leaves of it."""
    rate = learning_rate(job.step, job.steps, job.steps_per_epoch, job.recipe.training)
    if not job.cooling:
        return rate
    share = (job.step - job.cooling) / (last_step(job) - job.cooling)
    return rate * 0.5 * (1 + math.cos(math.pi * share))


def has_settled(job: Job, error: float, lowest: float) -> bool:
    """Whether this is a run's last validation, in which the learning rate has fallen to 0, and its
    ``error``, of the measure that models are kept by, is nearly as low as the ``lowest``.
    """
    fallen = job.cooling or job.recipe.training.schedule == "cosine"
    return bool(job.step == last_step(job) and fallen and error <= NEARLY * lowest)
