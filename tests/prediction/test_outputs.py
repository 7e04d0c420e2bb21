"""What `septum predict` leaves is the same in memory, in a store, and after a kill."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from predictions import contents, noise, small_model, stop_after, with_own_ranges, write_zarr
from septum.errors import InputError, SaveError
from septum.images.files import read_image, write_image
from septum.images.image import Image, ImageHeader
from septum.images.intensity_range import IntensityRange
from septum.images.stored import open_image
from septum.images.zarr_writer import create_image, is_whole_chunks
from septum.model import save_model
from septum.prediction import job, streaming
from septum.prediction.files import Options, predict_files
from septum.prediction.instances import label_objects
from septum.prediction.manifest import NAME, Manifest, is_finished
from septum.prediction.one_image import choose_separation
from septum.prediction.overlap_tile import predict_probabilities, prepare
from septum.prediction.results import Results, result_headers
from septum.prediction.separation import Separation
from septum.prediction.streaming import TilePlan, chunk_extent, predict_whole


def balanced(model, image):
    """The threshold that half of the pixels exceed."""
    return float(np.median(predict_whole(prepare(model), image, 0.5)[1].array[..., 1, :, :]))


def run(folder, source, out="out", **options):
    settings = Options(**({"tile": 48} | options))
    return list(predict_files(folder / "model.safetensors", [source], folder / out, settings))


CASES = [("YX", (70, 91), 2), ("CYX", (2, 33, 70), 2), ("TCZYX", (2, 2, 3, 40, 50), 2)]
CASES += [("ZYX", (30, 40, 34), 3), ("TZYX", (2, 20, 24, 35), 3)]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("axes", "shape", "dimensions"), CASES)
def test_a_store_holds_what_files_hold_whatever_the_tile(tmp_path, axes, shape, dimensions, own):
    image = noise(axes, shape)
    model = small_model(image.channels, dimensions)
    model = with_own_ranges(model) if own else model
    save_model(tmp_path / "model.safetensors", model)
    source = write_zarr(tmp_path / "in.zarr", image)
    run(tmp_path, source)
    probability = read_image(tmp_path / "out" / "in.probability.tif")
    mask = read_image(tmp_path / "out" / "in.mask.tif")
    expected = predict_whole(prepare(model), image, 0.5)
    np.testing.assert_allclose(probability.array, expected[1].array, atol=1e-5)
    assert mask.axes == axes.replace("C", "")
    (written,) = run(tmp_path, source, "store.zarr", tile=36)
    assert [path.name for path in written.files] == ["store.zarr"]
    stored = open_image(tmp_path / "store.zarr").read()
    assert (stored.axes, stored.pixel_size) == (probability.axes, image.pixel_size)
    assert stored.channel_names == ("class 0", "class 1")
    np.testing.assert_allclose(stored.array, probability.array, atol=1e-5)
    labels = open_image(tmp_path / "store.zarr" / "labels" / "mask").read()
    near = np.abs(probability.array.take(1, probability.axes.index("C")) - 0.5) < 1e-4
    assert ((labels.array == mask.array) | near).all()


@pytest.mark.parametrize("method", ["percentile", "zscore"])
def test_each_plane_has_its_own_range_and_what_exposure_it_had_is_no_matter(tmp_path, method):
    planes = noise("ZYX", (3, 60, 70)).array.astype(np.float32)
    exposed = planes * np.array([1.0, 30.0, 4.0])[:, None, None] + [[[0.0]], [[500.0]], [[-7.0]]]
    model = with_own_ranges(small_model(), method)
    maps = [
        predict_whole(prepare(model), Image(each.astype(np.float32), "ZYX"), 0.5)[1].array
        for each in (planes, exposed)
    ]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-4)
    # By hand: each plane in its range, through the network that takes grey values as they are.
    plain = model.replace(intensity=IntensityRange((0.0,), (1.0,)))
    for number, plane in enumerate(exposed):
        low, high = np.percentile(plane, (1, 99.8))
        low, scale = (low, high - low) if method == "percentile" else (plane.mean(), plane.std())
        alone = predict_probabilities(prepare(plain), ((plane - low) / scale)[None])
        axis = maps[1].take(number, axis=-3) if maps[1].shape[0] == 2 else maps[1][number]
        np.testing.assert_allclose(axis, alone, atol=1e-4)


def test_tiles_of_a_store_write_whole_chunks(tmp_path):
    model, image = small_model(), noise("YX", (300, 200))
    predictor = prepare(model, tile=80)
    chunk = chunk_extent(predictor.footprint, predictor.tile, 2)
    assert chunk == 64
    headers = result_headers(image.header, ("class 0", "class 1"), "float32", False)
    array = create_image(tmp_path / "a.zarr", headers["probability"], (chunk, chunk))
    tiles = list(TilePlan(predictor, open_image(write_zarr(tmp_path / "b.zarr", image)), chunk))
    assert len(tiles) == 20
    assert all(is_whole_chunks(array, (slice(0, 2), *work.tile.write_slices)) for work in tiles)
    assert [work.number for work in tiles] == list(range(20))


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(tmp_path, monkeypatch, suffix, count):
    monkeypatch.setattr(job, "HELD_BYTES", 0)
    save_model(tmp_path / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "in.zarr", noise("YX", (150, 170)))
    run(tmp_path, source, "whole", suffix=suffix, instances=True)
    with monkeypatch.context() as patch:
        stop_after(patch, count)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, source, suffix=suffix, instances=True)
    with monkeypatch.context() as patch:
        again = stop_after(patch, 10**6)
        run(tmp_path, source, suffix=suffix, instances=True)
    assert len(set(again)) == len(again) == 30 - count
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not list((tmp_path / "out").glob(".*"))
    with pytest.raises(SaveError, match="exists already"):
        run(tmp_path, source, suffix=suffix, instances=True)


def test_tiles_of_another_setting_are_not_mixed_in(tmp_path, monkeypatch):
    save_model(tmp_path / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "in.zarr", noise("YX", (150, 170)))
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, source, "a.zarr")
    with pytest.raises(SaveError, match=r"another threshold \(0\.5\); give that again"):
        run(tmp_path, source, "a.zarr", threshold=0.25)
    run(tmp_path, source, "a.zarr", threshold=0.25, overwrite=True)
    run(tmp_path, source, "b.zarr", threshold=0.25)
    assert contents(tmp_path / "a.zarr") == {
        name: data.replace(b'"b.zarr"', b'"a.zarr"')
        for name, data in contents(tmp_path / "b.zarr").items()
    }


def test_a_folder_that_is_not_ours_is_not_touched(tmp_path):
    save_model(tmp_path / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "in.zarr", noise("YX", (30, 30)))
    other = write_zarr(tmp_path / "other.zarr", noise("YX", (30, 30)))
    before = contents(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(SaveError, match="is no store of septum predict"):
            run(tmp_path, source, other.name, overwrite=overwrite)
    assert contents(tmp_path) == before


def test_an_image_is_not_overwritten_by_its_own_prediction(tmp_path):
    save_model(tmp_path / "model.safetensors", small_model(channels=2))
    (tmp_path / "one").mkdir()
    save_model(tmp_path / "one" / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "in.zarr", noise("YX", (30, 30)))
    run(tmp_path / "one", source, "p.zarr")
    before = contents(tmp_path)
    for overwrite in (False, True):  # a store of ours, which --overwrite would remove
        with pytest.raises(SaveError, match="is the image that is to be predicted"):
            run(tmp_path, tmp_path / "one" / "p.zarr", "one/p.zarr", overwrite=overwrite)
    assert contents(tmp_path) == before


def test_what_cannot_be_predicted_costs_no_result(tmp_path):
    """--overwrite removes what stands there only when the image has been looked at."""
    source = write_zarr(tmp_path / "in.zarr", noise("YX", (30, 30)))
    save_model(tmp_path / "model.safetensors", small_model())
    run(tmp_path, source, suffix=".zarr")
    before = contents(tmp_path / "out")
    save_model(tmp_path / "model.safetensors", small_model(channels=2))
    with pytest.raises(InputError, match="channel"):
        run(tmp_path, source, suffix=".zarr", overwrite=True)
    assert contents(tmp_path / "out") == before


def test_overwrite_also_begins_a_hidden_store_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "HELD_BYTES", 0)
    source = write_zarr(tmp_path / "in.zarr", noise("YX", (150, 170)))
    save_model(tmp_path / "model.safetensors", small_model())
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, source)
    with pytest.raises(SaveError, match=r"another threshold \(0\.5\); give that again"):
        run(tmp_path, source, threshold=0.3)
    run(tmp_path, source, threshold=0.3, overwrite=True)
    run(tmp_path, source, "whole", threshold=0.3)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_store_that_was_begun_anew_is_not_written_by_the_old_command(tmp_path, monkeypatch):
    source = write_zarr(tmp_path / "in.zarr", noise("YX", (150, 170)))
    save_model(tmp_path / "model.safetensors", small_model())
    usual, jobs = job.results_in_store, []

    def keep(*arguments):
        jobs.append(usual(*arguments))
        return jobs[-1]

    monkeypatch.setattr(job, "results_in_store", keep)
    run(tmp_path, source, suffix=".zarr")
    run(tmp_path, source, suffix=".zarr", overwrite=True)
    plan = TilePlan(prepare(small_model(), tile=48), open_image(source), 32)
    part = np.full((2, 32, 32), 0.5, np.float32)
    with pytest.raises(SaveError, match="begun anew by another command"):
        jobs[0].write({}, plan[0].tile, part, 0.5)
    assert jobs[1].write({}, plan[0].tile, part, 0.5) == 32 * 32


def test_images_of_a_folder_that_are_done_are_skipped_if_asked(tmp_path):
    save_model(tmp_path / "model.safetensors", small_model())
    sources = []
    for name in ("cell.1", "cell.2", "cell.3"):
        sources.append(tmp_path / f"{name}.tif")
        write_image(sources[-1], noise("YX", (40, 50)))
    for suffix in (".tif", ".zarr"):
        options, out = {"suffix": suffix, "tile": 48}, tmp_path / suffix
        model = tmp_path / "model.safetensors"
        list(predict_files(model, sources[:2], out, Options(**options)))
        with pytest.raises(SaveError, match="--skip-existing"):
            list(predict_files(model, sources, out, Options(**options)))
        again = Options(**options, skip_existing=True)
        assert [w.source for w in predict_files(model, sources, out, again)] == sources[2:]
        assert list(predict_files(model, sources, out, again)) == []


def test_a_line_cut_short_is_a_tile_not_done(tmp_path):
    manifest = Manifest(tmp_path, {"model": "a"})
    manifest.add([1, 2])
    text = (tmp_path / NAME).read_text()
    (tmp_path / NAME).write_text(text + '\n{"tiles": [3, 4')
    again = Manifest(tmp_path, {"model": "a"})
    assert again.done == {1, 2}
    again.add([5])
    assert Manifest(tmp_path, {"model": "a"}).done == {1, 2, 5}
    assert is_finished(tmp_path) is False
    again.finish()
    assert is_finished(tmp_path) is True
    with pytest.raises(SaveError, match="another model"):
        Manifest(tmp_path, {"model": "b"})
    assert is_finished(tmp_path / "none") is None


@pytest.mark.parametrize("kind", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_the_mask_and_the_objects_are_those_of_the_stored_probabilities(tmp_path, kind, suffix):
    image, model = noise("YX", (90, 100)), small_model()
    threshold = balanced(model, image)
    save_model(tmp_path / "model.safetensors", model)
    write_image(tmp_path / "a.tif", image)
    options = {"suffix": suffix, "probability": kind, "threshold": threshold, "instances": True}
    (written,) = run(tmp_path, tmp_path / "a.tif", minimum=5, fill=3, **options)
    if suffix == ".zarr":
        store = tmp_path / "out" / "a.zarr"
        places = (store, store / "labels" / "mask", store / "labels" / "instances")
        probability, mask, instances = (open_image(place).read().array for place in places)
        assert probability.dtype == kind
    else:
        names = ("probability", "mask", "instances")
        paths = (tmp_path / "out" / f"a.{name}.tif" for name in names)
        probability, mask, instances = (read_image(path).array for path in paths)
    real = probability / np.float32(255) if kind == "uint8" else probability.astype(np.float32)
    assert np.array_equal(mask, real[1] > threshold)
    expected, classes = label_objects(real, Separation(threshold, minimum=5, fill=3))
    assert np.array_equal(instances, expected)
    assert written.objects == len(classes) > 3
    with (tmp_path / "out" / "a.objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == list(range(1, len(classes) + 1))
    assert [int(row["area_px"]) for row in rows] == np.bincount(expected.ravel())[1:].tolist()
    assert float(rows[0]["area_um2"]) == pytest.approx(int(rows[0]["area_px"]) / 4)
    inside = image.array[expected == 1]
    assert float(rows[0]["mean_intensity"]) == pytest.approx(inside.mean())


def test_objects_of_a_stack_are_numbered_in_each_plane(tmp_path):
    image, model = noise("ZYX", (3, 40, 50)), small_model()
    threshold = balanced(model, image)
    save_model(tmp_path / "model.safetensors", model)
    write_image(tmp_path / "a.tif", image)
    run(tmp_path, tmp_path / "a.tif", threshold=threshold, instances=True)
    instances = read_image(tmp_path / "out" / "a.instances.tif").array
    with (tmp_path / "out" / "a.objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    for plane in range(3):
        ids = [int(row["id"]) for row in rows if row["part"] == f"0{plane}"]
        assert ids == list(range(1, int(instances[plane].max()) + 1))


def test_one_store_for_several_images_is_refused(tmp_path):
    save_model(tmp_path / "model.safetensors", small_model())
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.tif", noise("YX", (30, 30)))
    settings = Options()
    inputs = [tmp_path / "a.tif", tmp_path / "b.tif"]
    with pytest.raises(InputError, match="one store for 2 images"):
        list(predict_files(tmp_path / "model.safetensors", inputs, tmp_path / "o.zarr", settings))


def test_only_windows_of_a_large_image_are_read(tmp_path):
    """2³¹ pixels and more: no array of the image's size is made, indices have 64 bits."""
    header = ImageHeader("YX", (70_000, 40_000), np.dtype(np.uint8))
    create_image(tmp_path / "in.zarr", header, (512, 512))
    image = open_image(tmp_path / "in.zarr")
    predictor = prepare(small_model(), tile=560)
    plan = TilePlan(predictor, image, 512)
    assert plan[len(plan) - 1].tile.write[0][1] == 70_000
    with pytest.raises(IndexError):
        plan[len(plan)]
    headers = result_headers(header, ("class 0", "class 1"), "uint8", False)
    arrays = {
        name: create_image(tmp_path / f"{name}.zarr", h, (512, 512)) for name, h in headers.items()
    }
    streaming.predict_into(predictor, plan, Results(headers, arrays), 0.5, [0, len(plan) - 1])
    assert arrays["probability"][:, 69_999, 39_999].sum() in (254, 255, 256)
    assert not arrays["probability"][:, 600:69_000:512, 20_000].any()


