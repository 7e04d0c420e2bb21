"""What is wrong with a set as a whole: images that do not go together."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from septum.annotation.colours import value_text
from septum.annotation.pair_tables import pairs_of_table
from septum.annotation.pairs import split_validation
from septum.errors import AnnotationError, SeptumError
from septum.recipe import Validation
from septum.survey.placement import find_misplaced
from septum.survey.polarity import find_inverted
from septum.survey.seen import Seen, explain
from septum.survey.survey import Duplicates, ImageFacts, Problem, Survey, in_micrometres, some

SATURATED = {"grey": 0.05, "colour": 0.4}
"""Share of grey values at the top from which an image counts as saturated; a bright field is often
white, and has three channels."""
FAINT = 0.05
"""Contrast of a nearly empty image, in that of the set's median image."""
EQUAL_SIZES = 1.1
"""Pixel sizes that differ by less are the same, measured twice."""
FEW_CLASSES = 5


def find_problems(survey: Survey, seen: Sequence[Seen]) -> Survey:
    """The survey with everything found that is wrong, in a fixed order."""
    found = [
        *survey.problems,
        *_nothing(survey),
        *_channels(survey, seen),
        *_types(survey),
        *_pixel_sizes(survey),
        *_grey_values(survey, seen),
        *find_inverted(survey, seen),
        *find_misplaced(survey.data, seen),
        *_doubles(survey.duplicates, survey),
        *_labels(survey),
        *_tables(survey),
    ]
    order = {"error": 0, "warning": 1, "note": 2}
    return dataclasses.replace(
        survey, problems=tuple(sorted(found, key=lambda problem: order[problem.level]))
    )


def split_problems(survey: Survey, section: Validation) -> list[Problem]:
    """What is wrong with a split: none can be made, or one side knows the other.

    Copies on both sides are a leak. Neighbours of one stack are not the same image, but much like
    it: that is said as what it is.
    """
    if not survey.images:
        return []
    names = list(survey.wholes)
    try:
        training, held = split_validation(names, section)
    except AnnotationError as error:
        return [dataclasses.replace(explain(error), kind="split")]
    if training == held:  # how a single image is divided is said by the recipe's advice
        return []
    found = []
    chosen = {names[index] for index in held}
    validation = {image.name for image in survey.images if image.whole in chosen}
    files = {image.name: image.image for image in survey.images}
    kept = [image for image in survey.images if image.name in validation]
    if survey.meaning is not None and all(image.empty for image in kept):
        text = (
            f"no object in validation image {some([image.name for image in kept])}: the best "
            "model and its threshold are chosen by what has none"
        )
        remedy = "name images that have some: --set 'validation.names=[\"NAME\"]'"
        if section.folds:
            remedy = "fewer folds have more images each"
        found.append(_of(kept, "validation", "warning", text, remedy))
    for group in survey.duplicates:
        inside = [name for name in group.names if name in validation]
        outside = [name for name in group.names if name not in validation]
        if inside and outside:
            text = (
                f"validation image {some(inside)} is {_like(group)} training image "
                f"{some(outside)}: scores there say nothing of new images"
            )
            remedy = "take the copies away"
            if not section.folds:
                remedy += ", or keep them together by validation.names"
            found.append(
                Problem("leak", "warning", tuple(files[n] for n in group.names), text, remedy)
            )
    for row in survey.series:
        parted = sum(
            (one in validation) != (other in validation)
            for one, other in zip(row.names[:-1], row.names[1:], strict=True)
        )
        if parted:
            text = (
                f"{row.stack}: neighbours in a series of {len(row.names)} are on both sides of the "
                f"split, at {parted} place{'s' * (parted > 1)} (they correlate by "
                f"{row.correlation:.2f}); no leak, but scores flatter a little"
            )
            remedy = "a model for other series is best judged by another series"
            if parted > 1 and not section.folds:
                remedy += ", this one by a block at its end: validation.last=N"
            found.append(Problem("neighbours", "note", (row.stack,), text, remedy))
    return found


def _nothing(survey: Survey) -> Iterator[Problem]:
    if not survey.images and not survey.problems:
        text = f"{survey.data}: no annotated image"
        yield Problem("empty", "error", (survey.data,), text, "add images with labels")


def _channels(survey: Survey, seen: Sequence[Seen]) -> Iterator[Problem]:
    counts = {1 if item.grey else item.channels for item in seen}
    if len({item.channels for item in seen}) > 1:
        if len(counts) > 1:
            odd, usual = _odd_ones(survey.images, lambda image: image.channels)
            text = (
                f"{some([i.image for i in odd])}: {odd[0].channels} channels, where most images "
                f"have {usual}; expected the same number in all"
            )
            yield _of(odd, "channels", "error", text, "convert them, or take them away")
        return
    if seen and counts == {1} and seen[0].channels == 3:
        text = "all images are grey, but stored in three equal channels"
        yield Problem("channels", "note", (), text, "nothing need be done; grey files are smaller")


def _types(survey: Survey) -> Iterator[Problem]:
    odd, usual = _odd_ones(survey.images, lambda image: image.dtype)
    if odd:
        text = (
            f"{some([i.image for i in odd])}: grey values of type {odd[0].dtype}, where most "
            f"images have {usual}: the same brightness is another number there"
        )
        yield _of(odd, "types", "warning", text, "save all images in the same type")


