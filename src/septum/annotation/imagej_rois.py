"""Outlines drawn in ImageJ or Fiji: a .roi file, or the .zip that its ROI Manager saves."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from septum.annotation.shapes import Outline, Place, Points, Shape, Stencil, check_line, ellipse
from septum.errors import AnnotationError

_AUTOMATIC = re.compile(r"(\d{3,}-)+\d{3,}|F\d+-.*")
"""Names that ImageJ and Cellpose give: a position, or a number."""
LARGEST = 2**28
"""Bytes of one outline, unpacked."""


def read_rois(path: Path) -> list[Shape]:
    """The areas of a .roi or .zip file, in its order, named as in the ROI Manager.

    Corners lie between pixels, as in ImageJ, so that a rectangle of x = 2 and width 3 is columns 2
    to 4; ovals are those pixels whose centre is in the ellipse. The class is the name that a user
    gave, without the number that ImageJ adds to equal ones. Raises AnnotationError: damaged or
    other files; points, lines and other ROIs without an area; rectangles with round corners.
    """
    if path.suffix.lower() != ".zip":
        return [_read_roi(path, path.stem, path.read_bytes())]
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            others = [e.filename for e in entries if not e.filename.lower().endswith(".roi")]
            others = [name for name in others if not name.startswith("__MACOSX")]
            if others:
                raise AnnotationError(
                    f"{path}: holds {others[0]}, which is no ROI; expected a .zip saved by "
                    "ImageJ's ROI Manager (More › Save): unpack other archives"
                )
            shapes = []
            for entry in entries:
                if entry.filename.startswith("__MACOSX"):
                    continue
                with archive.open(entry) as file:
                    content = file.read(LARGEST)
                shapes.append(_read_roi(path, PurePosixPath(entry.filename).stem, content))
            return shapes
    except (AnnotationError, MemoryError):
        raise
    except Exception as error:  # each kind of compression has errors of its own
        raise AnnotationError(
            f"{path}: cannot be read as a .zip of ROIs ({' '.join(str(error).split())}); it is "
            "damaged or cut short: copy it again from its origin, or save it again in ImageJ"
        ) from error


def _read_roi(path: Path, title: str, content: bytes) -> Shape:
    import roifile

    name, title = _class_of(title), f"ROI '{title}'"
    what = f"{path}: {title}"
    try:
        roi: Any = roifile.ImagejRoi.frombytes(content)
        lines = _lines(roi)
    except AnnotationError:
        raise
    except Exception as error:  # a parser may raise anything on damaged data
        raise AnnotationError(
            f"{what} cannot be read ({' '.join(str(error).split())}); the file is damaged, cut "
            "short, or no ROI of ImageJ: save it again in ImageJ"
        ) from error
    kind = roi.roitype.name.lower()
    if kind not in ("polygon", "rect", "oval", "freehand", "traced") or roi.subtype.name in (
        "TEXT",
        "IMAGE",
        "ARROW",
    ):
        word = roi.subtype.name.lower() if roi.subtype.value else kind
        raise AnnotationError(
            f"{what} is of type {word}, which has no area; delete it, or draw around the object "
            "(in ImageJ, Edit › Selection › Line to Area, or Convert to Mask, helps)"
        )
    if kind == "rect" and roi.rounded_rect_arc_size and not roi.composite:
        raise AnnotationError(
            f"{what} is a rectangle with round corners, which is not read here; in ImageJ, Edit › "
            "Selection › Interpolate makes it a polygon"
        )
    place = _place(roi)
    left, top, width, height = _rectangle(roi)
    if kind == "oval":
        if not (width > 0 and height > 0):
            raise AnnotationError(f"{what} is empty; delete it")
        pixels_YX, corner = ellipse(left, top, width, height)
        return Stencil(title, pixels_YX, corner, name, place)
    if kind == "rect" and not roi.composite:
        right, bottom = left + width, top + height
        lines = [np.array([[left, top], [right, top], [right, bottom], [left, bottom]])]
    checked = [check_line(line) for line in lines]
    found = tuple(line for line in checked if line is not None)
    if not found or len(found) < len(checked):
        raise AnnotationError(f"{what} has fewer than three corners; delete it")
    # A composite ROI is a path whose holes are told by nothing but lying within.
    return Outline(title, (found,), name, place, alternating=len(found) > 1)


def _class_of(title: str) -> str:
    """ImageJ numbers equal names: nucleus, nucleus-1, nucleus-2."""
    return "" if _AUTOMATIC.fullmatch(title) else re.sub(r"-\d+$", "", title)


def _lines(roi: Any) -> list[Points]:
    lines = [np.asarray(line, np.float64) for line in roi.coordinates(multi=True)]
    return [line for line in lines if len(line)] if roi.composite else lines


def _rectangle(roi: Any) -> tuple[float, float, float, float]:
    if roi.subpixelrect:
        return float(roi.xd), float(roi.yd), float(roi.widthd), float(roi.heightd)
    width, height = roi.right - roi.left, roi.bottom - roi.top
    return float(roi.left), float(roi.top), float(width), float(height)


def _place(roi: Any) -> Place:
    if roi.z_position > 0 or roi.t_position > 0:
        return max(0, roi.t_position - 1), max(0, roi.z_position - 1)
    return roi.position - 1 if roi.position > 0 else None