def test_the_specification_of_a_store_is_met(tmp_path):
    save_model(tmp_path / "model.safetensors", small_model())
    write_image(tmp_path / "a.tif", noise("YX", (700, 40)))
    run(tmp_path, tmp_path / "a.tif", suffix=".zarr", tile=300)
    store = tmp_path / "out" / "a.zarr"
    ome = json.loads((store / "zarr.json").read_text())["attributes"]["ome"]
    assert [level["path"] for level in ome["multiscales"][0]["datasets"]] == ["0", "1"]
    labels = json.loads((store / "labels" / "zarr.json").read_text())["attributes"]["ome"]
    assert labels["labels"] == ["mask"]


def go_on(folder, suffix):
    """What a killed process did: start, or take up, the prediction."""
    torch.set_num_threads(1)
    job.HELD_BYTES = 0
    streaming.RECORDED_EVERY = 0.0
    run(folder, folder / "in.zarr", suffix=suffix, instances=True)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_a_prediction_killed_again_and_again_ends_in_the_same_bytes(tmp_path, monkeypatch, suffix):
    save_model(tmp_path / "model.safetensors", small_model())
    write_zarr(tmp_path / "in.zarr", noise("YX", (500, 530)))
    monkeypatch.setattr(job, "HELD_BYTES", 0)
    run(tmp_path, tmp_path / "in.zarr", "whole", suffix=suffix, instances=True)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        ["septum.prediction.files", "numba", "zarr", "skimage.measure"]
    )
    chance, kills, done = random.Random(7), 0, [0]
    for _ in range(20):
        child = processes.Process(target=go_on, args=(tmp_path, suffix))
        child.start()
        end = time.monotonic() + 120
        while child.is_alive() and tiles_done(tmp_path) <= done[-1] and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.1))
        child.kill()
        child.join()
        kills += child.exitcode == -signal.SIGKILL
        done.append(tiles_done(tmp_path))
        if child.exitcode == 0:
            break
    assert kills >= 5, "too fast a machine: a larger image"
    if done[-1] < 10**6:
        go_on(tmp_path, suffix)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def tiles_done(folder):
    """How many tiles the manifest of the store being written has; many where all is done."""
    # Folders come and go while this looks: os.walk takes that, as Path.rglob does not.
    for place, _, names in os.walk(folder / "out"):
        if NAME not in names:
            continue
        try:
            lines = (Path(place) / NAME).read_text().splitlines()
        except FileNotFoundError:  # finished in between
            return 0
        lines = [line for line in lines if line.endswith("}")]
        records = [json.loads(line) for line in lines]
        return sum(len(record.get("tiles", ())) for record in records)
    finished = (folder / "out" / "in.mask.tif").exists() and not list((folder / "out").glob(".*"))
    return 10**6 if finished else 0


