"""Images are looked at before any is predicted, and one that is no use costs no other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from predictions import contents, local_cluster, noise, small_model, stop_after, write_zarr
from septum import terminal
from septum.errors import ImageFileError, InputError, SaveError
from septum.images.files import write_image
from septum.images.image import Image
from septum.model import save_model
from septum.prediction import inputs, job
from septum.prediction.files import Options, predict_files
from septum.prediction.inputs import find_images


def colours():
    return np.random.default_rng(0).integers(0, 255, (3, 9, 9), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A model, and a folder of two images that it takes and two that it does not."""
    save_model(tmp_path / "model.safetensors", small_model())
    (tmp_path / "in").mkdir()
    for name in ("a.tif", "d.png"):
        write_image(tmp_path / "in" / name, noise("YX", (40, 50)))
    (tmp_path / "in" / "b.tif").write_bytes(b"no image")
    write_image(tmp_path / "in" / "c.png", Image(colours(), "CYX"))
    return tmp_path


def run(folder, *inputs, out="out", **options):
    """Names of the images that were predicted, and what ended the command."""
    given = [folder / name for name in inputs or ("in",)]
    names = []
    try:
        model = folder / "model.safetensors"
        for written in predict_files(model, given, folder / out, Options(**options)):
            names.append(written.source.name)
    except InputError as error:
        return names, error
    return names, None


def test_the_first_that_is_no_use_ends_the_command_before_it_begins(folder):
    names, error = run(folder)
    assert names == []
    assert isinstance(error, ImageFileError)
    assert str(error).startswith(f"{folder}/in/b.tif: cannot be read as TIFF")
    assert str(error).endswith(
        "; 1 more cannot be used either; --keep-going predicts the other 2 images"
    )
    assert not (folder / "out").exists()


@pytest.mark.parametrize("options", [{}, {"workers": 1}])
def test_or_they_are_left_out_and_named_at_the_end(folder, options):
    names, error = run(folder, keep_going=True, **options)
    assert names == ["a.tif", "d.png"]
    assert str(error).startswith("2 images were left out: ")
    assert "in/b.tif: cannot be read" in str(error)
    assert "in/c.png: image has 3 channels (axes CYX)" in str(error)
    run(folder, "in/a.tif", "in/d.png", out="alone")
    assert contents(folder / "out") == contents(folder / "alone")


