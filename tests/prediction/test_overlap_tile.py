"""What the engine yields, refuses, and chooses; that it is exact is proved in tests/invariants."""

from __future__ import annotations

import multiprocessing
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from septum.annotation.labels import LabelMeaning
from septum.errors import InputError, TileSizeError
from septum.geometry import ArrayPixels, Tile, unet_footprint
from septum.images.intensity_range import IntensityRange
from septum.memory import array_off_heap
from septum.model import Model, build_network
from septum.prediction.overlap_tile import (
    _read_ahead,
    predict_mask,
    predict_probabilities,
    predict_tiles,
    prepare,
)
from septum.prediction.predictor import TILE_BYTES, default_tile
from septum.recipe import Network, Prediction, Recipe, Training


def model(channels=1, classes=2, prediction=None, **network):
    torch.manual_seed(0)
    unet = {"width": 2, "depth": 1, "dropout": 0.5}
    section = Network(**(network if "architecture" in network else unet | network))
    recipe = Recipe(
        network=section,
        prediction=prediction or Prediction(),
        training=Training(steps=1, precision="float32"),
    )
    kind = "binary" if classes == 2 else "classes"
    return Model(
        build_network(section, channels, classes),
        recipe,
        LabelMeaning(kind, tuple(range(classes))),
        IntensityRange((0.5,) * channels, (0.3,) * channels),
        channels,
    )


def random_image(*shape):
    return np.random.default_rng(0).random(shape)


def test_tiles_are_yielded_one_by_one_and_cover_what_they_say():
    predictor = prepare(model(), tile=24)
    image = random_image(1, 30, 41)
    tiles = list(predict_tiles(predictor, image))
    whole = predict_probabilities(predictor, image)
    assert len(tiles) > 4
    for tile, probability in tiles:
        assert np.array_equal(whole[:, *tile.write_slices], probability)


def test_only_what_a_tile_needs_is_read():
    class Watched(np.ndarray):
        read = 0

        def __getitem__(self, index):
            part = super().__getitem__(index)
            Watched.read = max(Watched.read, part.size)
            return part

    image = random_image(1, 200, 200).view(Watched)
    next(iter(predict_tiles(prepare(model(), tile=24), image)))
    tiles = predict_tiles(prepare(model(), tile=24), image)
    for _ in range(30):  # tiles inside the image are views of the window
        next(tiles)
    assert 0 < Watched.read <= 24 * 200


def test_preparing_leaves_the_model_as_it_was():
    given = model(normalization="batch").network.train()
    before = {name: value.clone() for name, value in given.state_dict().items()}
    whole = model(normalization="batch").replace(network=given)
    predict_probabilities(prepare(whole, precision="bfloat16"), random_image(1, 9, 9))
    assert given.training
    assert given.state_dict().keys() == before.keys()
    for name, value in given.state_dict().items():
        assert torch.equal(value, before[name]), name
        assert value.dtype == before[name].dtype


def test_dropout_is_off_in_prediction():
    predictor = prepare(model(dropout=0.9))
    image = random_image(1, 20, 20)
    first = predict_probabilities(predictor, image)
    assert np.array_equal(first, predict_probabilities(predictor, image))


def test_the_sigmoid_head_gives_the_probabilities_of_both_classes():
    probability = predict_probabilities(prepare(model(head="sigmoid")), random_image(1, 15, 12))
    assert probability.shape == (2, 15, 12)
    np.testing.assert_allclose(probability.sum(0), 1, atol=1e-6)
    assert probability[1].std() > 0


def test_channels_are_normalised_each_by_its_own_range():
    two = model(channels=2)
    plain = two.replace(intensity=IntensityRange((0.0, 0.0), (1.0, 1.0)))
    ranged = two.replace(intensity=IntensityRange((3.0, -1.0), (2.0, 0.25)))
    image = random_image(2, 12, 12).astype(np.float32)
    stretched = np.stack([image[0] * 2 + 3, image[1] * 0.25 - 1])
    np.testing.assert_allclose(
        predict_probabilities(prepare(ranged), stretched),
        predict_probabilities(prepare(plain), image),
        atol=1e-5,
    )


@pytest.mark.parametrize("shape", [(20, 20), (1, 5, 20, 20)])
def test_an_image_of_other_dimensions_is_refused_with_the_axes_wanted(shape):
    with pytest.raises(InputError, match=r"2D model takes \(C, Y, X\)"):
        list(predict_tiles(prepare(model()), random_image(*shape)))


def test_an_image_of_other_channels_is_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"3 channels.*trained on 1"):
        list(predict_tiles(prepare(model()), random_image(3, 20, 20)))


