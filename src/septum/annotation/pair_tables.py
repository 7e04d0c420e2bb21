"""Pairs of images and labels as a table: a CSV file."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from septum.annotation.coco import open_coco
from septum.annotation.matching import in_order
from septum.annotation.pair import Pair
from septum.annotation.pair_files import OUTLINES, class_pair, label_pair
from septum.errors import AnnotationError, InputError
from septum.images.files import SUFFIXES
from septum.images.zarr_store import is_zarr


def pairs_of_table(path: Path) -> list[Pair]:
    """The pairs of a CSV with the columns image and labels, with or without a header.

    With more columns than two, each is a mask of the class that the header names. Paths are
    relative to the file. Raises InputError with the number of the line.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    pairs: list[Pair] = []
    header: list[str] = []
    for number, row in enumerate(csv.reader(text.splitlines(), delimiter=delimiter), start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if not pairs and not header and not any(map(_names_a_file, cells)):
            header = cells
            continue
        if len(cells) != 2 and (not header or len(cells) != len(header) or len(cells) < 2):
            expected = ",".join(header) if len(header) > 2 else "image,labels"
            raise InputError(
                f"{path}, line {number}: {len(cells)} columns; expected {expected} (a column for "
                "each class needs a header that names them)"
            )
        pairs.append(_pair(path, number, cells, header))
    if not pairs:
        raise InputError(f"{path}: names no pair; expected lines of image,labels")
    if len({pair.name for pair in pairs}) < len(pairs):
        pairs = [replace(pair, name=_relative(pair.image, path.parent)) for pair in pairs]
    seen: set[str] = set()
    for pair in pairs:
        if pair.name in seen:
            raise AnnotationError(f"{path}: names {pair.image} twice; keep one of the lines")
        seen.add(pair.name)
    return in_order(pairs)


def _pair(path: Path, number: int, cells: list[str], header: list[str]) -> Pair:
    image, *labels = (path.parent / cell for cell in cells)
    for file in (image, *labels):
        if not file.is_file() and not is_zarr(file) and not (file in labels and file.is_dir()):
            raise InputError(f"{path}, line {number}: {file} does not exist")
    if len(labels) > 1:
        return class_pair(image, dict(zip(header[1:], labels, strict=True)))
    pair = label_pair(image, labels[0])
    if pair.drawing is not None and pair.drawing.format == "COCO":
        keys = [key for key in open_coco(labels[0]).sizes if Path(key).name == image.name]
        if len(keys) != 1:
            raise AnnotationError(
                f"{path}, line {number}: {labels[0]} has {len(keys)} images of the name "
                f"{image.name}; expected one"
            )
        return replace(pair, drawing=replace(pair.drawing, key=keys[0]))
    return pair


def _names_a_file(cell: str) -> bool:
    parts = Path(cell).parts  # labels may lie within: X.zarr/labels/NAME
    known = Path(cell).suffix.lower() in (*SUFFIXES, *OUTLINES)
    return known or any(part.endswith(".zarr") for part in parts)


def _relative(file: Path, folder: Path) -> str:
    shorter = file.relative_to(folder) if file.is_relative_to(folder) else file
    return shorter.with_suffix("").as_posix()
