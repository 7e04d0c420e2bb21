"""Whatever was drawn with is surveyed: outlines, masks of classes, ignored areas, one image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from outlines import feature, write_geojson
from septum.images.files import Image, write_image
from septum.recipe import load_recipe
from septum.survey.survey import Survey
from septum.survey.words import describe
from septum.training.inspection import inspect_data

Look = Callable[..., Survey]
Spoil = Callable[..., Path]


def box(x: int, y: int, side: int) -> list[tuple[int, int]]:
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]


def write_grey(path: Path, seed: int, side: int = 96) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side)).astype(np.uint8)
    write_image(path, Image(pixels, "YX"))


def write_mask(path: Path, columns: slice, side: int = 96) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((side, side), np.uint8)
    mask[8:24, columns] = 255
    write_image(path, Image(mask, "YX"))


def test_outlines_are_counted_and_what_they_lose_is_noted(tmp_path: Path, look: Look) -> None:
    for number, name in enumerate("abc"):
        write_grey(tmp_path / f"{name}.png", number)
        drawn = [feature(box(4 + 20 * k, 6, 8)) for k in range(number + 1)]
        write_geojson(tmp_path / f"{name}.geojson", *drawn, feature(box(8, 8, 9)))
    survey = look(tmp_path)
    assert survey.meaning is not None
    assert survey.objects is not None
    assert (survey.meaning.kind, survey.objects.count) == ("instances", 9)
    assert survey.doubt == ""  # the files say themselves that these are objects
    (problem,) = survey.problems
    assert (problem.kind, problem.level) == ("drawn", "note")
    assert "given to the smallest" in problem.text


def test_an_image_without_its_outlines_is_named_and_the_others_are_looked_at(
    tmp_path: Path, look: Look
) -> None:
    for number, name in enumerate("abc"):
        write_grey(tmp_path / f"images/{name}.png", number)
    (tmp_path / "labels").mkdir()
    for name in "ab":
        write_geojson(tmp_path / f"labels/{name}.geojson", feature(box(4, 6, 8)))
    survey = look(tmp_path)
    assert survey.names == ["a", "b"]
    (problem,) = survey.problems
    assert problem.kind == "unpaired"
    assert "c.png" in problem.text


def test_masks_of_classes_are_named(tmp_path: Path, look: Look) -> None:
    for number, name in enumerate("ab"):
        write_grey(tmp_path / f"images/{name}.png", number)
        write_mask(tmp_path / f"labels/{name}_cell.png", slice(4, 40))
        write_mask(tmp_path / f"labels/{name}_nucleus.png", slice(50, 60))
    survey = look(tmp_path)
    assert survey.meaning is not None
    assert survey.meaning.class_names == ("background", "cell", "nucleus")
    assert "nucleus" in dict(describe(survey))["labels"]


def test_shares_of_several_ignored_values_are_told_apart(
    data: Path, spoil: Spoil, look: Look
) -> None:
    def cover(array: np.ndarray) -> None:
        array[:40] = 999
        array[40:60] = 998

    spoil("labels/02.png", cover)
    survey = look(data, "labels.ignore=[998,999]")
    assert survey.images[2].ignored == 0.375
    assert survey.ignored == {"value 999": 1 / 32, "value 998": 1 / 64}
    assert dict(describe(survey))["ignored"] == (
        "4.7% of the pixels (value 999 3.1%, value 998 1.6%)"
    )
    assert survey.objects is not None
    assert survey.objects.area is not None
    assert survey.objects.area.high < 2000  # ignored areas are no objects


def test_one_image_is_divided_and_no_problem(tmp_path: Path) -> None:
    for side, kind in ((160, "note"), (64, "")):
        data = tmp_path / str(side)
        write_grey(data / "images/a.png", 1, side)
        write_mask(data / "labels/a.png", slice(4, 40), side)
        found = inspect_data(data)
        assert not found.reason
        assert [p.level for p in found.problems if p.kind == "one image"] == [kind] * bool(kind)
        flattered = [line for line in found.configuration.advice if "scores will flatter" in line]
        assert len(flattered) == (not kind)


def test_a_guess_of_the_labels_is_advice(tmp_path: Path) -> None:
    for number in range(4):
        write_grey(tmp_path / f"images/{number}.png", number)
        labels = np.zeros((96, 96), np.uint8)
        labels[8:24, 8:24], labels[40:60, 40:60] = 1, 2
        (tmp_path / "labels").mkdir(exist_ok=True)
        write_image(tmp_path / f"labels/{number}.png", Image(labels, "YX"))
    said = inspect_data(tmp_path).said_in_training()
    assert any("labels.kind=instances" in line for line in said)
    sure = inspect_data(tmp_path, ["labels.kind=classes"]).said_in_training()
    assert not any("labels.kind=instances" in line for line in sure)
    assert load_recipe("default").labels.kind == "auto"
