"""Training tiles: drawn by their number alone, labels on their image, weights of equation 2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from septum.annotation.labels import IGNORE, UNDRAWN, LabelMeaning
from septum.annotation.pairs import Annotated
from septum.augment.deform import deform
from septum.geometry import Footprint, unet_footprint
from septum.images.intensity_range import IntensityRange
from septum.images.pixel_size import relative_spacing
from septum.loss.border_weight import border_weight
from septum.recipe import Augment, Loss, Training
from septum.training import samples
from septum.training.images import TrainingImage, prepare_image
from septum.training.samples import UNDRAWN_WEIGHT, Sample, Sampler, class_weights

SAME, VALID = unet_footprint(1, "same"), unet_footprint(2, "valid")
BEND = Augment(elastic_sigma=4, brightness=0.2, contrast=0.2, gamma=0.2, noise=0.1)
PLAIN_GREY = Augment(elastic_sigma=4)


def cells(seed: int, extents: tuple[int, ...] = (70, 60)) -> TrainingImage:
    """Noise, and rectangular cells numbered 1, 2, …."""
    rng = np.random.default_rng(seed)
    instances_S = np.zeros(extents, np.int32)
    for number in range(1, 25):
        corner = [int(rng.integers(extent - 6)) for extent in extents]
        instances_S[tuple(slice(c, c + 8) for c in corner)] = number
    image_CS = rng.normal(size=(1, *extents)).astype(np.float32)
    return TrainingImage(f"cell{seed}", image_CS, (instances_S > 0).astype(np.uint8), instances_S)


def sampler(
    images: list[TrainingImage],
    footprint: Footprint = SAME,
    augment: Augment = BEND,
    loss: Loss = Loss(border_weight=5, border_sigma=2),  # noqa: B008 (frozen)
    classes: int = 2,
    **training: Any,
) -> Sampler:
    section = Training(**{"steps": 1, "tile": 32, "batch": 2, **training})
    return Sampler(
        images,
        class_weights([image.classes_S for image in images], classes, loss),
        footprint,
        augment,
        loss,
        section,
    )


def bits(sample: Sample) -> tuple[str, bytes, bytes, bytes]:
    return (
        sample.name,
        *(a.tobytes() for a in (sample.image_CS, sample.classes_S, sample.weights_S)),
    )


def test_a_sample_depends_on_seed_step_and_index_alone() -> None:
    images = [cells(number) for number in range(3)]
    drawn, places = sampler(images), [(step, index) for step in range(4) for index in range(2)]
    forward = {place: bits(drawn.sample(*place)) for place in places}
    for place in reversed(places):  # another order, a second time, by another sampler
        assert bits(drawn.sample(*place)) == forward[place]
        assert bits(sampler(images).sample(*place)) == forward[place]
    assert len({tile for _, tile, _, _ in forward.values()}) == len(places)
    other = sampler(images, seed=1)
    assert not {bits(other.sample(*p))[1] for p in places} & {t for _, t, _, _ in forward.values()}


def test_a_batch_is_the_samples_of_its_step() -> None:
    import torch

    drawn = sampler([cells(number) for number in range(3)])
    names, image_NCS, classes_NS, weights_NS = drawn.batch(5, range(2), torch.device("cpu"))
    for index in range(2):
        sample = drawn.sample(5, index)
        assert names[index] == sample.name
        np.testing.assert_array_equal(image_NCS[index].numpy(), sample.image_CS)
        np.testing.assert_array_equal(classes_NS[index].numpy(), sample.classes_S)
        np.testing.assert_array_equal(weights_NS[index].numpy(), sample.weights_S)


def test_every_image_is_drawn_exactly_once_an_epoch_in_a_changing_order() -> None:
    drawn = sampler([cells(number) for number in range(5)])
    names = [drawn.sample(step, index).name for step in range(15) for index in range(2)]
    epochs = [names[start : start + 5] for start in range(0, 30, 5)]
    assert all(sorted(epoch) == [f"cell{n}" for n in range(5)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    ("footprint", "tile"), [(SAME, 32), (VALID, 56)], ids=["padded", "unpadded"]
)
def test_labels_stay_on_the_centre_of_their_deformed_image(
    axis: int, footprint: Footprint, tile: int
) -> None:
    # The grey value of a pixel is its own coordinate, and so is its label: wherever the tile
    # comes from, the nearest label is within half a pixel of the interpolated value.
    extents = (90, 80)
    ramp_S = np.indices(extents)[axis].astype(np.uint8)
    image = TrainingImage(
        "ramp", ramp_S[None].astype(np.float32), ramp_S, np.zeros(extents, np.int32)
    )
    drawn = sampler([image], footprint, PLAIN_GREY, Loss(border_weight=0), classes=100, tile=tile)
    for step in range(8):
        sample = drawn.sample(step, 0)
        target = footprint.output_extent(tile)
        assert sample.classes_S.shape == sample.weights_S.shape == (target, target)
        margin = (tile - target) // 2
        centre = sample.image_CS[0, margin : margin + target, margin : margin + target]
        assert np.abs(centre - sample.classes_S).max() <= 0.5 + 1e-3
        assert np.ptp(sample.classes_S) > 10  # else this proves nothing


@pytest.mark.parametrize(
    ("extents", "spacing"),
    [((70, 60), None), ((20, 30, 34), None), ((20, 30, 34), (3.0, 1.0, 1.0))],
    ids=["2D", "3D", "thick"],
)
def test_weights_are_equation_2_of_the_deformed_cells_those_outside_included(
    extents: tuple[int, ...],
    spacing: tuple[float, ...] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    footprint, tile = (VALID, 56) if len(extents) == 2 else (unet_footprint(1, "valid"), 28)
    loss = Loss(border_weight=5, border_sigma=1, class_weight="balanced")
    image = replace(cells(4, extents), spacing=spacing)
    drawn = sampler([image], footprint, BEND, loss, tile=tile)
    given: list[Any] = []

    def spy(*args: Any, **options: Any) -> Any:
        given.append((args, options))
        return deform(*args, **options)

    monkeypatch.setattr(samples, "deform", spy)
    target, outside_counts = footprint.output_extent(tile), False
    margin = (tile - target) // 2
    inner = (slice(margin, margin + target),) * len(extents)
    for step in range(6):
        sample = drawn.sample(step, 0)
        (image_CS, classes_S, instances_S, deformation, tiles, _), options = given[-1]
        # The same deformation, with labels for the whole tile: much more than any border reaches.
        _, wide_S, cells_S = deform(
            image_CS, classes_S, instances_S, deformation, tiles, tiles, **options
        )
        border_S = border_weight(cells_S, 5, 1, spacing)[inner]
        expected_S = drawn.weights_K[wide_S[inner]] + border_S
        np.testing.assert_array_equal(sample.classes_S, wide_S[inner])
        np.testing.assert_allclose(sample.weights_S, expected_S, rtol=1e-6)
        alone_S = border_weight(np.ascontiguousarray(cells_S[inner]), 5, 1, spacing)
        outside_counts |= bool((np.abs(border_S - alone_S) > 0.1).any())
    assert outside_counts  # some border needed cells that lie outside of the target


def test_ignored_pixels_weigh_nothing_though_cells_are_near() -> None:
    drawn = sampler([cells(0)])
    instances_S = np.zeros((20, 20), np.int32)
    instances_S[:, :8], instances_S[:, 11:] = 1, 2
    classes_S = (instances_S > 0).astype(np.uint8)
    classes_S[:5] = IGNORE
    weights_S = drawn.weigh(classes_S, instances_S)
    assert not weights_S[:5].any()
    np.testing.assert_array_equal(weights_S[5:, :8], 1)
    assert (weights_S[5:, 8:11] > 1).all()


def test_balanced_classes_have_equal_shares_of_the_weight() -> None:
    rng = np.random.default_rng(1)
    images = []
    for number in range(2):
        classes_S = rng.choice([0, 1, 2, IGNORE], (40, 30), p=[0.6, 0.3, 0.05, 0.05])
        classes_S = classes_S.astype(np.uint8)
        image_CS = np.zeros((1, 40, 30), np.float32)
        images.append(TrainingImage(str(number), image_CS, classes_S, np.zeros((40, 30), np.int32)))
    loss = Loss(class_weight="balanced", border_weight=0)
    drawn = sampler(images, loss=loss, classes=4)  # of class 3 there is no pixel
    pixels = np.concatenate([image.classes_S.ravel() for image in images])
    weights = np.concatenate(
        [drawn.weigh(image.classes_S, image.instances_S).ravel() for image in images]
    )
    totals = [weights[pixels == number].sum() for number in range(3)]
    np.testing.assert_allclose(totals, np.mean(totals), rtol=1e-5)
    assert weights[pixels != IGNORE].mean() == pytest.approx(1, rel=1e-5)
    assert np.isfinite(drawn.weights_K).all()


def test_without_balance_every_class_weighs_one() -> None:
    np.testing.assert_array_equal(class_weights([cells(0).classes_S], 2, Loss()), [1, 1])


def test_thick_slices_weigh_by_distances_in_the_specimen() -> None:
    """Cells 2 slices apart that are 5 pixels thick are as far as cells 10 pixels apart."""
    instances_S = np.zeros((9, 1, 30), np.int32)
    instances_S[2, 0, :10], instances_S[4, 0, :10] = 1, 2
    classes_S = (instances_S > 0).astype(np.uint8)
    image = Annotated(
        "a", classes_S[None], instances_S, (5.0, 1.0, 1.0), Path("a.tif"), Path("b.tif")
    )
    meaning = LabelMeaning("instances", (0, 1))
    prepared = prepare_image(image, meaning, IntensityRange((0.0,), (1.0,)))
    assert prepared.spacing == (5.0, 1.0, 1.0)
    loss = Loss(border_weight=10, border_sigma=5)
    drawn = sampler([prepared], loss=loss)
    weights_S = drawn.weigh(prepared.classes_S, prepared.instances_S, prepared.spacing)
    assert weights_S[3, 0, 5] == pytest.approx(1 + 10 * np.exp(-(10**2) / (2 * 5**2)), rel=1e-5)
    assert relative_spacing((0.5, 0.1, 0.1001)) is not None
    assert relative_spacing((0.1, 0.1001)) is None
    assert relative_spacing(None) is None


def test_where_nobody_has_drawn_is_background_of_little_weight() -> None:
    labels_S = np.zeros((40, 40), np.uint16)
    labels_S[8:16, 8:16], labels_S[:, 38:] = 3, 9
    image_CS = np.random.default_rng(0).normal(size=(1, 40, 40)).astype(np.float32)
    image = Annotated("a", image_CS, labels_S, None, Path("a.tif"), Path("b.tif"))
    meaning = LabelMeaning("instances", (0, 1), ignore=(9,), unlabelled_ignored=True)
    prepared = prepare_image(image, meaning, IntensityRange((0.0,), (1.0,)))
    values = {(12, 12): 1, (17, 12): 0, (30, 12): UNDRAWN, (12, 39): IGNORE}
    assert {place: prepared.classes_S[place] for place in values} == values
    loss = Loss(class_weight="balanced", border_weight=5, border_sigma=2)
    drawn = sampler([prepared], loss=loss)
    known = prepared.classes_S < UNDRAWN
    np.testing.assert_array_equal(
        drawn.weights_K, class_weights([prepared.classes_S[known]], 2, loss)
    )
    weights_S = drawn.weigh(prepared.classes_S, prepared.instances_S)
    assert weights_S[30, 12] == pytest.approx(UNDRAWN_WEIGHT * drawn.weights_K[0], rel=1e-3)
    assert weights_S[17, 12] > drawn.weights_K[0] / 2
    assert weights_S[12, 39] == 0
    for step in range(20):
        sample = drawn.sample(step, 0)
        little = sample.classes_S == UNDRAWN
        assert (sample.weights_S[little] < drawn.weights_K[0] / 2).all()
        assert set(np.unique(sample.classes_S)) <= {0, 1, UNDRAWN, IGNORE}


def test_a_nucleus_in_its_cytoplasm_is_one_cell_to_the_border_weight() -> None:
    labels_S = np.zeros((40, 60), np.uint8)
    labels_S[5:30, 5:25], labels_S[6:20, 7:20] = 128, 255  # two pixels of cytoplasm at one side
    image_CS = np.zeros((1, 40, 60), np.float32)
    meaning = LabelMeaning("classes", (0, 128, 255))

    def weights() -> np.ndarray:
        image = Annotated("a", image_CS, labels_S, None, Path("a.tif"), Path("b.tif"))
        prepared = prepare_image(image, meaning, IntensityRange((0.0,), (1.0,)))
        drawn = sampler([prepared], loss=Loss(border_weight=5, border_sigma=3), classes=3)
        return drawn.weigh(prepared.classes_S, prepared.instances_S)

    assert (weights() == 1).all()
    labels_S[5:30, 30:50] = 128  # a second cell, 5 pixels of background away
    expected = 1 + border_weight((labels_S > 0) * np.repeat([1, 2], 30), 5, 3)
    np.testing.assert_allclose(weights(), expected)
