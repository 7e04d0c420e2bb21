from __future__ import annotations

import numpy as np
import pytest

from septum.errors import InputError
from septum.evaluation.predictions import Prediction, find_predictions, read_prediction
from septum.images.files import Image, write_image


def write(path, array, axes):
    write_image(path, Image(np.asarray(array), axes))
    return path


MASK = np.eye(6, 8, dtype=np.uint8)
MAP = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)


def test_a_folder_of_predictions_is_grouped_by_name(tmp_path):
    for name in ("t10", "t2", "a.b"):
        write(tmp_path / f"{name}.mask.tif", MASK, "YX")
    write(tmp_path / "t2.probability.tif", MAP[None], "CYX")
    write(tmp_path / "t2.instances.tif", MASK.astype(np.uint32), "YX")
    write(tmp_path / "else.tif", MASK, "YX")
    found = find_predictions(tmp_path)
    assert [p.name for p in found] == ["a.b", "t2", "t10"]
    assert found[1] == Prediction("t2", tmp_path / "t2.mask.tif", tmp_path / "t2.probability.tif")
    assert found[2].file == tmp_path / "t10.mask.tif"


def test_plain_images_are_masks_or_maps_by_their_type(tmp_path):
    write(tmp_path / "a.png", MASK, "YX")
    write(tmp_path / "b.tif", MAP, "YX")
    assert find_predictions(tmp_path) == [
        Prediction("a", mask=tmp_path / "a.png"),
        Prediction("b", probability=tmp_path / "b.tif"),
    ]
    assert find_predictions(tmp_path / "b.tif")[0].probability == tmp_path / "b.tif"


def test_what_holds_no_prediction_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_predictions(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no predictions"):
        find_predictions(tmp_path)
    write(tmp_path / "a.mask.tif", MASK, "YX")
    write(tmp_path / "a.mask.png", MASK, "YX")
    with pytest.raises(InputError, match="two predictions of one name"):
        find_predictions(tmp_path)


def test_a_stack_is_split_into_planes_with_their_probabilities(tmp_path):
    masks = np.stack([MASK, MASK[::-1], MASK])
    maps = np.stack([np.stack([1 - m, m]) for m in (MAP, MAP / 2, MAP / 4)])
    prediction = Prediction(
        "s",
        write(tmp_path / "s.mask.tif", masks, "ZYX"),
        write(tmp_path / "s.probability.tif", np.moveaxis(maps, 0, 1), "CZYX"),
    )
    planes = list(read_prediction(prediction))
    assert [plane.suffix for plane in planes] == ["[00]", "[01]", "[02]"]
    for plane, mask, probability in zip(planes, masks, maps, strict=True):
        np.testing.assert_array_equal(plane.mask, mask)
        np.testing.assert_array_equal(plane.probability, probability)
        assert plane.shape == (6, 8)
    (volume,) = read_prediction(prediction, dimensions=3)
    assert (volume.suffix, volume.shape, volume.probability.shape) == ("", (3, 6, 8), (2, 3, 6, 8))


def test_8_bit_probabilities_are_scaled(tmp_path):
    file = write(tmp_path / "a.probability.tif", (MAP * 255).astype(np.uint8), "YX")
    (plane,) = read_prediction(Prediction("a", probability=file))
    assert plane.probability.shape == (1, 6, 8)
    assert plane.probability.max() == 1.0
    np.testing.assert_allclose(plane.probability[0], MAP, atol=1 / 255)


@pytest.mark.parametrize(
    ("kind", "array", "axes", "message"),
    [
        ("probability", MAP * 2, "YX", r"in \[0, 1\], found 0 … 2"),
        ("probability", MASK.astype(np.uint16), "YX", "found uint16"),
        ("mask", MAP, "YX", "integer class ids, found float32"),
        ("mask", np.stack([MASK, MASK]), "CYX", "one channel, found 2"),
    ],
)
def test_unusable_pixels_are_refused_with_the_files_name(tmp_path, kind, array, axes, message):
    file = write(tmp_path / f"a.{kind}.tif", array, axes)
    with pytest.raises(InputError, match=rf"a\.{kind}\.tif.*{message}"):
        list(read_prediction(Prediction("a", **{kind: file})))


def test_a_mask_and_a_map_of_different_sizes_are_refused_naming_both(tmp_path):
    prediction = Prediction(
        "a",
        write(tmp_path / "a.mask.tif", MASK, "YX"),
        write(tmp_path / "a.probability.tif", MAP[:5], "YX"),
    )
    with pytest.raises(InputError, match=r"mask\.tif and .*probability\.tif.*6 × 8.*5 × 8"):
        list(read_prediction(prediction))
