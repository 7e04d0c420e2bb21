"""Maps of scores, scores of maps, and what a head can and cannot learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from septum.annotation.labels import LabelMeaning
from septum.errors import RecipeError
from septum.images.intensity_range import IntensityRange
from septum.model import Model, build_network
from septum.network.heads import check_head, finisher, output_channels, scores_of
from septum.prediction.overlap_tile import predict_mask, predict_probabilities, prepare
from septum.recipe import Network, Recipe, Training

OBJECTS = LabelMeaning("instances", (0, 1))
THREE = LabelMeaning("classes", (0, 1, 2))
MASKS = LabelMeaning("overlapping", (0, 1, 2, 4))
CASES = [
    ("softmax", OBJECTS, 2, 2),
    ("softmax", THREE, 3, 3),
    ("sigmoid", OBJECTS, 1, 2),
    ("sigmoid", MASKS, 3, 4),
    ("border", OBJECTS, 3, 3),
    ("distance", OBJECTS, 2, 3),
]
cases = pytest.mark.parametrize(("head", "meaning", "channels", "count"), CASES)


def random_scores(channels):
    generator = torch.Generator().manual_seed(channels)
    return 3 * torch.randn(2, channels, 6, 7, generator=generator)


@cases
def test_maps_are_probabilities_of_which_the_background_is_what_the_rest_leaves(
    head, meaning, channels, count
):
    assert output_channels(head, meaning.class_count) == channels
    maps = finisher(head)(random_scores(channels))
    assert maps.shape == (2, count, 6, 7)
    assert maps.min() >= 0
    assert maps.max() <= 1
    rest = maps[:, 1:2] if head in ("border", "distance") else maps[:, 1:].sum(1, keepdim=True)
    if meaning is MASKS:
        rest = maps[:, 1:].amax(1, keepdim=True)
    torch.testing.assert_close(maps[:, :1], 1 - rest)


def test_classes_that_overlap_have_each_their_own_sigmoid():
    scores = random_scores(3)
    torch.testing.assert_close(finisher("sigmoid")(scores)[:, 1:], scores.sigmoid())


def test_an_object_of_three_classes_is_interior_or_border_and_its_core_the_interior():
    scores = random_scores(3)
    told, maps = scores.softmax(1), finisher("border")(scores)
    torch.testing.assert_close(maps[:, 1], told[:, 1] + told[:, 2])
    torch.testing.assert_close(maps[:, 2], told[:, 1])


def test_a_distance_map_is_told_beside_the_object():
    scores = random_scores(2)
    torch.testing.assert_close(finisher("distance")(scores)[:, 1:], scores.sigmoid())


@cases
def test_scores_of_maps_give_these_maps(head, meaning, channels, count):
    maps = finisher(head)(random_scores(channels))[0]
    scores = torch.from_numpy(scores_of(maps.numpy(), head))
    assert len(scores) == channels
    torch.testing.assert_close(finisher(head)(scores[None])[0], maps, rtol=0, atol=1e-5)


@cases
def test_scores_of_certain_maps_are_finite(head, meaning, channels, count):
    certain = np.zeros((count, 2, 2), np.float32)
    certain[0] = 1
    assert np.isfinite(scores_of(certain, head)).all()
    assert np.isfinite(scores_of(1 - certain, head)).all()


def test_a_head_that_cannot_tell_the_labels_names_one_that_can():
    for head, meaning, _, _ in CASES:
        check_head(head, meaning)
    for head in ("softmax", "border", "distance"):
        with pytest.raises(RecipeError, match=r"overlap.*--set network\.head=sigmoid"):
            check_head(head, MASKS)
    for head in ("sigmoid", "border", "distance"):
        with pytest.raises(RecipeError, match=r"3 classes.*--set network\.head=softmax"):
            check_head(head, THREE)


@pytest.mark.parametrize("architecture", ["unet", "fcn-8s", "sliding-window"])
@cases
def test_every_architecture_has_the_channels_of_its_head(
    architecture, head, meaning, channels, count
):
    fitting = {} if architecture == "unet" else {"normalization": "none"}
    section = Network(architecture=architecture, width=2, head=head, **fitting)
    with torch.device("meta"):
        network = build_network(section, 1, meaning.class_count)
        extent = network.footprint.legal_at_least(200)
        assert network(torch.empty(1, 1, extent, extent)).shape[1] == channels


def small_model(head, meaning):
    torch.manual_seed(3)
    # Interpolation: up-convolutions have weights of their own for even and for odd pixels.
    section = Network(width=2, depth=2, dropout=0, padding="same", up="linear", head=head)
    network = build_network(section, 1, meaning.class_count)
    with torch.no_grad():
        nn.init.normal_(network.score.bias)
    recipe = Recipe(network=section, training=Training(steps=1, precision="float32"))
    return Model(network.eval(), recipe, meaning, IntensityRange((100.0,), (50.0,)), 1)


@cases
def test_a_constant_image_has_constant_maps_and_tiles_are_the_whole(head, meaning, channels, count):
    model = small_model(head, meaning)
    image = np.full((1, 50, 61), 130, np.uint8)
    maps = predict_probabilities(prepare(model), image)
    assert maps.shape == (count, 50, 61)
    assert np.ptp(maps, axis=(1, 2)).max() < 1e-6
    image = np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)
    whole = predict_probabilities(prepare(model, tile=240), image)
    smallest = prepare(model).footprint.extent_for_core(prepare(model).footprint.stride)
    tiled = predict_probabilities(prepare(model, tile=smallest), image)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5)
    assert np.ptp(whole, axis=(1, 2)).min() > 1e-3


def test_the_mask_of_classes_that_overlap_has_a_bit_for_each():
    maps = np.array([[[0.1, 0.8]], [[0.9, 0.2]], [[0.6, 0.1]], [[0.4, 0.1]]])
    assert predict_mask(maps, 0.5, "overlapping").tolist() == [[0b011, 0]]
    assert predict_mask(maps, 0.3, "overlapping").tolist() == [[0b111, 0]]
    assert predict_mask(maps[:3], 0.5, "core").tolist() == [[1, 0]]
