"""Label values that are not guessed at: what is refused, in one line with what mends it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from septum.annotation.census import Census
from septum.annotation.colours import value_text
from septum.annotation.drawn_labels import read_shapes
from septum.annotation.geojson import count_regions
from septum.annotation.pair import Pair
from septum.errors import AnnotationError
from septum.recipe import Labels

WHITES = {1, 255}
"""How programs save the one object of a mask."""
MOST = 0.5
"""A value of a larger share of the pixels, in every image, is rather background than an object."""

INSTEAD = {
    "GeoJSON": "give such areas the class Ignore* in QuPath",
    "COCO": "give the annotations of such areas iscrowd 1",
    "ImageJ": "save the ROIs as a label image, in which such areas have a value of their own",
}
"""What is done in place of an ignored value, by the format of outlines."""


def refuse_empty(census: Census, one_value: bool) -> None:
    """Refuse labels in which nothing is drawn; ``one_value``: outlines need no second value."""
    if not census.images:
        raise AnnotationError("no label image; expected at least one")
    if not census.totals:
        raise AnnotationError(f"every pixel of all {census.images} label images is ignored")
    if len(census.totals) == 1 and not one_value:
        (value,) = census.totals
        where = census.first
        if census.images > 1:
            where = f"all {census.images} label images, from {census.first} on,"
        raise AnnotationError(
            f"every pixel of {where} has value {value_text(value)}: nothing is annotated; expected "
            "at least two values, be it in one of several images"
        )


def refuse_one_class(census: Census, section: Labels) -> None:
    """Refuse scribbles of one class: without 0, nothing is left to tell it from."""
    if section.unlabelled == "ignore":
        value = next((value for value in sorted(census.totals) if value), 0)
        raise AnnotationError(
            f"labels.unlabelled = 'ignore' leaves one class, value {value_text(value)}: nothing "
            "says what background looks like; draw some of it, too, as another value, or if these "
            "are objects set labels.kind=instances"
        )


def refuse_ignored_outlines(pairs: Sequence[Pair]) -> None:
    """Refuse values to be ignored (``labels.ignore``) where there are outlines alone."""
    remedies = [INSTEAD.get(pair.drawing.format) for pair in pairs if pair.drawing is not None]
    if len(remedies) == len(pairs) and all(remedies):
        raise AnnotationError(
            f"{pairs[0].labels}: outlines have no values, of which labels.ignore could name some; "
            f"expected what is unknown to be drawn: leave labels.ignore out, and {remedies[0]}"
        )


def refuse_regions_alone(pairs: Sequence[Pair]) -> None:
    """Refuse GeoJSON in which all areas are left out for their class, such as Region*."""
    drawings = [pair.drawing for pair in pairs if pair.drawing is not None]
    if not all(drawing.format == "GeoJSON" for drawing in drawings) or len(drawings) < len(pairs):
        return
    if any(read_shapes(drawing) for drawing in drawings):
        return
    counts = {file: count_regions(file) for drawing in drawings for file in drawing.files}
    found = [file for file, count in counts.items() if count]
    if found:
        raise AnnotationError(
            f"{_and_others(list(map(str, found)))}: all that is drawn ({sum(counts.values())}) is "
            "of classes that end in *, which in QuPath are no objects; expected another class: "
            "give it one in QuPath, and export it again"
        )


def refuse_jpeg(census: Census) -> None:
    """Refuse masks saved as JPEG, but for those of two values, which it may leave as they were."""
    found = {
        name: len(counts)
        for name, counts in census.files
        if Path(name).suffix.lower() in (".jpg", ".jpeg") and len(counts) > 2
    }
    if found:
        raise AnnotationError(
            f"{_and_others(sorted(found))}: up to {max(found.values())} values: JPEG changes "
            "the values of a mask; save the masks as PNG or TIFF, from the program that they were "
            "drawn in"
        )


def refuse_strays(census: Census, strays: set[int]) -> None:
    """Refuse values of too few pixels for a class, and those of smoothed edges."""
    found = census.where(strays)
    name, value, count = found[0]
    files = sorted({name for name, _, _ in found})
    kept = listed(map(value_text, sorted(set(census.totals) - strays)))
    if strays - census.strays():
        pixels = sum(census.totals[value] for value in strays)
        share = 100 * pixels / sum(census.totals.values())
        raise AnnotationError(
            f"{_and_others(files)}: {len(strays)} values, at {pixels} pixels "
            f"({share:.2g} %), are those of smoothed edges, between {kept}; save the masks without "
            "smoothing (antialiasing), or ignore these pixels: --set labels.strays=ignore (if they "
            "are classes: keep)"
        )
    more = f", as has {len(files) - 1} other file" if len(files) > 1 else ""
    more += "s" if len(files) > 2 else ""
    more += f" ({listed([file for file in files if file != name])})" if more else ""
    pixels = sum(count for _, _, count in found)
    raise AnnotationError(
        f"{name}: value {value_text(value)} at {count} pixels is a stray{more}; expected only "
        f"{kept}: mend the masks, or ignore the {pixels} pixels of strays: --set "
        "labels.strays=ignore"
    )


def refuse_two_whites(census: Census, values: Collection[int]) -> None:
    """Refuse masks of 0/1 beside masks of 0/255: one object saved in two ways, or two classes."""
    if set(values) != WHITES or any(counts.keys() >= WHITES for _, counts in census.files):
        return
    ones, whites = (sorted(name for name, _, _ in census.where({v})) for v in sorted(WHITES))
    raise AnnotationError(
        f"{_and_others(ones)}: the object is 1, but in {_and_others(whites)} it is 255; if it is "
        "the same object: --set labels.kind=binary (else: classes)"
    )


def refuse_numbered_background(census: Census) -> None:
    """Refuse numbered objects of which one is most of every image, where no pixel is 0."""
    pixels = sum(census.totals.values())
    value, count = census.totals.most_common(1)[0]
    if 0 in census.totals or count <= MOST * pixels or census.occurrences[value] < census.images:
        return
    raise AnnotationError(
        f"{census.first} and the other labels hold no 0, which is the background of numbered "
        f"objects, but {value_text(value)} at {100 * count / pixels:.0f} % of the pixels, in every "
        "file: number the background 0; if it is an object: --set labels.kind=instances"
    )


def refuse_grey_images(census: Census) -> None:
    """Refuse single files of many values in scattered pieces, where the others are labels."""
    found = census.scattered
    if not found or len(found) == census.images:
        return
    raise AnnotationError(
        f"{_and_others(found)}: many values in scattered pieces, unlike the other label files; is "
        "this the image instead of its labels, or were they swapped? Put the labels in its place"
    )


def listed(values: Iterable[object]) -> str:
    """Some of ``values``, and how many more there are."""
    texts = [str(value) for value in values]
    return ", ".join(texts[:10]) + (f" and {len(texts) - 10} more" if len(texts) > 10 else "")


def _and_others(files: Sequence[str]) -> str:
    others = len(files) - 1
    return files[0] + (f" and {others} other file{'s' * (others > 1)}" if others else "")
