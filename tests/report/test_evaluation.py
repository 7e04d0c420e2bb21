"""The page of an evaluation shows each mistake in its colour, where it is."""

from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

import drawn
from septum.annotation.labels import LabelMeaning
from septum.evaluation.choices import Compared, Scored, score_plane
from septum.evaluation.contingency import contingency
from septum.evaluation.mistakes import find_mistakes
from septum.evaluation.planes import Plane
from septum.evaluation.summary import summarize_scored
from septum.evaluation.truth import make_truth
from septum.report import evaluation
from septum.report.evaluation import Gallery, draw
from septum.report.overlays import (
    INNER,
    MERGED,
    NOT_JUDGED,
    RIGHT,
    SPLIT,
    centres,
    draw_mistakes,
    draw_rings,
)
from septum.report.pictures import INVENTED, MISSED, WRONG_CLASS, Colour

BINARY = LabelMeaning("binary", (0, 1))
NUMBERED = LabelMeaning("instances", (0, 1))
PARTIAL = LabelMeaning("instances", (0, 1), unlabelled_ignored=True)
CLASSES = LabelMeaning("classes", (0, 1, 2))
GREY = 100


def scored(name: str, plane: Plane, labels: np.ndarray, meaning: LabelMeaning) -> Scored:
    truth = make_truth(labels, meaning)
    scores, chosen, segments = score_plane(plane, truth)
    image_CS = np.full((1, *labels.shape), GREY, np.uint8)
    compared = Compared(plane, truth, segments, lambda: image_CS)
    return Scored(name, scores, chosen, labels.size, compared)


def enlarged(ids: np.ndarray, factor: int = 10) -> np.ndarray:
    return np.kron(ids, np.ones((factor, factor), ids.dtype))


def colours(picture: np.ndarray, of: tuple[slice, slice], factor: int = 10) -> set[Colour]:
    rows, columns = (slice(part.start * factor, part.stop * factor) for part in of)
    found = np.unique(picture[rows, columns].reshape(-1, 3), axis=0)
    return {(int(r), int(g), int(b)) for r, g, b in found}


A, B = np.s_[1:5, 1:5], np.s_[1:5, 5:9]
C, D = np.s_[7:11, 1:9], np.s_[1:5, 11:15]
INVENTED_AT, NOTHING = np.s_[7:11, 11:15], np.s_[5:7, 0:16]
STRONG = {RIGHT, MISSED, INVENTED, MERGED, SPLIT, INNER, NOT_JUDGED}


def drawing(partial: bool = False, segments: np.ndarray | None = None) -> np.ndarray:
    truth, found = drawn.truth(), drawn.segments() if segments is None else segments
    mistakes = find_mistakes(contingency(found, truth), partial)
    picture = np.full((120, 160, 3), GREY, np.uint8)
    return draw_mistakes(picture, enlarged(truth), enlarged(found), mistakes)


def test_each_mistake_has_its_colour_where_it_is() -> None:
    picture = drawing()
    assert colours(picture, A) & STRONG == colours(picture, B) & STRONG == {MERGED, INNER}
    assert colours(picture, C) & STRONG == {SPLIT, INNER}
    assert colours(picture, D) & STRONG == {MISSED}
    assert colours(picture, INVENTED_AT) & STRONG == {INVENTED}
    assert colours(picture, NOTHING) == {(GREY, GREY, GREY)}  # 40 + 0.6 × 100


def test_what_is_merged_shows_its_objects_and_what_is_split_its_parts() -> None:
    picture = drawing()
    white = (picture == INNER).all(-1)
    assert white[15:45, 49].all()  # the side of A at B
    assert white[15:45, 50].all()  # and that of B
    assert white[75:105, 49].all()  # where C was cut
    assert not white[:, 100:].any()


def test_what_is_missed_is_striped() -> None:
    inside = drawing()[15:45, 115:145]
    plain = (inside == GREY).all(-1)
    assert 0.3 < plain.mean() < 0.7


