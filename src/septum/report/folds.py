"""write_folds_report(): one page about the folds of a run, and what they are together."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from septum.atomic_file import replace_file
from septum.errors import RunFolderError
from septum.model import Model, load_model
from septum.report.charts import draw_folds
from septum.report.markup import (
    Panel,
    cards,
    code,
    document,
    escape,
    facts,
    figure,
    link,
    notice,
    paragraph,
    section,
    table,
)
from septum.report.numbers import MEASURES, NAMES, score_numbers
from septum.report.page import longer
from septum.training.run_folder import RunFolder
from septum.training.separation_choice import describe_choices
from septum.training.tracking import format_duration

APART = 1.5
"""Times the median error of all folds from which one of them is pointed at."""


def write_folds_report(run: RunFolder) -> Path:
    """Write RUN/report.html about a run of several folds, as a whole or not at all.

    Raises RunFolderError if the folder holds no folds, or one of them is not done; ModelFileError,
    SaveError.
    """
    folds = run.folds()
    if not folds:
        raise RunFolderError(f"{run.path}: holds no folds; for a run of one model: septum report")
    if not run.best.exists():
        raise RunFolderError(
            f"{run.path}: its folds are not joined yet; go on with: septum train DATA --out "
            f"{run.path} --folds {folds[0].recipe().validation.folds} --resume"
        )
    model = load_model(run.best)
    bests = [_best(fold) for fold in folds]
    parts = [
        _headline(run, folds, model),
        notice(_doubtful(folds, bests)),
        cards(score_numbers(model.provenance["scores"])),
        section("Fold by fold", _table(folds, bests)),
        section("How training went", _curves(folds)),
        section("The model of all folds", _model(run, model)),
        section("How to go on", _commands(run, model, len(folds))),
    ]
    title = f"{len(folds)} folds · {run.path.resolve().name} · septum"
    with replace_file(run.report) as temporary:
        temporary.write_text(document(title, "".join(parts)), "utf-8")
    return run.report


def _best(fold: RunFolder) -> dict[str, Any]:
    """The record of the validation whose model was kept."""
    return [r for r in fold.history() if r["kind"] == "validation" and r["best"]][-1]


def _headline(run: RunFolder, folds: list[RunFolder], model: Model) -> str:
    count = len(model.provenance["validation_images"])
    seconds = sum(fold.history()[-1]["seconds"] for fold in folds)
    lead = (
        f"Each of {count} images was validated on once, by the model that has not seen it; all "
        f"folds together took {format_duration(seconds)}."
    )
    lines = [
        '<p class="over">Training report · septum</p>',
        f"<h1>{len(folds)} models that are one: recipe {escape(model.recipe.name)}</h1>",
        paragraph(lead, "lead"),
        paragraph(f"The labels were taken for {model.meaning.describe()}.", "soft"),
    ]
    return f"<header>{''.join(lines)}</header>"


def _doubtful(folds: list[RunFolder], bests: list[dict[str, Any]]) -> list[str]:
    """Folds whose images are much worse predicted than those of most."""
    measure = "object_error" if "object_error" in bests[0] else "pixel_error"
    errors = sorted(best[measure] for best in bests)
    usual = errors[len(errors) // 2]
    return [
        f"{fold.path.name}: {NAMES[measure]} {best[measure]:.4f}, where half of the folds have "
        f"{usual:.4f} or less: look at its images in its own report. What is drawn there may "
        "be wrong, or be of a kind that the other images do not show."
        for fold, best in zip(folds, bests, strict=True)
        if len(folds) > 2 and best[measure] > APART * usual
    ]


def _table(folds: list[RunFolder], bests: list[dict[str, Any]]) -> str:
    shown = [name for name in MEASURES if name in bests[0]]
    head = ["fold", "images", "steps", "kept", *(NAMES[n] for n in shown)]
    rows = []
    for fold, best in zip(folds, bests, strict=True):
        held = len(load_model(fold.best).provenance["validation_images"])
        steps = fold.history()[-1]["step"]
        rows.append([fold.path.name, held, steps, best["step"], *(best[name] for name in shown)])
    caption = (
        "Of each fold the model of the step that was kept, on the images that it has not seen; the "
        "numbers at the top are the means. It was chosen by scores on these same images, so they "
        "lean to the good side a little."
    )
    links = ", ".join(
        link(f"{fold.path.name}/{fold.report.name}", fold.path.name)
        for fold in folds
        if fold.report.exists()
    )
    return table(head, rows, caption) + (f"<p>Pictures: {links}.</p>" if links else "")


def _curves(folds: list[RunFolder]) -> str:
    checks = [[r for r in fold.history() if r["kind"] == "validation"] for fold in folds]
    panels = [
        Panel(
            draw_folds(checks, key),
            "svg+xml",
            f"{NAMES[key][0].upper()}{NAMES[key][1:]} of validation images",
        )
        for key in ("loss", "object_error", "pixel_error")
        if key in checks[0][0]
    ][:2]
    return figure([("", panels)], 2, "One line a fold; the point is the model that was kept.")


def _model(run: RunFolder, model: Model) -> str:
    return paragraph(
        f"{run.best.name} predicts the mean of the {len(model.members)} models. Where they "
        "disagree the last map of NAME.probability.tif, uncertainty, is large; its mean is printed "
        "for each image: annotate those with the largest next."
    ) + facts(
        [
            ("Chosen on all images", describe_choices(model)),
            ("septum", model.provenance.get("septum", "?")),
            ("Data", model.provenance.get("data", "?")),
            *(
                (str(key).replace("_", " "), value)
                for key, value in model.provenance.get("machine", {}).items()
            ),
        ]
    )


def _commands(run: RunFolder, model: Model, count: int) -> str:
    folder = shlex.quote(str(run.path))
    data = shlex.quote(str(model.provenance.get("data", "DATA")))
    more = longer(model.recipe.training)
    lines = [
        "# segment images of any size: a file, a folder, or a pattern",
        f"septum predict {folder} IMAGES --out predictions",
        "# score these predictions, if you have labels for them",
        f"septum evaluate predictions LABELS --recipe {folder}/fold-0/recipe.toml",
        "# train all folds on, twice as long as planned",
        f"septum train {data} --out {folder} --folds {count} --resume {more}",
    ]
    if not run.path.is_absolute():
        lines.insert(0, f"cd {shlex.quote(str(Path.cwd()))}")
    return paragraph("Words in capitals are yours to fill in.") + code("\n".join(lines))
