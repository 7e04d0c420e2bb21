"""What the values of label images mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from septum.annotation.census import Census, Labelled, take_census
from septum.annotation.colours import parse_colour, value_text
from septum.annotation.meaning import (
    DRAWN_IGNORED,
    IGNORE,
    UNDRAWN,
    Declared,
    Kind,
    LabelMeaning,
)
from septum.annotation.refusals import (
    listed,
    refuse_empty,
    refuse_grey_images,
    refuse_jpeg,
    refuse_numbered_background,
    refuse_one_class,
    refuse_strays,
    refuse_two_whites,
)
from septum.annotation.targets import to_target
from septum.errors import AnnotationError
from septum.recipe import Labels

__all__ = ["IGNORE", "UNDRAWN", "LabelMeaning", "find_meaning", "to_target"]

MOST_CLASSES = 254
FEW_CLASSES = 3
MANY_VALUES = 20
ONE_PIECE = 0.9


def find_meaning(
    labels: Iterable[tuple[str, Labelled]], section: Labels, declared: Declared | None = None
) -> LabelMeaning:
    """Find what the values of all label images (name, integers), seen together, mean.

    ``declared`` is what the files say themselves. Else, with ``kind="auto"``, values being counted
    without the ignored ones and without strays:

    1. two values, one of them 0, or ``object`` is set: binary; two values without 0: classes.
    2. more than 20 values besides 0: instances, if half of the objects at least are one piece.
    3. up to 3 values besides 0: classes.
    4. 4 to 20: instances, if nine objects in ten are one piece and there is one image only or not
       all images have the same values; else classes.

    A stray value is in fewer than 10 % of the images and of fewer than 0.1 % of the pixels, all
    strays together being below 1 % of what is not 0; or it is one of smoothed edges
    (`Census.in_between`). Strays of classes are refused, or ignored, as ``strays`` says. With
    ``unlabelled="ignore"`` value 0 is ignored, of instances and of classes. Raises AnnotationError:
    strays, nothing annotated, an ``object`` value that never occurs, more than 254 classes, values
    that are neither classes nor objects, not as many names as classes.
    """
    ignore = ignored_values(section)
    if section.kind == "overlapping":
        return _overlapping(take_census(labels, (IGNORE,), pieces=False), section, declared, ignore)
    if declared is not None:
        ignore = (*ignore, DRAWN_IGNORED)
    census = take_census(labels, ignore, pieces=section.kind == "auto" and declared is None)
    kind: Kind | Literal["auto"] = section.kind
    if kind == "auto" and declared is not None:
        kind = declared.kind
    refuse_empty(census, one_value=declared is not None and bool(declared.names))
    strays = set[int]()
    if declared is None and section.strays == "refuse":
        refuse_jpeg(census)
    if declared is None and section.strays != "keep":
        strays = census.strays() | census.in_between()
    if kind == "auto":
        refuse_grey_images(census)
        kind = _guess(census, section, strays)
    known: tuple[int, ...] = ()
    stray_pixels = 0
    if kind == "classes" and strays and section.strays == "refuse":
        refuse_strays(census, strays)
    if kind != "instances" and strays and section.strays == "ignore":
        stray_pixels = sum(census.totals[value] for value in strays)
        census = census.without(strays)
        known = tuple(sorted(census.totals))
        if section.kind == "auto" and len(known) == 2 and 0 in known:
            kind = "binary"
    if section.unlabelled == "ignore" and kind == "classes" and 0 in census.totals:
        ignore, census = (*ignore, 0), census.without({0})
    if kind == "binary":
        refuse_one_class(census, section)
        found = _binary(census, section)
    elif kind == "classes":
        found = _classes(census, declared, ignore)
    else:
        found = _instances(census, section)
    found = replace(found, ignore=ignore, known_values=known, stray_pixels=stray_pixels)
    return _named(found, section.names) if section.names else found


def _named(meaning: LabelMeaning, names: tuple[str, ...]) -> LabelMeaning:
    if meaning.class_names:
        raise AnnotationError(
            f"labels.names = {list(names)}, but what is drawn has names: "
            f"{listed(meaning.class_names)}; leave it out"
        )
    if len(names) != meaning.class_count:
        raise AnnotationError(
            f"labels.names has {len(names)} names for {meaning.class_count} classes "
            f"({meaning.describe()}); name all of them, the background first"
        )
    return replace(meaning, class_names=names)


def ignored_values(section: Labels) -> tuple[int, ...]:
    """The label values of ``labels.ignore``."""
    given = section.ignore
    values = () if given is None else given if isinstance(given, tuple) else (given,)
    return tuple(parse_colour(value) if isinstance(value, str) else value for value in values)


def _object_number(wanted: str | int) -> int:
    """The label value that ``labels.object`` names; 0 for ``zero`` and ``nonzero``."""
    if isinstance(wanted, int):
        return wanted
    return parse_colour(wanted) if wanted.startswith("#") else 0


def _guess(census: Census, section: Labels, strays: set[int]) -> Kind:
    values = set(census.totals)
    if section.object != "nonzero":
        return "binary"
    if len(values) == 2:
        return "binary" if 0 in values else "classes"
    main = values - strays - {0}
    share = census.one_piece_share(main)
    if len(main) > MANY_VALUES:
        if share >= 0.5:
            refuse_numbered_background(census)
            return "instances"
        raise AnnotationError(
            f"{census.first} and the other labels hold {len(main)} values in scattered pieces, "
            "neither classes nor objects; is this a grey image, or a mask saved as JPEG? Save "
            "masks as PNG or TIFF, or set labels.kind"
        )
    if len(main) <= FEW_CLASSES or share < ONE_PIECE:
        refuse_two_whites(census, main)
        return "classes"
    if census.images > 1 and census.same_values(main):
        return "classes"
    refuse_numbered_background(census)
    return "instances"


def _binary(census: Census, section: Labels) -> LabelMeaning:
    wanted = section.object
    number = _object_number(wanted)
    if number not in census.totals:
        if wanted == "nonzero":
            problem = "no pixel is 0, so that every pixel would be object"
        else:
            problem = f"labels.object = {wanted!r}: value {value_text(number)} never occurs"
        values = listed(map(value_text, sorted(census.totals)))
        raise AnnotationError(
            f"{problem}; the labels hold {values}: set labels.object to one of these"
        )
    rest = [value for value in census.totals if value != number]
    common = max(rest, key=lambda value: (census.totals[value], -value))
    share = census.totals[number] / sum(census.totals.values())
    if wanted == "nonzero":
        inside, shares, class_values = sorted(rest), (share, 1 - share), (0, common)
    else:
        inside, shares, class_values = [number], (1 - share, share), (common, number)
    return LabelMeaning(
        kind="binary",
        class_values=class_values,
        object="zero" if wanted == "zero" else "nonzero" if wanted == "nonzero" else number,
        object_values=tuple(inside),
        shares=shares,
        images=census.images,
    )


def _classes(census: Census, declared: Declared | None, ignore: tuple[int, ...]) -> LabelMeaning:
    values, names = tuple(sorted(census.totals)), tuple[str, ...]()
    if declared is not None and declared.names:
        # Classes that no pixel of these images shows are classes still.
        named = {value: name for value, name in declared.names if value not in ignore}
        values, names = tuple(sorted(named)), tuple(named[value] for value in sorted(named))
    if len(values) > MOST_CLASSES:
        raise AnnotationError(
            f"{len(values)} classes are more than {MOST_CLASSES}; are these objects? Then set "
            "labels.kind=instances"
        )
    if len(values) < 2:
        shown = names or tuple(map(value_text, values))
        raise AnnotationError(
            f"the labels hold one class, {listed(shown)}, and nothing else; expected two at "
            "least: draw what it is to be told from, too"
        )
    pixels = sum(census.totals.values())
    return LabelMeaning(
        kind="classes",
        class_values=values,
        class_names=names,
        shares=tuple(census.totals[value] / pixels for value in values),
        images=census.images,
    )


def _overlapping(
    census: Census, section: Labels, declared: Declared | None, ignore: tuple[int, ...]
) -> LabelMeaning:
    assert declared is not None, "overlapping classes have names"
    refuse_empty(census, one_value=False)
    own = tuple(name for value, name in declared.names if value)
    names = section.names or own
    if len(names) != len(own):
        raise AnnotationError(
            f"labels.names has {len(names)} names for {len(own)} masks; name each, in the order "
            f"{listed(own)}"
        )
    if section.unlabelled == "ignore":
        raise AnnotationError(
            "labels.unlabelled = 'ignore': a pixel that is in no mask of overlapping classes is "
            "background; draw what is unknown as a value of its own, and set labels.ignore"
        )
    inside = [
        sum(count for bits, count in census.totals.items() if bits >> number & 1)
        for number in range(len(own))
    ]
    if 0 in inside:
        raise AnnotationError(
            f"{names[inside.index(0)]}: this mask is empty in all {census.images} label images, "
            "from which nothing can be learnt of it; leave it out"
        )
    pixels = sum(census.totals.values())
    return LabelMeaning(
        kind="overlapping",
        class_values=(0, *(1 << number for number in range(len(own)))),
        ignore=ignore,
        class_names=("background", *names),
        shares=(census.totals[0] / pixels, *(count / pixels for count in inside)),
        images=census.images,
    )


def _instances(census: Census, section: Labels) -> LabelMeaning:
    if min(census.totals) < 0:
        name, value, count = census.where({min(census.totals)})[0]
        raise AnnotationError(
            f"{name}: value {value} at {count} pixels; ids of objects are above 0: set "
            f"labels.ignore={value} or number them anew"
        )
    share = 1 - census.totals.get(0, 0) / sum(census.totals.values())
    return LabelMeaning(
        kind="instances",
        class_values=(0, 1),
        unlabelled_ignored=section.unlabelled == "ignore",
        shares=(1 - share, share),
        images=census.images,
        objects=census.entries - census.occurrences.get(0, 0),
    )
