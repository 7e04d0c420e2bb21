"""GeoJSON as QuPath exports it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlines import SQUARE, brute_force, feature, write_geojson, write_json
from septum.annotation.geojson import count_regions, read_geojson
from septum.errors import AnnotationError

SHAPE = (8, 9)
WHOLE = (0, 0, *SHAPE)
HOLE = [(3, 2), (3, 3), (4, 3), (4, 2)]


def test_a_polygon_with_a_hole(tmp_path: Path) -> None:
    (shape,) = read_geojson(write_geojson(tmp_path / "a.geojson", feature(SQUARE, HOLE, name="T")))
    expected = np.zeros(SHAPE, bool)
    expected[1:4, 2:5] = True
    expected[2, 3] = False
    np.testing.assert_array_equal(shape.mask(WHOLE), expected)
    assert (shape.name, shape.place, shape.area) == ("T", (0, 0), 8)


def test_a_multipolygon_joins_its_parts(tmp_path: Path) -> None:
    other = [(3, 3), (7, 3), (7, 6), (3.2, 5.7)]
    rings = [[*line, line[0]] for line in (SQUARE, HOLE, other)]
    drawn = feature(SQUARE, type="MultiPolygon", coordinates=[rings[:2], rings[2:]])
    (shape,) = read_geojson(write_geojson(tmp_path / "a.geojson", drawn))
    first = (brute_force([SQUARE], SHAPE) != 0) & (brute_force([HOLE], SHAPE) == 0)
    np.testing.assert_array_equal(shape.mask(WHOLE), first | (brute_force([other], SHAPE) != 0))


def test_all_forms_of_a_file_that_programs_write(tmp_path: Path) -> None:
    one = feature(SQUARE, name="Tumor: Positive", plane={"c": -1, "z": 3, "t": 1})
    names = feature(SQUARE)
    names["properties"]["classification"] = {"names": ["Tumor", "Positive"]}
    plain = feature(SQUARE)
    plain["properties"]["classification"] = "Tumor"
    forms: list[tuple[Any, str, tuple[int, int]]] = [
        (one, "Tumor: Positive", (1, 3)),
        ([one], "Tumor: Positive", (1, 3)),
        ({"type": "FeatureCollection", "features": [names]}, "Tumor: Positive", (0, 0)),
        ([plain], "Tumor", (0, 0)),
        (one["geometry"], "", (1, 3)),
        ([feature(SQUARE) | {"properties": None}], "", (0, 0)),
    ]
    for content, name, place in forms:
        (shape,) = read_geojson(write_json(tmp_path / "a.json", content))
        assert (shape.name, shape.place, shape.area) == (name, place, 9)
        (tmp_path / "a.json").unlink()


def test_no_feature_is_no_object(tmp_path: Path) -> None:
    assert read_geojson(write_geojson(tmp_path / "a.geojson")) == []


def test_what_is_called_ignore_is_ignored_and_other_names_in_a_star_are_left_out(
    tmp_path: Path,
) -> None:
    names = ("Region*", "Ignore*", "Other", "Tumor: Area*")
    path = write_geojson(tmp_path / "a.geojson", *(feature(SQUARE, name=name) for name in names))
    shapes = read_geojson(path)
    assert [(shape.title, shape.ignored) for shape in shapes] == [
        ("feature 2", True),
        ("feature 3", False),
    ]
    assert count_regions(path) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"shapes": [], "imagePath": "a.png"}, "is a LabelMe file: export it as COCO"),
        ({"_via_img_metadata": {}}, "VGG Image Annotator"),
        ({"a": 1}, "JSON of another kind; expected a COCO file .* or GeoJSON"),
        ([1, 2], "JSON of another kind"),
        ({"type": "FeatureCollection"}, "without features"),
        ([feature(SQUARE, type="Point", coordinates=[1, 2])], "feature 1 is of type Point, which"),
        ([feature(SQUARE), feature(SQUARE, type="LineString")], "feature 2 is of type LineString"),
        ([{"type": "Feature", "geometry": None}], "feature 1 is of type None"),
        ([feature(SQUARE[:2])], "feature 1 has a line of fewer than three corners"),
        ([feature([(0, 0), (1, 0), (1, "x")])], "corners that are no numbers"),
        ([feature(SQUARE, coordinates=[])], "empty polygon"),
        ([feature(SQUARE, type="MultiPolygon", coordinates=[])], "no coordinates"),
        ([feature(SQUARE, type="MultiPolygon", coordinates=[[]])], "empty polygon"),
    ],
)
def test_what_is_no_outline_is_one_line(content: Any, words: str, tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", content)
    with pytest.raises(AnnotationError, match=rf"a\.json: .*{words}") as caught:
        read_geojson(path)
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    path = write_geojson(tmp_path / "a.geojson", feature(SQUARE))
    path.write_text(path.read_text()[:-9])
    with pytest.raises(AnnotationError, match=r"a\.geojson: cannot be read as JSON .* cut short"):
        read_geojson(path)
