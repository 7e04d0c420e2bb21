"""ROIs of ImageJ: the same pixels as there, and one line for what is none."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile

from outlines import SQUARE, box_roi, brute_force, polygon_roi, write_rois
from septum.annotation.imagej_rois import read_rois
from septum.annotation.shapes import Shape
from septum.errors import AnnotationError

SHAPE = (8, 9)
WHOLE = (0, 0, *SHAPE)


def read_one(folder: Path, roi: Any) -> Shape:
    (folder / "one.roi").write_bytes(roi.tobytes())
    (shape,) = read_rois(folder / "one.roi")
    return shape


def square() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[1:4, 2:5] = True
    return mask


@pytest.mark.parametrize(
    "roi",
    [
        box_roi(2, 1, 3, 3),
        polygon_roi(SQUARE, "POLYGON"),
        polygon_roi(SQUARE, "TRACED"),
        polygon_roi([(float(x), float(y)) for x, y in SQUARE], "FREEHAND"),
    ],
    ids=["rectangle", "polygon", "traced", "freehand with fractions"],
)
def test_a_rectangle_of_x_2_and_width_3_is_columns_2_to_4(roi: Any, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_one(tmp_path, roi).mask(WHOLE), square())


def test_a_rectangle_with_fractions_holds_the_centres_within(tmp_path: Path) -> None:
    roi = box_roi(2, 1, 3, 3, xd=1.6, yd=0.4, widthd=3.0, heightd=3.2, version=228)
    roi.options |= roifile.ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    expected = np.zeros(SHAPE, bool)
    expected[0:4, 2:5] = True
    np.testing.assert_array_equal(read_one(tmp_path, roi).mask(WHOLE), expected)


def test_an_oval_is_its_ellipse(tmp_path: Path) -> None:
    mask = read_one(tmp_path, box_roi(1, 2, 5, 5, "OVAL")).mask(WHOLE)
    y, x = np.indices(SHAPE) + 0.5
    np.testing.assert_array_equal(mask, (x - 3.5) ** 2 + (y - 4.5) ** 2 < 2.5**2)


def test_a_composite_has_holes_and_islands(tmp_path: Path) -> None:
    lines = [
        [(1, 1), (8, 1), (8, 7), (1, 7)],
        [(2, 2), (2, 6), (7, 6), (7, 2)],
        [(4, 3), (5, 3), (5, 4), (4, 4)],
    ]
    path: list[float] = []
    for line in lines:
        for number, point in enumerate(line):
            path += [0 if number == 0 else 1, *point]
        path.append(4)
    roi = box_roi(1, 1, 7, 6)
    roi.multi_coordinates = np.array(path, np.float32)
    roi.shape_roi_size = len(path)
    shape = read_one(tmp_path, roi)
    np.testing.assert_array_equal(shape.mask(WHOLE), brute_force(lines, SHAPE) % 2 == 1)
    assert shape.area == 42 - 20 + 1


def test_a_zip_keeps_the_order_and_the_names_of_the_manager(tmp_path: Path) -> None:
    rois = {
        "nucleus": box_roi(0, 0, 2, 2),
        "0001-0012-0300": box_roi(3, 3, 2, 2, position=7),
        "nucleus-2": polygon_roi(SQUARE, z_position=3, t_position=2),
    }
    shapes = read_rois(write_rois(tmp_path / "a.zip", rois))
    assert [shape.title for shape in shapes] == [f"ROI '{name}'" for name in rois]
    assert [shape.name for shape in shapes] == ["nucleus", "", "nucleus"]
    assert [shape.place for shape in shapes] == [None, 6, (1, 2)]
    assert read_rois(write_rois(tmp_path / "none.zip", {})) == []


def test_a_truncated_zip_is_one_line(tmp_path: Path) -> None:
    path = write_rois(tmp_path / "a.zip", {str(n): box_roi(0, 0, 2, 2) for n in range(9)})
    content = path.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:size])
        with pytest.raises(AnnotationError, match=r"a\.zip: .*damaged or cut short") as caught:
            read_rois(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_damaged_zip_is_one_line(method: int, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("ä.roi", polygon_roi(SQUARE * 9).tobytes())
    content = path.read_bytes()
    named = 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        try:
            read_rois(path)
        except AnnotationError as error:
            named += "a.zip: " in str(error) and "\n" not in str(error)
    assert named > len(content) / 2


@pytest.mark.parametrize("size", [10, 66, 75])
def test_a_truncated_roi_is_named(size: int, tmp_path: Path) -> None:
    path = tmp_path / "a.roi"
    path.write_bytes(polygon_roi(SQUARE).tobytes()[:size])
    with pytest.raises(AnnotationError, match=r"a\.roi: ROI 'a' .*(cannot be read|three corners)"):
        read_rois(path)


@pytest.mark.parametrize(
    ("roi", "words"),
    [
        (polygon_roi(SQUARE, "POLYLINE"), "is of type polyline, which has no area"),
        (polygon_roi(SQUARE, "POINT"), "is of type point, which has no area"),
        (box_roi(0, 0, 4, 4, rounded_rect_arc_size=2), "round corners"),
        (polygon_roi(SQUARE[:2]), "fewer than three corners"),
        (box_roi(2, 2, 0, 3, "OVAL"), "is empty"),
    ],
)
def test_what_has_no_area_is_refused_by_name(roi: Any, words: str, tmp_path: Path) -> None:
    path = write_rois(tmp_path / "a.zip", {"good": box_roi(0, 0, 2, 2), "bad": roi})
    with pytest.raises(AnnotationError, match=rf"a\.zip: ROI 'bad' .*{words}"):
        read_rois(path)


def test_another_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("masks/x.png", b"")
    with pytest.raises(AnnotationError, match=r"a\.zip: holds masks/x\.png, which is no ROI"):
        read_rois(tmp_path / "a.zip")
