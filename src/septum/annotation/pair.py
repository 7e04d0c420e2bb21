"""An image and what was drawn on it, both still in their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Format = Literal[
    "ImageJ", "GeoJSON", "COCO", "masks of objects", "masks of classes", "masks as channels"
]


@dataclass(frozen=True)
class Drawing:
    """Annotation that is not one label image, and the label values that it becomes.

    ``files``: where it is; none: nothing was drawn, which is an annotation, too. ``key``: the
    image's name within a COCO file. ``names``: the class of each of the files, where they are masks
    of classes. ``kind`` and ``values`` are found by `name_values` for all pairs of a data set
    together: objects become 1, 2, … (``instances``), or each class the value that it has in
    ``values``, which is in the order of drawing, or, of ``overlapping`` classes, that bit.
    ``ordered``: the user gave that order, so that classes may cover each other. ``ignore``: values
    in the files of which nothing is known.
    """

    format: Format
    files: tuple[Path, ...]
    key: str = ""
    names: tuple[str, ...] = ()
    kind: Literal["instances", "classes", "overlapping"] = "instances"
    values: tuple[tuple[str, int], ...] = ()
    ordered: bool = False
    ignore: tuple[int, ...] = ()


@dataclass(frozen=True)
class Pair:
    """An image and its labels, each a file or an OME-Zarr; ``name`` is unique in a data set.

    ``drawing``: what is to be read instead where the labels are not one image of values;
    ``labels`` is then the file, or folder, that is named in messages.
    """

    name: str
    image: Path
    labels: Path
    drawing: Drawing | None = None
