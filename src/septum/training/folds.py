"""Several models, each trained without another part of the images, as one that is their mean."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from septum.devices import choose_device
from septum.errors import Interrupted, RecipeError, RunFolderError
from septum.model import Member, Model, load_model
from septum.prediction.overlap_tile import prepare
from septum.recipe import Recipe, load_recipe, read_reasons
from septum.training.data import load_data
from septum.training.loop import train
from septum.training.run_folder import RunFolder, refuse_a_run, write_recipe
from septum.training.separation_choice import choose_objects, describe_choices


def train_folds(
    data: Path | str,
    out: Path | str,
    count: int,
    recipe: Recipe | Sequence[str] | None = None,
    *,
    resume: bool = False,
    hours: float | None = None,
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    done: Callable[[RunFolder], None] = lambda run: None,
) -> RunFolder:
    """Train ``count`` models in ``out/fold-0``, ``fold-1`` …, and make one of them in ``out``.

    The images are dealt into as many folds by a hash of their names, planes of stacks in blocks;
    each model is trained without one of them, on which it is validated: so every image is
    validated on once, by a model that has not seen it. ``out/model.safetensors`` predicts the mean
    of all, and how far they disagree; threshold, seeds and smallest object are those that suit all
    images, each as the model that has not seen it predicts it. All folds have the recipe of the
    first, whose choices and steps (``hours`` is for all of them together) are made once. With
    ``resume`` folds that are done stay, and the one that was stopped goes on; with a recipe or
    changes each goes on by these, as `septum.train` does (without: as the first does): only steps
    may grow. ``say`` hears how it goes, ``done`` of each fold that is. The rest is as of
    `septum.train`, which raises what this raises.
    """
    data, out = Path(data), Path(out)
    if count < 2:
        raise RecipeError(f"--folds {count}: two or more are trained; leave it out to train one")
    whole, first = RunFolder(out, os.environ.get("RANK", "0") == "0"), fold_of(out, 0)
    if whole.holds_a_run():
        known = first.recipe().validation.folds if first.holds_a_run() else 0
        if not resume:
            refuse_a_run(whole)
        if not known:
            raise RunFolderError(
                f"{out}: holds a run of one model; leave --folds out, or choose another --out"
            )
        if known != count:
            raise RunFolderError(
                f"{out}: holds {known} folds, not {count}; go on with --folds {known}, or choose "
                "another --out"
            )
    wanted = _divided(recipe, count)
    if not whole.writes:  # of several ranks one speaks
        say = lambda line: None
    for number in range(count):
        run = fold_of(out, number)
        begun = run.holds_a_run()
        again = _again(run, recipe or first.recipe()) if begun else None
        if again is not None and again == run.recipe() and _has_ended(run, again):
            say(f"fold {number + 1} of {count}: done before")
            if whole.writes and not run.report.exists():  # stopped just before it was written
                done(run)
            continue
        say(f"fold {number + 1} of {count}: {run.path}")
        if number and not begun:
            own = first.recipe()
            split = own.validation.model_copy(update={"fold": number})
            wanted = own.model_copy(update={"validation": split})
        planned = hours / count if hours is not None and not number and not begun else None
        try:
            chosen = again if begun else wanted
            train(data, run.path, chosen, resume=begun, hours=planned, device=device)
        except Interrupted:
            raise Interrupted(
                f"stopped in fold {number + 1} of {count}; everything is saved; go on with: "
                + shlex.join(["septum", "train", str(data), "--out", str(out), "--folds"])
                + f" {count} --resume"
            ) from None
        if run.history()[-1].get("object_share") == 0:
            say(
                f"septum: fold {number + 1} of {count}: no object in its validation images, so "
                "that its best model is chosen by what has none; fewer folds have more images each"
            )
        if whole.writes and number and not read_reasons(run.recipe_file):
            write_recipe(run, run.recipe(), read_reasons(first.recipe_file))
        if whole.writes:
            done(run)
    if whole.writes:
        model = join_folds(data, [fold_of(out, number) for number in range(count)], device)
        whole.save_best(model)
        scores = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in _told(model))
        say(f"{count} folds, each validated on by the model that has not seen it: {scores}")
        say(f"{describe_choices(model)}; model: {whole.best}")
    return whole


def join_folds(data: Path, runs: Sequence[RunFolder], device: str = "auto") -> Model:
    """The models of ``runs`` as one; how objects are told apart suits the images of all folds.

    Raises RunFolderError if they are not folds of the same run.
    """
    models = [load_model(run.best) for run in runs]
    recipe = models[0].recipe
    for run, model in zip(runs, models, strict=True):
        split = {"validation": recipe.validation}
        if model.recipe.model_copy(update=split) != recipe or model.meaning != models[0].meaning:
            raise RunFolderError(
                f"{run.path}: was trained otherwise than {runs[0].path}, so that they cannot be "
                "joined; train them again with `--folds`, in another folder"
            )
    asked = []
    for model in models:
        predictor = prepare(model, choose_device(device))
        held = load_data(data, model.recipe)
        asked += [(predictor, item) for item in held.validation]
    names = sorted({item.name for _, item in asked})
    scores = [model.provenance["scores"] for model in models]
    joined = models[0].replace(
        others=tuple(Member(model.network, model.intensity) for model in models[1:]),
        provenance={
            **models[0].provenance,
            "training_images": names,
            "validation_images": names,
            "folds": [str(run.path) for run in runs],
            "scores": {key: float(np.mean([one[key] for one in scores])) for key in scores[0]},
            "scores_of_folds": scores,
        },
    )
    return choose_objects(joined, recipe, asked, models[0].meaning)


def fold_of(out: Path, number: int) -> RunFolder:
    """The run of one fold, counted from 0."""
    return RunFolder(out / f"fold-{number}")


def _has_ended(run: RunFolder, recipe: Recipe) -> bool:
    """Whether a fold has come to the end that its recipe has now, not to an earlier one alone."""
    state = run.load_state()
    if not run.last.exists() or state is None:  # a state that was removed says nothing against it
        return run.last.exists()
    wanted = recipe.training.model_dump()
    return bool(state[1].get("ended", wanted) == wanted)  # an older state does not say either


def _again(run: RunFolder, recipe: Recipe | Sequence[str] | None) -> Recipe:
    """What a fold that was begun goes on with, which is not to change how images are divided."""
    own = run.recipe()
    if isinstance(recipe, Recipe):
        return recipe.model_copy(update={"validation": own.validation, "name": own.name})
    return load_recipe(str(run.recipe_file), recipe) if recipe else own


def _divided(recipe: Recipe | Sequence[str] | None, count: int) -> Recipe | list[str]:
    """With the first fold as validation; raises RecipeError if another was asked for."""
    ours = [f"validation.folds={count}", "validation.fold=0"]
    if isinstance(recipe, Recipe):
        plain = load_recipe("default").validation
        if recipe.validation not in (plain, plain.model_copy(update={"folds": count})):
            raise RecipeError(
                "--folds divides the images itself: leave the validation out of the recipe"
            )
        split = plain.model_copy(update={"folds": count, "fold": 0})
        return recipe.model_copy(update={"validation": split})
    changes = list(recipe or ())
    for change in changes:
        if change.strip().startswith("validation."):
            raise RecipeError(f"--folds divides the images itself: leave --set {change} out")
    return [*changes, *ours]


def _told(model: Model) -> list[tuple[str, Any]]:
    """Mean of the scores over the folds, and their range."""
    folds = model.provenance["scores_of_folds"]
    told = []
    for name in ("iou", "pixel_error", "rand_error", "object_error"):
        values = [scores[name] for scores in folds if name in scores]
        if values:
            told.append((name, f"{np.mean(values):.4f} ({min(values):.4f}–{max(values):.4f})"))
    return told