def test_what_is_right_is_outlined_and_no_more() -> None:
    picture = drawing(segments=drawn.truth())
    for place in (A, B, C, D):
        assert colours(picture, place) == {RIGHT, (GREY, GREY, GREY)}
    assert tuple(picture[30, 30]) == (GREY, GREY, GREY)
    assert tuple(picture[10, 30]) == tuple(picture[11, 30]) == RIGHT


def test_in_partial_truth_what_was_not_drawn_is_not_judged() -> None:
    assert colours(drawing(partial=True), INVENTED_AT) & STRONG == {NOT_JUDGED}


def test_rings_lie_around_their_place_and_within_the_picture() -> None:
    blank = np.zeros((60, 80, 3), np.uint8)
    picture = draw_rings(blank, [(30, 40), (0, 79)], MERGED)
    ring = (picture == MERGED).all(-1)
    y, x = np.nonzero(ring[:, :60])
    assert np.hypot(y - 30, x - 40).max() < 12
    assert not ring[30, 40]
    assert ring[30, 49]
    assert ring[9, 79]
    assert not blank.any()


def test_the_centre_of_each_piece_is_found_in_the_pictures_own_pixels() -> None:
    mask = np.zeros((10, 20), bool)
    mask[2, 3] = mask[3, 4] = True  # one piece, by a corner
    mask[8, 18] = True
    np.testing.assert_allclose(centres(mask, 100, 200), [(30, 40), (85, 185)])


