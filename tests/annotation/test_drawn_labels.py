"""The one entrance: whatever was drawn becomes label values, by region as in the whole."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlines import SQUARE, box_roi, coco, feature, write_geojson, write_json, write_rois
from septum.annotation.drawn_remarks import describe_drawn
from septum.annotation.interpretation import interpret
from septum.annotation.layouts import find_pairs
from septum.annotation.meaning import LabelMeaning
from septum.annotation.pair import Pair
from septum.annotation.pairs import load_pairs
from septum.annotation.stored_pairs import open_pairs
from septum.errors import AnnotationError
from septum.images.files import Image, write_image
from septum.recipe import Labels

SHAPE = (30, 40)


def square(x: float, y: float, side: float, height: float = 0) -> list[tuple[float, float]]:
    height = height or side
    return [(x, y), (x + side, y), (x + side, y + height), (x, y + height)]


def write_images(folder: Path, *names: str, shape: tuple[int, ...] = SHAPE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or ("a",):
        pixels = np.random.default_rng(0).integers(0, 99, shape).astype(np.uint8)
        write_image(folder / f"{name}.tif", Image(pixels, "TZYX"[-len(shape) :]))


def write_mask(path: Path, *boxes: tuple[slice, ...], value: int = 255) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    for box in boxes:
        mask[box] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Image(mask, "YX"))


def labels_of(data: Path, labels: Labels | LabelMeaning | None = None) -> np.ndarray:
    """Of the first image, by region as in the whole."""
    pairs = find_pairs(data, labels)
    whole = load_pairs(pairs)[0].labels_S
    part = open_pairs(pairs)[0]
    assert part.labels.dtype == whole.dtype == np.int32
    pickle.loads(pickle.dumps(part))
    for box in (np.s_[3:11, 2:9], np.s_[0:30, 5:6], np.s_[20:30, 30:40]):
        np.testing.assert_array_equal(part.read_labels(box), whole[box])
    return whole


def remarks(data: Path, labels: Labels | None = None) -> list[str]:
    return describe_drawn(part.labels.image for part in open_pairs(find_pairs(data, labels)))


def as_zip(data: Path, outlines: list[list[tuple[float, float]]]) -> None:
    write_rois(
        data / "labels/a.zip",
        {
            f"r{n}": box_roi(
                *map(int, (*line[0], line[1][0] - line[0][0], line[2][1] - line[0][1]))
            )
            for n, line in enumerate(outlines)
        },
    )


def as_roi_files(data: Path, outlines: list[list[tuple[float, float]]]) -> None:
    as_zip(data, outlines)
    (data / "labels/a").mkdir()
    import zipfile

    with zipfile.ZipFile(data / "labels/a.zip") as archive:
        archive.extractall(data / "labels/a")
    (data / "labels/a.zip").unlink()


def as_geojson(data: Path, outlines: list[list[tuple[float, float]]]) -> None:
    write_geojson(data / "labels/a.geojson", *map(feature, outlines))


def as_coco(data: Path, outlines: list[list[tuple[float, float]]]) -> None:
    items = [{"image_id": 1, "segmentation": [np.ravel(line).tolist()]} for line in outlines]
    write_json(data / "annotations.json", coco({"a.tif": SHAPE}, items))


def as_masks(data: Path, outlines: list[list[tuple[float, float]]]) -> None:
    for number, line in enumerate(outlines):
        (x, y), (right, bottom) = line[0], line[2]
        box = np.s_[int(y) : int(bottom), int(x) : int(right)]
        write_mask(data / f"labels/a/mask{number}.png", box)
    (data / "labels/a").mkdir(parents=True, exist_ok=True)


FORMATS = [as_zip, as_roi_files, as_geojson, as_coco, as_masks]


@pytest.mark.parametrize("write", FORMATS)
def test_objects_of_every_format_are_numbered_and_the_smaller_is_above(
    write: Any, tmp_path: Path
) -> None:
    write_images(tmp_path / "images")
    write(tmp_path, [square(2, 1, 3), square(10, 5, 10), square(18, 5, 4), square(10, 20, 5)])
    expected = np.zeros(SHAPE, np.int32)
    expected[1:4, 2:5] = 1
    expected[5:15, 10:20] = 2
    expected[5:9, 18:22] = 3
    expected[20:25, 10:15] = 4
    np.testing.assert_array_equal(labels_of(tmp_path), expected)
    (remark,) = remarks(tmp_path)
    assert remark.startswith("pixels of several objects, given to the smallest: 8 (")
    pairs = find_pairs(tmp_path)
    loaded = ((part.name, part.labels_S) for part in load_pairs(pairs))
    meaning = interpret(pairs, loaded, Labels())
    assert meaning.describe().startswith("instances: 1 images, 4 objects (")


@pytest.mark.parametrize("write", FORMATS)
def test_an_annotation_without_objects_is_a_negative(write: Any, tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    write(tmp_path, [])
    if write == as_roi_files:
        (tmp_path / "labels/a").mkdir(exist_ok=True)
    assert not labels_of(tmp_path).any()


@pytest.mark.parametrize("write", [as_zip, as_geojson, as_coco])
def test_an_outline_outside_the_image_is_refused_and_one_at_its_rim_is_cut(
    write: Any, tmp_path: Path
) -> None:
    write_images(tmp_path / "images")
    write(tmp_path, [square(2, 1, 3), square(38, 28, 4), square(41, 5, 3)])
    with pytest.raises(AnnotationError, match=r"outside its image of 30 × 40 .* another image"):
        labels_of(tmp_path)
    for path in tmp_path.rglob("a*.[!t]*"):
        path.unlink()
    write(tmp_path, [square(2, 1, 3), square(38, 28, 4)])
    assert (labels_of(tmp_path) == 2).sum() == 4


def test_equal_objects_and_those_between_centres_are_lost_and_said(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    twice = square(2, 1, 3)
    as_geojson(tmp_path, [twice, twice, square(10.6, 10.6, 0.3), [(5, 20), (15, 20), (15, 25)]])
    said = remarks(tmp_path)
    assert [line.rpartition(" (")[0] for line in said] == [
        "pixels of several objects, given to the smallest: 9",
        "objects wholly covered by smaller ones (drawn twice?), lost: 1",
        "objects that hold no pixel's centre, lost: 1",
    ]
    assert set(np.unique(labels_of(tmp_path))) == {0, 1, 4}


def test_an_outline_that_crosses_itself_is_said(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    as_geojson(tmp_path, [[*square(1, 1, 9), *square(1, 1, 3)]])
    assert (labels_of(tmp_path) == 1).sum() == 81
    (remark,) = remarks(tmp_path)
    assert remark.startswith("pixels where an outline crosses itself, taken for inside")
    assert ": 9 (" in remark


def test_names_are_classes_in_alphabetical_order_or_in_the_given_one(tmp_path: Path) -> None:
    write_images(tmp_path, "a", "b")
    write_geojson(
        tmp_path / "a.geojson",
        feature(square(2, 1, 9), name="Tumor"),
        feature(square(20, 1, 9), name="Stroma"),
    )
    write_geojson(tmp_path / "b.geojson", feature(SQUARE, name="Blood"))
    labels = labels_of(tmp_path)
    assert labels[5, 5] == 3
    assert labels[5, 25] == 2
    given = Labels(classes=("Tumor", "Stroma"))
    np.testing.assert_array_equal(labels_of(tmp_path, given), np.array([0, 0, 2, 1])[labels])
    (remark,) = remarks(tmp_path, given)
    assert remark.startswith("objects of classes that labels.classes does not name, left out: 1")
    as_objects = labels_of(tmp_path, Labels(kind="instances"))
    assert set(np.unique(as_objects)) == {0, 1, 2}


def test_classes_that_overlap_need_an_order(tmp_path: Path) -> None:
    write_images(tmp_path)
    inner, outer = feature(square(4, 3, 2), name="Nucleus"), feature(square(2, 1, 9), name="Cell")
    write_geojson(tmp_path / "a.geojson", inner, outer)
    with pytest.raises(AnnotationError) as caught:
        labels_of(tmp_path)
    message = str(caught.value)
    assert "a.geojson: feature 1: 4 pixels are of both Cell and Nucleus" in message
    option = message.partition("--set '")[2].partition("'")[0]
    assert option == 'labels.classes=["Cell", "Nucleus"]'
    labels = labels_of(tmp_path, Labels(classes=("Cell", "Nucleus")))
    assert [(labels == value).sum() for value in (1, 2)] == [77, 4]
    labels = labels_of(tmp_path, Labels(classes=("Nucleus", "Cell")))
    assert [(labels == value).sum() for value in (1, 2)] == [0, 81]


def test_what_is_ignored_lies_below_objects(tmp_path: Path) -> None:
    write_images(tmp_path)
    write_geojson(
        tmp_path / "a.geojson",
        feature(square(2, 1, 9), name="Ignore*"),
        feature(square(4, 3, 2)),
        feature(square(20, 3, 2)),
        feature(square(5, 4, 1), name="Ignore*"),
    )
    labels = labels_of(tmp_path)
    assert [(labels == value).sum() for value in (-1, 2, 3)] == [77, 4, 4]
    pairs = find_pairs(tmp_path)
    meaning = interpret(pairs, [("a", labels)], Labels())
    assert meaning.objects == 2
    ignored = meaning.ignored(labels)
    assert ignored is not None
    np.testing.assert_array_equal(ignored, labels == -1)


def test_regions_of_qupath_are_no_objects_and_said(tmp_path: Path) -> None:
    write_images(tmp_path)
    region, cell = feature(square(0, 0, 25), name="Region*"), feature(square(4, 3, 2), name="Cell")
    write_geojson(tmp_path / "a.geojson", region)
    with pytest.raises(AnnotationError, match=r"a\.geojson: all that is drawn \(1\) is of classes"):
        find_pairs(tmp_path)
    path = write_geojson(tmp_path / "a.geojson", region, cell)
    assert np.unique(labels_of(tmp_path)).tolist() == [0, 1]
    (remark,) = remarks(tmp_path)
    assert remark == (
        f"areas of classes that end in *, which in QuPath are no objects, left out: 1 ({path})"
    )


def test_crowds_are_said_and_alone_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a", "b")
    line = np.ravel(square(2, 1, 3)).tolist()
    items = [{"image_id": number, "segmentation": [line], "iscrowd": 1} for number in (1, 1, 2)]
    path = write_json(tmp_path / "all.json", coco({"a.tif": SHAPE, "b.tif": SHAPE}, items))
    with pytest.raises(AnnotationError, match=r"all\.json: all of its 3 .*\"iscrowd\": 0 instead"):
        find_pairs(tmp_path)
    items.append({"image_id": 2, "segmentation": [np.ravel(square(20, 1, 3)).tolist()]})
    write_json(path, coco({"a.tif": SHAPE, "b.tif": SHAPE}, items))
    (remark,) = remarks(tmp_path)
    assert remark == f"annotations that are crowds (iscrowd 1), ignored: 3 ({path})"


def test_rois_lie_on_the_planes_of_a_stack(tmp_path: Path) -> None:
    write_images(tmp_path, shape=(2, 3, *SHAPE))
    write_rois(
        tmp_path / "a.zip",
        {
            "x": box_roi(2, 1, 3, 3, position=5),
            "y": box_roi(4, 1, 3, 3, z_position=3, t_position=1),
        },
    )
    planes = load_pairs(find_pairs(tmp_path))
    assert [part.name for part in planes if part.labels_S.any()] == ["a[t00,z02]", "a[t01,z01]"]
    assert (planes[4].labels_S == 1).sum() == 9
    volumes = load_pairs(find_pairs(tmp_path), dimensions=3)
    np.testing.assert_array_equal(volumes[0].labels_S[2], planes[2].labels_S)
    stored = open_pairs(find_pairs(tmp_path), dimensions=3)[1]
    box = np.s_[1:3, 0:5, 1:9]
    np.testing.assert_array_equal(stored.read_labels(box), volumes[1].labels_S[box])


def test_pages_are_counted_over_channels_first(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, *SHAPE), np.uint8)
    write_image(tmp_path / "a.tif", Image(pixels, "CZYX"))
    write_rois(tmp_path / "a.zip", {"x": box_roi(2, 1, 3, 3, position=4)})  # of 6 pages
    planes = load_pairs(find_pairs(tmp_path))
    assert [part.name for part in planes if part.labels_S.any()] == ["a[01]"]


@pytest.mark.parametrize(
    ("roi", "words"),
    [
        (box_roi(2, 1, 3, 3), "belongs to none of the 6 planes .*Position"),
        (
            box_roi(2, 1, 3, 3, position=7),
            "was drawn on a plane that its image of 6 planes does not have",
        ),
        (box_roi(2, 1, 3, 3, z_position=4), "was drawn on a plane that its image of 6 planes"),
    ],
)
def test_a_roi_of_no_plane_is_refused(roi: Any, words: str, tmp_path: Path) -> None:
    write_images(tmp_path, shape=(2, 3, *SHAPE))
    write_rois(tmp_path / "a.zip", {"x": roi})
    with pytest.raises(AnnotationError, match=rf"a\.zip: ROI 'x' {words}"):
        open_pairs(find_pairs(tmp_path))


def test_outlines_without_an_image_have_no_size() -> None:
    path = Path("a.zip")
    from septum.annotation.drawn_labels import open_labels
    from septum.annotation.pair import Drawing
    from septum.images.stored import hold_image

    image = hold_image(Image(np.zeros(SHAPE, np.uint8), "YX"))
    with pytest.raises(AnnotationError, match=r"a\.zip: outlines alone do not say how large"):
        open_labels(Pair("a", path, path, Drawing("ImageJ", (path,))), image)


def test_a_mask_of_an_object_is_of_its_images_size_and_of_two_values(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    write_mask(tmp_path / "labels/a/1.png", np.s_[2:4, 2:4])
    write_image(tmp_path / "labels/a/2.png", Image(np.zeros((9, 9), np.uint8), "YX"))
    with pytest.raises(AnnotationError, match=r"2\.png: a mask of 9 × 9 pixels, but .* 30 × 40"):
        labels_of(tmp_path)
    write_mask(tmp_path / "labels/a/2.png", np.s_[20:24, 2:4])
    smooth = np.zeros(SHAPE, np.uint8)
    smooth[5:9, 5:9], smooth[5, 5:9] = 255, 100
    write_image(tmp_path / "labels/a/3.png", Image(smooth, "YX"))
    with pytest.raises(AnnotationError, match=r"3\.png: .*more than 0 and one other .*threshold"):
        labels_of(tmp_path)


def test_values_to_be_ignored_are_those_of_the_masks_of_objects(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    for number in range(4):
        write_mask(tmp_path / f"labels/a/{number}.png", np.s_[5 * number : 5 * number + 3, 2:9])
    mixed = np.zeros(SHAPE, np.uint8)
    mixed[25:28, 2:9], mixed[25:28, 20:30] = 255, 2
    write_image(tmp_path / "labels/a/4.png", Image(mixed, "YX"))
    labels = labels_of(tmp_path, Labels(ignore=2))
    assert np.unique(labels).tolist() == [-1, 0, 1, 3, 4, 5, 6]  # no object is number 2
    np.testing.assert_array_equal(labels == -1, mixed == 2)
    pairs = find_pairs(tmp_path, Labels(ignore=2))
    meaning = interpret(pairs, [("a", labels)], Labels(ignore=2))
    assert meaning.objects == 5
    np.testing.assert_array_equal(load_pairs(find_pairs(tmp_path, meaning))[0].labels_S, labels)


def test_values_to_be_ignored_are_those_of_the_masks_of_classes(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    (tmp_path / "labels").mkdir()
    for name, row in (("cell", 2), ("nucleus", 9)):
        mask = np.zeros(SHAPE, np.uint8)
        mask[row : row + 5, 2:9], mask[row + 3 : row + 9, 6:20] = 1, 2
        write_image(tmp_path / f"labels/a_{name}.png", Image(mask, "YX"))
    with pytest.raises(AnnotationError, match="more than 0 and one other value"):
        labels_of(tmp_path)
    section = Labels(ignore=2)
    labels = labels_of(tmp_path, section)
    assert [(labels == value).sum() for value in (-1, 1, 3)] == [6 * 14 * 2, 29, 29 - 6]
    meaning = interpret(find_pairs(tmp_path, section), [("a", labels)], section)
    assert meaning.class_names == ("background", "cell", "nucleus")
    assert meaning.class_values == (0, 1, 3)
    np.testing.assert_array_equal(labels_of(tmp_path, meaning), labels)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (as_zip, r"a\.zip: outlines have no values.* and save the ROIs as a label image"),
        (as_geojson, r"a\.geojson: outlines have no values.* give such areas the class Ignore\*"),
        (as_coco, r"annotations\.json: outlines have no values.* of such areas iscrowd 1"),
    ],
)
def test_outlines_have_no_values_to_be_ignored(write: Any, words: str, tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    write(tmp_path, [square(2, 1, 3), square(10, 5, 4)])
    with pytest.raises(AnnotationError, match=words):
        find_pairs(tmp_path, Labels(ignore=1))
    assert set(np.unique(labels_of(tmp_path, Labels(ignore=0)))) == {0, 1, 2}  # what is not drawn
    # A model may have learnt from label images, which have such values.
    labels = labels_of(tmp_path)
    meaning = interpret(find_pairs(tmp_path), [("a", labels)], Labels())
    known = replace(meaning, ignore=(1, -1))
    assert set(np.unique(labels_of(tmp_path, known))) == {0, 2, 3}
