"""Folders of images and of labels by their names, and what is said where there is none."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from septum.annotation.matching import stem

IMAGE_FOLDERS = ("images", "image")
LABEL_FOLDERS = ("labels", "label", "masks", "mask", "annotations", "annotation", "rois")
OTHER_IMAGES = ("imagestr", "raw", "img", "imgs")
OTHER_LABELS = (
    "labelstr",
    "gt",
    "ground_truth",
    "groundtruth",
    "seg",
    "segmentation",
    "segmentations",
)
"""Words that are common for other folders, too: known only where images and labels are there."""


def image_and_label_folders(data: Path) -> tuple[list[Path], list[Path]]:
    """The folders in ``data`` that are named as those of images, and of labels."""
    images, labels = folders_named(data, IMAGE_FOLDERS), folders_named(data, LABEL_FOLDERS)
    if not images or not labels:
        others = (
            images or folders_named(data, OTHER_IMAGES),
            labels or folders_named(data, OTHER_LABELS),
        )
        if all(others):
            return others
    return images, labels


def folders_named(data: Path, names: Sequence[str]) -> list[Path]:
    """The folders in ``data`` of one of these names, in any case."""
    if not data.is_dir():
        return []
    return [item for item in sorted(data.iterdir()) if item.is_dir() and item.name.lower() in names]


def parts_of_set(data: Path) -> str:
    """What to do with ``train/images``, ``train/masks``, ``val/images`` …; else ""."""
    parts = [item for item in sorted(data.iterdir()) if item.is_dir() and item.name[0] != "."]
    parts = [item for item in parts if all(image_and_label_folders(item))]
    if not parts:
        return ""
    first = next((item for item in parts if item.name.lower().startswith("train")), parts[0])
    shown = ", ".join(f"{item.name}/" for item in parts[:5])
    return f"images and labels are in {shown}: name one of these, such as {first}; "


def tables_in(data: Path) -> str:
    """What to do with a folder that holds a table, which may name pairs; else ""."""
    table = next((item for item in sorted(data.glob("*.csv"))), None)
    return "" if table is None else f"if {table.name} names the pairs, give its path as DATA; "


def equal_names(files: Sequence[Path]) -> str:
    """What to do with ``a.jpg`` beside ``a.png``; else ""."""
    first: dict[str, Path] = {}
    for file in files:
        other = first.setdefault(stem(file).casefold(), file)
        if other is not file:
            return (
                f"{other.name} and {file.name} have the same name: if one is the image and one its "
                "labels, put them into two folders, images/ and labels/; "
            )
    return ""


def misspelt(data: Path, known: Sequence[str]) -> str:
    """What to do with a folder whose name is nearly known; else ""."""
    for item in sorted(data.iterdir()):
        if item.is_dir() and item.name.lower() not in known:
            near = difflib.get_close_matches(item.name.lower(), known, n=1, cutoff=0.7)
            if near:
                return f"did you mean {near[0]}/ by {item.name}/? "
    return ""