def _pixel_sizes(survey: Survey) -> Iterator[Problem]:
    known = [(image, image.pixel_size) for image in survey.images if image.pixel_size is not None]
    if not known:
        return
    counts = Counter(size for _, size in known)
    usual = max(sorted(counts), key=lambda size: counts[size])
    odd = [
        (image, size)
        for image, size in known
        if max(max(a / b, b / a) for a, b in zip(size, usual, strict=True)) > EQUAL_SIZES
    ]
    if odd:
        images = [image for image, _ in odd]
        sizes = f"pixels of {in_micrometres(odd[0][1])}, where most have {in_micrometres(usual)}"
        text = f"{some([i.image for i in images])}: {sizes}: objects are of another size there"
        remedy = "rescale them, or train a model for each"
        yield _of(images, "pixel sizes", "warning", text, remedy)
    unknown = [image for image in survey.images if image.pixel_size is None]
    if unknown:
        text = f"{len(unknown)} of {len(survey.images)} images do not say their pixel size"
        yield _of(unknown, "pixel sizes", "note", text, "save them with it")


def _grey_values(survey: Survey, seen: Sequence[Seen]) -> Iterator[Problem]:
    contrasts = {image.name: image.high - image.low for image in survey.images}
    usual = float(np.median(list(contrasts.values()))) if contrasts else 0.0
    groups: dict[str, list[ImageFacts]] = {
        name: [] for name in ("constant", "mask", "faint", "saturated")
    }
    for image, item in zip(survey.images, seen, strict=True):
        limit = SATURATED["grey" if image.channels != 3 else "colour"]
        if contrasts[image.name] == 0 and image.low == image.high:
            groups["constant"].append(image)
        elif np.unique(item.samples).size == 2:
            groups["mask"].append(image)
        elif contrasts[image.name] < FAINT * usual:
            groups["faint"].append(image)
        elif image.saturated > limit:
            groups["saturated"].append(image)
    away = "take them away, or image them again"
    words = {
        "constant": ("the same grey value everywhere", away),
        "mask": (
            "two grey values and no more, as a mask has",
            "were image and labels swapped? Put the image there",
        ),
        "faint": (
            f"nearly empty: less than {FAINT:.0%} of the usual contrast",
            "take them away, unless there is really nothing in them",
        ),
        "saturated": ("saturated: the brightest value at {} of the pixels", away),
    }
    parts = Counter(image.image for image in survey.images)
    blank = Counter(image.image for image in groups["constant"])
    partly = {file: count for file, count in blank.items() if count < parts[file]}
    groups["constant"] = [i for i in groups["constant"] if i.image not in partly]
    for file, count in partly.items():
        text = f"{file}: the same grey value everywhere in {count} of {parts[file]} parts of it"
        remedy = "nothing need be done, if there is nothing in them"
        yield Problem("constant", "note", (file,), text, remedy)
    for kind, group in groups.items():
        if group:
            text, remedy = words[kind]
            most = max(image.saturated for image in group)
            text = f"{some([i.image for i in group])}: {text.format(f'up to {most:.0%}')}"
            yield _of(group, kind, "warning", text, remedy)


def _doubles(groups: Iterable[Duplicates], survey: Survey) -> Iterator[Problem]:
    files = {image.name: image.image for image in survey.images}
    for group in groups:
        paths = tuple(files[name] for name in group.names)
        text = f"{paths[0]} is {_like(group)} {some(paths[1:])}: it counts several times"
        yield Problem("duplicates", "warning", paths, text, "keep one of them")


def _labels(survey: Survey) -> Iterator[Problem]:
    meaning = survey.meaning
    if meaning is None:
        return
    if meaning.kind == "binary" and len(meaning.object_values) > 1:
        text = f"binary labels with the values {some(list(map(value_text, meaning.object_values)))}"
        yield Problem("values", "note", (), text, "if they are objects, labels.kind=instances")
    guessed = meaning.kind == "classes" and not meaning.class_names
    if guessed and meaning.class_count > FEW_CLASSES:
        text = f"{meaning.class_count} classes, since the label images share their values"
        yield Problem("values", "note", (), text, "if they are objects, labels.kind=instances")
    gold = [image for image in survey.images if "_GT/SEG" in image.labels.replace("\\", "/")]
    if gold and not meaning.unlabelled_ignored:
        text = "the challenge's gold truth: cells that are missing in it count as background"
        remedy = "if so, --set labels.unlabelled=ignore, or train on the silver truth (…_ST)"
        yield _of(gold, "partial", "note", text, remedy)


def _tables(survey: Survey) -> Iterator[Problem]:
    """Tables of images and labels that lie beside what was read, and say something else."""
    folder = Path(survey.data)
    known = {(Path(i.image).resolve(), Path(i.labels).resolve()) for i in survey.images}
    for path in sorted(folder.glob("*.csv")) if folder.is_dir() else ():
        try:
            pairs = pairs_of_table(path)
        except SeptumError:
            continue  # measurements, perhaps
        other = [p for p in pairs if (p.image.resolve(), p.labels.resolve()) not in known]
        if other:
            text = (
                f"{path}: was not read, and has pairs of image and labels that the folders have "
                f"not, as {other[0].image.name} with {other[0].labels.name}"
            )
            remedy = f"to train on the pairs of the table: give {path} as DATA"
            yield Problem("table", "warning", (str(path),), text, remedy)


def _odd_ones(images: Sequence[ImageFacts], key: object) -> tuple[list[ImageFacts], object]:
    """The images that differ from most in a value, and the value that most have."""
    assert callable(key)
    if not images:
        return [], None
    counts = Counter(key(image) for image in images)
    usual = max(sorted(counts, key=str), key=lambda value: counts[value])
    return [image for image in images if key(image) != usual], usual


def _of(images: Sequence[ImageFacts], kind: str, level: str, text: str, remedy: str) -> Problem:
    assert level in ("error", "warning", "note")
    return Problem(kind, level, tuple(dict.fromkeys(i.image for i in images)), text, remedy)  # type: ignore[arg-type]


def _like(group: Duplicates) -> str:
    return "the same as" if group.same else "nearly the same as (but for brightness or noise)"
