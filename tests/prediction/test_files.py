"""Files in, files out: names, axes, and refusals before anything is computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from septum.annotation.labels import LabelMeaning
from septum.errors import InputError, SaveError
from septum.geometry import unet_footprint
from septum.images.files import read_image, write_image
from septum.images.image import Image
from septum.images.intensity_range import IntensityRange, fit_intensity_range
from septum.model import Model, build_network, save_model
from septum.network.heads import sigmoid_probabilities
from septum.prediction.doubts import doubt_pixel_size, find_doubt
from septum.prediction.files import Options, predict_files
from septum.prediction.overlap_tile import Predictor, predict_probabilities, prepare
from septum.prediction.streaming import predict_whole
from septum.recipe import Intensity, Network, Recipe, Training


class Middle(nn.Module):
    """The logit of class 1 is the first channel, cut to the output's extents."""

    footprint = unet_footprint(1)

    def forward(self, image):
        margin = self.footprint.shrink // 2
        for axis in range(2, image.ndim):
            image = image.narrow(axis, margin, image.shape[axis] - 2 * margin)
        return image[:, :1]


def predictor(dimensions, channels=1):
    return Predictor(
        networks=(Middle(),),
        footprint=Middle.footprint,
        intensities=(IntensityRange((0.0,) * channels, (1.0,) * channels),),
        classes=2,
        finish=sigmoid_probabilities,
        dimensions=dimensions,
        orientations=1,
        tile=Middle.footprint.extent_for_core(4),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


@pytest.mark.parametrize(
    ("axes", "shape", "dimensions", "probability_axes"),
    [
        ("YX", (6, 7), 2, "CYX"),
        ("CYX", (2, 6, 7), 2, "CYX"),
        ("ZYX", (3, 6, 7), 2, "CZYX"),
        ("TYX", (3, 6, 7), 2, "TCYX"),
        ("TZYX", (2, 3, 6, 7), 2, "TCZYX"),
        ("TCZYX", (2, 2, 3, 6, 7), 2, "TCZYX"),
        ("ZYX", (5, 6, 7), 3, "CZYX"),
        ("CZYX", (2, 5, 6, 7), 3, "CZYX"),
        ("TCZYX", (2, 2, 5, 6, 7), 3, "TCZYX"),
    ],
)
def test_every_plane_or_volume_comes_back_in_its_own_place(
    axes, shape, dimensions, probability_axes
):
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    size = (0.5,) * sum(axis in "ZYX" for axis in axes)
    image = Image(array, axes, size)
    mask, probability = predict_whole(predictor(dimensions, image.channels), image, 0.5)

    first = array.take(0, axes.index("C")) if "C" in axes else array
    expected = 1 / (1 + np.exp(-first))
    assert mask.axes == axes.replace("C", "")
    assert probability.axes == probability_axes
    assert probability.pixel_size == mask.pixel_size == size
    object_ = probability.array.take(1, probability_axes.index("C"))
    np.testing.assert_allclose(object_, expected, atol=1e-6)
    assert np.array_equal(mask.array, expected > 0.5)


def test_the_watcher_hears_of_every_pixel_once():
    heard = []
    image = Image(np.zeros((3, 20, 21), np.float32), "ZYX")
    predict_whole(predictor(2), image, 0.5, lambda done, total: heard.append((done, total)))
    assert heard[-1] == (1260, 1260)
    assert sorted(heard) == heard
    assert len(heard) > 10


@pytest.fixture
def model():
    torch.manual_seed(0)
    section = Network(width=2, depth=1, dropout=0)
    recipe = Recipe(network=section, training=Training(steps=1, precision="float32"))
    network = build_network(section, 1, 2)
    with torch.no_grad():  # on either side of the thresholds used here
        network.score.weight[:] = torch.tensor([[-0.2, 0.1], [0.1, -0.3]])[:, :, None, None]
    meaning = LabelMeaning("binary", (0, 1))
    return Model(network, recipe, meaning, IntensityRange((100.0,), (50.0,)), 1, threshold=0.45)


@pytest.fixture
def folder(tmp_path, model):
    save_model(tmp_path / "model.safetensors", model)
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.tif", "b.png"):
        image = rng.integers(0, 256, (21, 18), dtype=np.uint8)
        write_image(tmp_path / "in" / name, Image(image, "YX"))
    return tmp_path


def run(folder, inputs=None, **options):
    sources = [folder / "in"] if inputs is None else inputs
    return list(
        predict_files(folder / "model.safetensors", sources, folder / "out", Options(**options))
    )


def test_each_input_gets_a_mask_and_a_probability_that_are_the_engines(folder, model):
    written = run(folder)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "a.mask.tif",
        "a.probability.tif",
        "b.mask.tif",
        "b.probability.tif",
    ]
    assert [item.pixels for item in written] == [378, 378]
    for name in ("a.tif", "b.png"):
        array = read_image(folder / "in" / name).array
        expected = predict_probabilities(prepare(model), array[None])
        stem = name.split(".")[0]
        probability = read_image(folder / "out" / f"{stem}.probability.tif")
        mask = read_image(folder / "out" / f"{stem}.mask.tif")
        assert probability.axes == "CYX"
        np.testing.assert_allclose(probability.array, expected, atol=1e-6)
        assert np.array_equal(mask.array, expected[1] > 0.45)  # the model's own threshold
        assert 0 < mask.array.mean() < 1


