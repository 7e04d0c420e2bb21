"""Annotations in COCO's format: one JSON file for many images, polygons or run lengths."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt

from septum.annotation.json_files import json_kind, other_json, read_json
from septum.annotation.shapes import Outline, Shape, check_line, cut_out
from septum.errors import AnnotationError


@dataclass(frozen=True, eq=False)
class CocoFile:
    """A COCO file, checked in itself: images by their file names, annotations by these."""

    path: Path
    sizes: dict[str, tuple[int, int] | None]
    """Height and width of each image, where the file says them."""
    annotations: dict[str, list[dict[str, Any]]]
    categories: dict[Any, str]


def open_coco(path: Path) -> CocoFile:
    """Raises AnnotationError: JSON of another kind, annotations of no image or no category, or two
    images or categories of one id.
    """
    state = path.stat()
    return _open(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(2)
def _open(path: Path, _changed: int, _size: int) -> CocoFile:
    if json_kind(path) != "COCO":
        raise other_json(path)
    content = read_json(path)
    try:
        images = [(image["id"], _file_name(image["file_name"])) for image in content["images"]]
        names = _by_id(path, "images", images)
        sizes = {names[image["id"]]: _size_of(image) for image in content["images"]}
        titles = [(item["id"], str(item["name"])) for item in content.get("categories", [])]
        categories = _by_id(path, "categories", titles)
        annotations: dict[str, list[dict[str, Any]]] = {name: [] for name in sizes}
        for number, item in enumerate(content.get("annotations", []), start=1):
            what = f"{path}: {_title(item, number)}"
            if item["image_id"] not in names:
                raise AnnotationError(
                    f"{what} is of image_id {item['image_id']}, which is not among its images; "
                    "export it again, or delete the annotation"
                )
            if categories and item.get("category_id") not in categories:
                known = ", ".join(f"{key} {name}" for key, name in list(categories.items())[:5])
                raise AnnotationError(
                    f"{what} is of category_id {item.get('category_id')}, which is not among its "
                    f"categories ({known}); add it to them, or export the file again"
                )
            annotations[names[item["image_id"]]].append(item | {"title": _title(item, number)})
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise AnnotationError(
            f"{path}: is not as COCO files are ({reason}); expected images with id and file_name, "
            "annotations with image_id, category_id and segmentation: export it again"
        ) from error
    if len(sizes) < len(names):
        raise AnnotationError(f"{path}: two of its images have the same file_name; rename one")
    return CocoFile(path, sizes, annotations, categories)


def read_coco(path: Path, key: str, extents: tuple[int, ...] | None = None) -> list[Shape]:
    """The objects of the image whose file_name is ``key``, in the file's order.

    Polygons of one annotation are joined; crowds (iscrowd) are ignored areas. The class is the
    category. ``extents``: height and width of the image, if known. Raises AnnotationError: of
    `open_coco`, an image of another size, annotations without an outline, damaged run lengths.
    """
    file = open_coco(path)
    size = file.sizes[key]
    if extents is not None and size is not None and size != extents:
        raise AnnotationError(
            f"{path}: was drawn on {key} of {size[0]} × {size[1]} pixels, but the image has "
            f"{extents[0]} × {extents[1]}; give the image that it was drawn on"
        )
    return [_read(file, item, size or extents) for item in file.annotations[key]]


def decode_counts(text: str) -> list[int]:
    """Run lengths of COCO's compressed string.

    Each is a number in groups of five bits, the lowest first, in characters from '0' on; bit 6
    says that another group follows, and the highest bit of the last group is the sign. From the
    fourth on, a number is the difference from the one two before. Raises ValueError.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"character {character!r} is not one of run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the last number is cut short")
    return counts


def decode_runs(counts: list[int], height: int, width: int) -> npt.NDArray[np.bool_]:
    """A mask (Y, X) of its run lengths: outside first, column by column. Raises ValueError."""
    if any(count < 0 for count in counts) or sum(counts) != height * width:
        raise ValueError(f"{sum(counts)} pixels in all, expected {height} × {width}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, counts).reshape(width, height).T)


def _read(file: CocoFile, item: dict[str, Any], size: tuple[int, ...] | None) -> Shape:
    title, drawn = item["title"], item.get("segmentation")
    name = file.categories.get(item.get("category_id"), "")
    crowd = bool(item.get("iscrowd"))
    what = f"{file.path}: {title}"
    if not drawn:
        raise AnnotationError(
            f"{what} has no outline (segmentation), at most a box; delete it, or draw the outline"
        )
    if isinstance(drawn, dict):
        try:
            height, width = map(int, drawn.get("size") or size or ())
            counts = drawn["counts"]
            counts = decode_counts(counts) if isinstance(counts, str) else list(map(int, counts))
            mask_YX = decode_runs(counts, height, width)
        except (KeyError, TypeError, ValueError) as error:
            raise AnnotationError(
                f"{what} has damaged run lengths ({error}); export it again"
            ) from error
        if size is not None and (height, width) != tuple(size):
            raise AnnotationError(
                f"{what} has run lengths of {height} × {width} pixels, but its image has "
                f"{size[0]} × {size[1]}; export it again"
            )
        return cut_out(title, mask_YX, name, crowd)
    parts = []
    for numbers in drawn:
        even = isinstance(numbers, list) and len(numbers) % 2 == 0
        line = check_line(np.reshape(np.asarray(numbers, object), (-1, 2))) if even else None
        if line is None:
            raise AnnotationError(
                f"{what} has a polygon of fewer than three corners, or corners that are no "
                "numbers; delete it, or export it again"
            )
        parts.append((line,))
    return Outline(title, tuple(parts), name, ignored=crowd)


def _by_id(path: Path, what: str, items: list[tuple[Any, str]]) -> dict[Any, str]:
    found: dict[Any, str] = {}
    for number, name in items:
        before = found.setdefault(number, name)
        if before != name:
            raise AnnotationError(
                f"{path}: two of its {what}, {before} and {name}, have the id {number}, so that "
                "annotations may be of either; expected an id for each: export the file again, and "
                "number anew what is joined of several"
            )
    return found


def _title(item: Any, number: int) -> str:
    return f"annotation {item.get('id', number)}"


def _file_name(name: str) -> str:
    windows = "\\" in name and "/" not in name
    return (PureWindowsPath(name) if windows else PurePosixPath(name)).as_posix()


def _size_of(image: dict[str, Any]) -> tuple[int, int] | None:
    if "height" not in image or "width" not in image:
        return None
    return int(image["height"]), int(image["width"])
