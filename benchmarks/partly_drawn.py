"""Train on images in which only some of the nuclei were drawn, score images in which all are.

    python benchmarks/partly_drawn.py --drawn 0.3 --undrawn ignore             (or background)

As `septum train DATA --set labels.unlabelled=ignore` without a recipe on the images of
`python benchmarks/tutorials.py nuclei --images 30 --draw 0`, from whose labels so many of the
nuclei are taken away, drawn by a seed; images without any that is left are taken away, too, as
nobody would begin to draw in them. The scored images are those of that command.

Resumable: the same command goes on, and only scores a run that has ended. The result goes to
docs/results/partly-drawn-*.json (docs/decisions/0029 has the table).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import heads
from results import ROOT, print_tables, write_result
from septum.annotation.pairs import Pair
from septum.images.files import Image, read_image, write_image
from septum.model import load_model
from septum.training.loop import train
from septum.training.run_folder import RunFolder

IMAGES, DRAW = 30, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drawn", type=float, default=0.3, help="share of the nuclei")
    parser.add_argument("--undrawn", choices=("background", "ignore"), default="ignore")
    parser.add_argument("--run", type=Path, help="default: runs/ and the result's name")
    parser.add_argument("--set", action="append", default=[], dest="changes", help="for trials")
    parser.add_argument("--name", help="of the result of a trial")
    arguments = parser.parse_args()
    name = arguments.name or f"partly-drawn-{100 * arguments.drawn:.0f}-{arguments.undrawn}"
    run = RunFolder(arguments.run or ROOT / "runs" / name)
    learnt, scored = heads.split("dsb")
    pairs, counts = take_away(heads.draw(learnt, IMAGES, DRAW), arguments.drawn, run.path)
    if not run.last.exists():
        resume = run.holds_a_run()
        changes = [f"labels.unlabelled={arguments.undrawn}", *arguments.changes]
        data = heads.write_pairs(run.path.with_suffix(".csv"), pairs)
        train(data, run.path, None if resume else changes, resume=resume)
    about = load_model(run.best).provenance
    numbers = {
        "training_images": len(about["training_images"]),
        "validation_images": len(about["validation_images"]),
        "undrawn": arguments.undrawn,
        **counts,
        **heads.summarize(run, scored, "dsb"),
    }
    words = [f"python benchmarks/partly_drawn.py --drawn {arguments.drawn:g}"]
    words.append(f"--undrawn {arguments.undrawn}")
    words += [f"--set {change}" for change in arguments.changes]
    words += [f"--name {arguments.name}"] * (arguments.name is not None)
    write_result(name, numbers, " ".join(words))
    print_tables("partly-drawn")


def take_away(pairs: list[Pair], share: float, run: Path) -> tuple[list[Pair], dict[str, int]]:
    """The pairs with labels, written beside ``run``, that have this share of the objects."""
    folder, rng, kept = run.with_suffix(".labels"), np.random.default_rng(DRAW), []
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"drawn": 0, "there": 0}
    for pair in pairs:
        labels_YX = read_image(pair.labels, labels=True).array.astype(np.uint16)
        ids = np.unique(labels_YX)[1:]
        drawn = ids[rng.random(len(ids)) < share]
        counts["there"] += len(ids)
        counts["drawn"] += len(drawn)
        if len(drawn):
            path = folder / f"{pair.name}.tif"
            drawn_YX = np.where(np.isin(labels_YX, drawn), labels_YX, 0).astype(np.uint16)
            write_image(path, Image(drawn_YX, "YX"))
            kept.append(Pair(pair.name, pair.image, path))
    return kept, counts


if __name__ == "__main__":
    main()
