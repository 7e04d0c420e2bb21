"""What label values are taken for, and the targets made of them."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from septum.annotation.interpretation import describe_meaning
from septum.annotation.labels import (
    IGNORE,
    UNDRAWN,
    LabelMeaning,
    find_meaning,
    to_target,
)
from septum.annotation.pairs import find_pairs, load_pairs
from septum.errors import AnnotationError
from septum.recipe import Labels

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SEPTUM_DATA", ROOT / "../shared/data")).resolve()
REAL = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA} (set SEPTUM_DATA)")
STRAY = {"034", "035", "047", "050", "076"}


def meaning_of(*arrays: np.ndarray, **settings: Any) -> LabelMeaning:
    named = [(f"m{number}.png", array) for number, array in enumerate(arrays)]
    return find_meaning(iter(named), Labels(**settings))


def blocks(ids: list[int], size: int = 6) -> np.ndarray:
    """One separate square for each id."""
    labels = np.zeros((size + 2, (size + 2) * len(ids)), np.uint16)
    for place, value in enumerate(ids):
        left = place * (size + 2) + 1
        labels[1 : size + 1, left : left + size] = value
    return labels


def stripes(values: list[int], repeats: int = 5) -> np.ndarray:
    """Bands of every value that recur, so that each value is in several pieces."""
    return np.tile(np.repeat(np.array(values, np.uint8), 3), (8, repeats))


@pytest.mark.parametrize("value", [1, 255, 7])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32"])
def test_two_values_are_binary(value: int, dtype: str) -> None:
    labels = np.zeros((4, 5), dtype)
    labels[:2, :2] = value
    found = meaning_of(labels, np.zeros((4, 5), dtype))
    assert (found.kind, found.class_values, found.object_values) == ("binary", (0, value), (value,))
    assert found.shares == pytest.approx((0.9, 0.1))
    assert found.describe() == f"binary: object = value {value} (10.0 % of pixels), background = 0"


def test_booleans_are_binary() -> None:
    assert meaning_of(np.array([[True, False]])).class_values == (0, 1)


def test_recurring_values_in_pieces_are_classes() -> None:
    found = meaning_of(stripes([0, 128, 255, 40, 30]), stripes([0, 128, 255, 40, 30]))
    assert found.kind == "classes"
    assert found.class_values == (0, 30, 40, 128, 255)
    assert found.class_count == 5
    few = meaning_of(stripes([0, 128, 255]))
    assert few.describe() == "classes: 0 → 0 (33.3 %), 128 → 1 (33.3 %), 255 → 2 (33.3 %)"


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        (stripes([0, 128, 255]), "--set labels.kind=instances"),
        (blocks([1, 2, 3, 4]), "--set labels.kind=classes"),
        (blocks(list(range(1, 30))), None),
        (blocks([1]), None),
    ],
)
def test_what_was_guessed_is_said_with_what_overrules_it(
    labels: np.ndarray, remedy: str | None
) -> None:
    meaning = meaning_of(labels)
    text = describe_meaning(meaning, Labels())
    assert text.startswith(meaning.describe())
    assert ("guess" in text) == (remedy is not None)
    assert remedy is None or text.endswith(f"{remedy})")
    assert describe_meaning(meaning, Labels(kind=meaning.kind)) == meaning.describe()


def test_two_values_without_0_are_classes() -> None:
    assert meaning_of(stripes([1, 2])).class_values == (1, 2)


def test_many_ids_of_one_piece_are_instances() -> None:
    found = meaning_of(blocks(list(range(1, 30))), blocks([1, 2, 3]))
    assert (found.kind, found.class_count, found.objects) == ("instances", 2, 32)
    assert found.describe().startswith("instances: 2 images, 32 objects (")


def test_ids_used_only_once_in_the_whole_data_set_are_instances() -> None:
    images = [blocks(list(range(10 * i + 1, 10 * i + 6))) for i in range(150)]
    assert meaning_of(*images).kind == "instances"


def test_few_ids_are_instances_if_images_differ_or_there_is_one() -> None:
    assert meaning_of(blocks([1, 2, 3, 4, 5]), blocks([1, 2, 3, 4])).kind == "instances"
    assert meaning_of(blocks([1, 2, 3, 4])).kind == "instances"


def test_layers_that_every_image_has_are_classes() -> None:
    assert meaning_of(blocks([1, 2, 3, 4, 5]), blocks([5, 4, 3, 2, 1])).kind == "classes"


def test_few_values_in_several_pieces_are_classes_though_images_differ() -> None:
    assert meaning_of(stripes([0, 1, 2, 3, 4, 5]), stripes([0, 1, 2, 3])).kind == "classes"


def test_a_slip_of_the_pen_does_not_make_an_object_two_pieces() -> None:
    labels = blocks(list(range(1, 8)))
    labels[0, ::8] = np.arange(1, 8)[::-1]
    assert meaning_of(labels).kind == "instances"


def test_named_classes_are_described_with_their_values() -> None:
    names = ("background", "cytoplasm", "nucleus")
    meaning = LabelMeaning("classes", (0, 128, 255), class_names=names, shares=(0.5, 0.3, 0.2))
    expected = "background → 0 (50.0 %), 128 = cytoplasm → 1 (30.0 %), 255 = nucleus → 2 (20.0 %)"
    assert meaning.describe() == f"classes: {expected}"
    numbered = LabelMeaning("classes", (0, 1), class_names=names[:2], shares=(0.5, 0.5))
    assert numbered.describe() == "classes: background → 0 (50.0 %), cytoplasm → 1 (50.0 %)"


def test_a_grey_image_or_jpeg_mask_is_neither() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40)).astype(np.uint8)
    with pytest.raises(AnnotationError, match=r"m0\.png.*neither classes nor objects.*JPEG"):
        meaning_of(noise)


def test_kind_overrides_what_is_seen() -> None:
    ids = blocks(list(range(1, 30)))
    assert meaning_of(ids, kind="classes").class_count == 30
    binary = meaning_of(ids, kind="binary")
    assert binary.class_count == 2
    assert "object = every value but 0" in binary.describe()
    assert meaning_of(blocks([1]), kind="instances").kind == "instances"


@pytest.mark.parametrize(
    ("wanted", "inside"), [("nonzero", [0, 1, 1]), ("zero", [1, 0, 0]), (9, [0, 0, 1])]
)
def test_object_says_which_pixels_are_class_1(wanted: Any, inside: list[int]) -> None:
    labels = np.array([[0, 4, 9]], np.uint8)
    found = meaning_of(labels, kind="binary", object=wanted)
    classes, instances = to_target(labels, found)
    np.testing.assert_array_equal(classes, [inside])
    np.testing.assert_array_equal(instances > 0, np.array([inside]) > 0)
    assert found.shares[1] == pytest.approx(sum(inside) / 3)


@pytest.mark.parametrize(
    ("labels", "settings", "words"),
    [
        (blocks([5]), {"object": 7}, "value 7 never occurs; the labels hold 0, 5"),
        (stripes([1, 2]), {"kind": "binary"}, "no pixel is 0.*hold 1, 2"),
        (stripes([1, 2]), {"object": "zero"}, "'zero': value 0 never occurs"),
        (
            np.zeros((4, 4), np.uint8),
            {},
            r"every pixel of m0\.png has value 0: nothing is annotated",
        ),
        (np.ones((4, 4), np.uint8), {"kind": "instances"}, "nothing is annotated"),
        (np.full((4, 4), 9, np.uint8), {"ignore": 9}, "is ignored"),
        (blocks([5]), {"unlabelled": "ignore"}, "leaves one class, value 5: .*draw some of it"),
        (np.array([[-1, 0, 1]]), {"kind": "instances"}, r"m0\.png: value -1 at 1 pixels"),
        (np.arange(300)[None], {"kind": "classes"}, "300 classes are more than 254"),
        (np.zeros((2, 2)), {}, "type float64; expected integers"),
    ],
)
def test_labels_that_mean_nothing_are_refused(
    labels: np.ndarray, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(AnnotationError, match=words):
        meaning_of(labels, **settings)


def test_no_labels_are_refused() -> None:
    with pytest.raises(AnnotationError, match="no label image"):
        meaning_of()


@pytest.mark.parametrize("kind", ["auto", "classes"])
def test_a_stray_value_is_named_with_file_value_and_count(kind: str) -> None:
    images = [stripes([0, 128, 255], repeats=20) for _ in range(20)]
    images[4][0, :3] = 77
    with pytest.raises(AnnotationError) as caught:
        meaning_of(*images, kind=kind)
    message = str(caught.value)
    assert message.startswith("m4.png: value 77 at 3 pixels is a stray; expected only 0, 128, 255")
    assert message.endswith("the 3 pixels of strays: --set labels.strays=ignore")
    assert meaning_of(*images, kind=kind, ignore=77).class_values == (0, 128, 255)


def test_the_ignored_value_is_no_class_and_has_no_share() -> None:
    labels = np.array([[0, 0, 5, 5, 5, 9, 9, 9]], np.uint8)
    found = meaning_of(labels, ignore=9)
    assert (found.kind, found.shares) == ("binary", (0.4, 0.6))
    assert found.describe().endswith("; value 9 is ignored")
    classes, instances = to_target(labels, found)
    np.testing.assert_array_equal(classes, [[0, 0, 1, 1, 1, IGNORE, IGNORE, IGNORE]])
    np.testing.assert_array_equal(instances, [[0, 0, 1, 1, 1, 0, 0, 0]])


@pytest.mark.parametrize("kind", ["binary", "classes", "instances"])
def test_ignoring_0_works_for_every_kind(kind: str) -> None:
    labels = np.array([[0, 0, 1, 2, 2, 2]], np.uint8)
    settings = {"object": 2} if kind == "binary" else {}
    found = meaning_of(labels, kind=kind, ignore=0, **settings)
    classes, instances = to_target(labels, found)
    assert (classes[0, :2] == IGNORE).all()
    assert (instances[0, :2] == 0).all()
    assert not (classes[0, 2:] == IGNORE).any()


def test_class_pieces_are_separate_objects_and_classes_do_not_merge() -> None:
    labels = np.array([[0, 7, 7, 0, 7], [0, 9, 9, 0, 0]], np.uint8)
    classes, instances = to_target(labels, meaning_of(labels, kind="classes"))
    np.testing.assert_array_equal(classes, [[0, 1, 1, 0, 1], [0, 2, 2, 0, 0]])
    assert len(np.unique(instances)) == 4
    assert instances.dtype == np.int32
    assert classes.dtype == np.uint8


def test_objects_that_meet_at_a_corner_are_two() -> None:
    labels = np.eye(2, dtype=np.uint8)
    assert to_target(labels, meaning_of(labels))[1].max() == 2
    cube = np.zeros((2, 2, 2), np.uint8)
    cube[0, 0, 0] = cube[1, 1, 0] = 1
    assert to_target(cube, meaning_of(cube))[1].max() == 2


def test_a_value_that_the_meaning_does_not_know_is_named() -> None:
    known = meaning_of(stripes([0, 128, 255]))
    with pytest.raises(AnnotationError, match=r"x\.png: value 77 at 2 pixels.*0, 128, 255"):
        to_target(np.array([[0, 77, 77, 255]]), known, name="x.png")
    with pytest.raises(AnnotationError, match="value 256"):
        to_target(np.array([[256]]), known)


IDS = hnp.arrays(
    np.uint16,
    hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7),
    elements=st.sampled_from([0, 1, 2, 300, 65535]),
)
INSTANCES = LabelMeaning("instances", (0, 1))


@given(IDS)
def test_the_separation_border_is_exactly_where_objects_touch(labels: np.ndarray) -> None:
    classes, instances = to_target(labels, INSTANCES)
    for place in np.ndindex(labels.shape):
        others = []
        for axis in range(labels.ndim):
            for step in (-1, 1):
                beside = list(place)
                beside[axis] += step
                if 0 <= beside[axis] < labels.shape[axis]:
                    others.append(int(labels[tuple(beside)]))
        touches = any(value not in (0, int(labels[place])) for value in others)
        kept = 0 if touches else int(labels[place])
        assert instances[place] == kept
        assert classes[place] == (kept > 0)


@given(IDS)
def test_no_two_objects_of_a_target_touch_and_labels_stay_untouched(labels: np.ndarray) -> None:
    before = labels.copy()
    again = to_target(to_target(labels, INSTANCES)[1], INSTANCES)[1]
    np.testing.assert_array_equal(again, to_target(labels, INSTANCES)[1])
    np.testing.assert_array_equal(labels, before)


def test_unlabelled_pixels_are_ignored_but_borders_are_background() -> None:
    labels = np.array([[0, 1, 1, 2, 2, 0]], np.uint16)
    found = meaning_of(np.pad(labels, ((0, 0), (3, 3))), kind="instances", unlabelled="ignore")
    assert "0 = not annotated: background beside objects, else not scored" in found.describe()
    classes, instances = to_target(np.pad(labels, ((0, 0), (3, 3))), found)
    beyond = [IGNORE] * 2
    np.testing.assert_array_equal(classes, [[*beyond, 0, 0, 1, 0, 0, 1, 0, 0, *beyond]])
    np.testing.assert_array_equal(instances, [[0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0]])
    drawn, _ = to_target(np.pad(labels, ((0, 0), (3, 3))), found, undrawn=UNDRAWN)
    np.testing.assert_array_equal(drawn == UNDRAWN, classes == IGNORE)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_beside_a_drawn_object_is_background_as_far_as_half_its_radius(dimensions: int) -> None:
    extent = 40 if dimensions == 3 else 90
    grid = np.stack(np.meshgrid(*[np.arange(extent)] * dimensions, indexing="ij"))
    labels = np.zeros((extent,) * dimensions, np.uint16)
    centres = [(np.full(dimensions, 10.0), 4.0), (np.full(dimensions, 29.0), 8.0)]
    for number, (centre, radius) in enumerate(centres, start=3):
        distance = np.sqrt(((grid.T - centre).T ** 2).sum(0))
        labels[distance <= radius] = number
    given = dataclasses.replace(INSTANCES, unlabelled_ignored=True)
    classes, _ = to_target(labels, given)
    np.testing.assert_array_equal(classes == 1, labels > 0)
    for centre, radius in centres:
        distance = np.sqrt(((grid.T - centre).T ** 2).sum(0))
        ring = (distance > radius) & (distance < 1.5 * radius - 1)
        assert (classes[ring] == 0).all()
        near = (distance > 1.5 * radius + 1) & (distance < 1.5 * radius + 2)
        assert (classes[near & (grid[0] <= centre[0])] == IGNORE).mean() > 0.9
    assert (classes == IGNORE).mean() > 0.5
    empty, _ = to_target(np.zeros_like(labels), given)
    assert (empty == IGNORE).all()


@pytest.mark.parametrize(
    "found",
    [
        meaning_of(stripes([0, 128, 255]), ignore=128),
        meaning_of(stripes([0, 128, 255, 3])),
        meaning_of(blocks(list(range(1, 30))), unlabelled="ignore"),
        meaning_of(stripes([0, 4]), object="zero"),
    ],
    ids=lambda found: found.kind,
)
def test_json_gives_back_the_same_meaning(found: LabelMeaning) -> None:
    assert LabelMeaning.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def real(folder: str, leave_out: set[str] = frozenset()) -> list[tuple[str, np.ndarray]]:  # type: ignore[assignment]
    loaded = load_pairs(find_pairs(DATA / folder))
    return [(part.name, part.labels_S) for part in loaded if part.name not in leave_out]


@REAL
@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("isbi2012-em", "binary: object = value 255 (78.0 % of pixels), background = 0"),
        ("PhC-C2DH-U373", "instances: 19 images, 110 objects (5.1 % of pixels), 0 = background"),
        ("PhC-C2DH-U373/02_ST", "instances: 115 images, 692 objects (5.1 % of pixels)"),
        ("dsb2018/fluorescence", "instances: 367 images, 15912 objects (15.5 % of pixels)"),
    ],
)
def test_real_labels_are_taken_for_what_they_are(folder: str, words: str) -> None:
    assert find_meaning(real(folder), Labels()).describe().startswith(words)


@REAL
def test_real_stray_values_are_named_and_without_them_there_are_three_classes() -> None:
    with pytest.raises(AnnotationError) as caught:
        find_meaning(real("white-blood-cells"), Labels())
    assert all(name in str(caught.value) for name in STRAY)
    assert "expected only 0, 128, 255" in str(caught.value)
    found = find_meaning(real("white-blood-cells", STRAY), Labels())
    assert (found.kind, found.class_values) == ("classes", (0, 128, 255))


@REAL
def test_real_instance_targets_keep_nearly_all_objects_apart() -> None:
    labels = real("PhC-C2DH-U373")
    found = find_meaning(labels, Labels())
    for name, array in labels:
        _, instances = to_target(array, found, name)
        assert set(np.unique(instances)) == set(np.unique(array))
