"""Threshold, seeds and smallest object, chosen by the objects that known maps give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from septum.annotation.labels import LabelMeaning
from septum.annotation.pairs import Annotated
from septum.evaluation.truth import make_truth
from septum.images.intensity_range import IntensityRange
from septum.model import Model, build_network
from septum.prediction.instances import label_objects
from septum.prediction.overlap_tile import Predictor
from septum.prediction.separation import Separation
from septum.recipe import load_recipe
from septum.training import separation_choice
from septum.training.data import Data
from septum.training.object_scores import quality
from septum.training.separation_choice import tune_separation, with_choices

NUMBERED = LabelMeaning("instances", (0, 1))
PARTLY = LabelMeaning("instances", (0, 1), unlabelled_ignored=True)


def pairs_of_cells() -> np.ndarray:
    """Six pairs of discs that touch, numbered."""
    ids = np.zeros((60, 100), np.int32)
    y, x = np.indices(ids.shape)
    centres = [
        (10 + 20 * row, 12 + 34 * column + 14 * side)
        for row in range(3)
        for column in range(2)
        for side in range(2)
    ]
    for number, (a, b) in enumerate(centres, start=1):
        ids[((y - a) ** 2 + (x - b) ** 2 <= 49) & (ids == 0)] = number
    return ids


def as_maps(ids: np.ndarray, specks: int = 0) -> np.ndarray:
    """The object's probability rises from 0.55 at a cell's edge to 0.9; specks are as sure."""
    inside = np.zeros(ids.shape)
    for number in range(1, ids.max() + 1):
        inside = np.maximum(inside, ndimage.distance_transform_edt(ids == number))
    object_S = np.where(ids > 0, 0.5 + 0.05 * inside.clip(0, 8), 0.02)
    for place in range(specks):
        object_S[2 + 3 * place : 4 + 3 * place, 82:84] = 0.9
    return np.stack([1 - object_S, object_S]).astype(np.float32)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Predictor:
    """What it predicts of an image are its channels."""
    monkeypatch.setattr(
        separation_choice, "predict_probabilities", lambda _, image: image.astype(np.float32)
    )
    predictor = Predictor.__new__(Predictor)
    object.__setattr__(predictor, "maps", "classes")
    return predictor


def annotated(maps: np.ndarray, ids: np.ndarray, name: str = "a") -> Annotated:
    return Annotated(name, maps, ids, None, Path(name), Path(name))


def test_cells_that_touch_are_divided_and_specks_left_out(known: Predictor) -> None:
    ids = pairs_of_cells()
    maps = as_maps(ids, specks=5)
    best = tune_separation([(known, annotated(maps, ids))], NUMBERED)
    assert best.seeds is not None
    assert best.seeds > best.threshold
    assert 4 < best.minimum <= np.bincount(ids.ravel())[1:].min()
    segments, _ = label_objects(maps, best)
    assert segments.max() == ids.max()
    truth = make_truth(ids, NUMBERED)
    assert quality([(maps, truth)], best) > 0.95
    for worse in (
        Separation(best.threshold),
        Separation(best.threshold, best.seeds),
        Separation(0.9),
    ):
        assert quality([(maps, truth)], worse) < quality([(maps, truth)], best)


def test_a_core_divides_where_the_probability_says_nothing(known: Predictor) -> None:
    ids = pairs_of_cells()
    core = as_maps(ids)[1]
    flat = np.where(ids > 0, 0.9, 0.1)
    object.__setattr__(known, "maps", "core")
    best = tune_separation([(known, annotated(np.stack([1 - flat, flat, core]), ids))], NUMBERED)
    assert best.maps == "core"
    assert best.seeds is not None
    segments, _ = label_objects(np.stack([1 - flat, flat, core]).astype(np.float32), best)
    assert segments.max() == ids.max()


def test_nothing_is_changed_where_nothing_is_gained(known: Predictor) -> None:
    ids = np.zeros((40, 40), np.int32)
    ids[5:15, 5:15], ids[25:35, 20:30] = 1, 2
    certain = (ids > 0).astype(float)
    best = tune_separation([(known, annotated(np.stack([1 - certain, certain]), ids))], NUMBERED)
    assert best == Separation(0.5, None, 0)


def with_holes(ids: np.ndarray, radius: int) -> np.ndarray:
    """Where discs of that radius are, in the middle of each cell."""
    holes = np.zeros(ids.shape, bool)
    y, x = np.indices(ids.shape)
    for number in range(1, ids.max() + 1):
        a, b = (round(float(each.mean())) for each in np.nonzero(ids == number))
        holes |= (y - a) ** 2 + (x - b) ** 2 <= radius**2
    return holes


def test_bright_middles_that_look_like_background_are_filled(known: Predictor) -> None:
    ids = np.zeros((40, 60), np.int32)
    ids[4:18, 4:18], ids[22:36, 8:24], ids[10:30, 30:50] = 1, 2, 3
    object_S = np.where((ids > 0) & ~with_holes(ids, 3), 0.9, 0.1)
    maps = np.stack([1 - object_S, object_S])
    best = tune_separation([(known, annotated(maps, ids))], NUMBERED)
    hole = int(with_holes(ids, 3).sum()) // 3
    assert hole <= best.fill <= 0.3 * np.median(np.bincount(ids.ravel())[1:])
    segments, _ = label_objects(maps.astype(np.float32), best)
    assert np.array_equal(segments > 0, ids > 0)


def test_rings_stay_rings(known: Predictor) -> None:
    ids = np.zeros((40, 60), np.int32)
    ids[4:18, 4:18], ids[22:36, 8:24], ids[10:30, 30:50] = 1, 2, 3
    ids[with_holes(ids, 3)] = 0
    object_S = np.where(ids > 0, 0.9, 0.1)
    best = tune_separation([(known, annotated(np.stack([1 - object_S, object_S]), ids))], NUMBERED)
    assert best.fill == 0


def test_what_was_not_drawn_is_no_mistake(known: Predictor) -> None:
    ids = pairs_of_cells()
    maps = as_maps(ids)
    few = np.where(ids % 2 == 1, ids, 0)
    best = tune_separation([(known, annotated(maps, few))], PARTLY)
    segments, _ = label_objects(maps, best)
    assert segments.max() == ids.max()
    assert quality([(maps, make_truth(few, PARTLY))], best) > 0.95
    assert quality([(maps, make_truth(few, NUMBERED))], best) < 0.6


def test_specks_do_not_decide_the_threshold(known: Predictor) -> None:
    """They are less sure than the cells within, so that a high threshold would be without them."""
    ids = np.pad(pairs_of_cells(), ((0, 140), (0, 0)))
    maps = as_maps(ids)
    specks = np.zeros(ids.shape, bool)
    specks[70:198:6, 2:96:6] = specks[71:198:6, 2:96:6] = True
    maps[1, specks] = 0.58
    best = tune_separation([(known, annotated(maps, ids))], NUMBERED)
    assert best.threshold < 0.58
    segments, _ = label_objects(maps, best)
    assert segments.max() == ids.max()
    assert quality([(maps, make_truth(ids, NUMBERED))], best) > 0.95


def test_of_partly_drawn_truth_what_is_found_beside_an_object_counts(known: Predictor) -> None:
    ids = pairs_of_cells()
    few = np.where(ids % 2 == 1, ids, 0)  # the left one of each pair, of a radius of 7 pixels
    whole = quality([(as_maps(ids), make_truth(few, PARTLY))], Separation(0.5))
    for column, counts in ((3, True), (95, False)):
        maps = as_maps(ids)
        maps[1, 9:12, column : column + 2] = 0.9  # 2 pixels beside a drawn cell; far from all
        found = quality([(maps, make_truth(few, PARTLY))], Separation(0.5))
        assert (found < whole) == counts
    maps = as_maps(ids)
    maps[1, few > 0] = 0.1  # none of those drawn is found, all others are
    assert quality([(maps, make_truth(few, PARTLY))], Separation(0.5)) == 0


def test_specks_are_left_out_where_no_measure_counts_them(known: Predictor) -> None:
    ids = pairs_of_cells()
    few = np.where(ids % 2 == 1, ids, 0)
    maps = as_maps(ids, specks=6)
    best = tune_separation([(known, annotated(maps, few))], PARTLY)
    segments, _ = label_objects(maps, best)
    assert segments.max() == ids.max()
    assert 4 < best.minimum <= np.bincount(ids.ravel())[1:].min()


def test_evenly_spread_images_are_looked_at_up_to_so_many_pixels(
    known: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    usual = separation_choice.make_truth

    def note(labels: Any, meaning: Any, name: str) -> Any:
        seen.append(name)
        return usual(labels, meaning, name)

    monkeypatch.setattr(separation_choice, "make_truth", note)
    monkeypatch.setattr(separation_choice, "MOST_PIXELS", 9 * 20 * 20)
    ids = np.zeros((20, 20), np.int32)
    ids[5:9, 5:9] = 1
    certain = (ids > 0).astype(float)
    items = [annotated(np.stack([1 - certain, certain]), ids, str(n)) for n in range(17)]
    tune_separation([(known, item) for item in items], NUMBERED)
    assert seen == [str(n) for n in range(0, 17, 2)]


@pytest.mark.parametrize(("count", "each"), [(1, 8), (3, 2), (30, 1)])
def test_of_large_images_windows_with_objects_are_looked_at(
    count: int, each: int, known: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first image alone, as large as all that is looked at, would decide for others."""
    seen: list[Any] = []
    usual = separation_choice.make_truth

    def note(labels_S: np.ndarray, meaning: Any, name: str) -> Any:
        seen.append((name, labels_S))
        return usual(labels_S, meaning, name)

    monkeypatch.setattr(separation_choice, "make_truth", note)
    monkeypatch.setattr(separation_choice, "MOST_PIXELS", 6400)
    ids = np.zeros((90, 100), np.int32)
    ids[10:80, 20:24], ids[10:80, 60:64] = 1, 2
    certain = (ids > 0).astype(float)
    maps = np.stack([1 - certain, certain])
    items = [annotated(maps, ids, f"a{n}") for n in range(count)]
    tune_separation([(known, item) for item in items], NUMBERED)
    chosen = {f"a{round(n)}" for n in np.linspace(0, count - 1, min(count, 8))}
    assert [name.partition("[")[0] for name, _ in seen] == sorted(
        [name for name in chosen for _ in range(each)], key=lambda name: int(name[1:])
    )
    assert all(labels_S.size <= 6400 / each / min(count, 8) for _, labels_S in seen)
    assert np.mean([labels_S.any() for _, labels_S in seen]) > 0.8
    first = [name for name, _ in seen]
    seen.clear()
    tune_separation([(known, item) for item in items], NUMBERED)
    assert [name for name, _ in seen] == first


