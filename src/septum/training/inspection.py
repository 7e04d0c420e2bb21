"""inspect_data(): the survey, the recipe that training would choose, and all that is wrong."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from septum.atomic_file import replace_file
from septum.devices import Ranks, choose_device
from septum.recipe import load_recipe
from septum.survey.examination import Watch, take_survey
from septum.survey.problems import split_problems
from septum.survey.survey import Problem, Survey
from septum.survey.words import describe, describe_problem
from septum.training.configuration import ALWAYS, Configuration, configure
from septum.training.data import is_divisible
from septum.training.memory import fits_memory

WIDTH = 100
SAID = 3
"""Warnings that training repeats."""


@dataclass(frozen=True)
class Inspection:
    """``problems``: those of the survey, and of the split that the recipe makes."""

    survey: Survey
    configuration: Configuration
    problems: tuple[Problem, ...]

    @property
    def reason(self) -> str:
        """Why training could not begin; "" if it could."""
        return next((str(problem) for problem in self.problems if problem.level == "error"), "")

    def said_in_training(self) -> list[str]:
        """What was chosen and what is to be minded, in a few lines."""
        minded = [problem for problem in self.problems if problem.level == "warning"]
        lines = [describe_problem(problem) for problem in minded[:SAID]]
        if len(minded) > SAID:
            lines.append(f"and {len(minded) - SAID} more: septum inspect {self.survey.data}")
        return [*lines, *self.configuration.describe()]

    def lines(self) -> list[str]:
        """Everything in words, for a terminal."""
        lines = [
            textwrap.fill(f"{name:<12} {value}", WIDTH, subsequent_indent=" " * 13)
            for name, value in [("data", self.survey.data), *describe(self.survey)]
        ]
        lines += ["", "problems"]
        lines += [f"  {describe_problem(problem)}" for problem in self.problems] or ["  none found"]
        base = self.configuration.base.name
        lines += ["", f"recipe: {base}, with what suits these images ({self._count()})"]
        for choice in self.configuration.choices:
            lines.append(textwrap.fill(f"  {choice}", WIDTH, subsequent_indent="      "))
        for advice in self.configuration.advice:
            lines.append(textwrap.fill(f"advice: {advice}", WIDTH, subsequent_indent=" " * 8))
        return lines

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        chosen = self.configuration
        return {
            "survey": {
                **self.survey.to_dict(),
                "problems": [asdict(problem) for problem in self.problems],
            },
            "choices": [asdict(choice) for choice in chosen.choices],
            "advice": list(chosen.advice),
            "recipe": chosen.recipe.model_dump(mode="json"),
            "usable": not self.reason,
            "reason": self.reason,
        }

    def _count(self) -> str:
        count = len([c for c in self.configuration.changed if c.key not in ALWAYS])
        return f"{count} value{'s' * (count != 1)} changed" if count else "nothing changed"


def inspect_data(
    data: Path | str,
    changes: Sequence[str] = (),
    hours: float | None = None,
    watch: Watch | None = None,
    device: torch.device | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
) -> Inspection:
    """What `train` would see and choose for ``data`` with these ``changes`` on this machine.

    ``device`` None: the GPU, if there is one. Raises InputError where there is nothing to look at,
    RecipeError for the changes.
    """
    survey = take_survey(data, load_recipe("default", changes), watch)
    classes = survey.meaning.class_count if survey.meaning is not None else 2
    channels = max(len(survey.channels), 1)
    device = device or choose_device()
    fits = fits_memory(channels, classes, device, ranks)
    configuration = configure(survey, changes, fits, hours, device.type)
    own = configuration.recipe
    found = [*survey.problems, *split_problems(survey, own.validation)]
    extents = list(survey.wholes.values())
    if len(extents) == 1 and is_divisible(extents[0]):
        text = "one image: a quarter of it validates, the rest trains"
        found.append(Problem("one image", "note", (), text, "an image of its own would tell more"))
    at_once = min(own.training.micro_batch or own.training.batch, own.training.batch)
    if survey.usable and not fits(own, at_once):
        text = f"a step with tiles of {own.training.tile} pixels does not fit into memory"
        remedy = "a smaller network.width or training.tile, or a machine with more memory"
        found.append(Problem("memory", "error", (), text, remedy))
    order = {"error": 0, "warning": 1, "note": 2}
    problems = sorted(found, key=lambda problem: order[problem.level])
    return Inspection(survey, configuration, tuple(problems))


def write_json(path: Path, found: Inspection) -> None:
    """As a whole or not at all; raises SaveError."""
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(found.to_dict(), indent=1, ensure_ascii=False), "utf-8")
