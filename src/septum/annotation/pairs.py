"""Annotated images: found, read, checked against their labels, and split for validation."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from septum.annotation.drawn_labels import open_labels
from septum.annotation.interpretation import interpret
from septum.annotation.layouts import Pair, find_pairs
from septum.annotation.stored_pairs import Annotated, check_channels, match_parts
from septum.errors import AnnotationError
from septum.images.stored import load_image
from septum.recipe import Validation

__all__ = ["Annotated", "Pair", "find_pairs", "interpret", "load_pairs", "split_validation"]


def load_pairs(pairs: Sequence[Pair], dimensions: int = 2) -> list[Annotated]:
    """Read all pairs into memory; in 2D each plane of a stack is an image of its own.

    Colour images whose channels agree count as grey, if others of the data set are grey. Raises
    AnnotationError, naming both files, if sizes or numbers of pages or channels do not fit, or
    labels are not whole numbers; ImageFileError as `read_image` does.
    """
    loaded = [part for pair in pairs for part in _load(pair, dimensions)]
    if len({part.image_CS.shape[0] for part in loaded}) > 1:
        loaded = [_grey(part) for part in loaded]
    check_channels([(part.image_path, len(part.image_CS)) for part in loaded])
    return loaded


def split_validation(names: Sequence[str], section: Validation) -> tuple[list[int], list[int]]:
    """Indices of the training and of the validation images, both in rising order, neither empty.

    The first of ``section``'s names, last, folds, fraction that is set counts. A name also stands
    for all planes of the stack of this name; digits that are no name are an index from 0. Folds
    (but of planes, see `_deal`) and fraction go by a hash of the name alone: they are the same on
    every machine, and with ``fraction`` the images added later move none of the old ones (only
    where the hash would leave a side empty is one image moved there). A single image is returned
    on BOTH sides: the caller divides it, or says that its validation shows nothing. Raises
    AnnotationError.
    """
    count = len(names)
    if count == 0:
        raise AnnotationError("no annotated image to split; expected at least one")
    if section.names:
        key = "validation.names"
        chosen = {index for name in section.names for index in find_names(name, names, key)}
        setting = f"{key} = {list(section.names)}"
    elif count == 1 and not section.folds:
        return [0], [0]
    elif section.last:
        chosen = set(range(max(0, count - section.last), count))
        setting = f"validation.last = {section.last}"
    elif section.folds:
        if section.folds > count:
            few = f"{count} images; use at most {count} (--folds)"
            if count == 1:
                few = "1 image; leave them out, and a part of it validates"
            raise AnnotationError(f"validation.folds = {section.folds} for {few}")
        chosen = set(_deal(names, section.folds)[section.fold])
        setting = f"validation.folds = {section.folds}"
    else:
        order = _by_hash(names)
        share = [index for index in order if _hash(names[index]) < section.fraction]
        chosen = set(share[: count - 1] or order[:1])
        setting = ""
    if count == 1:
        return [0], [0]
    if len(chosen) == count:
        raise AnnotationError(
            f"{setting} takes all {count} images and leaves none to train on; validate on at most "
            f"{count - 1}"
        )
    return [index for index in range(count) if index not in chosen], sorted(chosen)


def _deal(names: Sequence[str], folds: int) -> list[list[int]]:
    """Indices dealt by the hash of the names; planes of stacks, which are like their neighbours,
    by whole stacks, or, where there are fewer of these, in as many blocks.
    """
    planes = [re.fullmatch(r"(.+)\[[^\[\]:]*\d\]", name) for name in names]
    stacks = [plane[1] if plane else name for plane, name in zip(planes, names, strict=True)]
    whole = sorted(set(stacks))
    if len(whole) == len(names):
        return [_by_hash(names)[fold::folds] for fold in range(folds)]
    if len(whole) >= folds:
        dealt = {whole[i]: place % folds for place, i in enumerate(_by_hash(whole))}
        return [[i for i, s in enumerate(stacks) if dealt[s] == fold] for fold in range(folds)]
    return [part.tolist() for part in np.array_split(np.arange(len(names)), folds)]


def _hash(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def _by_hash(names: Sequence[str]) -> list[int]:
    return sorted(range(len(names)), key=lambda index: (_hash(names[index]), names[index], index))


def find_names(wanted: str, names: Sequence[str], setting: str) -> list[int]:
    """Indices of the name ``wanted``, of all planes of the stack of that name, or of a number.

    Raises AnnotationError, beginning with ``setting``, that offers the nearest name.
    """
    found = [i for i, name in enumerate(names) if name == wanted or name.startswith(f"{wanted}[")]
    if not found and wanted.isdecimal() and int(wanted) < len(names):
        found = [int(wanted)]
    if not found:
        near = difflib.get_close_matches(wanted, names, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise AnnotationError(
            f"{setting}: no image '{wanted}': {hint}there are {len(names)}, from "
            f"'{names[0]}' to '{names[-1]}' (or indices 0 to {len(names) - 1})"
        )
    return found


def _load(pair: Pair, dimensions: int) -> list[Annotated]:
    image = load_image(pair.image)
    labels = open_labels(pair, image, in_memory=True)
    return [part.read() for part in match_parts(pair, image, labels, dimensions)]


def _grey(part: Annotated) -> Annotated:
    image_CS = part.image_CS
    if image_CS.shape[0] == 3 and (image_CS == image_CS[:1]).all():
        return replace(part, image_CS=image_CS[:1])
    return part