def test_training_images_help_where_validation_images_are_few(
    known: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only validation image has large objects and no specks; the others have both."""
    ids = np.zeros((60, 100), np.int32)
    ids[10:40, 10:40] = 1
    clean = np.where(ids > 0, 0.9, 0.1)
    held = [(known, annotated(np.stack([1 - clean, clean]), ids))]
    cells = pairs_of_cells()
    learnt = [(known, annotated(as_maps(cells, specks=5), cells, str(n))) for n in range(6)]
    alone = tune_separation(held, NUMBERED)
    assert (alone.seeds, alone.minimum) == (None, 0)
    helped = tune_separation(held, NUMBERED, learnt)
    assert helped.seeds is not None
    assert helped.minimum > 4
    # Where those that validate are enough, no other is asked.
    monkeypatch.setattr(separation_choice, "MOST_PIXELS", ids.size)
    assert tune_separation(held, NUMBERED, learnt) == alone


@pytest.mark.parametrize(("learnt", "more"), [("bcd", "bcd"), ("a", "")])
def test_the_images_of_a_run_are_those_that_validate_and_those_that_train(
    learnt: str, more: str, known: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not one image twice, that trains and validates."""
    asked: list[str] = []

    def tune(held: Any, meaning: LabelMeaning, others: Any) -> Separation:
        asked.extend("".join(item.name for _, item in part) for part in (held, others))
        return Separation(0.3, 0.6, 7, 5)

    monkeypatch.setattr(separation_choice, "tune_separation", tune)
    monkeypatch.setattr(separation_choice, "prepare", lambda model, device: known)
    ids = pairs_of_cells()
    images = [annotated(as_maps(ids), ids, name) for name in learnt]
    held = [annotated(as_maps(ids), ids, "a")]
    data = Data(Path("data"), images, held, NUMBERED, IntensityRange((0.0,), (1.0,)))
    recipe = load_recipe("quick")
    network = build_network(recipe.network, 2, 2)
    model = Model(network, recipe, NUMBERED, data.intensity, channels=2)
    chosen = with_choices(model, recipe, data, torch.device("cpu"))
    assert asked == ["a", more]
    assert (chosen.threshold, chosen.seeds, chosen.minimum, chosen.fill) == (0.3, 0.6, 7, 5)