def pictures(page: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [np.asarray(Picture.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def text(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def page_of(folder: Path, items: list[Scored]) -> str:
    gallery = Gallery(folder / "page.html")
    gallery.write(summarize_scored(gallery.watch(items)), folder / "<i>out", folder / "truth")
    return gallery.path.read_text("utf-8")


def test_a_page_has_image_and_errors_worst_first_and_nothing_is_fetched(tmp_path: Path) -> None:
    wrong = scored("<b>wrong", Plane("", instances=drawn.segments()), drawn.truth(), NUMBERED)
    right = scored("right", Plane("", instances=drawn.truth()), drawn.truth(), NUMBERED)
    page = page_of(tmp_path, [right, wrong])
    words = text(page)
    assert words.index("<b>wrong: 0 found, 1 missed") < words.index("right: 4 found")
    assert "<b>wrong" not in page
    assert "<i>out" not in page
    assert "Worst first, by panoptic_quality." in words
    assert "errors; seg 0.2500, det 0.3000, ap_50 0.3333, panoptic_quality 0.2500" in words
    assert "striped: missed" in words
    targets = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', page)
    assert all(target.startswith("data:image/") for target in targets)
    assert not re.search(r"<script|<link|<iframe|@import|url\(|\bon\w+=", page)
    image, errors, *_ = pictures(page)
    assert image.shape == errors.shape == (192, 256, 3)
    assert len(pictures(page)) == 4
    # The merged object of the worst image, through JPEG.
    difference = np.abs(errors[16:80, 16:144].astype(int) - MERGED).sum(-1)
    assert (difference < 40).mean() > 0.03


def test_a_mask_of_binary_truth_shows_wrong_pixels_and_rings(tmp_path: Path) -> None:
    labels = np.ones((64, 64), np.uint8)
    labels[:, 31:33] = 0
    mask = labels.copy()
    mask[20, 31:33] = 1  # joins the two
    mask[44, :31] = 0  # divides the left one
    item = scored("em", Plane("", mask), labels, BINARY)
    kind, panels, words = draw(item.compared, item.scores.values)
    assert (kind, words) == ("borders", "places where objects are merged 1, split 1")
    assert [panel.caption.split(";")[0] for panel in panels] == ["image", "errors"]
    assert f"pixel_error {33 / 64**2:.4f}, dice " in panels[1].caption
    page = page_of(tmp_path, [item])
    errors = pictures(page)[1].astype(int)
    near = {
        name: np.argwhere(np.abs(errors - colour).sum(-1) < 30)
        for name, colour in (("missed", MISSED), ("merged", MERGED), ("split", SPLIT))
    }
    assert len(near["missed"]) > 200  # a line of 31 pixels, four times enlarged
    assert np.abs(near["missed"].mean(axis=0) - [4 * 44.5, 4 * 15.5]).max() < 6
    assert np.abs(near["merged"].mean(axis=0) - [4 * 20.5, 4 * 32]).max() < 6
    assert "here objects are merged" in text(page)


def test_several_classes_show_wrong_pixels_of_each_kind(tmp_path: Path) -> None:
    labels = np.repeat(np.array([0, 1, 2, 2], np.uint8), 16)[None].repeat(64, axis=0)
    mask = np.repeat(np.array([1, 0, 1, 2], np.uint8), 16)[None].repeat(64, axis=0)
    item = scored("c", Plane("", mask), labels, CLASSES)
    errors = pictures(page_of(tmp_path, [item]))[1]
    middles = [tuple(errors[128, 32 + 64 * k].astype(int)) for k in range(3)]
    for found, colour in zip(middles, (INVENTED, MISSED, WRONG_CLASS), strict=True):
        assert np.abs(np.subtract(found, colour)).max() < 12
    assert "another class than in the truth" in text(page_of(tmp_path, [item]))


def test_partial_truth_has_a_legend_that_does_not_speak_of_invented(tmp_path: Path) -> None:
    item = scored("p", Plane("", instances=drawn.segments()), drawn.truth(), PARTIAL)
    words = text(page_of(tmp_path, [item]))
    assert "1 not judged" in words
    assert "not judged: a segment where no object was drawn" in words
    assert "invented: a segment" not in words


def test_of_many_images_the_worst_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MOST", 3)
    truth = drawn.truth()
    items = []
    for turn, lost in enumerate((0, 3, 1, 4, 0, 2)):
        ids = np.unique(truth)[1 : 1 + lost]
        found = np.where(np.isin(truth, ids), 0, truth)
        items.append(scored(f"n{turn}", Plane("", instances=found), truth, NUMBERED))
    gallery = Gallery(tmp_path / "page.html")
    assert list(gallery.watch(items)) == items
    assert [entry.name for entry in gallery.entries] == ["n3", "n1", "n5"]
    page = page_of(tmp_path, items)
    assert "of 6 images these 3, the others are left out" in text(page)
    assert len(pictures(page)) == 6


def test_a_mask_with_the_label_values_of_the_truth_is_drawn_as_its_classes() -> None:
    meaning = LabelMeaning("classes", (0, 128, 255))
    labels = np.zeros((32, 32), np.uint8)
    labels[4:12, 4:12], labels[16:24, 16:24] = 128, 255
    by_value = scored("v", Plane("", labels), labels, meaning)
    by_number = scored("n", Plane("", labels // 127), labels, meaning)
    values = by_value.scores.values
    assert values["pixel_error"] == 0
    drawings = [draw(item.compared, values)[1] for item in (by_value, by_number)]
    assert drawings[0] == drawings[1]


def test_without_an_image_the_errors_stand_alone(tmp_path: Path) -> None:
    truth = make_truth(drawn.truth(), NUMBERED)
    plane = Plane("", instances=drawn.segments())
    scores, chosen, segments = score_plane(plane, truth)
    compared = Compared(plane, truth, segments)
    page = page_of(tmp_path, [Scored("n", scores, chosen, plane.instances.size, compared)])
    assert len(pictures(page)) == 1
    assert "To see the images, too, give as TRUTH the folder" in text(page)
    assert [p.caption.split(";")[0] for p in draw(compared, scores.values)[1]] == ["errors"]


def test_what_is_larger_than_memory_is_counted_and_not_drawn(tmp_path: Path) -> None:
    small = scored("small", Plane("", instances=drawn.segments()), drawn.truth(), NUMBERED)
    large = Scored("large", small.scores, small.chosen, small.pixels)
    page = page_of(tmp_path, [large, small])
    assert len(pictures(page)) == 2
    assert "of 2 images these 1" in text(page)
    assert "images larger than memory are not drawn" in text(page)
    assert "Nothing is drawn; images larger than memory" in text(page_of(tmp_path, [large]))