def test_a_threshold_asked_for_counts_and_png_holds_the_probability_in_8_bits(folder, model):
    run(folder, [folder / "in" / "a.tif"], threshold=0.6, suffix=".png")
    array = read_image(folder / "in" / "a.tif").array
    expected = predict_probabilities(prepare(model), array[None])[1]
    mask = read_image(folder / "out" / "a.mask.png").array
    grey = read_image(folder / "out" / "a.probability.png").array
    assert np.array_equal(mask > 0, expected > 0.6)
    np.testing.assert_allclose(grey / 255, expected, atol=0.51 / 255)


def test_results_that_exist_are_refused_before_anything_is_written(folder):
    out = folder / "out"
    out.mkdir()
    (out / "b.mask.tif").write_text("precious")
    with pytest.raises(SaveError, match=r"b\.mask\.tif.*--overwrite"):
        run(folder)
    assert [path.name for path in out.iterdir()] == ["b.mask.tif"]
    assert (out / "b.mask.tif").read_text() == "precious"
    run(folder, overwrite=True)
    assert read_image(out / "b.mask.tif").array.shape == (21, 18)


def test_two_inputs_whose_results_would_have_one_name_are_refused(folder):
    write_image(folder / "in" / "a.png", read_image(folder / "in" / "a.tif"))
    with pytest.raises(InputError, match="same name"):
        run(folder)
    assert not (folder / "out").exists()


def test_an_image_of_other_channels_is_refused_by_name(folder):
    colour = Image(np.random.default_rng(0).integers(0, 255, (3, 9, 9), np.uint8), "CYX")
    write_image(folder / "in" / "c.png", colour)
    with pytest.raises(InputError, match=r"c\.png: image has 3 channels"):
        run(folder, [folder / "in" / "c.png"])


def test_a_missing_input_is_refused_before_any_is_predicted(folder):
    with pytest.raises(InputError, match=r"nowhere\.tif"):
        run(folder, [folder / "in" / "a.tif", folder / "in" / "nowhere.tif"])
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("options", "word"), [({"orientations": 4}, "1 or 8"), ({"precision": "half"}, "bfloat16")]
)
def test_choices_that_do_not_exist_are_refused_with_those_that_do(folder, options, word):
    with pytest.raises(InputError, match=word):
        run(folder, **options)


def test_an_out_that_is_a_file_is_refused_and_kept(folder):
    (folder / "out").write_text("a file")
    with pytest.raises(SaveError, match="is a file; name a folder"):
        run(folder)
    assert (folder / "out").read_text() == "a file"


@pytest.mark.parametrize(("level", "doubted"), [(100, False), (130, False), (33000, True)])
def test_grey_values_far_from_those_of_training_are_doubted(level, doubted):
    image = np.full((1, 40, 40), level, np.uint16)
    doubt = find_doubt(image, IntensityRange((110.0,), (20.0,)))
    assert bool(doubt) == doubted
    assert not doubted or ("33000" in doubt and "110 ± 20" in doubt)


@pytest.mark.parametrize(("factor", "doubted"), [(1, False), (1 / 255, True), (0, False)])
def test_an_image_saved_from_0_to_1_is_doubted_by_a_model_of_8_bits(factor, doubted):
    image = factor * np.random.default_rng(0).integers(0, 255, (1, 90, 90))
    doubt = find_doubt(image, IntensityRange((60.0,), (70.0,)))
    assert bool(doubt) == doubted
    assert not doubted or "hardly differ (0 to 0.9961)" in doubt


@pytest.mark.parametrize("method", ["percentile", "zscore"])
def test_an_image_of_little_more_than_noise_is_doubted_and_a_dark_one_is_not(method):
    noise = np.random.default_rng(0).normal(10, 1, (1, 60, 60))
    cell = noise.copy()
    cell[:, 20:40, 20:40] += 190
    fitted = fit_intensity_range([cell, 3 * cell], Intensity(scope="image", method=method))
    assert "little more than noise" in find_doubt(noise, fitted)
    assert "little more than noise" in find_doubt(noise / 30, fitted)
    for factor in (40, 1, 0.3, 0.01):
        assert find_doubt(factor * cell, fitted) == ""


def test_models_that_take_grey_values_as_they_are_doubt_nothing():
    image = np.full((1, 40, 40), 33000, np.uint16)
    assert find_doubt(image, IntensityRange((0.0,), (1.0,))) == ""


@pytest.mark.parametrize(
    ("image", "training", "doubted"),
    [
        ((0.5, 0.5), (0.5, 0.5), False),
        ((1.0, 1.0), (0.5, 0.5), False),
        ((1.1, 1.1), (0.5, 0.5), True),
        ((0.2, 0.2), (0.5, 0.5), True),
        ((2.0, 0.5, 0.5), (0.5, 0.5), False),  # planes of a stack
        ((9.0, 0.5, 0.5), (2.0, 0.5, 0.5), True),
        (None, (0.5, 0.5), False),
        ((0.5, 0.5), None, False),
    ],
)
def test_pixels_of_another_size_than_in_training_are_doubted(image, training, doubted):
    said = doubt_pixel_size(image, training)
    assert bool(said) == doubted
    assert ("µm" in said) == doubted


def test_a_doubt_about_the_pixel_size_is_handed_on(folder, model):
    save_model(folder / "model.safetensors", model.replace(pixel_size=(0.1, 0.1)))
    image = np.full((20, 20), 100, np.uint8)
    write_image(folder / "c.tif", Image(image, "YX", (0.5, 0.5)))
    (written,) = run(folder, [folder / "c.tif"])
    assert "0.5 µm" in written.doubt
    assert "0.1 µm" in written.doubt
