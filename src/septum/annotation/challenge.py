"""The layout of the Cell Tracking Challenge: frames, and folders of gold and silver truth."""

from __future__ import annotations

import re
from pathlib import Path

from septum.annotation.matching import named, stem
from septum.annotation.pair import Pair
from septum.errors import AnnotationError
from septum.images.files import image_files

_TRUTH = re.compile(r"(\d+)_(GT|ST)")
_PLANE = re.compile(r"man_seg_?\d+_\d+")


def pairs_of_challenge(data: Path) -> list[Pair]:
    """The annotated frames of ``data``, an absolute path; none if it is no challenge's folder.

    Gold truth if there is any, else silver; the path of one of these folders picks that truth.
    Raises AnnotationError for truth without labels, without their frames, or of single planes.
    """
    folder = data.parent if data.name == "SEG" else data
    given = _TRUTH.fullmatch(folder.name)
    if given:
        return _sequence(folder.parent / given[1], folder) if (folder / "SEG").is_dir() else []
    siblings = folder.parent if folder.name.isdecimal() else folder
    found: dict[str, dict[str, Path]] = {}
    for item in siblings.iterdir():
        match = _TRUTH.fullmatch(item.name)
        if match and (item / "SEG").is_dir() and folder.name in (match[1], siblings.name):
            found.setdefault(match[1], {})[match[2]] = item
    pairs = []
    for number, truths in sorted(found.items()):
        gold = truths.get("GT")
        if gold is None or ("ST" in truths and not _labels(gold)):
            gold = truths["ST"]
        sequence = _sequence(siblings / number, gold)
        prefix = f"{number}/" if len(found) > 1 else ""
        pairs += [Pair(prefix + pair.name, pair.image, pair.labels) for pair in sequence]
    return pairs


def _sequence(frames: Path, truth: Path) -> list[Pair]:
    images = _frames(frames, "t") if frames.is_dir() else {}
    labels = _labels(truth)
    if not labels:
        raise AnnotationError(f"{truth / 'SEG'}: no labels; expected man_seg000.tif and so on")
    alone = [path for number, path in labels.items() if number not in images]
    if alone:
        raise AnnotationError(f"{named(alone)} without an image; expected t000.tif … in {frames}")
    return [Pair(stem(images[n]), images[n], labels[n]) for n in sorted(labels)]


def _labels(truth: Path) -> dict[int, Path]:
    """The label file of each frame. Raises AnnotationError for those of single planes."""
    planes = [path for path in image_files(truth / "SEG") if _PLANE.fullmatch(path.stem)]
    if planes:
        silver = truth.with_name(truth.name.replace("GT", "ST"))
        other = silver != truth and (silver / "SEG").is_dir()
        raise AnnotationError(
            f"{named(planes)} of single planes of volumes, which septum evaluate reads ({truth}), "
            "but nothing is learnt from; expected whole frames (man_seg000.tif): move the planes "
            f"elsewhere{f', or learn from silver truth: septum train {silver}' * other}"
        )
    return _frames(truth / "SEG", "man_seg")


def _frames(folder: Path, prefix: str) -> dict[int, Path]:
    pattern = re.compile(re.escape(prefix) + r"(\d+)")
    matches = ((pattern.fullmatch(path.stem), path) for path in image_files(folder))
    return {int(match[1]): path for match, path in matches if match}
