"""Images larger than memory have the scores of those that are not, as far as they have any."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from predictions import write_zarr
from septum.errors import InputError
from septum.evaluation import large
from septum.evaluation.by_block import WHOLE
from septum.evaluation.files import evaluate_files
from septum.images.files import Image, write_image
from septum.images.zarr_store import ZarrRegions
from septum.recipe import Labels

OBJECTS = ("seg", "det", "ap_50", "ap_mean", "panoptic_quality", "mean_matched_iou")
PARTITIONS = ("objects", "true_objects", "adapted_rand_error", "vi_split", "vi_merge")
PIXELS = ("pixel_error", "dice", "iou", "precision", "recall")
AXES = {2: "YX", 3: "ZYX"}


@pytest.fixture
def small_memory(monkeypatch):
    """Nothing fits; blocks that end within objects."""

    def apply():
        monkeypatch.setattr(large, "available_memory", lambda: 0)
        monkeypatch.setattr(large, "SIDE", 17)
        monkeypatch.setattr(large, "SIDE_3D", 7)

    return apply


def blobs(seed, shape):
    generator = np.random.default_rng(seed)
    noise = generator.random(shape)
    for axis in range(len(shape)):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)
    return noise > np.median(noise)


def case(dimensions):
    """Objects, a segmentation of them, a map and a mask of it."""
    shape = (50, 61) if dimensions == 2 else (9, 20, 23)
    truth = label(blobs(0, shape))[0].astype(np.uint16)
    segments = np.roll(truth, 1, axis=-1)
    segments[..., ::7] = 0
    chances = np.random.default_rng(1).random(shape)
    probability = np.clip(0.7 * (segments > 0) + 0.5 * chances, 0, 1).astype(np.float32)
    return truth, segments, probability, (probability > 0.4).astype(np.uint8)


def write(path, array, axes):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image(np.asarray(array), axes)
    if path.suffix == ".zarr":
        write_zarr(path, image)
    else:
        write_image(path, image)
    return path


def both(small_memory, *arguments):
    whole = evaluate_files(*arguments)
    small_memory()
    return whole, evaluate_files(*arguments)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("suffix", ["zarr", "tif"])
@pytest.mark.parametrize("offset", [0, 100_000])
def test_numbered_objects_in_stores(tmp_path, small_memory, dimensions, suffix, offset):
    truth, segments, *_ = (each.astype(np.uint32) for each in case(dimensions))
    axes = AXES[dimensions]
    truth[..., 10:14] = 999  # across objects, and the segments that find them
    predicted = write(tmp_path / f"p.{suffix}", segments + offset * (segments > 0), axes)
    drawn = write(tmp_path / f"t.{suffix}", truth, axes)
    section = Labels(kind="instances", ignore=999)
    whole, by_block = both(small_memory, predicted, drawn, section, dimensions)
    assert by_block["mean"] == whole["mean"]
    assert by_block["mean"].keys() >= {*OBJECTS, *PARTITIONS}
    assert 0 < by_block["mean"]["ap_50"] < 1
    assert "larger than memory" in by_block["chosen"][-1]
    assert "left out" not in by_block["chosen"][-1]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_map_and_a_mask(tmp_path, small_memory, dimensions):
    truth, _, probability, mask = case(dimensions)
    axes = AXES[dimensions]
    write(tmp_path / "out/a.probability.tif", np.stack([1 - probability, probability]), f"C{axes}")
    write(tmp_path / "out/a.mask.tif", mask, axes)
    drawn = write(tmp_path / "t.tif", np.where(truth == 3, 9, truth > 0).astype(np.uint8), axes)
    section = Labels(kind="binary", ignore=9)
    whole, by_block = both(small_memory, tmp_path / "out", drawn, section, dimensions)
    names = [*PIXELS, *(f"mask_{name}" for name in PIXELS)]
    assert by_block["mean"] == {name: whole["mean"][name] for name in names}
    assert by_block["mean"]["dice"] != by_block["mean"]["mask_dice"]
    assert f"left out, as they need the whole image: {WHOLE}" in by_block["chosen"][-1]


def test_several_classes_whatever_values_were_drawn(tmp_path, small_memory):
    ids = np.random.default_rng(5).integers(0, 3, (40, 30))
    found = np.where(np.random.default_rng(6).random(ids.shape) < 0.3, 1, ids)
    values = np.array([0, 128, 255], np.uint8)
    write(tmp_path / "out/a.mask.tif", values[found], "YX")
    map_CYX = np.eye(3, dtype=np.float32)[found[::-1]].transpose(2, 0, 1)
    write(tmp_path / "out/a.probability.tif", map_CYX, "CYX")
    drawn = write(tmp_path / "t.tif", np.where(found == ids, values[ids], 7).astype(np.uint8), "YX")
    drawn_all = write(tmp_path / "all.tif", values[ids], "YX")
    ignored = evaluate_files(tmp_path / "out", drawn, Labels(kind="classes", ignore=7))
    assert ignored["mean"]["mask_pixel_error"] == 0
    whole, by_block = both(small_memory, tmp_path / "out", drawn_all, Labels())
    again = evaluate_files(tmp_path / "out", drawn, Labels(kind="classes", ignore=7))
    assert again["mean"] == ignored["mean"]
    assert by_block["mean"] == whole["mean"]
    assert by_block["mean"].keys() >= {"iou_2", "mask_iou_2"}


def test_classes_that_overlap(tmp_path, small_memory):
    masks = np.random.default_rng(7).integers(0, 2, (3, 40, 30)).astype(np.uint8)
    found = np.where(np.random.default_rng(8).random(masks.shape) < 0.2, 1 - masks, masks)
    write(tmp_path / "out/a.mask.tif", found, "CYX")
    chances = np.concatenate([masks.max(0, keepdims=True) == 0, 0.9 * found[:, ::-1]])
    write(tmp_path / "out/a.probability.tif", chances.astype(np.float32), "CYX")
    masks[1, :4] = 9
    drawn = write(tmp_path / "t.tif", masks, "CYX")
    whole, by_block = both(small_memory, tmp_path / "out", drawn, Labels(ignore=9))
    assert by_block["mean"] == whole["mean"]
    counts = (masks[:, 4:].astype(bool), found[:, 4:].astype(bool))
    for k, (inside, said) in enumerate(zip(*counts, strict=True), start=1):
        iou = (inside & said).sum() / (inside | said).sum()
        assert by_block["mean"][f"mask_iou_{k}"] == pytest.approx(iou)
    wrong = (counts[0] != counts[1]).any(0).mean()
    assert by_block["mean"]["mask_pixel_error"] == pytest.approx(wrong)
    assert "overlapping classes" in by_block["chosen"][0]


def test_partly_drawn_truth_has_seg_alone(tmp_path, small_memory):
    truth, segments, _, mask = case(2)
    write(tmp_path / "out/a.instances.tif", segments, "YX")
    write(tmp_path / "out/a.mask.tif", mask, "YX")
    drawn = write(tmp_path / "t.tif", truth * (truth > 4), "YX")
    section = Labels(kind="instances", unlabelled="ignore")
    whole, by_block = both(small_memory, tmp_path / "out", drawn, section)
    assert by_block["mean"] == whole["mean"]
    assert by_block["mean"].keys() == {"seg", "true_objects"}


def test_what_labels_mean_does_not_depend_on_memory(tmp_path, small_memory):
    truth, segments, *_ = case(2)
    predicted, drawn = (
        write(tmp_path / "p.tif", segments, "YX"),
        write(tmp_path / "t.tif", truth, "YX"),
    )
    whole, by_block = both(small_memory, predicted, drawn, Labels())
    assert by_block["chosen"][0] == whole["chosen"][0]
    assert by_block["chosen"][0].startswith("labels: instances: 1 images, ")
    assert by_block["mean"] == whole["mean"]


def test_objects_that_are_not_numbered_need_the_whole_image_and_it_is_said(tmp_path, small_memory):
    truth, _, _, mask = case(2)
    predicted = write(tmp_path / "a.mask.tif", mask, "YX")
    drawn = write(tmp_path / "t.tif", truth, "YX")
    small_memory()
    summary = evaluate_files(predicted, drawn, Labels(kind="instances"))
    assert summary["mean"].keys() == set(PIXELS)
    assert "objects, as they are not numbered on both sides" in summary["chosen"][-1]
    with pytest.raises(InputError, match=r"a\.mask\.tif and .*t\.tif .*--instances.*more memory"):
        evaluate_files(predicted, drawn, Labels(kind="instances", unlabelled="ignore"))


def test_no_region_that_is_read_is_larger_than_a_block(tmp_path, small_memory, monkeypatch):
    truth, segments, *_ = case(2)
    predicted = write(tmp_path / "p.zarr", segments, "YX")
    drawn = write(tmp_path / "t.zarr", truth, "YX")
    sizes, usual = [], ZarrRegions.read

    def read(self, box):
        sizes.append([part.stop - part.start for part in box])
        return usual(self, box)

    monkeypatch.setattr(ZarrRegions, "read", read)
    small_memory()
    evaluate_files(predicted, drawn, Labels())
    assert np.max(sizes) == 17
    assert len(sizes) >= 4 * 3 * 4  # both, once for their values and once for the scores
