"""Layouts of outlines, of several masks an image, and of names that nearly fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlines import SQUARE, box_roi, coco, feature, write_geojson, write_json, write_rois
from septum.annotation.interpretation import interpret
from septum.annotation.layouts import find_pairs
from septum.annotation.pairs import load_pairs
from septum.errors import AnnotationError, InputError
from septum.images.files import Image, write_image
from septum.recipe import Labels

SHAPE = (20, 24)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (folder / name).mkdir(exist_ok=True)
        else:
            (folder / name).touch()


def found(data: Path) -> dict[str, tuple[str, str, str]]:
    return {
        p.name: (
            str(p.image.resolve().relative_to(data.resolve())),
            str(p.labels.resolve().relative_to(data.resolve())),
            p.drawing.format if p.drawing else "",
        )
        for p in find_pairs(data)
    }


def write_mask(path: Path, box: tuple[slice, ...], value: int = 255) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[box] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Image(mask, "YX"))


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("images/A.TIF", "labels/a.tif"),
        ("images/image_001.png", "labels/label_001.png"),
        ("images/img_001.png", "masks/mask_001.tif"),
        ("images/001.png", "masks/seg_001.png"),
        ("images/Cell_1.png", "labels/cell_1_MASK.png"),
        ("images/a.png", "labels/a_nuclei.png"),
        ("image_7.png", "label_7.png"),
        ("a.png", "a_cp_masks.png"),
        ("t.ome.tif", "t_labels.ome.tif"),
    ],
)
def test_names_that_nearly_fit(image: str, labels: str, tmp_path: Path) -> None:
    touch(tmp_path, image, labels)
    (pair,) = found(tmp_path).values()
    assert pair == (image, labels, "")


@pytest.mark.parametrize("labels", ["a.zip", "a.tif.zip", "a_rois.zip", "a_RoiSet.zip", "A.zip"])
@pytest.mark.parametrize("folders", [("", ""), ("images/", "labels/"), ("images/", "ROIs/")])
def test_outlines_by_name(labels: str, folders: tuple[str, str], tmp_path: Path) -> None:
    touch(tmp_path, f"{folders[0]}a.tif", f"{folders[0]}b.tif")
    for name in (labels, labels.replace("a", "b", 1).replace("A", "B", 1)):
        write_rois(tmp_path / folders[1] / name, {"x": box_roi(1, 1, 2, 2)})
    pairs = found(tmp_path)
    assert pairs["a"] == (f"{folders[0]}a.tif", f"{folders[1]}{labels}", "ImageJ")
    assert len(pairs) == 2


def test_one_image_and_one_set_of_rois_belong_together_whatever_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "well 3.tif")
    write_rois(tmp_path / "RoiSet.zip", {"x": box_roi(1, 1, 2, 2)})
    assert found(tmp_path)["well 3"] == ("well 3.tif", "RoiSet.zip", "ImageJ")


@pytest.mark.parametrize(
    "labels", ["a_RoiSet.zip", "a_rois.zip", "rois_a.zip", "A.zip", "RoiSet.zip"]
)
def test_an_archive_of_rois_that_was_cut_short_is_named(labels: str, tmp_path: Path) -> None:
    write_mask(tmp_path / "a.tif", np.s_[1:2])
    path = write_rois(tmp_path / labels, {"x": box_roi(1, 1, 2, 2)})
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        with pytest.raises(AnnotationError, match=rf"{labels}: cannot be read as a \.zip of ROIs"):
            load_pairs(find_pairs(tmp_path))


@pytest.mark.parametrize("labels", ["a.zip", "a_RoiSet.zip", "RoiSet.zip"])
def test_an_archive_without_rois_is_a_negative(labels: str, tmp_path: Path) -> None:
    write_mask(tmp_path / "a.tif", np.s_[1:2])
    write_rois(tmp_path / labels, {})
    (part,) = load_pairs(find_pairs(tmp_path))
    assert not part.labels_S.any()


def test_other_archives_and_json_beside_images_are_no_labels(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "a_mask.tif", "all.zip")
    write_json(tmp_path / "settings.json", {"a": 1})
    assert found(tmp_path) == {"a": ("a.tif", "a_mask.tif", "")}


def test_json_of_an_images_name_must_be_outlines(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif")
    write_json(tmp_path / "a.json", {"shapes": [], "imagePath": "a.tif"})
    with pytest.raises(AnnotationError, match=r"a\.json: is a LabelMe file"):
        find_pairs(tmp_path)
    write_json(tmp_path / "a.json", [feature(SQUARE)])
    touch(tmp_path, "b.tif")
    with pytest.raises(AnnotationError, match=r"1 file \(b\.tif\) without labels"):
        find_pairs(tmp_path)


def test_a_folder_an_image_has_a_mask_an_object(tmp_path: Path) -> None:
    touch(tmp_path, "x1/images/x1.png", "x1/masks/8f.png", "x1/masks/0a.png", "x2/images/x2.png")
    touch(tmp_path, "x2/masks/", "notes/a.txt")
    pairs = find_pairs(tmp_path)
    assert [(p.name, len(p.drawing.files)) for p in pairs if p.drawing] == [("x1", 2), ("x2", 0)]
    touch(tmp_path, "x3/images/x3.png")
    with pytest.raises(AnnotationError, match=r"1 file \(x3\) without masks/; .*empty folder"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (["images/a.png", "labels/a/1.gif", "labels/a/2.gif"], "labels/a/1.gif"),
        (["images/a.png", "images/b.png", "labels/a/1.png", "labels/b/x/"], "labels/b/x"),
        (["images/a.png", "labels/a/RoiSet.zip", "labels/a/b.zip"], "labels/a/b.zip"),
        (["a/images/a.png", "a/masks/1.png", "b/images/b.png", "b/masks/x.gif"], "b/masks/x.gif"),
        (["a/images/a.png", "a/masks/png/1.png"], "a/masks/png"),
    ],
)
def test_a_folder_of_which_nothing_is_read_is_no_negative(
    names: list[str], first: str, tmp_path: Path
) -> None:
    touch(tmp_path, *names)
    with pytest.raises(AnnotationError, match=rf"{first}: is not read as labels of [ab]\.png; exp"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["x3/masks/1.png"], r"1 file \(x3\) without an image; expected one in images/ \(\.tif"),
        (["x3/masks/1.png", "x3/images/x3.gif"], r"1 file \(x3\) without an image"),
        (["x3/masks/1.png", "x3/images/"], r"1 file \(x3\) without an image"),
        (
            ["x3/masks/1.png", "x3/images/x3.png", "x3/images/view.png"],
            r"x3/images: 2 files \(view\.png, x3\.png\) for one folder of masks; expected one",
        ),
    ],
)
def test_a_folder_an_image_has_one_image(names: list[str], words: str, tmp_path: Path) -> None:
    touch(tmp_path, "x1/images/x1.png", "x1/masks/8f.png", "x2/images/x2.png", "x2/masks/")
    touch(tmp_path, "notes/masks/")
    assert len(find_pairs(tmp_path)) == 2
    touch(tmp_path, *names)
    with pytest.raises(AnnotationError, match=words):
        find_pairs(tmp_path)


def test_folders_of_a_set_are_no_images_though_one_of_them_has_a_single_image(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "val/images/c.png", "val/masks/c_mask.png")
    touch(tmp_path, *(f"train/{f}.png" for f in ("images/a", "images/b", "masks/mask_a")))
    with pytest.raises(InputError, match=r"are in train/, val/: name one of these, such as"):
        find_pairs(tmp_path)


def test_a_folder_an_image_may_hold_one_archive_of_rois(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "labels/b/.hidden")
    write_rois(tmp_path / "labels/a/RoiSet.zip", {"x": box_roi(1, 1, 2, 2)})
    pairs = found(tmp_path)
    assert pairs["a"] == ("images/a.png", "labels/a/RoiSet.zip", "ImageJ")
    assert pairs["b"] == ("images/b.png", "labels/b", "masks of objects")


def test_folders_within_labels_are_images_or_classes(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "labels/a/1.png", "labels/a/2.png", "labels/b/")
    assert [len(p.drawing.files) for p in find_pairs(tmp_path) if p.drawing] == [2, 0]
    other = tmp_path / "other"
    for name in "ab":
        write_mask(other / f"images/{name}.png", np.s_[1:2])
        write_mask(other / f"labels/nucleus/{name}_mask.png", np.s_[2:6, 2:6])
        write_mask(other / f"labels/cytoplasm/{name}.png", np.s_[8:9])
    assert [p.drawing.names for p in find_pairs(other) if p.drawing] == [
        ("cytoplasm", "nucleus")
    ] * 2
    (other / "labels/nucleus/a_mask.png").unlink()
    with pytest.raises(AnnotationError, match=r"images: 1 file \(a\.png\) without labels"):
        find_pairs(other)


def class_masks(data: Path, overlap: int = 0) -> None:
    for name in "ab":
        write_mask(data / f"images/{name}.png", np.s_[1:2])
        write_mask(data / f"labels/{name}_Nucleus_mask.png", np.s_[2:6, 2:6])
        write_mask(data / f"labels/{name}_cytoplasm.png", np.s_[6 - overlap : 9, 2:6], value=1)


def test_one_file_a_class(tmp_path: Path) -> None:
    class_masks(tmp_path)
    pairs = find_pairs(tmp_path)
    loaded = [(part.name, part.labels_S) for part in load_pairs(pairs)]
    assert [(loaded[0][1] == value).sum() for value in (0, 1, 2)] == [480 - 28, 12, 16]
    meaning = interpret(pairs, loaded, Labels())
    assert meaning.describe() == (
        "classes: background → 0 (94.2 %), cytoplasm → 1 (2.5 %), Nucleus → 2 (3.3 %)"
    )
    assert meaning.class_words(2) == "Nucleus"
    (tmp_path / "labels/b_cytoplasm.png").unlink()
    with pytest.raises(AnnotationError, match=r"b\.png: .*none of cytoplasm; .*its mask is all 0"):
        find_pairs(tmp_path)


@pytest.mark.parametrize("folders", [("images/", "labels/"), ("", "")])
@pytest.mark.parametrize("word", ["mask_{}", "cell{}", "cell{}_mask", "{}_cell"])
def test_files_that_differ_by_a_number_are_rather_objects_than_classes(
    word: str, folders: tuple[str, str], tmp_path: Path
) -> None:
    touch(tmp_path, f"{folders[0]}a.png", f"{folders[0]}b.png")
    touch(tmp_path, *(f"{folders[1]}a_{word.format(number)}.png" for number in (0, 1, 2)))
    touch(tmp_path, f"{folders[1]}b_{word.format(0)}.png")
    with pytest.raises(AnnotationError, match=r"an object\? Put them into labels/a/, .*classes"):
        find_pairs(tmp_path)


def test_masks_that_overlap_need_an_order(tmp_path: Path) -> None:
    class_masks(tmp_path, overlap=1)
    with pytest.raises(AnnotationError, match="4 pixels are of both cytoplasm and Nucleus; say"):
        load_pairs(find_pairs(tmp_path))
    order = Labels(classes=("cytoplasm", "Nucleus"))
    (part, _) = load_pairs(find_pairs(tmp_path, order))
    assert [(part.labels_S == value).sum() for value in (1, 2)] == [12, 16]
    with pytest.raises(AnnotationError, match=r"'nucleus': did you mean 'Nucleus'\? there are"):
        find_pairs(tmp_path, Labels(classes=("nucleus",)))
    (part, _) = load_pairs(find_pairs(tmp_path, Labels(classes=("Nucleus",))))
    assert np.unique(part.labels_S).tolist() == [0, 1]
    with pytest.raises(AnnotationError, match=r"one of several masks .* labels.kind = 'instances'"):
        find_pairs(tmp_path, Labels(kind="instances"))


def test_masks_of_classes_beside_their_image_and_in_a_table(tmp_path: Path) -> None:
    for name in ("a", "a_nucleus", "a_cytoplasm", "a 2", "a 2_nucleus", "a 2_cytoplasm"):
        write_mask(tmp_path / f"{name}.png", np.s_[len(name) : len(name) + 1])
    pairs = find_pairs(tmp_path)
    assert [pair.name for pair in pairs] == ["a", "a 2"]
    assert [p.name for p in pairs[1].drawing.files] == ["a 2_cytoplasm.png", "a 2_nucleus.png"]  # type: ignore[union-attr]
    table = tmp_path / "pairs.csv"
    table.write_text("image,kern,plasma\na.png,a_nucleus.png,a_cytoplasm.png\n")
    (pair,) = find_pairs(table)
    assert pair.drawing is not None
    assert pair.drawing.values == (("kern", 1), ("plasma", 2))
    table.write_text("a.png,a_nucleus.png,a_cytoplasm.png\n")
    with pytest.raises(InputError, match=r"line 1: 3 columns; expected .* needs a header"):
        find_pairs(table)


def test_a_table_may_name_outlines(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png", "c.png", "d.png", "d_masks/")
    write_rois(tmp_path / "x.zip", {"x": box_roi(1, 1, 2, 2)})
    write_geojson(tmp_path / "y.geojson", feature(SQUARE))
    write_json(tmp_path / "z.json", coco({"sub/c.png": SHAPE}, []))
    (tmp_path / "t.csv").write_text("a.png,x.zip\nb.png,y.geojson\nc.png,z.json\nd.png,d_masks\n")
    formats = [pair.drawing.format for pair in find_pairs(tmp_path / "t.csv") if pair.drawing]
    assert formats == ["ImageJ", "GeoJSON", "COCO", "masks of objects"]


@pytest.mark.parametrize("place", ["instances.json", "annotations/instances.json"])
@pytest.mark.parametrize("folder", ["images/", "", "Images/"])
def test_coco_in_a_folder(place: str, folder: str, tmp_path: Path) -> None:
    touch(tmp_path, f"{folder}a.png", f"{folder}b.png", "settings.json")
    path = write_json(tmp_path / place, coco({"a.png": SHAPE, "b.png": SHAPE}, []))
    assert found(tmp_path)["b"] == (f"{folder}b.png", place, "COCO")
    touch(tmp_path, f"{folder}c.png")
    with pytest.raises(AnnotationError, match=r"\(c\.png\) without annotation: .*does not name"):
        find_pairs(tmp_path)
    assert len(find_pairs(path)) == 2
    (tmp_path / f"{folder}b.png").unlink()
    with pytest.raises(AnnotationError, match=r"names the image b\.png, which is not in .*put the"):
        find_pairs(tmp_path)
    write_json(path.parent / "val.json", coco({"a.png": SHAPE}, []))
    with pytest.raises(AnnotationError, match=r"2 files .* are all COCO files; name the one"):
        find_pairs(tmp_path)


def test_two_images_of_a_coco_file_are_not_one_file(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png")
    path = write_json(tmp_path / "all.json", coco({"x/a.png": SHAPE, "y/a.png": SHAPE}, []))
    with pytest.raises(
        AnnotationError, match=r"both x/a\.png and y/a\.png, .* one file, .*images/a\.png; expected"
    ):
        find_pairs(path)
    touch(tmp_path, "images/x/a.png", "images/y/a.png")
    assert sorted(found(path.parent)) == ["x/a", "y/a"]


@pytest.mark.parametrize(
    ("images", "place"),
    [
        ("images/", "annotations.json"),
        ("images/", "annotations.JSON"),
        ("images/", "images/annotations.json"),
        ("", "_annotations.coco.json"),
    ],
)
def test_json_that_may_be_the_labels_is_named_where_there_are_none(
    images: str, place: str, tmp_path: Path
) -> None:
    touch(tmp_path, f"{images}a.png", f"{images}b.png")
    path = write_json(tmp_path / place, coco({"a.png": SHAPE, "b.png": SHAPE}, []))
    whole = path.read_text()
    path.write_text(whole[:-9])
    with pytest.raises(AnnotationError, match=rf"{place}: cannot be read as JSON .*cut short"):
        find_pairs(tmp_path)
    write_json(path, {"_via_img_metadata": {}})
    with pytest.raises(AnnotationError, match=rf"{place}: is a project of the VGG Image Annotator"):
        find_pairs(tmp_path)
    write_json(path, {"shapes": [], "imagePath": "a.png"})
    with pytest.raises(AnnotationError, match=rf"{place}: is a LabelMe file: export it as COCO"):
        find_pairs(tmp_path)
    # Beside labels other JSON is none of ours.
    touch(tmp_path, *(f"labels/{name}.png" if images else f"{name}_mask.png" for name in "ab"))
    assert len(find_pairs(tmp_path)) == 2


def test_where_nothing_is_annotated_json_may_be_anything(tmp_path: Path) -> None:
    write_json(tmp_path / "scores.json", {"dice": 1})
    with pytest.raises(InputError, match=r"no image files in a layout known here; expected a fold"):
        find_pairs(tmp_path)
    touch(tmp_path, "a.png", "b.png")
    with pytest.raises(
        AnnotationError, match=r"scores\.json: is JSON of another kind; expected a C"
    ):
        find_pairs(tmp_path)


def test_a_coco_file_is_known_whatever_the_case_of_its_type(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png")
    write_json(tmp_path / "annotations.JSON", coco({"a.png": SHAPE}, []))
    assert found(tmp_path)["a"] == ("images/a.png", "annotations.JSON", "COCO")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["images/a.png", "lables/a.png"], r"has images/ but no labels/ .*labels/ by lables/\?"),
        (["a.png", "pairs.csv"], r"if pairs\.csv names the pairs, give its path as DATA"),
        (["labels/a.png", "imgaes/a.png"], r"no images/ folder; did you mean images/ by imgaes/\?"),
        (["imags/a.png", "mask_s/a.png"], r"did you mean images/ by imags/\?"),
        (["images/a.png", "labels/a_seg.npy"], r"a_seg\.npy: .*a pickle.*NAME_cp_masks"),
        (["a.png", "a_seg.npy"], r"a_seg\.npy: .*never read here; in Cellpose, File › Save masks"),
        (["images/a.png", "labels/a.png", "labels/a.roi"], "a.png and a.roi have the same name"),
        (["a.png", "a_mask.png", "a_labels.tif"], "a_labels.tif and a_mask.png have the same name"),
        (["images/t01.png", "labels/t1.png"], r"is t1\.png of t01\.png\? expected equal names"),
        (["images/a.png", "labels/1/"], "neither a folder of masks of one image"),
        (["images/a.png", "images/b.png", "labels/a.png"], r"\(b\.png\) without labels"),
    ],
)
def test_what_does_not_fit_is_one_line(names: list[str], words: str, tmp_path: Path) -> None:
    touch(tmp_path, *names)
    with pytest.raises(InputError, match=words) as caught:
        find_pairs(tmp_path)
    assert "\n" not in str(caught.value)


def meaning_of(data: Path, **settings: Any) -> Any:
    section = Labels(**settings)
    pairs = find_pairs(data, section)
    return interpret(pairs, ((part.name, part.labels_S) for part in load_pairs(pairs)), section)


def test_label_images_and_objects_mix_only_where_both_are_said_to_be_objects(
    tmp_path: Path,
) -> None:
    for name in "ab":
        write_mask(tmp_path / f"images/{name}.png", np.s_[1:2])
    write_mask(tmp_path / "labels/b.png", np.s_[2:6, 2:6], value=9)
    write_rois(tmp_path / "labels/a.zip", {"x": box_roi(1, 1, 2, 2)})
    with pytest.raises(AnnotationError, match=r"a\.zip is ImageJ, but .*b\.png is a label image"):
        meaning_of(tmp_path)
    assert meaning_of(tmp_path, kind="instances").objects == 2
    # An ignored value is one of the label image; no ROI has its number.
    assert meaning_of(tmp_path, kind="instances", ignore=9).objects == 1
    assert meaning_of(tmp_path, kind="instances", ignore=1).objects == 2


def test_rois_are_classes_only_where_that_is_said(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", np.s_[1:2])
    rois = {"nucleus": box_roi(1, 1, 2, 2), "nucleus-1": box_roi(4, 1, 2, 2)}
    write_rois(tmp_path / "a.zip", rois | {"debris": box_roi(8, 1, 2, 2)})
    assert meaning_of(tmp_path).objects == 3
    assert meaning_of(tmp_path, kind="classes").class_names == ("background", "debris", "nucleus")
    assert meaning_of(tmp_path, kind="binary").class_count == 2
    write_rois(tmp_path / "a.zip", rois | {"0001-0042": box_roi(8, 1, 2, 2)})
    with pytest.raises(AnnotationError, match=r"ROI '0001-0042' has no class, but others are of"):
        meaning_of(tmp_path, kind="classes")


def test_outlines_without_classes_are_objects_and_with_two_classes(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", np.s_[1:2])
    here, there = [(x, 1) for x, _ in SQUARE], [(x + 9, y) for x, y in SQUARE]
    del here
    path = tmp_path / "a.geojson"
    write_geojson(path, feature(SQUARE, name="T"), feature(there))
    assert meaning_of(tmp_path).kind == "instances"
    write_geojson(path, feature(SQUARE, name="Tumor"), feature(there, name="background"))
    assert meaning_of(tmp_path).class_names == ("background", "Tumor")
    sparse = meaning_of(tmp_path, unlabelled="ignore")
    assert sparse.class_names == ("background", "Tumor")
    assert sparse.class_values == (1, 2)
    assert sparse.ignore == (-1, 0)
    write_geojson(path, feature(SQUARE, name="T"), feature(there, name="S"), feature(SQUARE))
    with pytest.raises(AnnotationError, match="feature 3 has no class, but others are of S, T"):
        find_pairs(tmp_path)
