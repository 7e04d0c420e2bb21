"""What a user should know of how drawn objects became pixels."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

import numpy as np

from septum.annotation.drawn_labels import DrawnRegions, Layers, read_shapes
from septum.annotation.geojson import count_regions
from septum.annotation.meaning import DRAWN_IGNORED
from septum.images.stored import StoredImage

SIDE = 4096
"""Of the windows in which objects are counted."""

REMARKS = {
    "shared": "pixels of several objects, given to the smallest",
    "covered": "objects wholly covered by smaller ones (drawn twice?), lost",
    "empty": "objects that hold no pixel's centre, lost",
    "double": "pixels where an outline crosses itself, taken for inside, as not all programs do",
    "other": "objects of classes that labels.classes does not name, left out",
    "region": "areas of classes that end in *, which in QuPath are no objects, left out",
    "crowd": "annotations that are crowds (iscrowd 1), ignored",
}


def describe_drawn(labels: Iterable[StoredImage]) -> list[str]:
    """Lines on drawn objects that overlap, are lost, cross themselves or are left out; or none.

    Label images and masks of classes have nothing to be said. What is read is what `open_labels`
    reads; every object is painted once more.
    """
    drawn = {id(item.regions): item.regions for item in labels}.values()
    found = [(item.path, _count(item)) for item in drawn if isinstance(item, DrawnRegions)]
    lines = []
    for key, words in REMARKS.items():
        files = list(dict.fromkeys(path for path, counts in found if counts[key]))
        if files:
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            total = sum(counts[key] for _, counts in found)
            lines.append(f"{words}: {total} ({files[0]}{more})")
    return lines


def _count(regions: DrawnRegions) -> Counter[str]:
    drawing, counts = regions.drawing, Counter[str]()
    for layers in regions.planes:
        _count_plane(layers, regions.frame.extents, drawing.kind == "instances", counts)
    shapes = read_shapes(drawing, regions.frame.extents)
    if drawing.kind != "instances":
        names = {name for name, _ in drawing.values}
        counts["other"] = sum(not shape.ignored and shape.name not in names for shape in shapes)
    if drawing.format == "GeoJSON":
        counts["region"] = sum(map(count_regions, drawing.files))
    if drawing.format == "COCO":
        counts["crowd"] = sum(shape.ignored for shape in shapes)
    return counts


def _count_plane(
    layers: Layers, extents: tuple[int, int], objects: bool, counts: Counter[str]
) -> None:
    drawn = {i for i, value in enumerate(layers.values) if value != DRAWN_IGNORED}
    filled, visible = set[int](), set[int]()
    height, width = extents
    for top, left in itertools.product(range(0, height, SIDE), range(0, width, SIDE)):
        window = top, left, min(top + SIDE, height), min(left + SIDE, width)
        topmost_YX = np.full((window[2] - top, window[3] - left), -1, np.int32)
        shared_YX = np.zeros(topmost_YX.shape, bool)
        for index, part, inside in layers.touching(window):
            if index not in drawn:
                continue
            mask_YX, doubt = layers.shapes[index].mask_and_doubt(part)
            shared_YX[inside] |= mask_YX & (topmost_YX[inside] >= 0)
            topmost_YX[inside][mask_YX] = index
            if mask_YX.any():
                filled.add(index)
            counts["double"] += doubt
        if objects:
            counts["shared"] += int(shared_YX.sum())
            visible.update(np.unique(topmost_YX).tolist())
    counts["covered"] += len(filled - visible) if objects else 0
    counts["empty"] += len(drawn) - len(filled)
