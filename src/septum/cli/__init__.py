"""The command line: parses, calls one function, prints. Nothing heavy is imported before that."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from septum import __version__
from septum.cli.inspection import inspect
from septum.cli.training import Device, train
from septum.errors import Interrupted
from septum.terminal import (
    check_folders,
    parse_bytes,
    print_written,
    run_to_exit,
    show_progress,
    watch_scored,
)

app = typer.Typer(
    name="septum",
    help="From a handful of annotated images to a model that segments, and separates, what is in "
    "images of any size.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    if debug:
        os.environ["SEPTUM_DEBUG"] = "1"
    if version:
        print(__version__)
        raise typer.Exit


app.command()(inspect)
app.command()(train)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A run's folder, or a model file.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, folders or patterns.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write, or NAME.zarr for one image.")
    ],
    tile: Annotated[
        int | None, typer.Option(help="Largest tile in pixels; changes memory, not the result.")
    ] = None,
    orientations: Annotated[
        int | None, typer.Option(help="Mean over 1 or 8 orientations. Without: the recipe's.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="What is more probable than this is object, of two classes. Without: the model's "
            "own.",
        ),
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16.")] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="tif, png or zarr. Without: tif, or zarr if --out is one."),
    ] = None,
    probability: Annotated[
        str | None,
        typer.Option(
            help="Type of the probabilities: uint8 (times 255), float16 (TIFF widens it) or "
            "float32. The mask is of the values as stored. Without: float32; uint8 in PNG."
        ),
    ] = None,
    instances: Annotated[
        bool, typer.Option("--instances", help="Number the objects, and measure them.")
    ] = False,
    seeds: Annotated[
        float | None,
        typer.Option(
            help="Divide touching objects: each piece above this probability, higher than the "
            "threshold (or of core above this), grows to an object; 1: none. Without: the model's."
        ),
    ] = None,
    minimum: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Fewest pixels of an object, after holes are filled; of a divided one smaller "
            "parts are joined with others. Without: the model's own.",
        ),
    ] = None,
    fill: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Fill holes in objects (not in the mask) of at most so many pixels. Without: the "
            "model's own.",
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(help="What the program may take in all, such as 2GB; chooses the tile."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Compute in so many processes of this machine.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Compute on a Dask cluster: tcp://HOST:PORT.")
    ] = None,
    rescale: Annotated[
        bool, typer.Option("--rescale", help="Bring images to the pixel size of training.")
    ] = False,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help="Go on past images, and regions of images, that cannot be used; they are named.",
        ),
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out images that have results.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace results of the same name.")] = False,
    device: Device = "auto",
) -> None:
    """Segment images of any size: NAME.mask and NAME.probability for each of them."""
    from septum.prediction.files import Options, predict_files

    options = Options(
        tile=tile,
        orientations=orientations,
        precision=precision,
        threshold=threshold,
        device=device,
        suffix=None if format_ is None else f".{format_.lstrip('.')}",
        overwrite=overwrite,
        memory=None if memory is None else parse_bytes(memory),
        probability=probability,
        instances=instances,
        seeds=seeds,
        minimum=minimum,
        fill=fill,
        workers=workers,
        scheduler=scheduler,
        rescale=rescale,
        keep_going=keep_going,
        skip_existing=skip_existing,
    )
    start, pixels, files = time.monotonic(), 0, 0
    try:
        for written in predict_files(model, images, out, options, show_progress()):
            if not files and written.separation is not None:
                print(f"objects are told apart by: {written.separation.describe()}")
            pixels, files = pixels + written.pixels, files + 1
            print_written(written)
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped; run the same command again: what was begun in a store goes on, and "
            "--skip-existing leaves out images that are done"
        ) from None
    seconds = time.monotonic() - start
    if files == 0:
        print(f"nothing to do: all images have results in {out} already")
        return
    done = "1 image" if files == 1 else f"{files} images"
    print(f"{done}, {pixels / 1e6:.1f} megapixels in {seconds:.1f} s: {out}")


@app.command()
def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="What `septum predict` wrote, or label images.")
    ],
    truth: Annotated[Path, typer.Argument(help="Labels: a file, a folder, or annotated images.")],
    recipe: Annotated[
        str | None, typer.Option(help="Recipe whose [labels] say what label values mean.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="labels.key=value; may be repeated.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Name or number of an image or plane to score; may be repeated."),
    ] = None,
    complete: Annotated[
        bool,
        typer.Option(
            "--complete",
            help="Every object was drawn, though this is a challenge's gold truth, or the recipe "
            "says labels.unlabelled=ignore.",
        ),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Print all measures, with what they are.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the scores to this file.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Also write them as a table, a row an image.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Also write a page that shows the errors.")
    ] = None,
) -> None:
    """Score predictions against labels by the measures that fit; images are paired by name."""
    check_folders(json_file, csv_file, html_file)
    from septum.evaluation.files import compare
    from septum.evaluation.tables import format_report, write_csv, write_json
    from septum.recipe import load_recipe

    chosen = load_recipe(recipe or "default", changes or ())
    dimensions = chosen.network.dimensions
    comparison = compare(predictions, truth, chosen.labels, dimensions, only or (), complete)
    scored, gallery = watch_scored(comparison.score(), comparison.pixels), None
    if html_file is not None:
        from septum.report.evaluation import Gallery

        gallery = Gallery(html_file)
        scored = gallery.watch(scored)
    summary = comparison.summarize(scored)
    if json_file is not None:
        write_json(json_file, summary)
    if csv_file is not None:
        write_csv(csv_file, summary)
    if gallery is not None:
        gallery.write(summary, predictions, truth)
    print(format_report(summary, everything))
    written = [str(file) for file in (json_file, csv_file, html_file) if file is not None]
    if written:
        print(f"written: {', '.join(written)}")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    data: Annotated[
        Path | None, typer.Argument(help="The annotated images, if they have moved since.")
    ] = None,
) -> None:
    """Write RUN/report.html: data, curves, predictions, scores, recipe, machine."""
    from septum.report.folds import write_folds_report
    from septum.report.page import write_report
    from septum.training.run_folder import RunFolder

    whole = RunFolder(run)
    folds = whole.folds()
    for folder in folds or [whole]:
        print(f"report: {write_report(folder, data)}")
    if folds and whole.best.exists():
        print(f"report: {write_folds_report(whole)}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("demo"),
    minutes: Annotated[
        float, typer.Option(min=0.1, help="Training time, for both data sets together.")
    ] = 3.0,
) -> None:
    """Make annotated microscopy, train on it, predict images never seen, score, report."""
    from septum.report.demo import run_demo

    for line in run_demo(out, minutes):
        print(line, flush=True)


def main() -> NoReturn:
    """Entry point: errors become one line and an exit status."""
    run_to_exit(app)
