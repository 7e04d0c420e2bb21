"""Copies are found whatever was done to their brightness; different images are not copies."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from septum.annotation.synthetic import make_cells, make_membranes
from septum.recipe import Validation
from septum.survey.likeness import ALIKE, digest, find_duplicates, find_series, fingerprint
from septum.survey.problems import split_problems


def cells(seed: int) -> np.ndarray:
    return make_cells((192, 192), np.random.default_rng([9, seed]))[0][np.newaxis]


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    prints = fingerprint(one), fingerprint(other)
    assert prints[0] is not None
    assert prints[1] is not None
    return float(prints[0] @ prints[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image // 2 + 60,
        lambda image: 255 * (image / 255) ** 0.8,
        lambda image: image.astype(np.uint16) * 257,
        lambda image: image + np.random.default_rng(0).normal(0, 12, image.shape),
        lambda image: image[:, ::2, ::2],
        lambda image: np.concatenate([image] * 3),
    ],
)
def test_a_copy_is_alike_in_any_brightness_size_and_type(change) -> None:  # type: ignore[no-untyped-def]
    for seed in range(5):
        assert correlation(cells(seed), change(cells(seed))) > ALIKE


def test_different_images_are_far_from_alike() -> None:
    images = [cells(seed) for seed in range(12)]
    images += [
        make_membranes((192, 192), np.random.default_rng(seed))[0][np.newaxis] for seed in range(6)
    ]
    found = [correlation(a, b) for i, a in enumerate(images) for b in images[:i]]
    assert max(found) < 0.8


def test_an_image_of_one_grey_value_is_like_nothing() -> None:
    assert fingerprint(np.full((1, 64, 64), 3)) is None
    assert fingerprint(cells(0)[:, :9]) is None
    same = digest(cells(0))
    assert same == digest(cells(0).copy()) != digest(cells(0).astype(np.uint16))


def test_groups_of_copies() -> None:
    images = [cells(0), cells(1), cells(0), cells(1) // 2, cells(2), cells(1)]
    names = list("abcdef")
    found = find_duplicates(names, list(map(digest, images)), list(map(fingerprint, images)), ())
    assert [(group.names, group.same) for group in found] == [
        (("a", "c"), True),
        (("b", "d"), False),
        (("b", "f"), True),
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image // 2 + 60,
        lambda image: image + np.random.default_rng(0).normal(0, 12, image.shape),
        lambda image: image[:, ::2, ::2],
    ],
)
def test_a_changed_copy_is_found_among_others(change) -> None:  # type: ignore[no-untyped-def]
    for seed in range(5):
        images = [cells(seed), change(cells(seed)), cells(seed + 1)]
        found = find_duplicates(
            "abc", list(map(digest, images)), list(map(fingerprint, images)), ()
        )
        assert [(group.names, group.same) for group in found] == [(("a", "b"), False)]


def spots(seed: int) -> np.ndarray:
    """Few small bright ones on a background that the lamp shades as in every image."""
    rng = np.random.default_rng([5, seed])
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    image = 100 * (1 - 0.15 * (x * x + y * y)) + 8 * x + rng.normal(0, 2, (512, 512))
    for row, column in rng.integers(0, 500, (40, 2)):
        image[row : row + 4, column : column + 4] += 60
    return np.clip(image, 0, 255).astype(np.uint8)[np.newaxis]


def test_images_that_share_their_shading_are_no_copies() -> None:
    images = [spots(seed) for seed in range(8)]
    assert min(correlation(a, b) for i, a in enumerate(images) for b in images[:i]) > ALIKE
    names = [f"i{n}" for n in range(8)]
    prints = list(map(fingerprint, images))
    assert find_duplicates(names, list(map(digest, images)), prints, ()) == ()
    copied = [*images, (images[3] * 0.8).astype(np.uint8)]
    (group,) = find_duplicates(
        [*names, "copy"], list(map(digest, copied)), list(map(fingerprint, copied)), ()
    )
    assert (group.names, group.same) == (("i3", "copy"), False)


def test_empty_ends_of_a_stack_are_no_copies_and_no_images_to_take_away(
    tmp_path: Path, look
) -> None:  # type: ignore[no-untyped-def]
    import tifffile

    pairs = [make_membranes((128, 128), np.random.default_rng(seed)) for seed in range(8)]
    image, labels = (np.stack(part) for part in zip(*pairs, strict=True))
    image[[0, 1, 7]], labels[[0, 1, 7]] = 0, 0
    tifffile.imwrite(tmp_path / "x-volume.tif", image)
    tifffile.imwrite(tmp_path / "x-labels.tif", labels)
    survey = look(tmp_path)
    assert survey.duplicates == ()
    (said,) = [problem for problem in survey.problems if problem.kind == "constant"]
    assert said.level == "note"
    assert "x-volume.tif: the same grey value everywhere in 3 of 8 parts" in said.text
    kinds = {problem.kind for problem in split_problems(survey, Validation(last=1))}
    assert "leak" not in kinds


def test_a_copied_file_and_a_darker_one(data: Path, spoil, look) -> None:  # type: ignore[no-untyped-def]
    for number, source in ((8, 2), (9, 5)):
        for part in ("images", "labels"):
            shutil.copy(data / part / f"{source:02d}.png", data / part / f"{number:02d}.png")
    darker = spoil("images/09.png", lambda array: (array * 0.7).astype(np.uint8))
    first, second = look(data).problems
    assert first.files == (str(data / "images/02.png"), str(data / "images/08.png"))
    assert "is the same as" in first.text
    assert second.files == (str(data / "images/05.png"), str(darker))
    assert "nearly the same" in second.text
    assert {first.kind, second.kind} == {"duplicates"}


def test_a_copy_on_both_sides_of_the_split_is_a_leak(data: Path, look) -> None:  # type: ignore[no-untyped-def]
    for part in ("images", "labels"):
        shutil.copy(data / part / "02.png", data / part / "08.png")
    survey = look(data)
    (leak,) = split_problems(survey, Validation(last=1))
    assert (leak.kind, leak.level) == ("leak", "warning")
    assert "validation image 08 is the same as training image 02" in leak.text
    assert split_problems(survey, Validation(names=("02", "08"))) == []
    assert split_problems(survey, Validation(names=("00",))) == []


def test_neighbours_on_both_sides_are_said_otherwise(tmp_path: Path, look) -> None:  # type: ignore[no-untyped-def]
    import tifffile

    pairs = [make_membranes((128, 128), np.random.default_rng(seed)) for seed in range(6)]
    tifffile.imwrite(tmp_path / "x-volume.tif", np.stack([image for image, _ in pairs]))
    tifffile.imwrite(tmp_path / "x-labels.tif", np.stack([labels for _, labels in pairs]))
    survey = look(tmp_path)
    (said,) = split_problems(survey, Validation(names=("x-volume[01]", "x-volume[04]")))
    assert (said.kind, said.level) == ("neighbours", "note")
    assert "at 4 places" in said.text
    assert "no leak" in said.text
    assert "validation.last" in said.remedy
    (dealt,) = split_problems(survey, Validation(folds=3))  # which takes no such setting
    assert "validation.last" not in dealt.remedy
    (block,) = split_problems(survey, Validation(last=2))
    assert "at 1 place " in block.text
    assert "validation.last" not in block.remedy


def test_a_split_that_cannot_be_made(clean: Path, look) -> None:  # type: ignore[no-untyped-def]
    (problem,) = split_problems(look(clean), Validation(last=8))
    assert problem.level == "error"
    assert "leaves none to train on" in problem.text


def of_correlations(high: set[tuple[int, int]], value: float, count: int = 6) -> list[np.ndarray]:
    """Fingerprints with these correlations; of all other pairs 0.1, and of those apart 0.85."""
    gram = np.full((count, count), 0.1) + 0.9 * np.eye(count)
    for pair in high:
        gram[pair] = gram[pair[::-1]] = value if pair[1] - pair[0] == 1 else 0.85
    values, vectors = np.linalg.eigh(gram)
    rows = vectors * np.sqrt(values.clip(0))
    return list((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))


def test_few_numbered_images_that_are_alike_by_chance_are_no_series() -> None:
    """Of two kinds of cells, one after the other: most neighbours are alike, but so are others."""
    alike = set(itertools.combinations((0, 1, 2, 5), 2)) | {(3, 4)}
    names = [f"{n:03d}" for n in range(6)]
    files = [f"cells/{name}.png" for name in names]
    assert find_series(names, files, of_correlations(alike, 0.7)) == ()
    film = {(n, n + 1) for n in range(5)}
    (found,) = find_series(names, files, of_correlations(film, 0.5))
    assert found.names == tuple(names)
