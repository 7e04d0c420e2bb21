"""A run's folder: what a run leaves, and what it needs to go on. Every file whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open

from septum.atomic_file import remove_leftovers, replace_file
from septum.errors import RecipeError, RunFolderError, SaveError
from septum.model import Model, save_model
from septum.recipe import Recipe, dump_recipe, load_recipe, read_reasons
from septum.tensor_file import write_tensors


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run.

    ``model.safetensors`` is the best model, ``last.safetensors`` the last; ``resume/`` what is
    needed to go on; ``recipe.toml`` the complete recipe; ``history.jsonl`` one object a logged
    step or validation; ``report.html`` is for people.
    """

    path: Path
    writes: bool = True
    """False for all ranks but the first: their methods that write do nothing."""

    @property
    def best(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def last(self) -> Path:
        return self.path / "last.safetensors"

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def history_file(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def state_file(self) -> Path:
        return self.path / "resume" / "state.safetensors"

    def holds_a_run(self) -> bool:
        """Whether a run, or folds of one, has begun here."""
        files = (self.recipe_file, self.best, self.history_file)
        return any(file.exists() for file in files) or bool(self.folds())

    def folds(self) -> list[RunFolder]:
        """The runs of the folds that this folder holds, if it does."""
        paths = (path.parent for path in self.path.glob("fold-*/recipe.toml"))
        return [RunFolder(p) for p in sorted(paths, key=lambda p: (len(p.name), p.name))]

    def recipe(self) -> Recipe:
        """The recipe that the run was started with; raises RunFolderError."""
        if folds := self.folds():
            count = folds[0].recipe().validation.folds
            raise RunFolderError(f"{self.path}: holds the folds of a run; add --folds {count}")
        try:
            return load_recipe(str(self.recipe_file))
        except RecipeError as error:
            raise RunFolderError(f"{self.path}: no run to go on with here: {error}") from None

    def history(self) -> list[dict[str, Any]]:
        """All records, oldest first; a last line cut short by a crash is left out."""
        if not self.history_file.exists():
            return []
        records = []
        for line in self.history_file.read_text("utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def append(self, record: dict[str, Any]) -> None:
        """Add one record to the history."""
        if not self.writes:
            return
        try:
            with self.history_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise SaveError(f"{self.history_file}: cannot be written: {error.strerror}") from error

    def rewind_history(self, step: int, cooling: bool = False) -> None:
        """Drop the records after ``step``: a run that goes on from there writes them again.

        Without ``cooling`` those of a cool-down, too: the run does not end there any more.
        """
        if not self.writes:
            return
        kept = [
            record
            for record in self.history()
            if record["step"] <= step and (cooling or record["kind"] != "cooling")
        ]
        with replace_file(self.history_file) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), "utf-8")

    def save_best(self, model: Model) -> None:
        """Replace the model that the run is known by."""
        if self.writes:
            save_model(self.best, model)

    def save_last(self, model: Model) -> None:
        """Replace the model of the last step, whether or not it is the best."""
        if self.writes:
            save_model(self.last, model)

    def save_state(self, tensors: dict[str, torch.Tensor], counters: dict[str, Any]) -> None:
        """Write all that is needed to go on, in one file: it cannot disagree with itself."""
        if not self.writes:
            return
        try:
            self.state_file.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise SaveError(
                f"{self.state_file.parent}: cannot be made: {error.strerror}"
            ) from error
        with replace_file(self.state_file) as temporary:
            write_tensors(temporary, tensors, {"septum_resume": json.dumps(counters)})

    def remove_leftovers(self) -> None:
        """Remove what a process that was killed while it saved here left behind."""
        if self.writes:
            files = (self.best, self.last, self.recipe_file, self.history_file, self.state_file)
            for path in (*files, self.report):
                remove_leftovers(path)

    def left_in_files(self) -> bool | None:
        """Whether the images were too large for memory when the run began; None if not saved."""
        if not self.state_file.exists():
            return None
        unreadable = suppress(SafetensorError, OSError, KeyError, TypeError, ValueError)
        with unreadable, safe_open(self.state_file, framework="pt") as file:
            return bool(json.loads(file.metadata()["septum_resume"]).get("left_in_files"))
        return None  # load_state says why

    def load_state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """What ``save_state`` wrote, or None if the run was stopped before its first save."""
        if not self.state_file.exists():
            return None
        try:
            with safe_open(self.state_file, framework="pt") as file:
                counters = json.loads(file.metadata()["septum_resume"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise RunFolderError(
                f"{self.state_file}: the resume state cannot be read ({error}); remove the file "
                "to start this run anew"
            ) from None
        return tensors, counters


def create_run(run: RunFolder, recipe: Recipe, reasons: Mapping[str, str] | None = None) -> None:
    """Start a run's folder; raises RunFolderError if it holds one already, SaveError.

    ``reasons`` of values, by their keys, are written beside them.
    """
    path = run.path
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path}: is a file; name a folder for the run")
    if run.holds_a_run():
        refuse_a_run(run)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise SaveError(f"{path}: cannot be made a run's folder: {error.strerror}") from error
    write_recipe(run, recipe, reasons)


def refuse_a_run(run: RunFolder) -> NoReturn:
    """Raise RunFolderError: this folder is in use."""
    raise RunFolderError(
        f"{run.path}: holds a run already; add --resume to go on with it, or choose another --out"
    )


def write_recipe(run: RunFolder, recipe: Recipe, reasons: Mapping[str, str] | None = None) -> None:
    """Write the complete recipe, ready to be trained with again; see `dump_recipe`."""
    if not run.writes:
        return
    with replace_file(run.recipe_file) as temporary:
        temporary.write_text(dump_recipe(recipe, reasons), "utf-8")


def change_recipe(run: RunFolder, recipe: Recipe) -> None:
    """Write another recipe in the place of the run's own; reasons of what is the same stay, if it
    has any.
    """
    reasons = read_reasons(run.recipe_file)
    before, after = run.recipe().model_dump(), recipe.model_dump()
    for section, values in after.items():
        for key in values if reasons and isinstance(values, dict) else ():
            if values[key] != before[section][key]:
                reasons[f"{section}.{key}"] = "given"
    write_recipe(run, recipe, reasons)


def check_same_recipe(run: RunFolder, recipe: Recipe) -> Recipe:
    """The recipe to go on with: the run's own, with the number of steps or epochs of ``recipe``.

    Raises RunFolderError, naming the key, if anything else differs. Whether there are fewer steps
    than planned only the data tells: `open_job` looks.
    """
    own = run.recipe()
    theirs = recipe.model_dump()
    for section, values in own.model_dump().items():
        if section == "name":
            continue
        for key, value in values.items():
            other = theirs[section][key]
            if other == value or (
                section == "training" and key in ("micro_batch", "steps", "epochs", "patience")
            ):
                continue
            raise RunFolderError(
                f"{run.path}: was trained with {section}.{key} = {value}, not {other}; resume "
                "without changing it (only training.steps and training.epochs may grow, and "
                "training.micro_batch and training.patience may change), or choose another --out"
            )
    return recipe.model_copy(update={"name": own.name})
