"""train(): the whole story of a run in one screen."""

from __future__ import annotations

import shlex
from pathlib import Path

import torch

from septum.devices import choose_device, raise_allocator_thresholds
from septum.errors import Interrupted, RecipeError
from septum.recipe import Recipe, load_recipe
from septum.training.interruption import Interruption
from septum.training.job import Job, load_data
from septum.training.planning import plan_steps
from septum.training.run_folder import RunFolder, check_same_recipe, create_run, write_recipe
from septum.training.step import train_step
from septum.training.tracking import Progress, describe_validation

LOG_STEPS = 10
"""Steps between two records of the training loss in the history."""


def train(
    data: Path | str,
    out: Path | str,
    recipe: Recipe | None = None,
    *,
    resume: bool = False,
    hours: float | None = None,
    device: str = "auto",
) -> RunFolder:
    """Train a model on the annotated images in ``data`` and leave it in the folder ``out``.

    ``recipe`` None: the one that the folder holds (with ``resume``), otherwise ``default``.
    ``hours`` measures a few steps first and then plans their number so that the run takes about
    that long; the plan is written into the run's recipe. Raises the errors of ``septum.errors``;
    Interrupted after Ctrl-C or SIGTERM, when the state has been saved.
    """
    raise_allocator_thresholds()
    job = open_job(Path(data), Path(out), recipe, resume, hours, choose_device(device))
    with Interruption() as interruption, Progress(job.steps, job.step) as progress:
        for line in job.description:
            progress.say(line)
        while job.step < job.steps:
            loss = train_step(job)
            progress.advance(job.step, loss)
            if job.step % LOG_STEPS == 0 or job.validation_is_due():
                job.log_training()
            if job.validation_is_due():
                progress.say(describe_validation(job.validate()))
            job.save()
            if interruption.requested and job.step < job.steps:
                job.save(now=True)
                raise Interrupted(
                    f"stopped at step {job.step} of {job.steps}; everything is saved; go on with: "
                    f"septum train {shlex.quote(str(data))} --out {shlex.quote(str(out))} --resume"
                )
        progress.say(job.finish())
    return job.run


def open_job(
    data: Path,
    out: Path,
    recipe: Recipe | None,
    resume: bool,
    hours: float | None,
    device: torch.device,
) -> Job:
    """Start a run, or take up the one in ``out``; the data is checked before a folder is made."""
    run = RunFolder(out)
    if resume and run.holds_a_run():
        if hours is not None:
            raise RecipeError(
                f"{out}: the number of steps was planned when this run began; resume without "
                "--hours, or with --set training.steps=N for more"
            )
        recipe = check_same_recipe(run, recipe) if recipe is not None else run.recipe()
        job = Job(run, recipe, load_data(data, recipe), device)
        job.restore()
        write_recipe(run, recipe)
        return job
    recipe = load_recipe("default") if recipe is None else recipe
    if run.holds_a_run():
        create_run(out, recipe)  # refuses
    loaded = load_data(data, recipe)
    if hours is not None:
        recipe = plan_steps(Job(run, recipe, loaded, device), hours)
    job = Job(run, recipe, loaded, device)
    create_run(out, recipe)
    return job
