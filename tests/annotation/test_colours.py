"""Classes as colours, palettes, and the in-between colours of smoothed edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from septum.annotation.colours import COLOUR, channels_of, parse_colour, value_text
from septum.annotation.labels import find_meaning
from septum.annotation.pairs import find_pairs, interpret, load_pairs
from septum.annotation.palettes import (
    check_palettes,
    read_palette,
    refuse_palettes_beside_colours,
)
from septum.annotation.stored_pairs import open_pairs
from septum.annotation.targets import to_target
from septum.errors import AnnotationError
from septum.recipe import Labels

BLACK, RED, BLUE, GREY = (0, 0, 0), (255, 0, 0), (0, 0, 200), (128, 128, 128)


def paint(path: Path, *boxes: tuple[tuple[slice, ...], tuple[int, int, int]]) -> np.ndarray:
    colours = np.zeros((40, 50, 3), np.uint8)
    for box, colour in boxes:
        colours[box] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(colours).save(path)
    return colours


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.zeros((40, 50), np.uint8)).save(path)


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_a_colour_is_a_number_and_back(red: int, green: int, blue: int) -> None:
    text = f"#{red:02x}{green:02x}{blue:02x}"
    value = parse_colour(text)
    assert value == (red if red == green == blue else COLOUR + int(text[1:], 16))
    assert value_text(value) == (str(red) if red == green == blue else text)
    assert channels_of(np.array([value])).tolist() == [[red, green, blue]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_each_colour_is_a_class_in_whatever_region_it_is_read(suffix: str, tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    write_image(tmp_path / "images/b.png")
    paint(tmp_path / f"labels/a.{suffix}", (np.s_[5:20, 5:20], RED), (np.s_[25:35, 30:45], GREY))
    paint(tmp_path / f"labels/b.{suffix}", (np.s_[5:20, 5:20], BLUE))
    pairs = find_pairs(tmp_path)
    loaded = load_pairs(pairs)
    meaning = interpret(pairs, ((part.name, part.labels_S) for part in loaded), Labels())
    assert meaning.describe() == (
        "classes: 0 → 0 (85.0 %), 128 → 1 (3.8 %), #0000c8 → 2 (5.6 %), #ff0000 → 3 (5.6 %)"
    )
    assert to_target(loaded[0].labels_S, meaning)[0][[7, 30, 0], [7, 40, 0]].tolist() == [3, 1, 0]
    part = open_pairs(pairs)[0]
    box = np.s_[24:36, 28:50]  # where all is grey
    np.testing.assert_array_equal(part.read_labels(box), loaded[0].labels_S[box])
    assert part.nbytes == part.read().image_CS.nbytes + part.read().labels_S.nbytes


def test_a_colour_can_be_the_object_or_ignored(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    paint(tmp_path / "labels/a.png", (np.s_[5:20, 5:20], RED), (np.s_[25:35, 30:45], (0, 255, 0)))
    (part,) = load_pairs(find_pairs(tmp_path))
    labels = [("a", part.labels_S)]
    found = find_meaning(labels, Labels(object="#ff0000"))
    assert found.describe().startswith("binary: object = value #ff0000 (11.2 %")
    assert (to_target(part.labels_S, found)[0] == 1).sum() == 15 * 15
    found = find_meaning(labels, Labels(ignore=("#00FF00", 7)))
    assert found.describe().endswith("values #00ff00, 7 are ignored")
    classes = to_target(part.labels_S, found)[0]
    assert [(classes == value).sum() for value in (1, 255)] == [15 * 15, 150]


def smooth(mask: np.ndarray, steps: int = 4) -> np.ndarray:
    """What a drawing program with smoothed edges saves of a mask drawn ``steps`` times as large."""
    height, width = (n // steps for n in mask.shape[:2])
    blocks = mask.reshape(height, steps, width, steps, -1).mean((1, 3))
    return np.rint(blocks).astype(np.uint8).squeeze()


def discs(colours: list[Any], size: int = 480) -> np.ndarray:
    y, x = np.indices((size, size))
    drawn = np.zeros((size, size, *np.shape(colours[0])), np.uint8)
    for number, colour in enumerate(colours):
        drawn[(y - size / 2) ** 2 + (x - size * (number + 0.5) / len(colours)) ** 2 < 3500] = colour
    return drawn


@pytest.mark.parametrize(
    ("colours", "kept"),
    [
        ([255], "0, 255"),
        ([RED, BLUE], "0, #0000c8, #ff0000"),
        ([RED, (0, 255, 0), (255, 255, 255)], "0, 255, #00ff00, #ff0000"),
    ],
)
def test_smoothed_edges_are_refused_or_ignored(colours: list[Any], kept: str) -> None:
    drawn = smooth(discs(colours)).astype(np.int64)
    if drawn.ndim == 3:
        grey = (drawn == drawn[..., :1]).all(-1)
        packed = COLOUR + drawn @ np.array([2**16, 2**8, 1])
        drawn = np.where(grey, drawn[..., 0], packed)
    labels = [(f"m{number}", np.roll(drawn, 5 * number, 1)) for number in range(3)]
    with pytest.raises(AnnotationError) as caught:
        find_meaning(labels, Labels())
    message = str(caught.value)
    assert message.startswith("m0 and 2 other files: ")
    assert f"those of smoothed edges, between {kept}; save" in message
    assert "--set labels.strays=ignore" in message
    found = find_meaning(labels, Labels(strays="ignore"))
    assert found.kind == ("binary" if len(colours) == 1 else "classes")
    assert ", ".join(map(value_text, found.known_values)) == kept
    classes = to_target(labels[0][1], found)[0]
    between = ~np.isin(labels[0][1], found.known_values)
    np.testing.assert_array_equal(classes == 255, between)
    assert 3 * np.count_nonzero(between) == found.stray_pixels
    assert f"strays ({found.stray_pixels} pixels of other values) are ignored" in found.describe()
    if len(colours) == 1:
        kept_all = find_meaning(labels, Labels(kind="classes", strays="keep"))
        assert kept_all.class_values == tuple(np.unique(labels[0][1]).tolist())


def test_a_thin_class_between_two_others_is_a_class() -> None:
    drawn = np.zeros((200, 200), np.uint8)
    drawn[50:150, 50:150] = 255
    drawn[50, 50:150] = drawn[149, 50:150] = 128
    assert find_meaning([("a", drawn), ("b", drawn)], Labels()).class_values == (0, 128, 255)
    numbers = np.zeros((200, 200), np.uint8)
    for value in range(1, 9):  # thin, rare, and each between its neighbours
        numbers[10 * value, 5:195] = value
    numbers[100:150], numbers[150:] = 9, 10
    found = find_meaning([("a", numbers), ("b", numbers)], Labels(kind="classes"))
    assert found.class_values == tuple(range(11))


def test_small_blobs_and_lines_of_other_colours_are_no_smoothed_edges() -> None:
    drawn = np.zeros((200, 200), np.int32)
    drawn[50:150, 50:150] = 255
    blobs, lines = drawn.copy(), np.where(drawn, parse_colour("#ff0000"), 0)
    for number, (value, colour) in enumerate(((60, "#60ff00"), (120, "#80ff00"), (180, "#a0ff00"))):
        blobs[160:175, 50 * number : 50 * number + 15] = value
        lines[160 + 9 * number, 5:195] = parse_colour(colour)
    for labels in (blobs, lines):
        found = find_meaning([("a", labels), ("b", labels)], Labels(kind="classes"))
        assert found.class_values == tuple(np.unique(labels).tolist())


def indices(path: Path, value: int, palette: list[int], suffix: str = "png") -> None:
    drawn = np.zeros((40, 50), np.uint8)
    drawn[5:20, 5:20], drawn[25:35, 30:45] = value, 3
    path.parent.mkdir(parents=True, exist_ok=True)
    palette = palette + [0] * (768 - len(palette))
    if suffix == "tif":
        colours = np.array(palette, np.uint16).reshape(256, 3).T * 257
        tifffile.imwrite(path.with_suffix(".tif"), drawn, photometric="palette", colormap=colours)
        return
    picture = PIL.Image.fromarray(drawn)
    picture.putpalette(palette)
    picture.save(path.with_suffix(".png"))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_palette_that_was_made_anew_for_each_file_is_refused(suffix: str, tmp_path: Path) -> None:
    for name in "ab":
        write_image(tmp_path / f"images/{name}.png")
    common = [0, 0, 0, 255, 0, 0, 0, 0, 255, 9, 9, 9]
    indices(tmp_path / "labels/a", 1, common, suffix)
    indices(tmp_path / "labels/b", 2, common, suffix)
    pairs = find_pairs(tmp_path)
    loaded = [(part.name, part.labels_S) for part in load_pairs(pairs)]
    assert interpret(pairs, loaded, Labels()).class_values == (0, 1, 2, 3)
    # A palette that differs where no pixel is does no harm; one that differs elsewhere does.
    indices(tmp_path / "labels/b", 2, [*common, 7, 7, 7], suffix)
    assert interpret(pairs, loaded, Labels()).class_values == (0, 1, 2, 3)
    indices(tmp_path / "labels/b", 1, [0, 0, 0, 0, 0, 255, 1, 1, 1, 9, 9, 9], suffix)
    with pytest.raises(AnnotationError, match=r"number 1 .* is #ff0000 in one and #0000ff in the"):
        interpret(pairs, loaded, Labels())
    assert interpret(pairs, loaded, Labels(kind="instances")).kind == "instances"
    assert read_palette(tmp_path / "images/a.png") is None


def test_palettes_beside_colours_are_refused(tmp_path: Path) -> None:
    for name in "abc":
        write_image(tmp_path / f"images/{name}.png")
    common = [0, 0, 0, 255, 0, 0, 0, 0, 255, 9, 9, 9]
    indices(tmp_path / "labels/a", 1, common)
    paint(tmp_path / "labels/b.png", (np.s_[5:20, 5:20], GREY))
    paint(tmp_path / "labels/c.png", (np.s_[5:20, 5:20], RED), (np.s_[25:35, 30:45], BLUE))
    pairs = find_pairs(tmp_path)
    loaded = [(part.name, part.labels_S) for part in load_pairs(pairs)]
    for section in (Labels(), Labels(kind="classes"), Labels(object="#ff0000")):
        with pytest.raises(
            AnnotationError, match=r"a\.png has a palette, .*c\.png has colours \(R"
        ):
            interpret(pairs, loaded, section)
    # What is not 0 is the object in either, and each number and colour one of several.
    assert interpret(pairs, loaded, Labels(kind="binary")).class_count == 2
    assert interpret(pairs, loaded, Labels(kind="instances")).objects == 5
    # A palette beside grey values says the same.
    pairs = [pair for pair in pairs if pair.name != "c"]
    assert interpret(pairs, loaded[:2], Labels()).class_values == (0, 1, 3, 128)


@pytest.mark.parametrize("size", [0, 40, 150])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_damaged_files_among_others_are_not_what_palettes_are_about(
    size: int, suffix: str, tmp_path: Path
) -> None:
    for number, name in enumerate("abc"):
        indices(tmp_path / name, 1, [0, 0, 0, 255 - number, 0, 0], suffix)
    damaged = tmp_path / f"a.{suffix}"
    damaged.write_bytes(damaged.read_bytes()[:size])
    paint(tmp_path / "d.png", (np.s_[5:20, 5:20], RED))
    check_palettes([damaged, tmp_path / "d.png"])
    refuse_palettes_beside_colours([damaged, tmp_path / "d.png"])
    with pytest.raises(AnnotationError, match=r"number 1 of the palette is #fe0000 in one"):
        check_palettes([damaged, *(tmp_path / f"{name}.{suffix}" for name in "bc")])
