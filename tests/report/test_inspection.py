"""The page of an inspection: problems at the top, outlines where the labels end."""

from __future__ import annotations

import base64
import html
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from septum.annotation.synthetic import write_example_data
from septum.images.files import Image, read_image, write_image
from septum.report.inspection import write_page
from septum.report.pictures import PALETTE, draw_outlines
from septum.survey import seen
from septum.training.inspection import inspect_data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_example_data(tmp_path / "a <b> & c", "cells", count=14, size=64)
    return tmp_path / "a <b> & c"


def text_of(page: Path) -> str:
    """What a reader reads: without pictures."""
    return html.unescape(re.sub(r"<(style|svg).*?</\1>|<[^>]*>", " ", page.read_text("utf-8")))


def test_a_page_says_all_and_fetches_nothing(data: Path, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", inspect_data(data))
    markup = (tmp_path / "page.html").read_text("utf-8")
    text = text_of(tmp_path / "page.html")
    assert "a <b> & c: 14 annotated images" in text
    assert "a <b> & c" not in markup
    assert "Nothing was found" in text
    assert 'role="note"' not in markup.split("What is there")[0]
    assert set(re.findall(r'(?:src|href)="([^:"]*)', markup)) == {"data"}
    assert markup.count("data:image/jpeg") == 12
    assert markup.count("data:image/svg+xml") == 2
    for key in ("training.tile", "loss.border_weight", "intensity.method"):
        assert key in text


def test_problems_come_first_and_their_images_are_shown_first(data: Path, tmp_path: Path) -> None:
    for part in ("images", "labels"):
        shutil.copy(data / part / "07.png", data / part / "11.png")
    (data / "images" / "03.png").write_bytes(b"")
    found = inspect_data(data)
    write_page(tmp_path / "page.html", found)
    markup = (tmp_path / "page.html").read_text("utf-8")
    head = html.unescape(markup.split("What is there")[0])
    assert "Training could not begin" in head
    assert f"ERROR: {data / 'images' / '03.png'}: is empty" in head
    assert "is the same as" in head
    names = re.findall(r"<span>(\d\d): \d+ object", markup)
    assert names[:2] == ["07", "11"]
    assert len(names) == len(set(names)) == 12


def test_an_outline_is_where_the_label_ends_and_nothing_else_is_changed() -> None:
    picture = np.full((20, 20, 3), 90, np.uint8)
    ids = np.zeros((20, 20), np.uint16)
    ids[5:15, 5:10], ids[5:15, 10:15] = 1, 2
    out = draw_outlines(picture, ids)
    assert tuple(out[5, 7]) == tuple(out[9, 9]) == PALETTE[0]
    assert tuple(out[9, 10]) == PALETTE[1]
    assert (out[7:13, 6:8] == 90).all()
    assert (out[ids == 0] == 90).all()
    assert (picture == 90).all()


def test_a_page_of_large_images_and_of_colour_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "WHOLE_FILE", 0)
    monkeypatch.setattr(seen, "WINDOW_PIXELS", 48 * 48)
    monkeypatch.setattr("septum.report.inspection.WINDOW_PIXELS", 48 * 48)
    monkeypatch.setattr("septum.report.inspection.PART", 40)
    for part in ("images", "labels"):
        (tmp_path / "data" / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 3, (10, 12)), np.ones((8, 8), int)).astype(np.uint8)
    image = (labels * 80 + rng.integers(0, 40, (3, *labels.shape))).astype(np.uint8)
    write_image(tmp_path / "data/images/a.png", Image(image, "CYX"))
    write_image(tmp_path / "data/labels/a.png", Image(labels, "YX"))
    found = inspect_data(tmp_path / "data", ["labels.kind=classes"])
    assert found.survey.windows
    write_page(tmp_path / "page.html", found)
    markup = (tmp_path / "page.html").read_text("utf-8")
    first = re.search(r"data:image/jpeg;base64,([^\"]+)", markup)
    assert first
    with Picture.open(io.BytesIO(base64.b64decode(first[1]))) as picture:
        assert picture.size[0] == picture.size[1]  # the centre, of 40 × 40 pixels
    assert read_image(tmp_path / "data/labels/a.png").array.shape == (80, 96)
