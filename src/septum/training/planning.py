"""How many steps fit into the time that a user gives."""

from __future__ import annotations

import math
import statistics
import time

from septum.prediction.overlap_tile import prepare
from septum.recipe import Recipe
from septum.training.job import Job
from septum.training.memory import guarded
from septum.training.step import train_step
from septum.training.validation import validate

_WARM_STEPS, _TIMED_STEPS = 2, 5
"""Steps that are not timed, and those that are timed together."""

_TIMED_SHARE, _TIMED_SECONDS = 0.01, 30.0
"""Steps are timed for this share of the time, at most so long: what a machine does for a moment
does not plan a run of hours."""

_FINISH_SHARE = 0.04
"""Share of the time left for the threshold, the last save and the report."""

VALIDATIONS = 12
"""Validations in a run that is planned by time, unless the recipe says how often."""


def plan_steps(job: Job, hours: float) -> Recipe:
    """The recipe with as many steps as take about ``hours``, measured on this machine now.

    Runs a few real steps and one validation on ``job``, which is then to be thrown away. The
    plan is made before the first step, so that the schedule of the learning rate is fixed from
    the start and a resumed run follows the same one.
    """
    for _ in range(_WARM_STEPS):
        guarded(lambda: train_step(job), job)
    job.losses.settle()  # on a GPU, until now the steps were only asked for
    timed: list[float] = []
    limit = min(hours * 3600 * _TIMED_SHARE, _TIMED_SECONDS)
    while not timed or any(job.ranks.gather(sum(timed) < limit)):  # all take the same steps
        start = time.monotonic()
        for _ in range(_TIMED_STEPS):
            train_step(job)
        job.losses.settle()
        timed.append(time.monotonic() - start)
    step_seconds = statistics.median(timed) / _TIMED_STEPS

    start = time.monotonic()
    job.measure_statistics()
    statistics_seconds = time.monotonic() - start
    pixels = [math.prod(item.extents) for item in job.targets.annotated]
    middling = sorted(range(len(pixels)), key=lambda index: pixels[index])[len(pixels) // 2]
    part, own = job.targets[middling : middling + 1], job.ranks.share(len(pixels))
    start = time.monotonic()
    validate(prepare(job.model(), job.device), part, job.recipe.loss, job.sampler.weigh)
    times = sum(pixels[index] for index in own) / pixels[middling]
    validation_seconds = (time.monotonic() - start) * times + statistics_seconds

    seconds = hours * 3600 * (1 - _FINISH_SHARE)
    section = job.recipe.training
    if section.validate_every:
        per_step = step_seconds + validation_seconds / section.validate_every
        steps = max(int(seconds / per_step), 1)
        changes = {"steps": steps}
    else:
        steps = max(int((seconds - VALIDATIONS * validation_seconds) / step_seconds), 1)
        changes = {"steps": steps, "validate_every": max(steps // VALIDATIONS, 1)}
    return job.recipe.model_copy(update={"training": section.model_copy(update=changes)})
