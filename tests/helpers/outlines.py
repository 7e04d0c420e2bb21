"""Files of outlines as ImageJ, QuPath and COCO's tools write them, and what they must become."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import roifile

SQUARE = [(2, 1), (5, 1), (5, 4), (2, 4)]
"""Corners x, y: columns 2 to 4, rows 1 to 3."""


def brute_force(lines: Sequence[Sequence[tuple[float, float]]], shape: tuple[int, int]) -> Any:
    """How often the lines, each closed, wind around each pixel's centre: a pixel at a time."""
    found = np.zeros(shape, int)
    for row, column in np.ndindex(shape):
        x, y = column + 0.5, row + 0.5
        for line in lines:
            for (x0, y0), (x1, y1) in zip(line, [*line[1:], line[0]], strict=True):
                if (y0 <= y < y1) or (y1 <= y < y0):
                    crossing = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
                    found[row, column] += (1 if y1 > y0 else -1) * (crossing <= x)
    return found


def polygon_roi(points: Sequence[tuple[float, float]], kind: str = "FREEHAND", **more: Any) -> Any:
    roi = roifile.ImagejRoi.frompoints(np.array(points), name=more.pop("name", "a"))
    roi.roitype = roifile.ROI_TYPE[kind]
    for key, value in more.items():
        setattr(roi, key, value)
    return roi


def box_roi(left: int, top: int, width: int, height: int, kind: str = "RECT", **more: Any) -> Any:
    roi = roifile.ImagejRoi()
    roi.roitype = roifile.ROI_TYPE[kind]
    roi.left, roi.top, roi.right, roi.bottom = left, top, left + width, top + height
    for key, value in more.items():
        setattr(roi, key, value)
    return roi


def write_rois(path: Path, rois: dict[str, Any]) -> Path:
    """A .zip of the ROI Manager, its ROIs by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, roi in rois.items():
            archive.writestr(f"{name}.roi", roi.tobytes())
    return path


def feature(
    *lines: Sequence[tuple[float, float]], name: str = "", **geometry: Any
) -> dict[str, Any]:
    """A Polygon with holes, as QuPath writes it."""
    properties: dict[str, Any] = {"objectType": "annotation"}
    if name:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    rings = [[*line, line[0]] for line in lines]
    shape = {"type": "Polygon", "coordinates": rings} | geometry
    return {"type": "Feature", "id": "x", "geometry": shape, "properties": properties}


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_geojson(path: Path, *features: dict[str, Any]) -> Path:
    return write_json(path, {"type": "FeatureCollection", "features": list(features)})


def coco(
    images: dict[str, tuple[int, int]], annotations: Sequence[dict[str, Any]], *names: str
) -> dict[str, Any]:
    """A COCO file: images numbered from 1 by file name and (height, width), categories from 1."""
    return {
        "images": [
            {"id": number, "file_name": name, "height": size[0], "width": size[1]}
            for number, (name, size) in enumerate(images.items(), start=1)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names or ("cell",), 1)],
        "annotations": [
            {"id": number, "category_id": 1, "iscrowd": 0} | item
            for number, item in enumerate(annotations, start=1)
        ],
    }
