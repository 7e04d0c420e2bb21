"""Telling a person how a run goes: a progress bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from septum.training.job import Job

LINE_SECONDS = 15.0
"""Least time between two plain lines about steps."""


class Progress:
    """Shows step, loss and time left; a context manager. Writes to standard error only."""

    def __init__(self, steps: int, first: int = 0, speaks: bool = True) -> None:
        self.steps = steps
        self._speaks = speaks
        self.step = first
        self._first = first
        self._start = self._shown = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self._speaks and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self.steps, completed=self._first)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, step: int, loss: float) -> None:
        """Say that ``step`` steps are done."""
        self.step = step
        if self._bar is not None:
            known = "" if math.isnan(loss) else f"loss {loss:.4f}"  # not yet looked at
            self._bar.update(self._task, completed=step, description=known)
        elif time.monotonic() - self._shown >= LINE_SECONDS:
            self._shown = time.monotonic()
            self.say(f"step {step}/{self.steps} · loss {loss:.4f} · {self._left()} left")

    def end_at(self, steps: int) -> None:
        """The run ends after so many steps, earlier than was planned."""
        self.steps = steps
        if self._bar is not None:
            self._bar.update(self._task, total=steps)

    def say(self, text: str) -> None:
        """Print one line, above the bar if there is one."""
        if not self._speaks:
            return
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _left(self) -> str:
        done = max(self.step - self._first, 1)
        seconds = (time.monotonic() - self._start) / done * (self.steps - self.step)
        return format_duration(seconds)


def format_duration(seconds: float) -> str:
    """A duration for people: 45 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def describe_job(job: Job) -> list[str]:
    """What is trained on what, in words, before it begins."""
    parameters = sum(p.numel() for p in job.network.parameters())
    begin = f"resuming at step {job.step}" if job.step else "starting at step 0"
    warning = []
    if job.data.validates_on_training:
        warning.append("validating on the training image, the only one: its scores flatter")
    if job.data.divided:
        warning.append(
            "there is one image: a quarter of it validates, the rest trains; an image of its "
            "own would tell more"
        )
    if job.longer and job.recipe.training.schedule == "cosine":
        warning.append(
            "more steps than the run began with: the learning rate goes on along the longer "
            "cosine, so that the model is not that of as many steps from the start"
        )
    thick = {item.spacing for item in job.data.training if item.spacing is not None}
    if thick and job.recipe.loss.border_weight:
        sides = " : ".join(f"{side:.3g}" for side in sorted(thick)[0])
        warning.append(f"pixels are {sides}: border weights count distances in the specimen")
    return [
        *warning,
        *job.choices,
        f"{len(job.data.training)} training and {len(job.data.validation)} validation images "
        f"({', '.join(item.name for item in job.data.validation[:4])}"
        f"{', …' if len(job.data.validation) > 4 else ''})",
        *(f"labels: {remark}" for remark in job.data.remarks),
        *(["the images do not fit into memory: they are read tile by tile"] * job.data.stored),
        f"recipe {job.recipe.name}: {parameters:,} parameters, {job.steps} steps, "
        f"{str(job.dtype).removeprefix('torch.')} on {job.device}; {begin}",
    ]


def describe_validation(record: dict[str, Any]) -> str:
    """One line about a validation."""
    shown = [
        f"{name.replace('_', ' ')} {record[name]:.4f}"
        for name in ("loss", "pixel_error", "iou", "rand_error", "object_error")
        if name in record
    ]
    best = " · best so far" if record.get("best") else ""
    if record.get("settled"):
        best = " · kept: the last is nearly as good as the best, and has settled"
    return f"step {record['step']} · validation: " + " · ".join(shown) + best
