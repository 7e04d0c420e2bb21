"""septum train: one model, or one of several folds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from septum.training.run_folder import RunFolder

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


def train(
    data: Annotated[Path, typer.Argument(help="Annotated images: see README, Your data.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    recipe: Annotated[
        str | None,
        typer.Option(help="Name of a recipe, or a .toml file. Without: one that suits the images."),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value; may be repeated.")
    ] = None,
    hours: Annotated[
        float | None, typer.Option(min=0.001, help="Plan the steps to end in about this time.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Train so many models, each without another part of the images, as one that is "
            "their mean and knows where they disagree."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, if any.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Train a model on annotated images; everything goes into the folder --out."""
    from septum.recipe import load_recipe

    chosen = load_recipe(recipe, changes or ()) if recipe is not None else changes
    from septum.report.page import write_report

    if folds is not None:
        from septum.report.folds import write_folds_report
        from septum.training.folds import train_folds

        def done(run: RunFolder) -> None:
            print(f"report: {write_report(run, data)}")

        whole = train_folds(
            data,
            out,
            folds,
            chosen,
            resume=resume,
            hours=hours,
            device=device,
            say=print,
            done=done,
        )
        if whole.writes:
            print(f"report: {write_folds_report(whole)}")
        return
    from septum.training.loop import train

    run = train(data, out, chosen, resume=resume, hours=hours, device=device)
    if run.writes:
        print(f"report: {write_report(run, data)}")
