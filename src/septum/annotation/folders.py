"""Pairs of images and labels in folders: in two, in one, in one for each image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from septum.annotation.folder_names import (
    IMAGE_FOLDERS,
    LABEL_FOLDERS,
    equal_names,
    folders_named,
    image_and_label_folders,
    misspelt,
    parts_of_set,
    tables_in,
)
from septum.annotation.matching import (
    UnpairedError,
    has_letter,
    image_key,
    image_names,
    in_order,
    is_label_name,
    is_named_after,
    label_key,
    match_classes,
    match_names,
    match_nnunet,
    named,
    stem,
)
from septum.annotation.pair import Pair
from septum.annotation.pair_files import (
    NO_PICKLES,
    OUTLINES,
    class_pair,
    images_in,
    label_pair,
    object_pair,
    outlines_in,
    refuse_unread,
)
from septum.errors import AnnotationError, InputError
from septum.images.files import SUFFIXES, natural_key
from septum.images.zarr_store import is_zarr

SEVERAL = 4
"""So many images at most are in the folder of one image by mistake; more are a part of a set."""


def pairs_of_two_folders(data: Path) -> list[Pair]:
    """Pairs of ``images/`` and ``labels/``; none if ``data`` has neither. Raises InputError."""
    image_folders, label_folders = image_and_label_folders(data)
    for several in (image_folders, label_folders):
        if len(several) > 1:
            raise InputError(
                f"{data}: has both {several[0].name}/ and {several[1].name}/; keep one, or name "
                "the pairs in a CSV"
            )
    if not image_folders and not label_folders:
        return []
    if not image_folders or not label_folders:
        missing, there = ("images", label_folders) if label_folders else ("labels", image_folders)
        near = misspelt(data, LABEL_FOLDERS if image_folders else IMAGE_FOLDERS)
        if image_folders and not near:
            refuse_unread([data, image_folders[0]])
        raise InputError(
            f"{data}: has {there[0].name}/ but no {missing}/ folder; {near}expected both"
        )
    images, folder = images_in(image_folders[0]), label_folders[0]
    if not images:
        raise InputError(f"{image_folders[0]}: no image files; known: {' '.join(SUFFIXES)}")
    labels = [*images_in(folder), *outlines_in(folder)]
    if labels and image_folders[0].name.lower() == "imagestr":
        matched = match_nnunet(images, labels)
        return in_order(label_pair(image, file) for image, file in matched.items())
    if labels:
        return _pairs(images, labels)
    parts = [item for item in sorted(folder.iterdir()) if item.is_dir() and item.name[0] != "."]
    if parts:
        return _pairs_of_parts(images, parts)
    _refuse_pickles([image_folders[0], folder])
    raise InputError(f"{folder}: no image files; known: {' '.join((*SUFFIXES, *OUTLINES))}")


def pairs_of_one_folder(data: Path, layouts: str) -> list[Pair]:
    """Pairs whose files are side by side. Raises InputError, with the layouts that are known."""
    files = images_in(data)
    outlines = outlines_in(data, files)
    labels = [*(file for file in files if is_label_name(file)), *outlines]
    images = [file for file in files if file not in labels]
    stores = [file for file in images if file.suffix == ".zarr"]
    if not labels and stores:
        return in_order(Pair(stem(file), file, labels_within(file)) for file in stores)
    if len(images) == len(outlines) == len(labels) == 1:
        return [label_pair(images[0], outlines[0])]
    if not labels:
        _refuse_pickles([data])
        # A name that begins another and a word: of an image, and of its masks.
        images = [file for file in files if not _continues(file, files)]
        rest = [file for file in files if file not in images]
        classes = match_classes(images, rest) if rest else {}
        if classes and len(next(iter(classes.values()))) > 1:
            return in_order(class_pair(image, masks) for image, masks in classes.items())
        held = f"{len(files)} image files but no labels" if files else "no image files"
        hint = parts_of_set(data) or misspelt(data, (*IMAGE_FOLDERS, *LABEL_FOLDERS))
        hint = hint or tables_in(data) or equal_names(files)
        if not hint:
            refuse_unread([data])
        raise InputError(f"{data}: {held} in a layout known here; {hint}expected {layouts}")
    keys = set(map(label_key, labels))
    volumes = [file for file in images if re.search(r"[-_. ]volume$", stem(file), re.I)]
    test_data = {file for file in volumes if image_key(file) not in keys}
    return _pairs([file for file in images if file not in test_data], labels)


def pairs_of_image_folders(data: Path) -> list[Pair]:
    """Pairs of folders ID with ID/images/ID.png and one mask an object in ID/masks/.

    None if there is no such folder, or one with several images that have labels each. Raises
    AnnotationError for a folder without masks/, with masks but no image, or with several images.
    """
    found: list[tuple[Path, Path]] = []
    without: list[Path] = []
    alone: list[Path] = []
    several: list[list[Path]] = []
    for item in sorted(data.iterdir(), key=lambda path: natural_key(path.name)):
        if not item.is_dir() or item.name.startswith(".") or is_zarr(item):
            continue
        images = [file for part in folders_named(item, IMAGE_FOLDERS) for file in images_in(part)]
        folders = folders_named(item, LABEL_FOLDERS)
        masks = [file for folder in folders for file in folder.glob("[!.]*")]
        if len(images) == len(folders) == 1:
            found.append((images[0], folders[0]))
        elif len(images) == 1:
            without.append(item)
        elif images and folders:
            if len(images) > SEVERAL or not masks or _are_named_after(masks, images):
                return []  # train/ or val/ of a set, not an image
            several.append(images)
        elif masks:
            alone.append(item)
    if found and without:
        raise AnnotationError(
            f"{named(without)} without masks/; add them, an empty folder where there is no object, "
            "or move these folders elsewhere"
        )
    if found and alone:
        raise AnnotationError(
            f"{named(alone)} without an image; expected one in images/ ({' '.join(SUFFIXES)}): add "
            "it, or move these folders elsewhere"
        )
    if found and several:
        raise AnnotationError(
            f"{named(several[0])} for one folder of masks; expected one image: keep the one that "
            "the masks are of"
        )
    single = all(
        [stem(file) for file in images_in(masks)] == [stem(image)] for image, masks in found
    )
    return [
        label_pair(image, images_in(masks)[0]) if single else object_pair(image, masks)
        for image, masks in found
    ]


def _are_named_after(masks: Sequence[Path], images: Sequence[Path]) -> bool:
    names, stems = image_names(images), tuple(stem(image) for image in images)
    return any(is_named_after(mask, names) or stem(mask).startswith(stems) for mask in masks)


def labels_within(store: Path) -> Path:
    """The one label image in ``labels`` of an OME-Zarr; AnnotationError for none or several."""
    folder = store / "labels"
    found = [item for item in sorted(folder.iterdir()) if is_zarr(item)] if folder.is_dir() else []
    if not found:
        raise AnnotationError(f"{store}: OME-Zarr without labels; expected {folder}/NAME")
    if len(found) > 1:
        names = ", ".join(item.name for item in found)
        raise AnnotationError(
            f"{folder}: {len(found)} label images ({names}); name the one to learn from in a CSV "
            "of image,labels"
        )
    return found[0]


def _pairs(images: Sequence[Path], labels: Sequence[Path]) -> list[Pair]:
    try:
        matched = match_names(images, labels)
    except AnnotationError as error:
        classes = match_classes(images, labels)
        if not classes:
            if isinstance(error, UnpairedError):
                error.matched = in_order(label_pair(*both) for both in error.files.items())
            raise
        return in_order(class_pair(image, files) for image, files in classes.items())
    return in_order(label_pair(image, file) for image, file in matched.items())


def _pairs_of_parts(images: Sequence[Path], parts: Sequence[Path]) -> list[Pair]:
    """Pairs of folders within ``labels/``: one for each image, or one for each class."""
    stems = {stem(image).casefold() for image in images}
    if any(label_key(part).casefold() in stems for part in parts):
        matched = match_names(images, parts)
        return in_order(object_pair(image, folder) for image, folder in matched.items())
    classes: dict[Path, dict[str, Path]] = {image: {} for image in images}
    for part in parts:
        files = [*images_in(part), *outlines_in(part)]
        if not files:
            raise AnnotationError(
                f"{part}: neither a folder of masks of one image, named as that image, nor of "
                "masks of one class, named as the images; it holds no such files"
            )
        for image, file in match_names(images, files).items():
            classes[image][part.name] = file
    return in_order(class_pair(image, files) for image, files in classes.items())


def _refuse_pickles(folders: Sequence[Path]) -> None:
    for folder in folders:
        files = sorted(folder.glob("*_seg.npy"))
        if files:
            raise AnnotationError(f"{files[0]}: {NO_PICKLES}")


def _continues(file: Path, files: Sequence[Path]) -> bool:
    """Whether a file's name is another's and a word."""
    name = stem(file).casefold()
    begun = (len(stem(other)) for other in files if name.startswith(stem(other).casefold()))
    return any(name[end : end + 1] in tuple("-_. ") and has_letter(name[end:]) for end in begun)
