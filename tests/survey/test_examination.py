"""A survey says what is there, whatever the order, and finds each thing that was planted."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from septum.annotation.synthetic import write_example_data
from septum.images.files import Image, read_image, write_image
from septum.recipe import Validation
from septum.survey import seen
from septum.survey.problems import split_problems
from septum.survey.survey import Problem, Survey
from septum.survey.words import describe, describe_problem

Look = Callable[..., Survey]
Spoil = Callable[..., Path]
Only = Callable[..., Problem]


def test_nothing_is_found_in_clean_data(clean: Path, tmp_path: Path, look: Look) -> None:
    assert look(clean).problems == ()
    write_example_data(tmp_path / "membranes", "membranes", count=6, size=256)
    assert look(tmp_path / "membranes").problems == ()


def test_what_is_there_is_counted(clean: Path, look: Look) -> None:
    survey = look(clean)
    labels = [read_image(path, labels=True).array for path in sorted((clean / "labels").iterdir())]
    areas = np.concatenate([np.bincount(array.ravel())[1:] for array in labels])
    areas = areas[areas > 0]
    assert survey.meaning is not None
    assert survey.objects is not None
    assert survey.meaning.kind == "instances"
    assert survey.objects.count == len(areas)
    assert survey.objects.area is not None
    assert survey.objects.area.median == np.median(areas)
    assert survey.objects.touching_pairs > 5
    assert [image.extents for image in survey.images] == [(160, 160)] * 8
    assert [image.objects for image in survey.images] == [len(np.unique(a)) - 1 for a in labels]
    assert (survey.bits, len(survey.channels), survey.images[0].axes) == (8, 1, "YX")
    words = dict(describe(survey))
    assert words["sizes"] == "all 160 × 160 pixels"
    assert f"{survey.objects.touching_pairs} pairs" in words["touching"]


def test_any_order_of_the_files_gives_the_same_survey(
    data: Path, spoil: Spoil, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(data / "images" / "01.png", data / "images" / "06.png")
    spoil("images/04.png", lambda array: np.full_like(array, 9))
    rows = [f"images/{n:02d}.png,labels/{n:02d}.png\n" for n in range(8)]
    usual = Path.iterdir
    surveys = []
    for turn in (0, 1, 2):
        order = np.random.default_rng(turn).permutation(8)
        (data / "pairs.csv").write_text("".join(rows[i] for i in order), "utf-8")
        surveys.append(look(data / "pairs.csv"))
        monkeypatch.setattr(
            Path, "iterdir", lambda path, t=turn: iter(sorted(usual(path), reverse=t % 2 == 1))
        )
        surveys.append(dataclasses.replace(look(data), data=surveys[0].data))
    assert len(surveys[0].problems) == 2
    assert all(survey == surveys[0] for survey in surveys)


def test_a_survey_is_plain_json(clean: Path, look: Look) -> None:
    survey = look(clean)
    tree = json.loads(json.dumps(survey.to_dict()))
    assert tree["objects"]["count"] == survey.objects.count  # type: ignore[union-attr]
    assert tree["images"][3]["name"] == "03"


def test_a_damaged_file_is_named_and_the_others_are_looked_at(
    data: Path, look: Look, only: Only
) -> None:
    path = data / "images" / "05.png"
    path.write_bytes(path.read_bytes()[:900])
    problem = only("unreadable", "error")
    assert problem.files == (str(path),)
    assert "copy it again" in problem.remedy
    assert str(path) in describe_problem(problem)
    assert len(look(data).images) == 7


def test_an_empty_file_is_named_with_one_remedy(data: Path, only: Only) -> None:
    (data / "labels" / "05.png").write_bytes(b"")
    problem = only("unreadable", "error")
    assert str(problem) == f"{data}/labels/05.png: is empty: copy it again from its origin"


def test_sizes_that_differ(data: Path, spoil: Spoil, only: Only) -> None:
    path = spoil("labels/02.png", lambda array: array[:-3])
    problem = only("labels", "error")
    assert problem.files == (str(data / "images" / "02.png"), str(path))
    assert "160 × 160" in problem.text
    assert "157 × 160" in problem.text
    assert problem.remedy == "export the labels again, or crop"


def test_images_without_labels_and_labels_without_images(
    data: Path, look: Look, only: Only
) -> None:
    (data / "labels" / "02.png").unlink()
    (data / "images" / "07.png").unlink()
    problem = only("unpaired", "error")
    assert "02.png" in problem.text
    assert "07.png" in problem.text
    assert "without labels" in problem.text
    assert "without an image" in problem.text
    assert look(data).names == ["00", "01", "03", "04", "05", "06"]


def test_stray_values(data: Path, spoil: Spoil, look: Look, only: Only) -> None:
    for number in range(8):
        spoil(
            f"labels/{number:02d}.png",
            lambda array: np.where(array > 0, 128 + 127 * (array % 2), 0).astype(np.uint8),
        )
    for number in range(8, 21):  # a stray is rare: in fewer than a tenth of the files
        for part in ("images", "labels"):
            shutil.copy(data / part / "00.png", data / part / f"{number:02d}.png")
        spoil(f"images/{number:02d}.png", lambda array, n=number: np.roll(array, 7 * n, 0))
        spoil(f"labels/{number:02d}.png", lambda array, n=number: np.roll(array, 7 * n, 0))

    def smudge(array: np.ndarray) -> None:
        array[:2, :2] = 77

    path = spoil("labels/03.png", smudge)
    problem = only("strays", "error")
    assert problem.files == (str(path),)
    assert "labels/03.png: value 77 at 4 pixels" in problem.text
    assert "labels.strays=ignore" in problem.remedy
    survey = look(data)
    assert survey.meaning is not None
    assert survey.meaning.class_values == (0, 128, 255)  # what it would be without
    assert survey.ignored == {}  # they are refused
    again = look(data, "labels.strays=ignore")
    assert list(again.ignored) == ["strays"]


def test_labels_that_mean_nothing(data: Path, spoil: Spoil, look: Look, only: Only) -> None:
    for number in range(8):
        spoil(f"labels/{number:02d}.png", np.zeros_like)
    assert "nothing is annotated" in only("meaning", "error").text
    assert not look(data).usable
    assert dict(describe(look(data)))["labels"].startswith("of no meaning")


def test_a_constant_a_faint_and_a_saturated_image(data: Path, spoil: Spoil, look: Look) -> None:
    constant = spoil("images/01.png", lambda array: np.full_like(array, 7))
    faint = spoil("images/02.png", lambda array: (array // 64 + 20).astype(np.uint8))

    def burn(array: np.ndarray) -> None:
        array[:40] = 255

    burnt = spoil("images/03.png", burn)
    found = {problem.kind: problem for problem in look(data).problems}
    assert found.keys() == {"constant", "faint", "saturated"}
    assert found["constant"].files == (str(constant),)
    assert found["faint"].files == (str(faint),)
    assert found["saturated"].files == (str(burnt),)
    assert "25%" in found["saturated"].text
    assert {problem.level for problem in found.values()} == {"warning"}


def test_an_image_that_is_a_mask(data: Path, spoil: Spoil, only: Only) -> None:
    path = spoil("images/02.png", lambda array: np.where(array > 100, 255, 0).astype(np.uint8))
    problem = only("mask", "warning")
    assert problem.files == (str(path),)
    assert "swapped?" in problem.remedy


def test_a_mask_that_is_the_inverse_of_the_others(
    data: Path, spoil: Spoil, look: Look, only: Only
) -> None:
    """Of spots: the cells of these images are half of them."""
    for number in range(8):
        spots = np.random.default_rng(number).integers(10, 140, (5, 2))
        mask = np.zeros((160, 160), np.uint8)
        for y, x in spots:
            mask[y : y + 12, x : x + 12] = 255
        grey = np.random.default_rng(50 + number).integers(20, 60, mask.shape)
        (data / f"labels/{number:02d}.png").unlink()
        grey = (grey + mask // 4).astype(np.uint8)
        write_image(data / f"images/{number:02d}.png", Image(grey, "YX"))
        write_image(data / f"labels/{number:02d}.tif", Image(mask, "YX"))
    assert look(data).problems == ()
    path = spoil("labels/03.tif", lambda array: 255 - array)
    problem = only("inverted", "warning")
    assert problem.files == (str(path),)
    assert "is darker than the rest, where in most images it has few" in problem.text
    spoil("images/03.png", lambda array: 255 - array)  # a crowded image of bright objects is none
    assert "inverted" not in {problem.kind for problem in look(data).problems}


def test_mixed_types(data: Path, spoil: Spoil, only: Only) -> None:
    path = spoil("images/04.png", lambda array: array.astype(np.uint16) * 16)
    problem = only("types", "warning")
    assert problem.files == (str(path),)
    assert "uint16" in problem.text
    assert "uint8" in problem.text


def test_mixed_channels(data: Path, spoil: Spoil, only: Only) -> None:
    path = spoil("images/04.png", lambda array: np.stack([array, array // 2, array]))
    assert only("channels", "error").files == (str(path),)


def test_grey_images_saved_in_colour_among_grey_ones_are_no_problem(
    data: Path, spoil: Spoil, look: Look
) -> None:
    spoil("images/04.png", lambda array: np.stack([array] * 3))
    survey = look(data)
    assert survey.problems == ()
    assert len(survey.channels) == 1


def test_mixed_pixel_sizes(data: Path, only: Only, look: Look) -> None:
    for number in range(8):
        path = data / "images" / f"{number:02d}.png"
        size = 0.5 if number != 6 else 1.0
        write_image(path.with_suffix(".tif"), Image(read_image(path).array, "YX", (size, size)))
        path.unlink()
    problem = only("pixel sizes", "warning")
    assert problem.files == (str(data / "images" / "06.tif"),)
    assert "1 × 1 µm" in problem.text
    objects = look(data).objects
    assert objects is not None
    assert objects.diameter is not None
    assert objects.diameter_um is not None
    assert objects.diameter_um.median == pytest.approx(0.5 * objects.diameter.median, rel=0.1)


def test_ignored_pixels_and_empty_images(data: Path, spoil: Spoil, look: Look) -> None:
    spoil("labels/01.png", np.zeros_like)

    def cover(array: np.ndarray) -> None:
        array[:40] = 999

    spoil("labels/02.png", cover)
    survey = look(data, "labels.ignore=999")
    assert [image.name for image in survey.images if image.empty] == ["01"]
    assert survey.images[2].ignored == 0.25
    words = dict(describe(survey))
    assert words["empty"] == "1 without an object (01)"
    assert words["ignored"] == "3.1% of the pixels"


def test_a_validation_without_an_object_is_said(data: Path, spoil: Spoil, look: Look) -> None:
    spoil("labels/02.png", lambda array: np.zeros_like(array))
    (problem,) = split_problems(look(data), Validation(names=("02",)))
    assert (problem.kind, problem.level) == ("validation", "warning")
    assert "no object in validation image 02:" in problem.text
    assert split_problems(look(data), Validation(names=("02", "03"))) == []


def test_the_bits_that_are_used(data: Path, spoil: Spoil, look: Look) -> None:
    for number in range(8):
        spoil(f"images/{number:02d}.png", lambda array: array.astype(np.uint16) * 16)
    survey = look(data)
    assert survey.bits == 12
    assert "uint16, 12 bits of it used" in dict(describe(survey))["pixels"]


def test_a_table_beside_the_folders_is_said_to_be_passed_over_if_it_says_something_else(
    data: Path, look: Look, only: Only
) -> None:
    table = data / "pairs.csv"
    (data / "cells.csv").write_text("cell,area\n1,20\n")  # a table of something else
    names = sorted(path.name for path in (data / "images").iterdir())
    rows = [f"images/{name},labels/{name}" for name in names]
    table.write_text("\n".join(["image,labels", *rows]))
    assert look(data).problems == ()
    table.write_text("\n".join(["image,labels", *rows[2:], f"images/{names[0]},labels/{names[1]}"]))
    problem = only("table", "warning")
    assert f"{table}: was not read" in problem.text
    assert f"{names[0]} with {names[1]}" in problem.text
    assert problem.remedy.endswith(f"give {table} as DATA")
    assert look(table).problems == ()


def test_planes_of_a_stack_are_images_and_neighbours(tmp_path: Path, look: Look) -> None:
    rng = np.random.default_rng(0)
    blob = rng.normal(0, 1, (40, 40))
    planes = np.stack([np.kron(blob, np.ones((4, 4))) * 20 + 100 + rng.normal(0, 9, (160, 160))
                       for _ in range(6)]).clip(0, 255).astype(np.uint8)  # fmt: skip
    tifffile.imwrite(tmp_path / "a-volume.tif", planes)
    tifffile.imwrite(tmp_path / "a-labels.tif", ((planes > 120) * 255).astype(np.uint8))
    survey = look(tmp_path)
    assert survey.names == [f"a-volume[{n:02d}]" for n in range(6)]
    assert survey.images[0].axes == "ZYX"
    (series,) = survey.series
    assert series.names == tuple(survey.names)
    assert series.correlation > 0.9
    assert survey.duplicates == ()  # alike, as neighbours are
    planes[4] = planes[1]
    tifffile.imwrite(tmp_path / "a-volume.tif", planes)
    (group,) = look(tmp_path).duplicates  # but the same they are not
    assert group.names == ("a-volume[01]", "a-volume[04]")
    assert group.same


def test_large_images_are_looked_at_in_windows(
    clean: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = look(clean)
    monkeypatch.setattr(seen, "WHOLE_FILE", 0)
    assert look(clean) == whole  # the header says that they are small
    monkeypatch.setattr(seen, "WINDOW_PIXELS", 64 * 64)
    survey = look(clean)
    assert survey.windows
    assert len(survey.images) == 8 * seen.WINDOWS
    assert survey.images[0].extents == (160, 160)
    assert survey.images[0].name.startswith("00[")
    assert survey == look(clean)
    assert "looked at in windows" in dict(describe(survey))["images"]
    assert survey.series == ()


def test_labels_that_are_not_kept_are_read_again(
    clean: Path, tmp_path: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part, end in (("images", "volume"), ("labels", "labels")):
        files = sorted((clean / part).iterdir())
        planes = np.stack([read_image(path, labels=True).array for path in files])
        tifffile.imwrite(tmp_path / f"x-{end}.tif", planes)
    kept = [look(clean), look(tmp_path)]
    monkeypatch.setattr(seen, "KEPT", 0)
    assert [look(clean), look(tmp_path)] == kept


def test_the_files_are_counted_as_they_are_read(clean: Path) -> None:
    from septum.recipe import load_recipe
    from septum.survey.examination import take_survey

    said: list[tuple[int, int]] = []
    take_survey(clean, load_recipe("default"), lambda done, total: said.append((done, total)))
    assert said == [(n, 8) for n in range(1, 9)]


def test_many_classes_may_be_objects(data: Path, spoil: Spoil, look: Look) -> None:
    for number in range(8):
        spoil(
            f"labels/{number:02d}.png",
            lambda array: np.where(array > 0, array % 7 + 1, 0).astype(np.uint8),
        )
    (problem,) = look(data, "labels.kind=classes").problems
    assert (problem.kind, problem.level) == ("values", "note")
    assert problem.remedy.endswith("labels.kind=instances")


def test_a_store_is_looked_at_as_a_file_is(clean: Path, tmp_path: Path, look: Look) -> None:
    from predictions import write_zarr

    for part in ("images", "labels"):
        (tmp_path / "stores" / part).mkdir(parents=True)
        for path in sorted((clean / part).iterdir()):
            array = read_image(path, labels=True).array
            image = Image(array.astype(np.uint16 if part == "labels" else np.uint8), "YX")
            write_zarr(tmp_path / "stores" / part / f"{path.stem}.zarr", image)
    stores, files = look(tmp_path / "stores"), look(clean)
    assert stores.problems == ()
    assert (stores.objects, stores.channels, stores.meaning) == (
        files.objects,
        files.channels,
        files.meaning,
    )
