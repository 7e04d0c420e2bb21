"""COCO's files: polygons, run lengths, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlines import coco, write_json
from septum.annotation.coco import decode_counts, decode_runs, open_coco, read_coco
from septum.errors import AnnotationError

SHAPE = (6, 8)
WHOLE = (0, 0, *SHAPE)
SQUARE = [2, 1, 5, 1, 5, 4, 2, 4]


def encode(counts: list[int]) -> str:
    """COCO's compressed string, written from its description: the reverse of what is tested."""
    text = ""
    for number, count in enumerate(counts):
        value = count - counts[number - 2] if number > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            done = value == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if done else 32))
            if done:
                break
    return text


def test_strings_of_cocos_own_tools_are_known() -> None:
    # Encoded by pycocotools 2.0: 300 random masks, besides these, were decoded alike by both.
    assert decode_counts(";2304") == [11, 2, 3, 2, 7]
    assert decode_counts("0<") == [0, 12]
    assert decode_counts("PVe3") == [300 * 400]
    y, x = np.indices((40, 50))
    disc = "j`05P16K4M2N2N2O0O2O000O2O00000001N10001N101N2N2N3L5Ja>"
    np.testing.assert_array_equal(
        decode_runs(decode_counts(disc), 40, 50), (y - 20) ** 2 + (x - 25) ** 2 < 150
    )


@given(st.lists(st.integers(0, 10**6), max_size=20))
def test_decoding_undoes_encoding(counts: list[int]) -> None:
    assert decode_counts(encode(counts)) == counts


@given(st.lists(st.booleans(), min_size=48, max_size=48))
def test_run_lengths_go_down_the_columns(pixels: list[bool]) -> None:
    mask = np.array(pixels).reshape(SHAPE)
    counts, inside = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != inside:
            counts.append(0)
            inside = pixel
        counts[-1] += 1
    np.testing.assert_array_equal(decode_runs(counts, *SHAPE), mask)


@pytest.mark.parametrize("text", ["é", "Q", "\n", "123h"])
def test_damaged_strings_are_known(text: str) -> None:
    with pytest.raises(ValueError, match=r"run lengths|cut short"):
        decode_counts(text)


def one(folder: Path, **item: Any) -> Path:
    content = coco({"a.png": SHAPE}, [{"image_id": 1} | item], "cell", "debris")
    return write_json(folder / "coco.json", content)


def square() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[1:4, 2:5] = True
    return mask


@pytest.mark.parametrize(
    "drawn",
    [
        [SQUARE],
        [[2, 1, 5, 1, 5, 2, 2, 2], [2, 2, 5, 2, 5, 4, 2, 4]],
        {"size": list(SHAPE), "counts": [13, 3, 3, 3, 3, 3, 20]},
        {"size": list(SHAPE), "counts": encode([13, 3, 3, 3, 3, 3, 20])},
    ],
    ids=["polygon", "two polygons", "run lengths", "compressed run lengths"],
)
def test_all_ways_to_draw_a_square(drawn: Any, tmp_path: Path) -> None:
    (shape,) = read_coco(one(tmp_path, segmentation=drawn, category_id=2), "a.png", SHAPE)
    np.testing.assert_array_equal(shape.mask(WHOLE), square())
    assert (shape.name, shape.title, shape.ignored) == ("debris", "annotation 1", False)


def test_a_crowd_is_ignored(tmp_path: Path) -> None:
    (shape,) = read_coco(one(tmp_path, segmentation=[SQUARE], iscrowd=1), "a.png")
    assert shape.ignored


def test_an_image_without_annotations_is_a_negative(tmp_path: Path) -> None:
    path = write_json(tmp_path / "coco.json", coco({"a.png": SHAPE, "d\\b.png": SHAPE}, []))
    assert set(open_coco(path).sizes) == {"a.png", "d/b.png"}
    assert read_coco(path, "a.png", SHAPE) == []


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"segmentation": []}, "annotation 1 has no outline"),
        ({"segmentation": None, "bbox": [1, 1, 2, 2]}, "annotation 1 has no outline"),
        ({"segmentation": [[1, 1, 2, 2]]}, "fewer than three corners"),
        ({"segmentation": [[1, 1, 2, 2, 3]]}, "fewer than three corners"),
        ({"segmentation": [[1, 1, 2, 2, 3, "x"]]}, "no numbers"),
        ({"segmentation": {"size": [6, 8], "counts": [5, 5]}}, "damaged run lengths .10 pixels"),
        ({"segmentation": {"size": [6, 8], "counts": [-2, 50]}}, "damaged run lengths"),
        ({"segmentation": {"size": [6, 8], "counts": "h"}}, "damaged run lengths"),
        ({"segmentation": {"size": [8, 6], "counts": [48]}}, "of 8 × 6 pixels, but its image has"),
        ({"segmentation": {"counts": None}}, "damaged run lengths"),
        (
            {"segmentation": [SQUARE], "category_id": 9},
            "category_id 9, .*.1 cell, 2 debris",
        ),
        ({"segmentation": [SQUARE], "image_id": 7}, "image_id 7, which is not among its images"),
    ],
)
def test_what_is_wrong_is_one_line(item: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=rf"coco\.json: .*{words}") as caught:
        read_coco(one(tmp_path, **item), "a.png", SHAPE)
    assert "\n" not in str(caught.value)


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    path = one(tmp_path, segmentation=[SQUARE])
    with pytest.raises(AnnotationError, match=r"drawn on a\.png of 6 × 8 pixels, but .* 12 × 16"):
        read_coco(path, "a.png", (12, 16))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"images": [{"id": 1}]}, "not as COCO files are .no 'file_name'"),
        ({"images": [1]}, "not as COCO files are"),
        ({"images": [{"id": n, "file_name": "a.png"} for n in (1, 2)]}, "same file_name"),
        (
            {"images": [{"id": 7, "file_name": name} for name in ("a.png", "b.png")]},
            r"coco\.json: two of its images, a\.png and b\.png, have the id 7, .*export the file",
        ),
        (
            {"images": [], "categories": [{"id": 2, "name": name} for name in ("cell", "debris")]},
            r"coco\.json: two of its categories, cell and debris, have the id 2, .*again",
        ),
        ({"type": "FeatureCollection", "features": []}, "JSON of another kind"),
    ],
)
def test_what_is_no_coco_file_is_refused(content: Any, words: str, tmp_path: Path) -> None:
    path = write_json(tmp_path / "coco.json", content)
    with pytest.raises(AnnotationError, match=words):
        open_coco(path)