def test_a_tile_that_does_not_fit_is_refused_before_anything_is_predicted():
    with pytest.raises(TileSizeError, match=r"tile = 23 .*use 22 or 24"):
        prepare(model(), tile=23)


def test_the_recipes_tile_and_orientations_count_unless_others_are_asked_for():
    own = model(prediction=Prediction(tile=28, orientations=8))
    assert (prepare(own).tile, prepare(own).orientations) == (28, 8)
    asked = prepare(own, tile=32, orientations=1)
    assert (asked.tile, asked.orientations) == (32, 1)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_the_tile_chosen_is_legal_useful_and_as_large_as_memory_allows(dimensions, depth, padding):
    footprint = unet_footprint(depth, padding)
    for width in (1, 16, 64, 512):
        tile = default_tile(width, dimensions, footprint, torch.float32)
        footprint.check(tile)
        assert footprint.core_extent(tile) >= footprint.stride
        taken = 4 * 4 * width * tile**dimensions
        assert taken <= TILE_BYTES or tile == footprint.extent_for_core(1)
        more = 4 * 4 * width * (tile + footprint.stride) ** dimensions
        assert more > TILE_BYTES * 0.99


def test_the_mask_of_two_classes_is_what_exceeds_the_threshold():
    object_ = np.array([[0.2, 0.5, 0.7]], np.float32)
    probability = np.stack([1 - object_, object_])
    assert predict_mask(probability, 0.5).tolist() == [[0, 0, 1]]
    assert predict_mask(probability, 0.1).tolist() == [[1, 1, 1]]
    assert predict_mask(probability, 0.7).tolist() == [[0, 0, 0]]


def test_the_mask_of_more_classes_is_the_likeliest():
    probability = np.array([[[0.2, 0.5]], [[0.3, 0.2]], [[0.5, 0.3]]], np.float32)
    mask = predict_mask(probability, 0.9)
    assert mask.tolist() == [[2, 0]]
    assert mask.dtype == np.uint8


def test_no_map_of_a_tile_is_too_large_for_32_bits():
    footprint = unet_footprint(4)
    for width in (16, 32, 64):
        tile = default_tile(width, 2, footprint, torch.bfloat16, budget=10**12)
        assert 2 * width * tile**2 < 2**31
        assert 2 * width * (tile + footprint.stride) ** 2 >= 2**31


def test_as_much_is_read_ahead_as_was_said():
    """The next window, and others up to so many pixels."""
    read, requests = [], []
    for number in range(8):
        tile = Tile(((0, 10),) * 2, ((0, 10),) * 2, ((10 * number, 10 * number + 10),) * 2)
        requests.append((ArrayPixels(np.zeros((1, 1, 1))), tile, ()))

    def note(request):
        read.append(request[1].write[0][0] // 10)
        return request[1], torch.zeros(1)

    for pixels, most in ((0, 1), (100, 2), (299, 3), (300, 4), (10**6, 7)):
        read.clear()
        with ThreadPoolExecutor(1) as reader:
            for number, (tile, _) in enumerate(_read_ahead(reader, note, requests, pixels)):
                assert tile is requests[number][1]
                reader.submit(int).result()  # all that was asked for has been read
                assert len(read) == min(number + 1 + most, 8), (pixels, number)


def test_forked_processes_do_not_write_into_each_others_memory():
    """`fork` is multiprocessing's default on Linux before Python 3.14."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork here")
    kept = array_off_heap((4,), np.dtype(np.int64))
    kept[:] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of torch: nothing of it here
        child = multiprocessing.get_context("fork").Process(target=kept.fill, args=(2,))
        child.start()
    child.join()
    assert child.exitcode == 0
    assert (kept == 1).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "network",
    [
        *(
            {"width": width, "depth": depth, "classes": classes, "padding": padding, "up": up}
            for width, depth, classes in ((16, 3, 3), (8, 2, 2))
            for padding in ("same", "valid")
            for up in ("linear", "convolution")
        ),
        {"architecture": "fcn-8s", "width": 8},
        {"architecture": "sliding-window", "width": 24},
        {"architecture": "sliding-window", "width": 24, "patch": 65},
    ],
)
def test_every_bit_is_the_same_for_any_number_of_threads(precision, network):
    """At these sizes torch's softmax, and its 1-wide convolution, give other bits."""
    torch.manual_seed(0)
    trained = model(**network)
    predictor = prepare(trained, precision=precision)
    image_CYX = np.random.default_rng(0).normal(100, 30, (1, 301, 314)).astype(np.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(predict_probabilities(predictor, image_CYX))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