@pytest.mark.parametrize("options", [{}, {"workers": 1}])
def test_one_whose_pixels_are_no_use_is_left_out_as_well(folder, options):
    whole = (folder / "in" / "d.png").read_bytes()
    (folder / "in" / "cut.png").write_bytes(whole[: len(whole) // 2])
    names, error = run(folder, "in/a.tif", "in/cut.png", "in/d.png", keep_going=True, **options)
    assert names == ["a.tif", "d.png"]
    assert str(error).startswith(f"1 image was left out: {folder}/in/cut.png: cannot be read")
    names, error = run(folder, "in/a.tif", "in/cut.png", out="other", **options)
    assert names == ["a.tif"]
    assert str(error).endswith("; --keep-going leaves it out")


def test_of_images_that_are_all_no_use_nothing_is_made(folder):
    names, error = run(folder, "in/c.png", keep_going=True)
    assert names == []
    assert "1 image was left out" in str(error)
    assert not (folder / "out").exists()
    _, error = run(folder, "in/c.png")
    assert "keep-going" not in str(error)


@pytest.mark.parametrize("options", [{}, {"workers": 1}, {"keep_going": True}])
def test_a_grey_image_saved_in_colour_is_grey(folder, options):
    grey = noise("YX", (40, 50))
    (folder / "rgb").mkdir()
    thrice = Image(np.stack([grey.array] * 3), "CYX", grey.pixel_size)
    write_image(folder / "rgb" / "a.tif", thrice)
    write_image(folder / "rgb" / "d.png", thrice)
    names, error = run(folder, "rgb", instances=True, **options)
    assert (names, error) == (["a.tif", "d.png"], None)
    run(folder, "in/a.tif", "in/d.png", out="grey", instances=True)
    assert contents(folder / "out") == contents(folder / "grey")


def test_a_large_image_in_colour_is_refused_where_it_is_read(folder, monkeypatch):
    monkeypatch.setattr(inputs, "READ_AHEAD", 10)
    names, error = run(folder, "in/c.png")
    assert names == []
    assert "in/c.png" in str(error)
    assert "channels (axes CYX), which differ; this model was trained on 1" in str(error)


def test_what_mends_channels_that_do_not_fit_is_said(folder):
    assert str(run(folder, "in/c.png")[1]).endswith("trained on 1; convert it to grey values")
    save_model(folder / "model.safetensors", small_model(channels=3))
    write_image(folder / "z.tif", noise("ZYX", (3, 20, 20)))
    assert "its axis Z has 3 planes: if those are its channels" in str(run(folder, "z.tif")[1])
    write_image(folder / "z.tif", noise("ZYX", (4, 20, 20)))
    assert str(run(folder, "z.tif")[1]).endswith("(axes ZYX); this model was trained on 3")


def test_results_in_a_folder_of_images_are_no_images(folder):
    for name in ("b.tif", "c.png"):
        (folder / "in" / name).unlink()
    assert run(folder, out="in", instances=True) == (["a.tif", "d.png"], None)
    assert run(folder, instances=True) == (["a.tif", "d.png"], None)
    assert run(folder, "in/a.mask.tif", out="of it") == (["a.mask.tif"], None)
    (folder / "in" / "a.tif").unlink()  # now it may be anything
    names, _ = run(folder, out="then", keep_going=True)
    assert "a.mask.tif" in names
    assert "d.mask.tif" not in names


@pytest.mark.parametrize(
    ("out", "options", "words"),
    [
        ("out", {"suffix": ".png", "probability": "float32"}, "PNG holds 8 bits"),
        ("out", {"tile": 64, "memory": 10**9}, "--tile and --memory both"),
        ("a.zarr", {"suffix": ".tif"}, "is the name of a store, and --format tif gives files"),
        ("out", {"instances": True, "seeds": 0.4}, "would divide no object"),
        ("out", {"instances": True, "seeds": 1.4}, "not a probability"),
        ("out", {"seeds": 0.7}, "for --instances: add it"),
    ],
)
def test_choices_that_do_not_fit_are_refused_first(folder, out, options, words):
    names, error = run(folder, "in/a.tif", out=out, **options)
    assert words in str(error)
    assert names == []
    assert not (folder / out).exists()


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
@pytest.mark.parametrize("rescale", [False, True])
def test_what_was_begun_goes_on_with_its_own_tile(tmp_path, monkeypatch, suffix, rescale):
    monkeypatch.setattr(job, "HELD_BYTES", 0)
    model = small_model().replace(pixel_size=(0.5, 0.5))
    save_model(tmp_path / "model.safetensors", model)
    image = noise("YX", (150, 170))
    if rescale:
        image = dataclasses.replace(image, pixel_size=(0.4, 0.4))
    write_zarr(tmp_path / "in.zarr", image)
    options = {"suffix": suffix, "rescale": rescale}
    run(tmp_path, "in.zarr", out="whole", tile=48, **options)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, "in.zarr", tile=48, **options)
    with pytest.raises(SaveError, match=r"another tile \(48\)"):
        run(tmp_path, "in.zarr", tile=64, **options)
    with monkeypatch.context() as patch:
        again = stop_after(patch, 10**6)
        assert run(tmp_path, "in.zarr", **options) == (["in.zarr"], None)
    assert len(again) >= 12
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_workers_go_on_with_the_tile_of_one_process(tmp_path, monkeypatch):
    save_model(tmp_path / "model.safetensors", small_model())
    write_zarr(tmp_path / "in.zarr", noise("YX", (150, 170)))
    run(tmp_path, "in.zarr", out="whole", tile=48, suffix=".zarr")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, "in.zarr", tile=48, suffix=".zarr")
    with local_cluster(1) as local:
        run(tmp_path, "in.zarr", suffix=".zarr", scheduler=local.scheduler_address)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_tile_of_another_model_is_not_taken(tmp_path, monkeypatch):
    save_model(tmp_path / "model.safetensors", small_model())
    write_zarr(tmp_path / "in.zarr", noise("YX", (150, 170)))
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, "in.zarr", tile=46, suffix=".zarr")
    save_model(tmp_path / "model.safetensors", small_model(depth=2))
    with pytest.raises(SaveError, match="another model"):
        run(tmp_path, "in.zarr", suffix=".zarr")
    assert run(tmp_path, "in.zarr", suffix=".zarr", overwrite=True) == (["in.zarr"], None)


