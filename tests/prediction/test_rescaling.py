"""Images with other pixels than those of training; images of which parts are missing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from predictions import contents, local_cluster, noise, small_model, stop_after, write_zarr
from septum.errors import ImageFileError, InputError, SaveError
from septum.images.files import read_image, write_image
from septum.images.image import Image, ImageHeader
from septum.images.rescaled import read_rescaled
from septum.images.stored import open_image
from septum.images.zarr_writer import create_image
from septum.model import save_model
from septum.prediction import doubts, job, one_image
from septum.prediction.files import Options, predict_files
from septum.prediction.overlap_tile import prepare
from septum.prediction.streaming import predict_whole


def model_file(folder, pixel_size=(0.5, 0.5), **options):
    save_model(folder / "m.safetensors", small_model(**options).replace(pixel_size=pixel_size))
    return folder / "m.safetensors"


def predict(model, source, out, **options):
    (written,) = predict_files(model, [source], out, Options(tile=96, rescale=True, **options))
    return written


def whole(array, to):
    return read_rescaled(
        lambda box: array[box], array.shape, to, tuple(slice(0, extent) for extent in to)
    )


@pytest.mark.parametrize("size", [(0.2, 0.2), (1.3, 1.3), (0.2, 1.3)])
def test_it_is_predicted_at_the_size_of_training_and_brought_back(tmp_path, size):
    image = dataclasses.replace(noise("YX", (150, 170)), pixel_size=size)
    write_image(tmp_path / "a.tif", image)
    written = predict(model_file(tmp_path), tmp_path / "a.tif", tmp_path / "out")
    assert written.doubt == ""
    assert written.pixels == 150 * 170
    shape = tuple(round(n * s / 0.5) for n, s in zip((150, 170), size, strict=True))
    brought = Image(whole(image.array, shape), "YX", (0.5, 0.5))
    _, there = predict_whole(prepare(small_model()), brought, 0.5)
    expected = whole(there.array, (2, 150, 170))
    found = read_image(tmp_path / "out" / "a.probability.tif")
    np.testing.assert_allclose(found.array, expected, atol=1e-5)
    assert found.pixel_size == pytest.approx(size)
    mask = read_image(tmp_path / "out" / "a.mask.tif").array
    np.testing.assert_array_equal(mask, found.array[1] > 0.5)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.mask.tif",
        "a.probability.tif",
    ]


def test_planes_keep_their_number_and_volumes_are_resampled_in_z(tmp_path):
    image = dataclasses.replace(noise("ZYX", (6, 60, 70)), pixel_size=(1.0, 0.25, 0.25))
    write_image(tmp_path / "a.tif", image)
    for dimensions, size in ((2, (0.5, 0.5)), (3, (2.0, 0.5, 0.5))):
        model = model_file(tmp_path, size, dimensions=dimensions)
        out = tmp_path / str(dimensions)
        (written,) = predict_files(model, [tmp_path / "a.tif"], out, Options(rescale=True))
        assert read_image(written.files[0]).array.shape == (6, 60, 70)
        probability = read_image(written.files[1]).array
        assert probability.shape in ((2, 6, 60, 70), (6, 2, 60, 70))
        assert probability.std() > 1e-4


def test_a_probability_brought_back_is_one(tmp_path):
    """The mean of 14 ones that 5 pixels are made of is above 1, to rounding."""
    model = small_model().replace(pixel_size=(0.5, 0.5))
    with torch.no_grad():
        model.network.score.weight.zero_()
        model.network.score.bias[:] = torch.tensor([-99.0, 99.0])
    save_model(tmp_path / "m.safetensors", model)
    write_image(tmp_path / "a.tif", Image(np.full((5, 5), 100, np.uint8), "YX", (1.4, 1.4)))
    assert whole(np.ones((14, 14), np.float32), (5, 5)).max() > 1
    predict(tmp_path / "m.safetensors", tmp_path / "a.tif", tmp_path / "out")
    found = read_image(tmp_path / "out" / "a.probability.tif").array
    assert found.max() == 1.0
    assert found.min() == 0.0


@pytest.mark.parametrize("stage", [3, 12])
@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_one_that_was_stopped_goes_on_to_the_same_bytes(tmp_path, monkeypatch, stage, suffix):
    """At the size of training there are 9 tiles, and 16 of the image itself."""
    monkeypatch.setattr(job, "HELD_BYTES", 0)
    model = model_file(tmp_path)
    image = dataclasses.replace(noise("YX", (160, 170)), pixel_size=(0.35, 0.35))
    source = write_zarr(tmp_path / "in.zarr", image)
    options = {"suffix": suffix, "instances": True}
    predict(model, source, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        stop_after(patch, stage)
        with pytest.raises(KeyboardInterrupt):
            predict(model, source, tmp_path / "out", **options)
    predict(model, source, tmp_path / "out", **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_cluster_leaves_the_same(tmp_path):
    model = model_file(tmp_path)
    image = dataclasses.replace(noise("YX", (160, 170)), pixel_size=(0.3, 0.3))
    source = write_zarr(tmp_path / "in.zarr", image)
    predict(model, source, tmp_path / "whole", suffix=".zarr")
    with local_cluster(2) as local:
        address = local.scheduler_address
        predict(model, source, tmp_path / "out", suffix=".zarr", scheduler=address)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_an_image_that_has_the_size_of_training_stays_as_it_is(tmp_path):
    model = model_file(tmp_path)
    write_image(tmp_path / "a.tif", noise("YX", (60, 70)))  # 0.5 µm
    predict(model, tmp_path / "a.tif", tmp_path / "with")
    list(predict_files(model, [tmp_path / "a.tif"], tmp_path / "without", Options(tile=96)))
    assert contents(tmp_path / "with") == contents(tmp_path / "without")


def test_tiles_of_a_rescaled_image_are_not_mixed_with_others(tmp_path, monkeypatch):
    model = model_file(tmp_path)
    image = dataclasses.replace(noise("YX", (160, 170)), pixel_size=(0.3, 0.3))
    source = write_zarr(tmp_path / "in.zarr", image)
    with monkeypatch.context() as patch:
        stop_after(patch, 0)
        with pytest.raises(KeyboardInterrupt):
            list(predict_files(model, [source], tmp_path / "o.zarr", Options(tile=96)))
    with pytest.raises(SaveError, match="another rescaled"):
        predict(model, source, tmp_path / "o.zarr")


@pytest.mark.parametrize(
    ("model_size", "image_size", "words"),
    [
        (None, (0.5, 0.5), r"a\.tif: --rescale: the model does not know the pixel size"),
        ((0.5, 0.5), None, r"a\.tif: --rescale: the image does not say its pixel size"),
    ],
)
def test_sizes_that_are_not_known(tmp_path, model_size, image_size, words):
    write_image(tmp_path / "a.tif", Image(np.zeros((30, 30), np.uint8), "YX", image_size))
    with pytest.raises(InputError, match=words):
        predict(model_file(tmp_path, model_size), tmp_path / "a.tif", tmp_path / "out")


def test_what_is_far_from_training_is_said_with_what_mends_it(tmp_path):
    image = dataclasses.replace(noise("YX", (60, 70)), pixel_size=(2.0, 2.0))
    write_image(tmp_path / "a.tif", image)
    source = [tmp_path / "a.tif"]
    (written,) = predict_files(model_file(tmp_path), source, tmp_path / "out", Options())
    assert "use --rescale" in written.doubt


@pytest.fixture
def damaged(tmp_path):
    """Two stores alike, in chunks of 128; of the second one chunk cannot be decoded."""
    image = noise("YX", (700, 600))
    for name in ("sound", "damaged"):
        header = ImageHeader("YX", (700, 600), np.dtype(np.uint8), (0.5, 0.5))
        create_image(tmp_path / f"{name}.zarr", header, (128, 128))[...] = image.array
    (tmp_path / "damaged.zarr" / "0" / "c" / "2" / "1").write_bytes(b"nothing")
    return tmp_path


def test_a_region_that_cannot_be_read_is_named(damaged, monkeypatch):
    model, source = model_file(damaged), [damaged / "damaged.zarr"]
    words = r"damaged\.zarr.*within Y \d+–\d+, X \d+–\d+ \(--keep-going goes on\)"
    with pytest.raises(ImageFileError, match=words):
        list(predict_files(model, source, damaged / "out", Options(tile=96)))
    assert not (damaged / "out").exists()
    monkeypatch.setattr(one_image, "WHOLE_BYTES", 0)  # a large image: tile by tile
    with pytest.raises(ImageFileError, match=words):
        list(predict_files(model, source, damaged / "out", Options(tile=96)))


@pytest.mark.parametrize("where", ["here", "workers"])
def test_the_rest_goes_on_if_asked(damaged, where):
    model = model_file(damaged)
    options = Options(
        tile=96, keep_going=True, suffix=".zarr", workers=1 if where != "here" else None
    )
    for name in ("sound", "damaged"):
        (written,) = predict_files(model, [damaged / f"{name}.zarr"], damaged / "out", options)
    assert "cannot be read, within Y " in written.doubt
    assert "means nothing" in written.doubt
    stores = [damaged / "out" / f"{name}.zarr" for name in ("sound", "damaged")]
    sound, broken = (open_image(store).read().array[1] for store in stores)
    rows, columns = np.nonzero(sound != broken)
    assert rows.size  # the chunk lies at rows 256–384, columns 128–256
    assert rows.max() < 384 + 260
    assert columns.max() < 256 + 260
    assert (sound != broken)[300:340, 170:220].mean() > 0.9
    np.testing.assert_array_equal(sound[650:], broken[650:])


def test_missing_chunks_are_said(damaged):
    (damaged / "sound.zarr" / "0" / "c" / "2" / "1").unlink()
    source, model = damaged / "sound.zarr", model_file(damaged)
    (written,) = predict_files(model, [source], damaged / "out", Options(tile=96))
    assert written.doubt.startswith("1 of its 30 chunks are missing")


def test_chunks_in_shards_are_not_counted(tmp_path):
    header = ImageHeader("YX", (500, 700), np.dtype(np.uint8), (0.5, 0.5))
    array = create_image(tmp_path / "a.zarr", header, (64, 64), (256, 256))
    array[...] = noise("YX", (500, 700)).array
    (written,) = predict_files(
        model_file(tmp_path), [tmp_path / "a.zarr"], tmp_path / "o", Options()
    )
    assert written.doubt == ""


def test_what_could_not_be_read_is_remembered_by_the_store(damaged, monkeypatch):
    monkeypatch.setattr(one_image, "WHOLE_BYTES", 0)
    monkeypatch.setattr(doubts, "LOOKED_AT", 64)  # in the middle, where all can be read
    options = Options(tile=96, keep_going=True, suffix=".zarr")
    source = [damaged / "damaged.zarr"]
    with monkeypatch.context() as patch:
        stop_after(patch, 90)  # of 110; the last to look at the damage is number 64
        with pytest.raises(KeyboardInterrupt):
            list(predict_files(model_file(damaged), source, damaged / "out", options))
    (written,) = predict_files(model_file(damaged), source, damaged / "out", options)
    assert "cannot be read, within Y " in written.doubt
