"""Pairs: found in every layout, checked against each other, split the same everywhere."""

from __future__ import annotations

import functools
import operator
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import assume, given
from hypothesis import strategies as st

from septum.annotation.pairs import Pair, find_pairs, load_pairs, split_validation
from septum.errors import AnnotationError, InputError
from septum.images.files import Image, write_image
from septum.recipe import Validation

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SEPTUM_DATA", ROOT / "../shared/data")).resolve()
REAL = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA} (set SEPTUM_DATA)")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(data: Path, root: Path | None = None) -> list[tuple[str, str, str]]:
    root = (root or data).resolve()
    return [
        (p.name, *(str(q.resolve().relative_to(root)) for q in (p.image, p.labels)))
        for p in find_pairs(data)
    ]


@pytest.mark.parametrize("images", ["images", "Image"])
@pytest.mark.parametrize("labels", ["labels", "Masks", "annotations", "label", "MASK"])
@pytest.mark.parametrize("ending", ["", "_mask", "_labels", "-labels", "_seg", "_label", "_Masks"])
def test_two_folders(images: str, labels: str, ending: str, tmp_path: Path) -> None:
    touch(tmp_path, f"{images}/a10.png", f"{images}/a9.tif", f"{images}/Thumbs.db")
    touch(
        tmp_path, f"{labels}/a10{ending}.tif", f"{labels}/a9{ending}.png", f"{labels}/.hidden.png"
    )
    assert found(tmp_path) == [
        ("a9", f"{images}/a9.tif", f"{labels}/a9{ending}.png"),
        ("a10", f"{images}/a10.png", f"{labels}/a10{ending}.tif"),
    ]


@pytest.mark.parametrize(
    ("images", "labels"), [("raw", "gt"), ("imgs", "masks"), ("images", "seg")]
)
def test_other_words_for_two_folders(images: str, labels: str, tmp_path: Path) -> None:
    touch(tmp_path, f"{images}/a.png", f"{labels}/a.png")
    assert found(tmp_path) == [("a", f"{images}/a.png", f"{labels}/a.png")]


def test_other_words_count_only_where_there_is_no_usual_one(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "labels/a.png", "raw/b.png", "gt/b.png")
    assert found(tmp_path) == [("a", "images/a.png", "labels/a.png")]
    touch(tmp_path / "one", "a.png", "a_mask.png", "raw/b.png")
    assert found(tmp_path / "one") == [("a", "a.png", "a_mask.png")]


def test_the_channel_in_the_names_of_nnunet_is_no_part_of_them(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/c_001_0000.png", "imagesTr/c_002_0000.png", "imagesTs/c_9_0000.png")
    touch(tmp_path, "labelsTr/c_001.png", "labelsTr/c_002.png")
    assert [pair[2] for pair in found(tmp_path)] == ["labelsTr/c_001.png", "labelsTr/c_002.png"]
    touch(tmp_path, "imagesTr/c_002_0001.png")
    with pytest.raises(AnnotationError, match=r"c_002_0000.png and c_002_0001.png: channels of"):
        find_pairs(tmp_path)


def test_two_labels_of_one_image_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "labels/a.tif", "labels/b.tif")
    touch(tmp_path, "labels/b_mask.png")
    with pytest.raises(AnnotationError, match=r"b.tif and b_mask.png are both .* of b.png: keep"):
        find_pairs(tmp_path)


def test_what_nearly_is_a_layout_is_told_how_to_become_one(tmp_path: Path) -> None:
    touch(tmp_path / "split", "val/images/b.png", "val/masks/b.png")
    touch(tmp_path / "split", "train/images/a.png", "train/masks/a.png")
    touch(tmp_path / "split", "train/images/c.png", "train/masks/c.png")
    with pytest.raises(InputError, match=r"in train/, val/: name one of these, such as .*/train;"):
        find_pairs(tmp_path / "split")
    touch(tmp_path / "one", "A_1.jpg", "A_1.PNG")
    with pytest.raises(InputError, match=r"A_1\.\w+ and A_1\.\w+ have the same name: "):
        find_pairs(tmp_path / "one")