def test_less_memory_is_not_ignored_for_a_tile_that_was_begun(tmp_path, monkeypatch):
    save_model(tmp_path / "model.safetensors", small_model())
    write_zarr(tmp_path / "in.zarr", noise("YX", (150, 170)))
    with monkeypatch.context() as patch:
        stop_after(patch, 0)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, "in.zarr", tile=1024, suffix=".zarr")
    monkeypatch.setattr("septum.prediction.files.memory_for_tiles", lambda memory: memory)
    _, error = run(tmp_path, "in.zarr", memory=10**6, suffix=".zarr")
    assert "and what is there was begun with 1024; give more memory" in str(error)
    assert run(tmp_path, "in.zarr", memory=10**9, suffix=".zarr") == (["in.zarr"], None)


def test_what_an_earlier_command_has_done_does_not_count_for_the_rate(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    watch = terminal.show_progress()
    watch(80_000_000, 100_000_000)
    clock[0] = 20.0
    watch(90_000_000, 100_000_000)
    assert capsys.readouterr().err.strip() == "90% · 0.50 megapixels/s · 20 s left"
    clock[0] = 40.0
    watch(100_000_000, 100_000_000)
    watch(0, 100_000_000)  # the next image
    clock[0] = 60.0
    watch(20_000_000, 100_000_000)
    assert capsys.readouterr().err.strip() == "20% · 1.00 megapixels/s · 80 s left"


def test_a_small_image_of_which_nothing_can_be_read_is_left_out(folder):
    whole = (folder / "in" / "a.tif").read_bytes()
    (folder / "in" / "cut.tif").write_bytes(whole[: len(whole) // 2])
    names, error = run(folder, "in/cut.tif", "in/a.tif", keep_going=True)
    assert names == ["a.tif"]
    assert "in/cut.tif: " in str(error)


def test_one_that_has_a_part_of_its_results_is_made_anew_only_if_asked(folder):
    inputs = ("in/a.tif", "in/d.png")
    run(folder, *inputs)
    (folder / "out" / "a.mask.tif").unlink()
    with pytest.raises(SaveError, match=r"a\.probability\.tif: exists already, but not all"):
        run(folder, *inputs, skip_existing=True)
    assert run(folder, *inputs, skip_existing=True, overwrite=True) == (["a.tif"], None)
    assert run(folder, *inputs, skip_existing=True) == ([], None)


def test_what_was_gone_on_with_is_said(tmp_path, monkeypatch, capsys):
    save_model(tmp_path / "model.safetensors", small_model())
    write_zarr(tmp_path / "in.zarr", noise("YX", (150, 170)))
    with monkeypatch.context() as patch:
        stop_after(patch, 15)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, "in.zarr", tile=48, suffix=".zarr")
    model = tmp_path / "model.safetensors"
    options = Options(suffix=".zarr")
    (written,) = predict_files(model, [tmp_path / "in.zarr"], tmp_path / "out", options)
    assert written.before == (2 * 32 * 170 + 3 * 32 * 32) / (150 * 170)
    terminal.print_written(dataclasses.replace(written, seconds=2.0))
    assert "(went on at 55%, 0.01 megapixels/s)" in capsys.readouterr().out


def test_labels_beside_their_images_are_no_images(tmp_path):
    labels = ("a_mask.png", "b_mask.png", "t-labels.tif", "c_cp_masks.tif")
    for name in ("a.png", "t-volume.tif", *labels):
        (tmp_path / name).touch()
    names = [path.name for path in find_images([tmp_path])]
    assert names == ["a.png", "b_mask.png", "c_cp_masks.tif", "t-volume.tif"]
    assert find_images([tmp_path / "a_mask.png"]) == [tmp_path / "a_mask.png"]
