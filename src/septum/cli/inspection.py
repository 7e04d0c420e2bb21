"""septum inspect: what is in annotated images, what is wrong, and how they would be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from septum.errors import AnnotationError
from septum.terminal import check_folders, count_files


def inspect(
    data: Annotated[Path, typer.Argument(help="Annotated images: see README, Your data.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value, as for train; may be repeated."),
    ] = None,
    hours: Annotated[
        float | None, typer.Option(min=0.001, help="As for train: steps are planned by time.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Also write a page with pictures.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write what was seen, and the choices.")
    ] = None,
) -> None:
    """Say what is in annotated images, what is wrong, and which recipe suits them."""
    check_folders(html_file, json_file)
    from septum.training.inspection import inspect_data, write_json

    found = inspect_data(data, changes or (), hours, count_files())
    for line in found.lines():
        print(line)
    if json_file is not None:
        write_json(json_file, found)
    if html_file is not None:
        from septum.report.inspection import write_page

        write_page(html_file, found)
    if found.reason:
        raise AnnotationError(f"{data}: training could not begin: {found.reason}")
