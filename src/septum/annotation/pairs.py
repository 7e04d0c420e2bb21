"""Annotated images: found, read, checked against their labels, and split for validation."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from septum.annotation.layouts import Pair, find_pairs
from septum.errors import AnnotationError
from septum.images.files import Image, read_image
from septum.recipe import Validation

__all__ = ["Annotated", "Pair", "find_pairs", "load_pairs", "split_validation"]


@dataclass(frozen=True)
class Annotated:
    """One image with its labels.

    ``image_CS``: channels first, then the spatial axes (Z)YX, of the file's own type.
    ``labels_S``: integers as drawn, of the same spatial shape. ``pixel_size``: micrometres, one a
    spatial axis, or None. ``name`` tells the planes of a stack apart: ``train-volume[07]``.
    """

    name: str
    image_CS: np.ndarray
    labels_S: np.ndarray
    pixel_size: tuple[float, ...] | None
    image_path: Path
    label_path: Path


def load_pairs(pairs: Sequence[Pair], dimensions: int = 2) -> list[Annotated]:
    """Read all pairs into memory; in 2D each plane of a stack is an image of its own.

    Colour label images whose channels agree count as grey, and so do colour images, if others of
    the data set are grey. Raises AnnotationError, naming both files, if sizes or numbers of pages
    or channels do not fit, or labels are not whole numbers; ImageFileError as `read_image` does.
    """
    loaded = [part for pair in pairs for part in _load(pair, dimensions)]
    if len({part.image_CS.shape[0] for part in loaded}) > 1:
        loaded = [_grey(part) for part in loaded]
    for part in loaded:
        first, channels = loaded[0], part.image_CS.shape[0]
        if channels != first.image_CS.shape[0]:
            raise AnnotationError(
                f"{part.image_path}: {channels} channels, but {first.image_path} has "
                f"{first.image_CS.shape[0]}; expected the same number in all images: convert one"
            )
    return loaded


def split_validation(names: Sequence[str], section: Validation) -> tuple[list[int], list[int]]:
    """Indices of the training and of the validation images, both in rising order, neither empty.

    The first of ``section``'s names, last, folds, fraction that is set counts. A name also stands
    for all planes of the stack of this name; digits that are no name are an index from 0. Folds
    and fraction go by a hash of the name alone: they are the same on every machine, and with
    ``fraction`` the images added later move none of the old ones (only where the hash would leave
    a side empty is one image moved there). A single image is returned on BOTH sides: the caller
    must say that its validation shows nothing. Raises AnnotationError.
    """
    count = len(names)
    if count == 0:
        raise AnnotationError("no annotated image to split; expected at least one")
    if section.names:
        key = "validation.names"
        chosen = {index for name in section.names for index in find_names(name, names, key)}
        setting = f"{key} = {list(section.names)}"
    elif count == 1:
        return [0], [0]
    elif section.last:
        chosen = set(range(max(0, count - section.last), count))
        setting = f"validation.last = {section.last}"
    elif section.folds:
        if section.folds > count:
            raise AnnotationError(
                f"validation.folds = {section.folds} for {count} images; use at most {count}"
            )
        chosen = set(_by_hash(names)[section.fold :: section.folds])
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
    image = read_image(pair.image)
    labels = _one_channel(read_image(pair.labels, labels=True))
    plain = image.axes.replace("C", "")
    extents = tuple(n for n, axis in zip(image.array.shape, image.axes, strict=True) if axis != "C")
    if labels.array.shape == extents:  # what the image says of its axes holds for its labels
        labels = replace(labels, axes=plain, pixel_size=None)
    planes, label_planes = image.stacks(dimensions), labels.stacks(dimensions)
    if len(planes) != len(label_planes):
        raise AnnotationError(
            f"{pair.image} has {len(planes)} pages (axes {image.axes}), but {pair.labels} has "
            f"{len(label_planes)} (axes {labels.axes}); expected labels for every page"
        )
    size = None if image.pixel_size is None else image.pixel_size[-dimensions:]
    loaded = []
    for (suffix, plane_CS), (_, labels_CS) in zip(planes, label_planes, strict=True):
        if plane_CS.shape[1:] != labels_CS.shape[1:]:
            raise AnnotationError(
                f"{pair.image} has {_size(plane_CS)} pixels, but {pair.labels} has "
                f"{_size(labels_CS)}; expected the same size: export the labels again, or crop"
            )
        labels_S = np.ascontiguousarray(_whole(labels_CS[0], pair.labels))
        name, image_CS = pair.name + suffix, np.ascontiguousarray(plane_CS)
        loaded.append(Annotated(name, image_CS, labels_S, size, pair.image, pair.labels))
    return loaded


def _size(image_CS: np.ndarray) -> str:
    return " × ".join(map(str, image_CS.shape[1:]))


def _one_channel(labels: Image) -> Image:
    if "C" not in labels.axes:
        return labels
    axis = labels.axes.index("C")
    first = labels.array.take(0, axis)
    if (labels.array == np.expand_dims(first, axis)).all():
        return replace(labels, array=first, axes=labels.axes.replace("C", ""), channel_names=None)
    if labels.channel_names is None and "Z" not in labels.axes:
        # ImageJ stacks written by programs often call their pages channels.
        axes = labels.axes.replace("C", "Z")
        return replace(labels, axes=axes, pixel_size=None)
    raise AnnotationError(
        f"{labels.source}: labels in {labels.channels} differing channels (colours); expected one "
        "number a pixel: save them as a grey or palette image"
    )


def _whole(labels_S: np.ndarray, path: Path) -> np.ndarray:
    if labels_S.dtype.kind == "b":
        return labels_S.astype(np.uint8)
    if labels_S.dtype.kind == "f":
        broken = labels_S[labels_S != np.rint(labels_S)]
        if broken.size:
            raise AnnotationError(
                f"{path}: value {broken[0]:g} at {broken.size} pixels; labels must be whole "
                "numbers: is this a probability map? Threshold it first"
            )
    limits = np.iinfo(np.int32)
    for value in (labels_S.min(), labels_S.max()):
        if not limits.min <= value <= limits.max:
            raise AnnotationError(
                f"{path}: label value {value:g}; expected at most {limits.max}: number the "
                "objects anew"
            )
    return (
        labels_S
        if labels_S.dtype.itemsize <= 2 and labels_S.dtype.kind in "ui"
        else (labels_S.astype(np.int32))
    )


def _grey(part: Annotated) -> Annotated:
    image_CS = part.image_CS
    if image_CS.shape[0] == 3 and (image_CS == image_CS[:1]).all():
        return replace(part, image_CS=image_CS[:1])
    return part
