"""write_report(): one page about a run, complete in one file."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

from septum.atomic_file import replace_file
from septum.model import Model
from septum.recipe import Training, dump_recipe
from septum.report.contents import Contents, gather
from septum.report.figures import (
    show_curves,
    show_data,
    show_predictions,
    show_rates,
    show_weights,
)
from septum.report.markup import (
    cards,
    code,
    details,
    document,
    escape,
    facts,
    notice,
    paragraph,
    section,
    table,
)
from septum.report.numbers import MEASURES, NAMES, score_numbers
from septum.training.run_folder import RunFolder
from septum.training.tracking import format_duration


def write_report(run: RunFolder, data: Path | None = None) -> Path:
    """Write RUN/report.html, as a whole or not at all, and return its path.

    ``data`` None: the training data is looked for where the model says it was; without it the
    page says so and has no pictures. A run that is unfinished, or has no model yet, is reported
    as far as it has come. At most four validation images are predicted. Raises RunFolderError (no
    run there), InputError (``data`` is named and cannot be read, or nobody knows where it is),
    ModelFileError, SaveError.
    """
    contents = gather(run, data)
    parts = [
        _headline(contents),
        notice(contents.notes),
        _score_cards(contents.best),
        section("Scores on the validation images", _score_tables(contents)),
        section("Figure 1: what it was trained on", show_data(contents) or _no_data()),
        section("Figure 2: how training went", show_curves(contents)),
        section(
            "Figure 3: what the model says about validation images",
            show_predictions(contents) or _no_predictions(contents),
        ),
        section("Figure 4: what counts most", show_weights(contents) or _no_data()),
        section("Recipe", _recipe(contents)),
        section("Model and machine", _machine(contents)),
        section("How to go on", _commands(contents)),
    ]
    title = f"{contents.recipe.name} · {run.path.resolve().name} · septum"
    with replace_file(run.report) as temporary:
        temporary.write_text(document(title, "".join(parts)), "utf-8")
    return run.report


def _headline(contents: Contents) -> str:
    data, model = contents.data, contents.model
    names = model.provenance.get("training_images") if model is not None else None
    count = len(names) if names else len(data.training) if data else None
    images = f"{count} annotated image{'s' if count != 1 else ''}" if count else "annotated images"
    where = f" of {contents.data_path.name}" if contents.data_path is not None else ""
    lines = [
        '<p class="over">Training report · septum</p>',
        f"<h1>Recipe {escape(contents.recipe.name)}, trained on {escape(images + where)}</h1>",
    ]
    words = []
    if data is not None:
        extents = sorted({item.extents for item in data.training})
        size = " × ".join(map(str, extents[0])) + (" and other sizes" if len(extents) > 1 else "")
        channels = "grey" if data.channels == 1 else f"{data.channels} channels"
        held = len(data.validation)
        words.append(
            f"Images of {size} pixels, {channels}; {held} more kept from training to validate on."
        )
    if contents.history:
        last = contents.history[-1]
        stamp = contents.run.history_file.stat().st_mtime
        day = time.strftime("%d %B %Y, %H:%M", time.localtime(stamp)).lstrip("0")
        words.append(
            f"{last['step']} steps ({last['epoch']:.1f} epochs) in "
            f"{format_duration(last.get('seconds', 0))}; last step on {day}."
        )
    if words:
        lines.append(paragraph(" ".join(words), "lead"))
    meaning = model.meaning if model is not None else data.meaning if data is not None else None
    if meaning is not None:
        lines.append(paragraph(f"The labels were taken for {meaning.describe()}.", "soft"))
    return f"<header>{''.join(lines)}</header>"


def _score_cards(best: dict[str, Any] | None) -> str:
    return cards(score_numbers(best)) if best is not None else ""


def _score_tables(contents: Contents) -> str:
    best = contents.best
    if best is None:
        return paragraph("There was no validation yet, so there are no scores.")
    count = len(contents.validations)
    shown = [name for name in MEASURES if name in best]
    parts = [
        table(
            ["measure", "value", "meaning"],
            [(NAMES[name], best[name], MEASURES[name]) for name in shown],
            f"Mean over the validation images, at step {best['step']}, whose model was kept.",
        ),
        paragraph(
            f"This model was chosen by {count} validations on these same images, and "
            "its Rand error is that at the best threshold for them, so the numbers lean to the "
            "good side. Images that nobody has looked at judge better: see How to go on."
            if count > 1
            else "Images that nobody has looked at judge a model best: see How to go on.",
            "soft",
        ),
    ]
    if contents.examined and contents.model is not None:
        parts.append(_image_table(contents, contents.model))
    return "".join(parts)


def _image_table(contents: Contents, model: Model) -> str:
    examined = contents.examined
    names = [name for name in NAMES if name in examined[0].own]
    head, rows = ["image", *(NAMES[name] for name in names)], []
    if model.classes == 2:
        head.insert(1, "threshold")
    for item in examined:
        for threshold, scores in ((f"{model.threshold:g}", item.own), ("0.5", item.half)):
            cells: list[object] = [item.target.name, *(scores[name] for name in names)]
            if model.classes == 2:
                cells.insert(1, threshold)
            rows.append(cells)
            if scores == item.half:
                break
    total = len(contents.data.validation) if contents.data is not None else len(examined)
    which = "" if total == len(examined) else f" ({len(examined)} of {total})"
    caption = (
        f"Image by image{which}, that with the lowest IoU first, predicted for this page and "
        "scored as septum evaluate does"
    )
    if model.classes == 2:
        caption += ": the mask at the model's threshold, and at 0.5"
    if model.meaning.seams and model.meaning.kind == "instances":
        caption += "; where objects touch they are object here, and background above, as learnt"
    return table(head, rows, caption + ".")


def _recipe(contents: Contents) -> str:
    text = dump_recipe(contents.recipe)
    return show_rates(contents) + details(
        "The complete recipe, ready to be trained with", code(text)
    )


def _machine(contents: Contents) -> str:
    model = contents.model
    if model is None:
        return paragraph("The machine is noted in the model, and there is no model yet.")
    provenance = model.provenance
    machine = provenance.get("machine", {})
    entries: list[tuple[str, object]] = [("Threshold", _threshold(contents))]
    entries.append(("Kept model", f"step {provenance.get('step', '?')}, {contents.run.best.name}"))
    if model.pixel_size:
        entries.append(("Pixel size", " × ".join(f"{s:g}" for s in model.pixel_size) + " µm"))
    entries.append(("septum", provenance.get("septum", "?")))
    entries += [(str(key).replace("_", " "), value) for key, value in machine.items()]
    if contents.data_path is not None:
        entries.append(("Data", contents.data_path))
    return facts(entries)


def _threshold(contents: Contents) -> str:
    model = contents.model
    assert model is not None
    if model.classes != 2:
        return "none: each pixel gets its likeliest class"
    words = f"{model.threshold:g}: a pixel is object if its probability is above this"
    if model.maps == "overlapping" or contents.recipe.training.threshold == "half":
        return words
    if not contents.finished:
        return words + "; a better one is looked for when the run ends"
    wish, kind = contents.recipe.training.threshold, model.meaning.kind
    if wish == "objects" or (wish == "auto" and kind == "instances"):
        of = "core" if model.maps == "core" else "probability"
        seeds = (
            "no seeds" if model.seeds is None else f"seeds where the {of} is above {model.seeds:g}"
        )
        holes = f", holes of up to {model.fill} pixels filled," if model.fill else ""
        return (
            f"{words}; with {seeds} and objects of {model.minimum} pixels or more{holes} it gives "
            "the best objects in validation images, of those tried"
        )
    return words + "; of those tried, the one with the smallest Rand error on training images"


def _commands(contents: Contents) -> str:
    run = shlex.quote(str(contents.run.path))
    data = shlex.quote(str(contents.data_path)) if contents.data_path is not None else "DATA"
    lines = []
    relative = [p for p in (contents.run.path, contents.data_path) if p and not p.is_absolute()]
    if relative:
        lines.append(f"cd {shlex.quote(str(Path.cwd()))}")
    if contents.model is not None:
        lines += [
            "# segment images of any size: a file, a folder, or a pattern",
            f"septum predict {run} IMAGES --out predictions",
            "# score these predictions, if you have labels for them",
            f"septum evaluate predictions LABELS --recipe {run}/recipe.toml",
        ]
    if not contents.finished:
        lines += ["# go on where this run stopped", f"septum train {data} --out {run} --resume"]
    else:
        assert contents.planned is not None
        early = contents.history[-1]["step"] < contents.planned
        lines += [
            "# train on, longer than so far",
            f"septum train {data} --out {run} --resume {longer(contents.recipe.training, early)}",
        ]
    return paragraph("Words in capitals are yours to fill in.") + code("\n".join(lines))


def longer(training: Training, ended_early: bool = False) -> str:
    """What to say for a run that has ended to go on: more steps, and no end before them."""
    wanted = []
    if not ended_early and training.steps:
        wanted.append(f"--set training.steps={2 * training.steps}")
    elif not ended_early:
        wanted.append(f"--set training.epochs={2 * training.epochs}")
    if training.patience:  # else it may end before the first of these steps
        wanted.append("--set training.patience=0")
    return " ".join(wanted)


def _no_data() -> str:
    return paragraph("Left out: the training data is not at hand.")


def _no_predictions(contents: Contents) -> str:
    if contents.model is None:
        return paragraph("There is no model yet that could predict.")
    return paragraph("Left out: the images are not at hand, or none could be predicted.")
