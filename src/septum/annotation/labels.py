"""What the values of label images mean, and the targets that a network learns from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from septum.annotation.census import Census, take_census
from septum.annotation.meaning import IGNORE, Kind, LabelMeaning
from septum.errors import AnnotationError
from septum.recipe import Labels

__all__ = ["IGNORE", "LabelMeaning", "find_meaning", "to_target"]

MOST_CLASSES = 254
FEW_CLASSES = 3
MANY_VALUES = 20
ONE_PIECE = 0.9


def find_meaning(
    labels: Iterable[tuple[str, np.ndarray]], section: Labels, masks: tuple[str, ...] = ()
) -> LabelMeaning:
    """Find what the values of all label images (name, integer array), seen together, mean.

    ``masks``: the names of overlapping classes, whose label images are bytes of bits.

    With ``kind="auto"``, values being counted without the ignored one and without strays:

    1. two values, one of them 0, or ``object`` is set: binary; two values without 0: classes.
    2. more than 20 values besides 0: instances, if half of the objects at least are one piece.
    3. up to 3 values besides 0: classes.
    4. 4 to 20: instances, if nine objects in ten are one piece and there is one image only or not
       all images have the same values; else classes.

    A stray value is in fewer than 10 % of the images and of fewer than 0.1 % of the pixels, all
    strays together being below 1 % of what is not 0. Classes with strays are refused. Raises
    AnnotationError: strays, nothing annotated, an ``object`` value that never occurs, more than
    254 classes, values that are neither classes nor objects, not as many names as classes.
    """
    ignore = IGNORE if section.kind == "overlapping" else section.ignore
    census = take_census(labels, ignore, pieces=section.kind == "auto")
    _refuse_empty(census)
    kind = section.kind if section.kind != "auto" else _guess(census, section)
    if section.unlabelled == "ignore" and kind != "instances":
        raise AnnotationError(
            f"labels.unlabelled = 'ignore' is for instance labels, but these are {kind}; set "
            "labels.ignore=0 to ignore value 0"
        )
    if kind == "overlapping":
        return _overlapping(census, section, masks)
    if kind == "binary":
        meaning = _binary(census, section)
    elif kind == "classes":
        meaning = _classes(census, section)
    else:
        meaning = _instances(census, section)
    if len(section.names) not in (0, meaning.class_count):
        raise AnnotationError(
            f"labels.names has {len(section.names)} names for {meaning.class_count} classes "
            f"({meaning.describe()}); name all of them, the background first"
        )
    return replace(meaning, names=section.names)


def to_target(
    labels_S: np.ndarray, meaning: LabelMeaning, name: str = "labels"
) -> tuple[np.ndarray, np.ndarray]:
    """Class map (uint8: 0, 1, …, IGNORE) and instance map (int32: 0 is none), in 2D or 3D.

    Instances are, for instance labels, their ids, of which every pixel with a face neighbour of
    another id has become background in both maps: the separation border that the network is to
    learn (Ronneberger et al. 2015, section 3, by morphological operations); not so if the meaning
    is without ``seams``. For binary labels and classes they are the pieces, by face neighbours, of
    each class but 0. Of overlapping classes the class map holds bits, bit k − 1 for class k, and
    the instances are the pieces of what is in any. Raises AnnotationError with the value and its
    number for a value that ``meaning`` does not know.
    """
    ignored = labels_S == meaning.ignore if meaning.ignore is not None else None
    if meaning.kind == "overlapping":
        bits_S = labels_S.astype(np.uint8)
        return bits_S, _pieces(((bits_S != 0) & (bits_S != IGNORE)).astype(np.uint8))
    if meaning.kind == "instances":
        instances_S = labels_S.astype(np.int32)
        if ignored is not None:
            instances_S[ignored] = 0
        if meaning.seams:
            instances_S[_touching(instances_S)] = 0
        classes_S = (instances_S != 0).astype(np.uint8)
        if meaning.unlabelled_ignored:
            classes_S[labels_S == 0] = IGNORE
    else:
        if meaning.kind == "binary":
            classes_S = _is_object(labels_S, meaning).astype(np.uint8)
        else:
            classes_S = _class_numbers(labels_S, meaning, ignored, name)
        if ignored is not None:
            classes_S[ignored] = 0
        instances_S = _pieces(classes_S)
    if ignored is not None:
        classes_S[ignored] = IGNORE
    return classes_S, instances_S


def _touching(instances_S: np.ndarray) -> np.ndarray:
    """Pixels with a face neighbour of another object."""
    touching = np.zeros(instances_S.shape, bool)
    for axis in range(instances_S.ndim):
        ids, marks = np.moveaxis(instances_S, axis, 0), np.moveaxis(touching, axis, 0)
        meet = (ids[:-1] != ids[1:]) & (ids[:-1] != 0) & (ids[1:] != 0)
        marks[:-1] |= meet
        marks[1:] |= meet
    return touching


def _is_object(labels_S: np.ndarray, meaning: LabelMeaning) -> np.ndarray:
    if meaning.object == "nonzero":
        return np.asarray(labels_S != 0)
    return np.asarray(labels_S == (0 if meaning.object == "zero" else meaning.object))


def _class_numbers(
    labels_S: np.ndarray, meaning: LabelMeaning, ignored: np.ndarray | None, name: str
) -> np.ndarray:
    values = np.asarray(meaning.class_values)
    numbers = np.searchsorted(values, labels_S).clip(max=len(values) - 1)
    unknown = values[numbers] != labels_S
    if ignored is not None:
        unknown &= ~ignored
    if unknown.any():
        value = labels_S[unknown][0]
        raise AnnotationError(
            f"{name}: value {value} at {np.count_nonzero(labels_S[unknown] == value)} pixels is "
            f"none of the classes {_listed(meaning.class_values)}; mend the mask or set "
            f"labels.ignore={value}"
        )
    return numbers.astype(np.uint8)


def _pieces(classes_S: np.ndarray) -> np.ndarray:
    if classes_S.max() <= 1:
        from scipy.ndimage import label  # by faces; several times faster, for two values only

        return np.asarray(label(classes_S)[0], np.int32)
    from skimage.measure import label as label_values

    pieces = label_values(classes_S, background=0, connectivity=1)  # type: ignore[no-untyped-call]
    return np.asarray(pieces, np.int32)


def _refuse_empty(census: Census) -> None:
    if not census.images:
        raise AnnotationError("no label image; expected at least one")
    if not census.totals:
        raise AnnotationError(f"every pixel of all {census.images} label images is ignored")
    if len(census.totals) == 1:
        (value,) = census.totals
        raise AnnotationError(
            f"every pixel of all {census.images} label images, from {census.first} on, has value "
            f"{value}: nothing is annotated; expected at least two values"
        )


def _guess(census: Census, section: Labels) -> Kind:
    values = set(census.totals)
    if section.object != "nonzero":
        return "binary"
    if len(values) == 2:
        return "binary" if 0 in values else "classes"
    main = values - census.strays() - {0}
    share = census.one_piece_share(main)
    if len(main) > MANY_VALUES:
        if share >= 0.5:
            return "instances"
        raise AnnotationError(
            f"{census.first} and the other labels hold {len(main)} values in scattered pieces, "
            "neither classes nor objects; is this a grey image, or a mask saved as JPEG? Save "
            "masks as PNG or TIFF, or set labels.kind"
        )
    if len(main) <= FEW_CLASSES or share < ONE_PIECE:
        return "classes"
    return "classes" if census.images > 1 and census.same_values(main) else "instances"


def _binary(census: Census, section: Labels) -> LabelMeaning:
    wanted = section.object
    number = 0 if wanted in ("zero", "nonzero") else int(wanted)
    if number not in census.totals:
        if wanted == "nonzero":
            problem = "no pixel is 0, so that every pixel would be object"
        else:
            problem = f"labels.object = {wanted!r}: value {number} never occurs"
        raise AnnotationError(
            f"{problem}; the labels hold {_listed(sorted(census.totals))}: set labels.object to "
            "one of these"
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
        object=wanted,
        object_values=tuple(inside),
        ignore=section.ignore,
        shares=shares,
        images=census.images,
    )


def _classes(census: Census, section: Labels) -> LabelMeaning:
    strays = census.strays()
    if strays:
        found = census.where(strays)
        name, value, count = found[0]
        files = sorted({name for name, _, _ in found})
        more = f", as has {len(files) - 1} other file" if len(files) > 1 else ""
        more += "s" if len(files) > 2 else ""
        more += f" ({_listed([file for file in files if file != name])})" if more else ""
        remedy = f" or set labels.ignore={value}" if len(strays) == 1 else ""
        kept = sorted(set(census.totals) - strays)
        raise AnnotationError(
            f"{name}: value {value} at {count} pixels is a stray{more}; expected only "
            f"{_listed(kept)}: mend the masks{remedy}"
        )
    values = tuple(sorted(census.totals))
    if len(values) > MOST_CLASSES:
        raise AnnotationError(
            f"{len(values)} classes are more than {MOST_CLASSES}; are these objects? Then set "
            "labels.kind=instances"
        )
    pixels = sum(census.totals.values())
    shares = tuple(census.totals[value] / pixels for value in values)
    return LabelMeaning(
        kind="classes",
        class_values=values,
        ignore=section.ignore,
        shares=shares,
        images=census.images,
    )


def _overlapping(census: Census, section: Labels, masks: tuple[str, ...]) -> LabelMeaning:
    names = section.names or masks
    if len(names) != len(masks):
        raise AnnotationError(
            f"labels.names has {len(names)} names for {len(masks)} masks; name each, in the order "
            "of axis C"
        )
    pixels = sum(census.totals.values())
    inside = [
        sum(count for bits, count in census.totals.items() if bits >> number & 1)
        for number in range(len(masks))
    ]
    if 0 in inside:
        raise AnnotationError(
            f"{names[inside.index(0)]}: this mask is empty in all {census.images} label images, "
            "from which nothing can be learnt of it; leave it out"
        )
    return LabelMeaning(
        kind="overlapping",
        class_values=(0, *(1 << number for number in range(len(masks)))),
        ignore=section.ignore,
        shares=(census.totals[0] / pixels, *(count / pixels for count in inside)),
        images=census.images,
        names=("background", *names),
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
        ignore=section.ignore,
        unlabelled_ignored=section.unlabelled == "ignore",
        shares=(1 - share, share),
        images=census.images,
        objects=census.entries - census.occurrences.get(0, 0),
    )


def _listed(values: Iterable[object]) -> str:
    texts = [str(value) for value in values]
    return ", ".join(texts[:10]) + (f" and {len(texts) - 10} more" if len(texts) > 10 else "")
