"""Outlines as GeoJSON, as QuPath exports them: polygons with holes, in pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from septum.annotation.json_files import json_kind, other_json, read_json
from septum.annotation.shapes import Outline, Place, Points, Shape, check_line
from septum.errors import AnnotationError


def read_geojson(path: Path) -> list[Shape]:
    """The areas of a GeoJSON file: Polygon and MultiPolygon, with holes, in the file's order.

    Coordinates are pixels of the image, at full resolution, from its upper left corner. The class
    is ``properties.classification.name``; one that is called Ignore* is ignored, and what is of
    another class in ``*`` is left out. Of a cell the outer outline counts. Raises AnnotationError:
    JSON of another kind, geometries without an area, lines with fewer than three corners.
    """
    shapes = [_read(path, number, item) for number, item in enumerate(_features(path), start=1)]
    return [shape for shape in shapes if not _is_region(shape.name)]


def count_regions(path: Path) -> int:
    """How many features of a file `read_geojson` leaves out by their class."""
    return sum(_is_region(_class_of(item.get("properties"))) for item in _features(path))


def _features(path: Path) -> list[Any]:
    kind = json_kind(path)
    content = read_json(path)
    if kind != "GeoJSON":
        raise other_json(path)
    if isinstance(content, list):
        features = content
    elif content["type"] == "FeatureCollection":
        features = content.get("features")
    else:
        features = [content]
    if not isinstance(features, list):
        raise AnnotationError(f"{path}: a FeatureCollection without features; export it again")
    return features


def _read(path: Path, number: int, feature: Any) -> Shape:
    what = f"{path}: feature {number}"
    if not isinstance(feature, dict):
        raise AnnotationError(f"{what} is no object of GeoJSON; export it again")
    geometry = feature.get("geometry") if feature.get("type") == "Feature" else feature
    geometry = geometry if isinstance(geometry, dict) else {}
    kind = geometry.get("type")
    if kind not in ("Polygon", "MultiPolygon"):
        raise AnnotationError(
            f"{what} is of type {kind}, which has no area; expected Polygon or MultiPolygon: "
            "delete it, or draw around the object"
        )
    coordinates = geometry.get("coordinates")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list) or not polygons:
        raise AnnotationError(f"{what} has no coordinates; export it again")
    parts = tuple(_polygon(what, polygon) for polygon in polygons)
    name = _class_of(feature.get("properties"))
    return Outline(f"feature {number}", parts, name, _place(geometry), _is_ignored(name))


def _is_ignored(name: str) -> bool:
    return name.rstrip("*").casefold() == "ignore"


def _is_region(name: str) -> bool:
    """Region* and the like hold other objects: QuPath measures no class whose name ends so."""
    return name.endswith("*") and not _is_ignored(name)


def _polygon(what: str, polygon: Any) -> tuple[Points, ...]:
    if not isinstance(polygon, list) or not polygon:
        raise AnnotationError(f"{what} has an empty polygon; export it again")
    lines = []
    for line in polygon:
        checked = check_line(line)
        if checked is not None and (checked[0] == checked[-1]).all():
            checked = check_line(checked[:-1])
        if checked is None:
            raise AnnotationError(
                f"{what} has a line of fewer than three corners, or corners that are no numbers; "
                "delete it, or export it again"
            )
        lines.append(checked)
    return tuple(lines)


def _class_of(properties: Any) -> str:
    """What QuPath calls the classification; older versions wrote it elsewhere."""
    if not isinstance(properties, dict):
        return ""
    name = properties.get("classification")
    if isinstance(name, dict):
        name = name.get("name") or ": ".join(map(str, name.get("names") or ()))
    return name.strip() if isinstance(name, str) else ""


def _place(geometry: dict[str, Any]) -> Place:
    """QuPath leaves the plane out where it is the first."""
    plane = geometry.get("plane")
    if not isinstance(plane, dict):
        return 0, 0
    return max(0, int(plane.get("t", 0))), max(0, int(plane.get("z", 0)))