def test_one_killed_before_its_first_file_is_gone_on_with(tmp_path, monkeypatch):
    save_model(tmp_path / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "in.zarr", noise("YX", (150, 170)))
    run(tmp_path, source, "whole", suffix=".zarr")
    store = tmp_path / "out" / "in.zarr"
    for begun in ("", '{"model": "ab'):  # nothing, and a line that was cut short
        store.mkdir(parents=True)
        (store / NAME).write_text(begun)
        run(tmp_path, source, suffix=".zarr")
        assert contents(tmp_path / "out") == contents(tmp_path / "whole")
        shutil.rmtree(store)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job, "results_in_store", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, source, suffix=".zarr")
    assert [path.name for path in store.iterdir()] == [NAME]
    run(tmp_path, source, suffix=".zarr")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("more", [[], ["--workers", "1"], ["--rescale", "--instances"]])
def test_a_disk_that_is_full_is_said_and_the_rest_follows(tmp_path, more):
    """As far as a process can tell, a limit on the size of files is a disk that is full."""
    save_model(tmp_path / "model.safetensors", small_model().replace(pixel_size=(0.5, 0.5)))
    image = dataclasses.replace(noise("YX", (700, 700)), pixel_size=(0.55, 0.55))
    source, out = write_zarr(tmp_path / "in.zarr", image), tmp_path / "out" / "in.zarr"
    words = [sys.executable, "-m", "septum", "predict", tmp_path / "model.safetensors", source]
    words += [*more, "--probability", "uint8", "--out"]
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (8000, 8000))
    done = subprocess.run(
        [*words, out], preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    # A busy machine takes long enough to be told how far it is.
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("septum:"))
    assert "in" in line
    assert ".zarr: cannot be written: File too large; what is written is kept" in line
    assert "run the command again" in line
    options = {"suffix": ".zarr", "probability": "uint8", "tile": None}
    options |= dict.fromkeys(["rescale", "instances"], "--rescale" in more)
    run(tmp_path, source, **options)
    run(tmp_path, source, "whole", **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_objects_are_told_apart_as_the_model_says_unless_asked_for_otherwise():
    tuned = small_model().replace(threshold=0.4, seeds=0.7, minimum=12, fill=34)
    assert choose_separation(Options(), tuned) is None
    own = choose_separation(Options(instances=True), tuned)
    assert own == Separation(0.4, 0.7, 12, 34)
    asked = Options(instances=True, threshold=0.3, seeds=0.6, minimum=0, fill=0)
    assert choose_separation(asked, tuned) == Separation(0.3, 0.6, 0, 0)
    # Seeds that lie below a threshold which was asked for would divide nothing.
    above = choose_separation(Options(instances=True, threshold=0.8), tuned)
    assert above == Separation(0.8, None, 12, 34)
