"""What `septum predict` leaves of a model that is several networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from predictions import contents, noise, small_model
from septum.evaluation.files import compare
from septum.images.files import read_image, write_image
from septum.images.image import Image
from septum.images.intensity_range import IntensityRange
from septum.images.stored import open_image
from septum.model import Member, build_network, load_model, save_model
from septum.network.heads import UNCERTAINTY_NAME, count_classes
from septum.prediction.files import Options, predict_files
from septum.prediction.instances import label_objects
from septum.prediction.overlap_tile import predict_maps, prepare
from septum.prediction.separation import Separation
from septum.recipe import Labels


@pytest.fixture
def several():
    """Three networks, each with its own range of grey values."""
    model = small_model()
    others = []
    for seed in (2, 3):
        torch.manual_seed(seed)
        network = build_network(model.recipe.network, 1, 2).eval()
        others.append(Member(network, IntensityRange((90.0 + seed,), (40.0,))))
    return model.replace(others=tuple(others), threshold=0.5, pixel_size=(0.5, 0.5))


def predict(tmp_path, model, out="out", axes="YX", shape=(70, 90), **options):
    save_model(tmp_path / "model.safetensors", model)
    write_image(tmp_path / "a.tif", noise(axes, shape))
    options = {"probability": "float32", **options}
    list(
        predict_files(
            tmp_path / "model.safetensors",
            [tmp_path / "a.tif"],
            tmp_path / out,
            Options(**options),
        )
    )
    return tmp_path / out


def test_a_saved_model_has_all_its_networks(tmp_path, several):
    save_model(tmp_path / "m.safetensors", several)
    loaded = load_model(tmp_path / "m.safetensors")
    assert len(loaded.members) == 3
    for one, other in zip(loaded.members, several.members, strict=True):
        assert one.intensity == other.intensity
        assert not one.network.training
        for name, value in other.network.state_dict().items():
            assert torch.equal(one.network.state_dict()[name], value)
    assert loaded.map_names == ("class 0", "class 1", "uncertainty")


def test_the_uncertainty_is_the_last_channel_and_no_class(tmp_path, several):
    out = predict(tmp_path, several)
    found = read_image(out / "a.probability.tif")
    assert found.channel_names[-1] == UNCERTAINTY_NAME
    expected = predict_maps(prepare(several), noise("YX", (70, 90)).array[None])
    np.testing.assert_array_equal(found.array, expected)
    # Not half: of three classes the likeliest would be that of two.
    threshold = float(np.percentile(expected[1], 30))
    out = predict(tmp_path, several, "lower", threshold=threshold)
    mask = read_image(out / "a.mask.tif").array
    np.testing.assert_array_equal(mask, expected[1] > threshold)
    assert 0.6 < mask.mean() < 0.8
    assert found.array[-1].max() > 0.02


def test_objects_are_those_of_the_mean_alone(tmp_path, several):
    maps = predict_maps(prepare(several), noise("YX", (70, 90)).array[None])
    threshold = float(np.percentile(maps[1], 60))
    out = predict(tmp_path, several, instances=True, threshold=threshold, minimum=0)
    ids = read_image(out / "a.instances.tif").array
    np.testing.assert_array_equal(ids, label_objects(maps[:2], Separation(threshold))[0])
    assert ids.max() > 3


def test_scores_are_those_of_the_mean_alone(tmp_path, several):
    out = predict(tmp_path, several)
    truth = (noise("YX", (70, 90)).array > 110).astype(np.uint8)
    (tmp_path / "truth").mkdir()
    write_image(tmp_path / "truth" / "a.tif", Image(truth, "YX"))
    found = read_image(out / "a.probability.tif")
    plain = tmp_path / "plain"
    plain.mkdir()
    named = Image(found.array[:2], "CYX", channel_names=found.channel_names[:2])
    write_image(plain / "a.probability.tif", named)
    write_image(plain / "a.mask.tif", read_image(out / "a.mask.tif"))

    def scores(folder):
        comparison = compare(folder, tmp_path / "truth", Labels(), 2)
        return [scored.scores.values for scored in comparison.score()]

    assert scores(out) == scores(plain)


@pytest.mark.parametrize(
    ("suffix", "axes", "shape"),
    [
        (".png", "YX", (70, 90)),
        (".tif", "YX", (70, 90)),
        (".tif", "ZYX", (3, 50, 60)),
        (".zarr", "YX", (70, 90)),
        (".zarr", "ZYX", (3, 50, 60)),
    ],
)
def test_its_mean_is_told_for_each_image(tmp_path, several, suffix, axes, shape):
    image = noise(axes, shape)
    save_model(tmp_path / "model.safetensors", several)
    write_image(tmp_path / "a.tif", image)
    options = Options(suffix=suffix, probability="uint8" if suffix == ".png" else "float32")
    out = tmp_path / ("out.zarr" if suffix == ".zarr" else "out")
    (written,) = predict_files(tmp_path / "model.safetensors", [tmp_path / "a.tif"], out, options)
    planes = image.array[None] if axes == "YX" else image.array
    expected = np.mean([predict_maps(prepare(several), plane[None])[-1] for plane in planes])
    assert written.uncertainty == pytest.approx(expected, abs=1e-3)
    assert expected > 0.005
    save_model(tmp_path / "one.safetensors", several.replace(others=()))
    one = tmp_path / f"one{out.suffix}"
    (written,) = predict_files(tmp_path / "one.safetensors", [tmp_path / "a.tif"], one, options)
    assert written.uncertainty is None


@pytest.mark.parametrize("kind", ["uint8", "float16"])
def test_other_types_hold_it_in_the_same_unit(tmp_path, several, kind):
    out = predict(tmp_path, several, probability=kind)
    found = read_image(out / "a.probability.tif").array.astype(np.float32)
    expected = predict_maps(prepare(several), noise("YX", (70, 90)).array[None])
    unit = 255 if kind == "uint8" else 1
    np.testing.assert_allclose(found[-1] / unit, expected[-1], atol=0.5 / 255 + 1e-6)


def test_a_store_and_workers_leave_the_same(tmp_path, several):
    out = predict(tmp_path, several, shape=(150, 160), suffix=".zarr", instances=True)
    apart = predict(
        tmp_path, several, "apart", shape=(150, 160), suffix=".zarr", instances=True, workers=2
    )
    assert contents(out) == contents(apart)
    found = open_image(out / "a.zarr").read()
    expected = predict_maps(prepare(several), noise("YX", (150, 160)).array[None])
    np.testing.assert_array_equal(found.array, expected)


def test_an_image_of_another_pixel_size_keeps_its_uncertainty(tmp_path, several):
    out = predict(tmp_path, several.replace(pixel_size=(1.0, 1.0)), rescale=True)
    found = read_image(out / "a.probability.tif")
    assert found.array.shape == (3, 70, 90)
    assert found.array[-1].max() > 0.02


def test_two_networks_that_agree_are_certain(several):
    twin = several.replace(others=(Member(several.network, several.intensity),))
    found = predict_maps(prepare(twin), noise("YX", (70, 90)).array[None])
    assert not found[-1].any()


def test_what_a_file_calls_its_maps_says_how_many_are_classes():
    assert count_classes(None, 3) == 3
    assert count_classes(("background", "object"), 2) == 2
    assert count_classes(("background", "object", "uncertainty"), 3) == 2
    assert count_classes(("background", "object", "core of objects", "uncertainty"), 4) == 2


def test_a_damaged_member_is_named(tmp_path, several):
    from safetensors import safe_open
    from safetensors.torch import save_file

    from septum.errors import ModelFileError

    save_model(tmp_path / "m.safetensors", several)
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = file.metadata()
    gone = next(name for name in tensors if name.startswith("others.1."))
    del tensors[gone]
    save_file(tensors, tmp_path / "m.safetensors", header)
    with pytest.raises(ModelFileError, match="does not fit its weights"):
        load_model(tmp_path / "m.safetensors")
