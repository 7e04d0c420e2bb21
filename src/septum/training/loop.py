"""train(): the whole story of a run in one screen."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from septum.devices import Ranks, joined_ranks
from septum.errors import AnnotationError, Interrupted, RankError, RecipeError, RunFolderError
from septum.memory import raise_allocator_thresholds
from septum.recipe import Recipe, load_recipe
from septum.training.data import load_data, memory_for_images, planned_steps
from septum.training.doubts import LEVEL_STEPS, find_doubts
from septum.training.ending import begin_to_cool, last_step
from septum.training.inspection import Inspection, inspect_data
from septum.training.interruption import Interruption
from septum.training.job import Job
from septum.training.memory import check_memory, guarded
from septum.training.planning import plan_steps
from septum.training.run_folder import (
    RunFolder,
    change_recipe,
    check_same_recipe,
    create_run,
    refuse_a_run,
)
from septum.training.step_graph import choose_step
from septum.training.tracking import Progress, describe_job, describe_validation

LOG_STEPS = 10
"""Steps between two records of the training loss in the history."""


def train(
    data: Path | str,
    out: Path | str,
    recipe: Recipe | Sequence[str] | None = None,
    *,
    resume: bool = False,
    hours: float | None = None,
    device: str = "auto",
) -> RunFolder:
    """Train a model on the annotated images in ``data`` and leave it in the folder ``out``.

    ``recipe`` None: the one that the folder holds (with ``resume``), otherwise one that is chosen
    for the images, and written with the reasons into the folder. In place of a recipe, changes
    such as ``training.steps=2000`` stand for one that is chosen but for these.
    ``hours`` measures a few steps first and then plans their number so that the run takes about
    that long; the plan is written into the run's recipe. Under torchrun each process is a rank:
    the ranks divide the batch, and the first writes and speaks. Raises the errors of
    ``septum.errors``; Interrupted after Ctrl-C or SIGTERM, when the state has been saved.
    """
    raise_allocator_thresholds()
    data, out = Path(data), Path(out)
    again = f"septum train {shlex.quote(str(data))} --out {shlex.quote(str(out))} --resume"
    try:
        with joined_ranks(device) as (ranks, own_device):
            job = open_job(
                data, RunFolder(out, ranks.first), recipe, resume, hours, own_device, ranks
            )
            run_steps(job, again)
    except RankError as error:
        saved = RunFolder(out).state_file.exists()
        kept = "what was saved is kept" if saved else "nothing was saved yet, it begins again"
        raise RankError(f"{error}; {kept}, on any number of ranks: {again}") from error
    return job.run


def run_steps(job: Job, again: str) -> None:
    """From where ``job`` is to its end; ``again`` is the command that goes on after Ctrl-C."""
    ranks = job.ranks
    with (
        Interruption(ranks.first) as interruption,
        Progress(last_step(job), job.step, ranks.first) as progress,
    ):
        for line in describe_job(job):
            progress.say(line)
        step, said = choose_step(job), set(find_doubts(job.run.history()))
        while job.step < last_step(job):
            guarded(step, job)
            progress.advance(job.step, job.losses.last)
            if job.step % LOG_STEPS == 0 or job.validation_is_due():
                job.log_training()
            best = False
            if job.validation_is_due():
                progress.say(describe_validation(job.validate()))
                best = job.latest["best"]
                if words := begin_to_cool(job):
                    progress.say(words)
                    progress.end_at(last_step(job))
            if job.step == LEVEL_STEPS or job.validation_is_due():
                doubts = find_doubts(job.run.history())
                for name in doubts.keys() - said:
                    progress.say(f"septum: {doubts[name]}")
                said |= doubts.keys()
            # By the count of steps alone: all ranks exchange at the same ones.
            if job.device.type == "cuda" and job.step % LOG_STEPS and not job.validation_is_due():
                continue
            job.save(now=best)  # the best model and the state that knows of it belong together
            # One rank's wish is every rank's: all stop after the same step.
            if any(ranks.gather(interruption.requested)):
                if job.step == last_step(job):
                    break
                job.save(now=True)
                raise Interrupted(
                    f"stopped at step {job.step} of {last_step(job)}; everything is saved; go on "
                    f"with: {again}"
                )
        progress.say(job.finish())


def open_job(
    data: Path,
    run: RunFolder,
    recipe: Recipe | Sequence[str] | None,
    resume: bool,
    hours: float | None,
    device: torch.device,
    ranks: Ranks,
) -> Job:
    """Start a run, or take up the one in its folder; the data is checked before a folder is made.

    A mistake that the first rank finds ends the others too: they wait for it here.
    """
    seen = (run.holds_a_run(), run.left_in_files())
    if len(set(ranks.gather(seen))) > 1:
        raise RunFolderError(
            f"{run.path}: some ranks see a run here and some do not, or another state of it; --out "
            "must be a folder that all machines share"
        )
    if resume and run.holds_a_run():
        if hours is not None:
            raise RecipeError(
                f"{run.path}: the number of steps was planned when this run began; resume without "
                "--hours, or with --set training.steps=N for more"
            )
        if not isinstance(recipe, Recipe):
            recipe = load_recipe(str(run.recipe_file), recipe) if recipe else run.recipe()
        recipe = check_same_recipe(run, recipe)
        memory = same_memory(ranks, seen[1])
        job = Job(run, recipe, load_data(data, recipe, memory), device, ranks)
        run.remove_leftovers()
        least = planned_steps(run.recipe(), job.data)
        if job.steps < least:
            raise RunFolderError(
                f"{run.path}: was begun with {least} steps, not {job.steps}; resume with as many "
                "or more (training.steps, training.epochs), or choose another --out"
            )
        job.longer = job.steps > least
        check_memory(job)
        job.restore()
        if len(set(ranks.gather(job.step))) > 1:  # which waits: all have read the state
            raise RunFolderError(
                f"{run.path}: the ranks see different states of this run; --out must be a folder "
                "that all machines share"
            )
        if recipe != run.recipe():
            change_recipe(run, recipe)
        if job.step == last_step(job):
            more = "training.patience=0" if job.cooling else f"training.steps={2 * job.steps}"
            job.choices = [
                f"training has ended at step {job.step}: what follows it is done anew (for more: "
                f"--resume --set {more})"
            ]
        return job
    if run.holds_a_run():
        refuse_a_run(run)
    found: Inspection | None = None
    if isinstance(recipe, Recipe):
        wanted = recipe
    else:
        found = ranks.gather(inspect_data(data, recipe or (), hours, None, device, ranks))[0]
        assert found is not None
        for problem in found.survey.problems:
            if problem.level == "error":  # which a recipe that goes by the survey may not see
                raise AnnotationError(str(problem))
        wanted = found.configuration.recipe
    loaded = load_data(data, wanted, same_memory(ranks))
    job = Job(run, wanted, loaded, device, ranks)
    check_memory(job)
    if hours is not None:
        wanted = ranks.gather(plan_steps(job, hours))[0]
        job = Job(run, wanted, loaded, device, ranks)
    ranks.wait()  # all have seen that the folder holds no run yet
    if ranks.first:
        create_run(run, wanted, found.configuration.reasons if found else None)
    ranks.wait()  # for a folder that cannot be made
    job.choices = found.said_in_training() if found else []
    if resume:
        job.choices.insert(0, f"{run.path} holds no run to resume: one begins")
    return job


def same_memory(ranks: Ranks, left_in_files: bool | None = None) -> int:
    """Bytes that the images of a run may take in each rank; the same on all ranks.

    ``left_in_files``: what a run that goes on decided when it began.
    """
    if left_in_files is not None:
        return 0 if left_in_files else sys.maxsize
    return int(min(ranks.gather(memory_for_images(ranks.beside))))
