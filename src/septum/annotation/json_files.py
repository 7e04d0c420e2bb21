"""JSON files, and of which kind of annotation they are."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Literal

from septum.errors import AnnotationError

KINDS = "a COCO file (images, annotations, categories) or GeoJSON (features), as QuPath exports it"


def read_json(path: Path) -> Any:
    """What a JSON file holds; the last few are kept. Raises AnnotationError if it is none."""
    state = path.stat()
    return _read(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(4)
def _read(path: Path, _changed: int, _size: int) -> Any:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise AnnotationError(
            f"{path}: cannot be read as JSON ({' '.join(str(error).split())}); it is damaged or "
            "cut short: export it again"
        ) from error


def json_kind(path: Path) -> Literal["COCO", "GeoJSON"] | None:
    """By what a JSON file holds; None for JSON of another kind. Raises as `read_json`."""
    content = read_json(path)
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        return "COCO"
    if isinstance(content, list) and all(map(_is_feature, content)):  # older QuPath
        return "GeoJSON"
    if isinstance(content, dict) and (content.get("type") in GEO_TYPES):
        return "GeoJSON"
    return None


def other_json(path: Path) -> AnnotationError:
    """The error for JSON that is no annotation known here, with the way from what it seems."""
    what = annotator_of(path) or "is JSON of another kind"
    return AnnotationError(f"{path}: {what}; expected {KINDS}")


def annotator_of(path: Path) -> str:
    """Of which program JSON is that is no annotation known here, and the way from it; else ""."""
    content = read_json(path)
    keys = set(content) if isinstance(content, dict) else set()
    if {"shapes", "imagePath"} <= keys:
        return "is a LabelMe file: export it as COCO (labelme2coco)"
    if "_via_img_metadata" in keys or "_via_settings" in keys:
        return "is a project of the VGG Image Annotator: export its annotations as COCO"
    return ""


GEO_TYPES = (
    *("FeatureCollection", "Feature", "GeometryCollection", "Polygon", "MultiPolygon"),
    *("Point", "MultiPoint", "LineString", "MultiLineString"),
)


def _is_feature(item: object) -> bool:
    return isinstance(item, dict) and item.get("type") == "Feature"
