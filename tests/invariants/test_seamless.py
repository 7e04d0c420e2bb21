"""Tiled prediction is whole-image prediction: the same numbers, whatever the tiles."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from septum.annotation.labels import LabelMeaning
from septum.geometry import unet_footprint
from septum.images.intensity_range import IntensityRange
from septum.model import Model, build_network
from septum.network.heads import sigmoid_probabilities, softmax_probabilities
from septum.prediction.overlap_tile import Predictor, predict_probabilities, prepare
from septum.recipe import Network, Recipe, Training

TOLERANCE = {"rtol": 0, "atol": 1e-5}
PLANES = list(
    itertools.product((2,), (1, 2, 3, 4, 5), ("valid", "same"), ("convolution", "linear"))
)
VOLUMES = list(itertools.product((3,), (1, 2), ("valid", "same"), ("convolution", "linear")))
FCN = {"architecture": "fcn-8s", "normalization": "none"}
PATCH_95 = {"architecture": "sliding-window", "normalization": "none"}
PATCH_65 = PATCH_95 | {"patch": 65}


def random_model(seed=0, **values):
    """A network as after some training: statistics of its own, features alive, logits near 1."""
    torch.manual_seed(seed)
    section = Network(**({"width": 2, "dropout": 0.0, "normalization": "batch"} | values))
    network = build_network(section, 1, 2)
    norms = [module for module in network.modules() if hasattr(module, "running_var")]
    for module in norms:
        module.momentum = 1.0
        nn.init.uniform_(module.weight, 0.7, 1.4)
        nn.init.normal_(module.bias, 0.3, 0.3)
    footprint, unet = network.footprint, section.architecture == "unet"
    extents = (footprint.extent_for_core(1 if unet else 96),) * section.dimensions
    with torch.no_grad():
        logits = network.train()(torch.randn(1, 1, *extents))
        if not unet and not footprint.shrink:  # the border of zeros stands out of the rest
            logits = logits[
                :, :, footprint.lead : -footprint.lead, footprint.lead : -footprint.lead
            ]
        odds = logits[:, 1] - logits[:, 0]
        layers = [
            part for part in network.score.modules() if isinstance(part, nn.Conv2d | nn.Conv3d)
        ]
        for layer in layers:
            layer.weight /= odds.std()
        if not unet:
            layers[-1].bias[1] -= odds.mean() / odds.std()
    for module in norms:
        module.running_mean += 0.1 * torch.randn_like(module.running_mean)
        module.running_var *= 0.8 + 0.4 * torch.rand_like(module.running_var)
    recipe = Recipe(network=section, training=Training(steps=1, precision="float32"))
    meaning = LabelMeaning("binary", (0, 1))
    return Model(network.eval(), recipe, meaning, IntensityRange((127.0,), (74.0,)), 1)


def random_image(extents, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, *extents), dtype=np.uint8)


def predict(model, image, tile=None, orientations=1):
    return predict_probabilities(prepare(model, tile=tile, orientations=orientations), image)


def whole_image_by_hand(model, image):
    """Mirror the image by NumPy, run the network as it was trained, once, and cut the middle."""
    footprint, extents = model.network.footprint, image.shape[1:]
    before = footprint.shrink // 2
    if not footprint.shrink:  # a whole number of pooling windows, and more than is needed
        before = (footprint.context // footprint.stride + 2) * footprint.stride
    inputs = [footprint.legal_at_least(extent + 2 * before) for extent in extents]
    widths = [
        (before, size - extent - before) for size, extent in zip(inputs, extents, strict=True)
    ]
    padded = np.pad(image.astype(np.float32), [(0, 0), *widths], mode="reflect")
    padded = (padded - model.intensity.offset[0]) / model.intensity.scale[0]
    with torch.no_grad():
        probability = model.network(torch.from_numpy(padded)[None].float())[0].softmax(0).numpy()
    start = before - footprint.shrink // 2
    return probability[(slice(None), *(slice(start, start + extent) for extent in extents))]


@pytest.mark.parametrize(("dimensions", "depth", "padding", "up"), PLANES + VOLUMES)
def test_tiled_prediction_equals_whole_image_prediction(dimensions, depth, padding, up):
    model = random_model(dimensions=dimensions, depth=depth, padding=padding, up=up)
    footprint = model.network.footprint
    # No multiple of the stride, and several of the smallest tiles along each axis.
    extents = {2: (footprint.stride + 11, footprint.stride + 5), 3: (6, 7, 5)}[dimensions]
    image = random_image(extents)
    expected = whole_image_by_hand(model, image)
    assert expected[1].std() > 0.05
    for tile in (footprint.extent_for_core(1), footprint.extent_for_core(max(extents))):
        np.testing.assert_allclose(predict(model, image, tile), expected, **TOLERANCE)


@pytest.mark.parametrize(("dimensions", "reduction"), [(2, 2), (2, 3), (3, 2)])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("up", ["convolution", "linear"])
def test_a_network_of_reduced_images_is_seamless_too(dimensions, reduction, padding, up):
    depth = {2: 2, 3: 1}[dimensions]
    model = random_model(
        dimensions=dimensions, depth=depth, padding=padding, up=up, reduction=reduction
    )
    footprint = model.network.footprint
    extents = {2: (footprint.stride + 11, 2 * footprint.stride + 5), 3: (6, 7, 5)}[dimensions]
    image = random_image(extents)
    expected = whole_image_by_hand(model, image)
    assert expected[1].std() > 0.05
    for tile in (footprint.extent_for_core(1), footprint.extent_for_core(max(extents))):
        np.testing.assert_allclose(predict(model, image, tile), expected, **TOLERANCE)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("extents", [(1, 1), (1, 9), (2, 3), (17, 1), (5, 33)])
def test_images_down_to_one_pixel_are_predicted_as_their_mirrored_continuation(padding, extents):
    model = random_model(1, depth=2, padding=padding)
    image = random_image(extents)
    expected = whole_image_by_hand(model, image)
    np.testing.assert_allclose(predict(model, image), expected, **TOLERANCE)


@pytest.mark.parametrize(
    ("values", "extents", "more"),
    [
        *((FCN, extents, (0, 2, 5)) for extents in ((43, 70), (1, 1), (1, 9), (64, 129))),
        *((PATCH_95, extents, (0, 3, 40)) for extents in ((14, 9), (1, 1), (1, 9))),
        (PATCH_95, (60, 33), (15, 40)),
        *((PATCH_65, extents, (0, 3, 40)) for extents in ((14, 9), (2, 3))),
    ],
)
def test_tiled_prediction_of_the_baselines_equals_whole_image_prediction(values, extents, more):
    model = random_model(**values)
    footprint = model.network.footprint
    image = random_image(extents)
    expected = whole_image_by_hand(model, image)
    assert math.prod(extents) < 100 or expected[1].std() > 0.05
    least = footprint.extent_for_core(1)
    for step in more:
        found = predict(model, image, least + step * footprint.stride)
        np.testing.assert_allclose(found, expected, **TOLERANCE)
    np.testing.assert_allclose(predict(model, image), expected, **TOLERANCE)


@settings(max_examples=15)
@given(
    st.integers(1, 2),
    st.sampled_from(["valid", "same"]),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 4),
)
def test_no_tile_size_changes_the_result(depth, padding, extents, more):
    model = random_model(depth, depth=depth, padding=padding)
    image = random_image(extents, more)
    least = model.network.footprint.extent_for_core(1)
    small = predict(model, image, least + more * model.network.footprint.stride)
    np.testing.assert_allclose(small, predict(model, image, least + 40), **TOLERANCE)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_probabilities_of_all_classes_sum_to_1(padding):
    model = random_model(3, depth=2, padding=padding)
    for orientations in (1, 8):
        probability = predict(model, random_image((31, 22)), orientations=orientations)
        np.testing.assert_allclose(probability.sum(0), 1, atol=1e-6)


SYMMETRIES = {
    "mirrored along X": lambda image: image[..., ::-1],
    "mirrored along Y": lambda image: image[..., ::-1, :],
    "turned by 90 degrees": lambda image: np.rot90(image, 1, (-2, -1)),
    "turned by 180 degrees": lambda image: np.rot90(image, 2, (-2, -1)),
    "transposed": lambda image: np.swapaxes(image, -1, -2),
}


@pytest.mark.parametrize(
    "values",
    [
        {"depth": 3, "padding": "valid", "up": "convolution"},
        {"depth": 3, "padding": "valid", "up": "linear"},
        {"depth": 3, "padding": "same", "up": "convolution"},
        *(FCN, PATCH_95, PATCH_65),
    ],
)
def test_the_mean_of_8_orientations_turns_with_the_image(values):
    model = random_model(4, **values)
    footprint = model.network.footprint
    # A mirrored image meets the same pooling windows if it ends on their grid as it begins.
    rest = (footprint.remainder - footprint.shrink) % footprint.stride
    unit = max(footprint.stride, 8)
    image = random_image((3 * unit + rest, 5 * unit + rest))
    expected = predict(model, image, orientations=8)
    plain = predict(model, image)
    assert np.abs(expected - plain).max() > 0.01
    for turn in SYMMETRIES.values():
        turned = np.ascontiguousarray(turn(image))
        actual = predict(model, turned, orientations=8)
        np.testing.assert_allclose(actual, turn(expected), **TOLERANCE)
        assert np.abs(predict(model, turned) - turn(plain)).max() > 0.01  # else nothing is proved


@pytest.mark.parametrize(
    ("values", "extents"),
    [
        *(
            ({"depth": 2, "padding": padding, "up": up}, (23, 13))
            for padding in ("valid", "same")
            for up in ("convolution", "linear")
        ),
        ({"dimensions": 3, "depth": 1, "padding": "valid"}, (3, 5, 4)),
        ({"dimensions": 3, "depth": 1, "padding": "same"}, (3, 5, 4)),
        *((FCN, (35, 13)), (PATCH_95, (7, 5)), (PATCH_65, (7, 5))),
    ],
)
def test_tiles_have_no_effect_on_the_mean_of_8_orientations(values, extents):
    model = random_model(5, **values)
    image = random_image(extents)
    footprint = model.network.footprint
    whole = predict(model, image, footprint.extent_for_core(max(extents)), orientations=8)
    tiled = predict(model, image, footprint.extent_for_core(1), orientations=8)
    np.testing.assert_allclose(tiled, whole, **TOLERANCE)


def test_bfloat16_agrees_loosely():
    model = random_model(6, depth=2, width=4)
    image = random_image((40, 30))
    exact = predict(model, image)
    rough = predict_probabilities(prepare(model, precision="bfloat16"), image)
    assert rough.dtype == np.float32
    assert np.abs(rough - exact).mean() < 0.01
    assert 0 < np.abs(rough - exact).max() < 0.1


# Networks that show what the engine does with what they give it.


class Identity(nn.Module):
    """The logit of class 1 is the pixel itself, cut to what a network of this kind would output."""

    def __init__(self, footprint):
        super().__init__()
        self.footprint = footprint

    def forward(self, image):
        self.footprint.check(image.shape[-1])
        margin = self.footprint.shrink // 2
        for axis in range(2, image.ndim):
            image = image.narrow(axis, margin, image.shape[axis] - 2 * margin)
        return image


class Constant(Identity):
    """Three classes, the same everywhere."""

    def forward(self, image):
        logits = torch.tensor([0.3, -1.0, 2.0]).reshape(1, 3, *(1,) * (image.ndim - 2))
        return logits.expand(1, 3, *super().forward(image).shape[2:])


class LargestOfBlock(Identity):
    """Each block of the stride shows its largest pixel: it matters where the blocks begin."""

    def forward(self, image):
        stride = self.footprint.stride
        blocks = nn.functional.max_pool2d(image, stride)
        return nn.functional.interpolate(blocks, scale_factor=stride)


def engine(network, tile, dimensions=2, orientations=1, classes=2):
    return Predictor(
        networks=(network,),
        footprint=network.footprint,
        intensities=(IntensityRange((0.0,), (1.0,)),),
        classes=classes,
        finish=sigmoid_probabilities if classes == 2 else softmax_probabilities,
        dimensions=dimensions,
        orientations=orientations,
        tile=tile,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


FOOTPRINTS = st.builds(
    unet_footprint,
    st.integers(1, 4),
    st.sampled_from(["valid", "same"]),
    st.sampled_from(["convolution", "linear"]),
)
EXTENTS = st.lists(st.integers(1, 70), min_size=2, max_size=2)


@given(FOOTPRINTS, EXTENTS, st.integers(0, 5), st.sampled_from([1, 8]))
def test_the_identity_network_gives_back_the_image(footprint, extents, more, orientations):
    image = np.random.default_rng(0).standard_normal((1, *extents)).astype(np.float32)
    tile = footprint.extent_for_core(1) + more * footprint.stride
    predictor = engine(Identity(footprint), tile, orientations=orientations)
    expected = torch.from_numpy(image[0]).sigmoid().numpy()
    np.testing.assert_allclose(predict_probabilities(predictor, image)[1], expected, atol=1e-6)


@given(FOOTPRINTS, EXTENTS, st.integers(0, 5), st.sampled_from([1, 8]))
def test_a_constant_network_gives_a_constant_image(footprint, extents, more, orientations):
    tile = footprint.extent_for_core(1) + more * footprint.stride
    predictor = engine(Constant(footprint), tile, orientations=orientations, classes=3)
    image = np.random.default_rng(0).standard_normal((1, *extents))
    probability = predict_probabilities(predictor, image)
    expected = torch.tensor([0.3, -1.0, 2.0]).softmax(0).numpy().reshape(3, 1, 1)
    np.testing.assert_allclose(probability, np.broadcast_to(expected, (3, *extents)), atol=1e-6)


@given(st.integers(1, 4), EXTENTS, st.integers(0, 5))
def test_pooling_windows_lie_on_the_same_pixels_in_every_tile(depth, extents, more):
    footprint = unet_footprint(depth, "same")
    stride = footprint.stride
    image = np.random.default_rng(1).standard_normal((1, *extents)).astype(np.float32)
    tile = footprint.extent_for_core(1) + more * stride
    actual = predict_probabilities(engine(LargestOfBlock(footprint), tile), image)[1]
    padded = np.pad(image[0], [(0, -extent % stride) for extent in extents], mode="reflect")
    rows, columns = (size // stride for size in padded.shape)
    largest = padded.reshape(rows, stride, columns, stride).max((1, 3))
    expected = np.kron(largest, np.ones((stride, stride), np.float32))
    expected = 1 / (1 + np.exp(-expected[: extents[0], : extents[1]]))
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_an_image_of_another_dtype_is_normalised_by_the_models_range():
    footprint = unet_footprint(1)
    image = np.random.default_rng(2).integers(0, 60000, (1, 20, 20), dtype=np.uint16)
    predictor = engine(Identity(footprint), footprint.extent_for_core(6))
    object.__setattr__(predictor, "intensities", (IntensityRange((30000.0,), (9000.0,)),))
    probability = predict_probabilities(predictor, image)[1]
    expected = 1 / (1 + np.exp(-(image[0] - 30000.0) / 9000.0))
    assert math.isclose(float(np.abs(probability - expected).max()), 0, abs_tol=1e-6)