def test_an_equal_name_is_taken_before_one_with_an_ending(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/a_seg.png", "images/b.png")
    touch(tmp_path, "labels/a.png", "labels/a_seg.png", "labels/b_mask.png")
    assert [Path(pair[2]).name for pair in found(tmp_path)] == ["a.png", "a_seg.png", "b_mask.png"]


def test_ome_suffixes_are_no_part_of_the_name(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.ome.tif", "labels/a.png")
    assert found(tmp_path) == [("a", "images/a.ome.tif", "labels/a.png")]


def test_volume_and_labels_in_one_folder_leave_test_data_out(tmp_path: Path) -> None:
    touch(tmp_path, "train-volume.tif", "train-labels.tif", "test-volume.tif")
    assert found(tmp_path) == [("train-volume", "train-volume.tif", "train-labels.tif")]


def test_names_with_labels_in_one_folder(tmp_path: Path) -> None:
    touch(tmp_path, "b.tif", "b_labels.tif", "a.tif", "a_mask.png")
    assert found(tmp_path) == [("a", "a.tif", "a_mask.png"), ("b", "b.tif", "b_labels.tif")]


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    touch(tmp_path, *(f"02/t{i:03d}.tif" for i in range(12)))
    touch(tmp_path, *(f"02_ST/SEG/man_seg{i:03d}.tif" for i in range(12)))
    touch(tmp_path, "02_GT/SEG/man_seg003.tif", "02_GT/SEG/man_seg010.tif", "02_GT/TRA/x.txt")
    return tmp_path


@pytest.mark.parametrize("given", ["", "02", "02_GT", "02_GT/SEG"])
def test_challenge_prefers_gold_truth(given: str, challenge: Path) -> None:
    assert found(challenge / given, challenge) == [
        ("t003", "02/t003.tif", "02_GT/SEG/man_seg003.tif"),
        ("t010", "02/t010.tif", "02_GT/SEG/man_seg010.tif"),
    ]


def test_challenge_silver_truth_by_its_path_or_where_there_is_no_gold(challenge: Path) -> None:
    silver = found(challenge / "02_ST", challenge)
    assert len(silver) == 12
    assert silver[7] == ("t007", "02/t007.tif", "02_ST/SEG/man_seg007.tif")
    for path in (challenge / "02_GT/SEG").iterdir():
        path.unlink()
    assert found(challenge, challenge) == silver
    (challenge / "02_GT").rename(challenge / "elsewhere")
    assert found(challenge, challenge) == silver


@pytest.mark.parametrize("given", ["", "02", "02_GT"])
def test_challenge_truth_of_single_planes_is_named_and_silver_not_taken_in_its_place(
    given: str, challenge: Path
) -> None:
    for rest in (("003", "010"), ("003",), ()):  # beside whole frames, and alone
        touch(challenge, "02_GT/SEG/man_seg_000_012.tif", "02_GT/SEG/man_seg_001_003.tif")
        for path in (challenge / "02_GT/SEG").glob("man_seg0*.tif"):
            if path.stem[-3:] not in rest:
                path.unlink()
        with pytest.raises(
            AnnotationError,
            match=r"SEG: 2 files \(man_seg_000_012.tif, .* single planes .*: septum train .*02_ST$",
        ):
            find_pairs(challenge / given)
    assert len(find_pairs(challenge / "02_ST")) == 12


def test_challenge_with_two_sequences_names_both(challenge: Path) -> None:
    touch(challenge, "01/t003.tif", "01_GT/SEG/man_seg003.tif")
    assert [pair.name for pair in find_pairs(challenge)] == ["01/t003", "02/t003", "02/t010"]


def test_challenge_truth_without_its_frame_is_named(challenge: Path) -> None:
    (challenge / "02/t010.tif").unlink()
    with pytest.raises(AnnotationError, match=r"man_seg010\.tif\) without an image"):
        find_pairs(challenge)


@pytest.mark.parametrize("header", ["", "image,labels\n", "Bild,Maske\n"])
@pytest.mark.parametrize("comma", [",", ";", "\t"])
def test_csv_with_paths_relative_to_it(header: str, comma: str, tmp_path: Path) -> None:
    touch(tmp_path, "data/x10.png", "data/x9.png", "truth/a.png", "truth/b.png")
    text = header + "data/x10.png,truth/a.png\n\ndata/x9.png, truth/b.png\n"
    (tmp_path / "pairs.csv").write_text(text.replace(",", comma), encoding="utf-8-sig")
    assert found(tmp_path / "pairs.csv", tmp_path) == [
        ("x9", "data/x9.png", "truth/b.png"),
        ("x10", "data/x10.png", "truth/a.png"),
    ]


def test_csv_with_equal_file_names_in_two_folders(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.png", "b/x.png", "m.png")
    (tmp_path / "pairs.csv").write_text("a/x.png,m.png\nb/x.png,m.png\n")
    assert [pair.name for pair in find_pairs(tmp_path / "pairs.csv")] == ["a/x", "b/x"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,labels\nnone.png,a.png\n", r"line 2: .*none\.png does not exist"),
        ("a.png\n", "line 1: 1 columns"),
        ("image,labels\n", "names no pair"),
        ("a.png,a.png\na.png,a.png\n", "twice"),
    ],
)
def test_csv_mistakes_name_the_line(text: str, words: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        find_pairs(tmp_path / "pairs.csv")


def test_what_is_alone_is_named_up_to_five_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/x.png", "labels/a.png")
    touch(tmp_path, *(f"labels/b{i}.png" for i in range(7)))
    with pytest.raises(AnnotationError) as caught:
        find_pairs(tmp_path)
    message = str(caught.value)
    assert "1 file (x.png) without labels" in message
    assert "7 files (b0.png, b1.png, b2.png, b3.png, b4.png and 2 more) without an image" in message


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "empty folder"),
        (["notes.txt"], "no image files in a layout known"),
        (["a.png", "b.png"], "2 image files but no labels"),
        (["images/a.png"], "has images/ but no labels/"),
        (["masks/a.png"], "has masks/ but no images/"),
        (["images/a.png", "labels/a.png", "masks/a.png"], "both labels/ and masks/"),
        (["images/a.png", "labels/a.txt"], "no image files"),
        (["images/a.png", "images/a.tif", "labels/a.png"], "same name"),
        (["a.tif", "a_labels.tif", "b_mask.tif", "c.tif"], "c.tif.*without labels.*b_mask.tif"),
    ],
)
def test_other_mistakes_are_named(names: list[str], words: str, tmp_path: Path) -> None:
    touch(tmp_path, *names)
    with pytest.raises(InputError, match=words) as caught:
        find_pairs(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_path_names_the_layouts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: does not exist; expected a folder with images/"):
        find_pairs(tmp_path / "none")


def pair(folder: Path, image: Image, labels: Image, name: str = "a") -> Pair:
    made = Pair(name, folder / f"{name}.tif", folder / f"{name}_labels.tif")
    write_image(made.image, image)
    write_image(made.labels, labels)
    return made


def plain(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return (np.arange(np.prod(shape)) % 7).reshape(shape).astype(dtype)


def test_a_stack_becomes_named_planes_with_their_own_labels(tmp_path: Path) -> None:
    image, labels = plain(12, 5, 6), plain(12, 5, 6)[::-1]
    made = pair(tmp_path, Image(image, "ZYX", (3.0, 0.5, 0.25)), Image(labels, "ZYX"))
    planes = load_pairs([made])
    assert [part.name for part in planes][::11] == ["a[00]", "a[11]"]
    np.testing.assert_array_equal(planes[3].image_CS, image[3:4])
    np.testing.assert_array_equal(planes[3].labels_S, labels[3])
    assert planes[0].pixel_size == (0.5, 0.25)
    (volume,) = load_pairs([made], dimensions=3)
    assert volume.name == "a"
    np.testing.assert_array_equal(volume.image_CS, image[np.newaxis])
    np.testing.assert_array_equal(volume.labels_S, labels)
    assert volume.pixel_size == (3.0, 0.5, 0.25)


@pytest.mark.parametrize("axes", ["TYX", "CYX"])
def test_labels_whose_pages_have_another_name_follow_the_image(axes: str, tmp_path: Path) -> None:
    image, labels = plain(4, 5, 6), plain(4, 5, 6)[::-1]
    made = pair(tmp_path, Image(image, "ZYX"), Image(labels, axes))
    np.testing.assert_array_equal(load_pairs([made], 3)[0].labels_S, labels)


def test_float_labels_that_are_whole_become_integers(tmp_path: Path) -> None:
    image = Image(plain(5, 6), "YX")
    labels = load_pairs([pair(tmp_path, image, Image(plain(5, 6, dtype="float32"), "YX"))])
    assert labels[0].labels_S.dtype.kind == "i"
    np.testing.assert_array_equal(labels[0].labels_S, plain(5, 6))


def test_colour_labels_of_equal_channels_are_grey(tmp_path: Path) -> None:
    grey = plain(5, 6)
    made = pair(tmp_path, Image(grey, "YX"), Image(np.stack([grey] * 3), "CYX"))
    np.testing.assert_array_equal(load_pairs([made])[0].labels_S, grey)


def test_grey_and_colour_images_mix_if_the_colours_are_grey(tmp_path: Path) -> None:
    grey, labels = plain(5, 6), Image(plain(5, 6), "YX")
    first = pair(tmp_path, Image(grey, "YX"), labels)
    second = pair(tmp_path, Image(np.stack([grey] * 3), "CYX"), labels, "b")
    assert {part.image_CS.shape for part in load_pairs([first, second])} == {(1, 5, 6)}
    third = pair(tmp_path, Image(plain(3, 5, 6), "CYX"), labels, "c")
    with pytest.raises(AnnotationError, match=r"c\.tif: 3 channels, but .*a\.tif has 1"):
        load_pairs([first, second, third])
    assert load_pairs([second])[0].image_CS.shape == (3, 5, 6)


@pytest.mark.parametrize(
    ("image", "labels", "words"),
    [
        (plain(5, 6), plain(6, 5), "has 5 × 6 pixels, but .* has 6 × 5"),
        (plain(3, 5, 6), plain(2, 5, 6), "has 3 pages .* has 2 "),
        (plain(5, 6), plain(5, 6, dtype="float32") + 0.5, "value 0.5 at 30 pixels"),
        (plain(5, 6), np.full((5, 6), 2**32 - 1, np.uint32), "value 4.29497e.09; expected at most"),
    ],
)
def test_labels_that_do_not_fit_name_both_files(
    image: np.ndarray, labels: np.ndarray, words: str, tmp_path: Path
) -> None:
    made = pair(tmp_path, Image(image, "ZYX"[-image.ndim :]), Image(labels, "ZYX"[-labels.ndim :]))
    with pytest.raises(AnnotationError, match=words) as caught:
        load_pairs([made])
    assert "a_labels.tif" in str(caught.value)


def test_transposed_labels_are_said_to_be(tmp_path: Path) -> None:
    both = pair(tmp_path, Image(plain(4, 6), "YX"), Image(plain(6, 4), "YX"))
    with pytest.raises(AnnotationError, match="rows and columns are swapped: transpose"):
        load_pairs([both])


def test_colours_of_more_than_8_bits_are_no_labels(tmp_path: Path) -> None:
    made = pair(tmp_path, Image(plain(5, 6), "YX"), Image(plain(5, 6), "YX"))
    tifffile.imwrite(made.labels, plain(5, 6, 3, dtype="uint16"), photometric="rgb")
    with pytest.raises(AnnotationError, match=r"a_labels\.tif: labels in 3 differing channels"):
        load_pairs([made])


NAMES = st.lists(st.text("abc019[]", min_size=1, max_size=6), min_size=2, max_size=40, unique=True)


@given(NAMES, st.floats(0, 1))
def test_a_fraction_leaves_neither_side_empty_and_loses_none(
    names: list[str], fraction: float
) -> None:
    training, validation = split_validation(names, Validation(fraction=fraction))
    assert training
    assert validation
    assert sorted(training + validation) == list(range(len(names)))


@given(NAMES, st.randoms())
def test_the_split_goes_by_name_not_by_order(names: list[str], random: object) -> None:
    shuffled = sorted(names, key=lambda _: random.random())  # type: ignore[attr-defined]
    for section in (Validation(fraction=0.4), Validation(folds=2, fold=1)):
        first = {names[i] for i in split_validation(names, section)[1]}
        assert first == {shuffled[i] for i in split_validation(shuffled, section)[1]}


def test_images_added_later_move_none_of_the_old_ones() -> None:
    names = [f"image{i}" for i in range(60)]
    section = Validation(fraction=0.2)
    old = set(split_validation(names[:40], section)[1])
    new = set(split_validation(names, section)[1])
    assert {index for index in new if index < 40} == old
    assert 5 <= len(new) <= 20


def test_the_hash_is_the_same_on_every_machine() -> None:
    names = [f"t{i:03d}" for i in range(10)]
    assert split_validation(names, Validation(fraction=0.3))[1] == [5, 6]
    assert split_validation(names, Validation(folds=5, fold=2))[1] == [1, 7]


@given(NAMES, st.integers(2, 7))
def test_folds_hold_every_image_once_and_are_balanced(names: list[str], folds: int) -> None:
    assume(not any(re.fullmatch(r".+\[.*\]", name) for name in names))  # no planes
    if folds > len(names):
        with pytest.raises(AnnotationError, match=f"use at most {len(names)}"):
            split_validation(names, Validation(folds=folds))
        return
    dealt = [split_validation(names, Validation(folds=folds, fold=i))[1] for i in range(folds)]
    assert sorted(functools.reduce(operator.iadd, dealt, [])) == list(range(len(names)))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_planes_of_stacks_are_dealt_with_their_neighbours() -> None:
    """A plane whose neighbours train says little of the model."""

    def dealt(names: list[str], folds: int) -> list[list[str]]:
        parts = [Validation(folds=folds, fold=fold) for fold in range(folds)]
        return [[names[i] for i in split_validation(names, part)[1]] for part in parts]

    one = [f"v[{n}]" for n in range(8)]
    assert dealt(one, 3) == [one[:3], one[3:6], one[6:]]
    film = [f"v[t{n // 3},z{n % 3}]" for n in range(9)]
    assert dealt(film, 3) == [film[:3], film[3:6], film[6:]]
    several = [f"{name}[{n}]" for name in "abcde" for n in range(3)]
    found = dealt(several, 2)
    assert sorted(functools.reduce(operator.iadd, found, [])) == sorted(several)
    for part in found:
        assert len(part) == 3 * len({name[0] for name in part})
    assert sorted(len(part) for part in found) == [6, 9]


def test_names_indices_and_whole_stacks_are_chosen() -> None:
    names = ["a[0]", "a[1]", "b", "7", "c"]
    assert split_validation(names, Validation(names=("a",)))[1] == [0, 1]
    assert split_validation(names, Validation(names=("a[1]", "2")))[1] == [1, 2]
    assert split_validation(names, Validation(names=("7",)))[1] == [3]
    assert split_validation(names, Validation(last=2)) == ([0, 1, 2], [3, 4])


def test_an_unknown_name_is_an_error_with_the_nearest() -> None:
    with pytest.raises(AnnotationError, match=r"no image 't03': did you mean 't003'\?"):
        split_validation(["t001", "t003"], Validation(names=("t03",)))
    with pytest.raises(AnnotationError, match=r"no image '2'.*indices 0 to 1"):
        split_validation(["t001", "t003"], Validation(names=("2",)))


@pytest.mark.parametrize("section", [Validation(last=3), Validation(names=("0", "1", "2"))])
def test_taking_all_images_is_refused(section: Validation) -> None:
    with pytest.raises(AnnotationError, match="leaves none to train on; validate on at most 2"):
        split_validation(["a", "b", "c"], section)


def test_a_single_image_is_on_both_sides() -> None:
    for section in (
        Validation(),
        Validation(last=1),
        Validation(names=("a",)),
    ):
        assert split_validation(["a"], section) == ([0], [0])
    with pytest.raises(AnnotationError, match="folds = 2 for 1 image; leave them out"):
        split_validation(["a"], Validation(folds=2))
    with pytest.raises(AnnotationError):
        split_validation([], Validation())


@REAL
@pytest.mark.parametrize(
    ("folder", "count", "first", "shape"),
    [
        ("isbi2012-em", 30, "train-volume[00]", (1, 512, 512)),
        ("PhC-C2DH-U373", 19, "t010", (1, 520, 696)),
        ("PhC-C2DH-U373/02_ST", 115, "t000", (1, 520, 696)),
        ("white-blood-cells", 100, "001", (3, 300, 300)),
    ],
)
def test_real_data_sets_load(folder: str, count: int, first: str, shape: tuple[int, ...]) -> None:
    loaded = load_pairs(find_pairs(DATA / folder))
    assert len(loaded) == count
    assert loaded[0].name == first
    assert {part.image_CS.shape for part in loaded} == {shape}


@REAL
def test_the_isbi_reference_split_is_the_last_two() -> None:
    names = [part.name for part in load_pairs(find_pairs(DATA / "isbi2012-em"))]
    assert split_validation(names, Validation(last=2))[1] == [28, 29]
    assert split_validation(names, Validation(names=("28", "train-volume[29]")))[1] == [28, 29]
