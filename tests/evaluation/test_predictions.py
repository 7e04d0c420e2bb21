from __future__ import annotations

import shutil

import numpy as np
import pytest

from predictions import noise, small_model, write_zarr
from septum.errors import InputError
from septum.evaluation.files import evaluate_files
from septum.evaluation.planes import read_prediction
from septum.evaluation.predictions import Prediction, find_predictions, number_objects
from septum.images.files import Image, write_image
from septum.images.image import ImageHeader
from septum.images.stored import open_image
from septum.images.zarr_writer import create_labels
from septum.model import save_model
from septum.prediction.files import Options, predict_files
from septum.prediction.manifest import Manifest
from septum.prediction.overlap_tile import prepare
from septum.prediction.results import Results, result_headers, results_in_store
from septum.prediction.streaming import predict_whole
from septum.recipe import Labels


def write(path, array, axes):
    write_image(path, Image(np.asarray(array), axes))
    return path


BINARY = Labels(kind="binary")
MASK = np.eye(6, 8, dtype=np.uint8)
MAP = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)


def test_a_folder_of_predictions_is_grouped_by_name(tmp_path):
    for name in ("t10", "t2", "a.b"):
        write(tmp_path / f"{name}.mask.tif", MASK, "YX")
    write(tmp_path / "t2.probability.tif", MAP[None], "CYX")
    write(tmp_path / "t2.instances.tif", MASK.astype(np.uint32), "YX")
    write(tmp_path / "t3.instances.tif", MASK.astype(np.uint32), "YX")
    write(tmp_path / "else.tif", MASK, "YX")
    found = find_predictions(tmp_path)
    assert [p.name for p in found] == ["a.b", "t2", "t3", "t10"]
    assert found[2].file == tmp_path / "t3.instances.tif"
    files = (tmp_path / f"t2.{kind}.tif" for kind in ("mask", "probability", "instances"))
    assert found[1] == Prediction("t2", *files)
    assert found[3].file == tmp_path / "t10.mask.tif"


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


@pytest.mark.parametrize(("highest", "doubted"), [(1, True), (2, False), (0, False)])
def test_a_mask_that_is_named_a_map_is_doubted(tmp_path, highest, doubted):
    file = write(tmp_path / "a.probability.tif", MASK * np.uint8(highest), "YX")
    (plane,) = read_prediction(Prediction("a", probability=file))
    assert ["Name it NAME.mask.tif" in remark for remark in plane.remarks] == [True] * doubted


@pytest.mark.parametrize(
    ("kind", "array", "axes", "message"),
    [
        ("probability", MAP * 2, "YX", r"in \[0, 1\], found 0 … 2"),
        ("probability", MASK.astype(np.uint16), "YX", "found uint16"),
        ("mask", MAP, "YX", "integer class ids, found float32"),
        ("mask", np.stack([MASK, MASK]), "CYX", "one channel, found 2"),
        ("instances", MAP, "YX", r"integer object ids, found float32.*a\.probability\.tif"),
        ("instances", np.stack([MASK, MASK]), "CYX", "one channel, found 2"),
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


def write_store(path):
    """An OME-Zarr as `septum predict --instances` leaves it, with nothing in it."""
    header = ImageHeader("YX", (6, 8), np.dtype(np.uint8))
    results_in_store(result_headers(header, ("class 0", "class 1"), "float32", True), path, 16, 2)
    Manifest(path, {"model": "a"}).finish()
    return path


def test_stores_and_files_of_one_folder_are_predictions_in_the_order_of_their_names(tmp_path):
    for name in ("t10", "t2", "a.ome"):
        write_store(tmp_path / f"{name}.zarr")
    write(tmp_path / "t3.mask.tif", MASK, "YX")
    write(tmp_path / "else.tif", MASK, "YX")
    found = find_predictions(tmp_path)
    assert [p.name for p in found] == ["a", "t2", "t3", "t10"]
    store = tmp_path / "t10.zarr"
    within = store / "labels"
    assert found[3] == Prediction("t10", within / "mask", store, within / "instances")
    assert found[3].file == store
    assert found[2] == Prediction("t3", tmp_path / "t3.mask.tif")
    assert find_predictions(store) == [found[3]]


def test_without_masks_beside_them_only_stores_count(tmp_path):
    write_store(tmp_path / "a.zarr")
    write(tmp_path / "a.png", MASK, "YX")  # the image
    assert [p.file.name for p in find_predictions(tmp_path)] == ["a.zarr"]


OTHERS = ["a.mask.tif", "a.probability.tif", "a.instances.tif", "a.ome.zarr"]


@pytest.mark.parametrize("other", OTHERS)
def test_a_store_and_another_prediction_of_its_name_are_refused(tmp_path, other):
    write_store(tmp_path / "a.zarr")
    if other.endswith(".tif"):
        write(tmp_path / other, MASK, "YX")
    else:
        write_store(tmp_path / other)
    with pytest.raises(InputError, match="are two predictions of one name; remove one") as raised:
        find_predictions(tmp_path)
    places = str(raised.value).split(" are two ")[0].split(" and ")
    assert sorted(places) == sorted(str(tmp_path / name) for name in ("a.zarr", other))


def label_store(path, array=MASK, name="cells"):
    """An OME-Zarr image with labels in it; return the path of these."""
    image = write_zarr(path, Image(MAP, "YX"))
    labels = create_labels(image, name, ImageHeader("YX", array.shape, array.dtype), (20, 20))
    labels[...] = array
    return path / "labels" / name


def test_an_image_with_labels_in_it_is_no_prediction(tmp_path):
    """Nor is any other store beside what `septum predict` wrote: there, it may be the image."""
    labels = label_store(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"no predictions.*NAME\.zarr \(with its"):
        find_predictions(tmp_path)
    with pytest.raises(InputError, match=rf"with labels in it.*name the labels: {labels}"):
        find_predictions(tmp_path / "a.zarr")
    maskless = write_store(tmp_path / "b.zarr")
    shutil.rmtree(maskless / "labels" / "mask")
    for place in (tmp_path, maskless):
        with pytest.raises(InputError, match="no predictions"):
            find_predictions(place)
    write_store(tmp_path / ".c.predicting.zarr")  # hidden
    write_zarr(tmp_path / "d.zarr", Image(MASK, "YX"))
    file = write(tmp_path / "a.mask.tif", MASK, "YX")
    assert find_predictions(tmp_path) == [Prediction("a", file)]


def test_labels_in_a_store_are_a_prediction_of_the_stores_name(tmp_path):
    labels = label_store(tmp_path / "x.ome.zarr", MASK * np.uint8(255))
    assert find_predictions(labels) == [Prediction("x", mask=labels)]
    (plane,) = read_prediction(find_predictions(labels)[0])
    np.testing.assert_array_equal(plane.mask, MASK * 255)
    store = write_store(tmp_path / "y.zarr")
    for kind in ("mask", "instances"):
        place = store / "labels" / kind
        assert find_predictions(place) == [Prediction("y", **{kind: place})]


def test_labels_in_a_store_that_is_not_finished_are_refused(tmp_path):
    header = ImageHeader("YX", (6, 8), np.dtype(np.uint8))
    store = tmp_path / "y.zarr"
    results_in_store(result_headers(header, ("class 0", "class 1"), "float32", False), store, 16, 2)
    Manifest(store, {"model": "a"})
    with pytest.raises(InputError, match=r"y\.zarr: is not finished"):
        find_predictions(store / "labels" / "mask")


def test_plain_stores_of_a_folder_are_label_images_or_maps(tmp_path):
    mask = write_zarr(tmp_path / "labels" / "a.zarr", Image(MASK, "YX"))
    chances = write_zarr(tmp_path / "labels" / "b.ome.zarr", Image(MAP, "YX"))
    file = write(tmp_path / "labels" / "c.png", MASK, "YX")
    assert find_predictions(tmp_path / "labels") == [
        Prediction("a", mask=mask),
        Prediction("b", probability=chances),
        Prediction("c", mask=file),
    ]
    assert find_predictions(mask) == [Prediction("a", mask=mask)]


def test_of_plain_label_images_all_are_numbered_objects_if_one_is(tmp_path):
    few, many = write(tmp_path / "a.png", MASK, "YX"), tmp_path / "b.tif"
    write(many, MASK.astype(np.uint32) * 70_000 + 1, "YX")
    map_ = write(tmp_path / "c.tif", MAP, "YX")
    found = find_predictions(tmp_path)
    assert [p.mask for p in found] == [few, many, None]
    assert number_objects(found[::2]) == found[::2]
    assert number_objects(found) == [
        Prediction("a", instances=few),
        Prediction("b", instances=many),
        Prediction("c", probability=map_),
    ]
    two = [Prediction("a", mask=write(tmp_path / "d.mask.tif", MASK * np.uint8(3), "YX"))]
    assert number_objects(two) == two  # its name says what it is


def test_a_map_of_8_bits_is_not_taken_for_numbered_objects(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (40, 40)).astype(np.uint8)
    found = find_predictions(write(tmp_path / "a.png", grey, "YX"))
    with pytest.raises(InputError, match=r"a\.png: 25\d values in scattered .*NAME\.probability"):
        number_objects(found)
    cells = np.kron(np.arange(64, dtype=np.uint8).reshape(8, 8), np.ones((5, 5), np.uint8))
    found = find_predictions(write(tmp_path / "a.png", cells, "YX"))
    assert number_objects(found)[0].instances == tmp_path / "a.png"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels_of_floating_type_count_if_all_are_whole(tmp_path, dtype):
    ids = MASK.astype(dtype) * 7
    plain = write(tmp_path / "a.tif", ids, "YX")
    (found,) = find_predictions(plain)
    assert found == Prediction("a", mask=plain)
    (plane,) = read_prediction(found)
    assert plane.mask.dtype.kind == "u"
    np.testing.assert_array_equal(plane.mask, MASK * 7)
    assert "whole numbers, taken for ids" in plane.remarks[0]
    assert str(np.dtype(dtype)) in plane.remarks[0]
    named = Prediction("a", instances=write(tmp_path / "b.instances.tif", ids, "YX"))
    (plane,) = read_prediction(named)
    np.testing.assert_array_equal(plane.instances, MASK * 7)


def test_ids_that_single_precision_cannot_tell_apart_are_refused(tmp_path):
    ids = np.array([[0, 2**24 + 2, 2**24 + 4]], np.float32)
    file = write(tmp_path / "a.instances.tif", ids, "YX")
    with pytest.raises(InputError, match="save labels as uint16 or uint32"):
        list(read_prediction(Prediction("a", instances=file)))
    write(file, ids.astype(np.float64), "YX")
    (plane,) = read_prediction(Prediction("a", instances=file))
    assert plane.instances.max() == 2**24 + 4


def test_a_store_that_was_begun_is_refused_until_the_same_command_is_run_again(
    tmp_path, monkeypatch
):
    save_model(tmp_path / "model.safetensors", small_model())
    write_image(tmp_path / "a.tif", noise("YX", (150, 170)))
    truth = write(tmp_path / "truth.tif", np.eye(150, 170, dtype=np.uint8), "YX")
    usual, written = Results.write, []

    def write_some(self, *arguments):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(arguments)
        return usual(self, *arguments)

    out, store = tmp_path / "out", tmp_path / "out" / "a.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(Results, "write", write_some)
        with pytest.raises(KeyboardInterrupt):
            predict(tmp_path, out, suffix=".zarr")
    write(out / "b.mask.tif", MASK, "YX")
    for place in (out, store):
        with pytest.raises(
            InputError, match=r"is not finished.*run the same command again"
        ) as told:
            evaluate_files(place, truth, BINARY)
        message = str(told.value)
        assert message.startswith(f"{store}: ")
        assert "septum predict" in message
        assert "\n" not in message
    predict(tmp_path, out, suffix=".zarr")
    assert evaluate_files(store, truth, BINARY)["images"][0]["name"] == "a"


def predict(folder, out, name="a", **options):
    settings = Options(**({"tile": 48} | options))
    list(predict_files(folder / "model.safetensors", [folder / f"{name}.tif"], out, settings))


CASES = [
    ("YX", (530, 40), 2, 2, "float32"),  # of two levels
    ("YX", (60, 70), 2, 3, "uint8"),
    ("CYX", (2, 60, 70), 2, 2, "float16"),
    ("TYX", (3, 40, 50), 2, 2, "float16"),
    ("ZYX", (3, 40, 50), 2, 3, "uint8"),
    ("TCZYX", (2, 2, 2, 30, 40), 2, 2, "uint8"),
    ("ZYX", (20, 24, 34), 3, 2, "uint8"),
]


@pytest.mark.parametrize(("axes", "shape", "dimensions", "classes", "kind"), CASES)
def test_a_store_is_scored_as_the_files_of_the_same_prediction(
    tmp_path, axes, shape, dimensions, classes, kind
):
    grey = np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)
    image = Image(grey, axes)
    model = small_model(image.channels, dimensions, classes)
    save_model(tmp_path / "model.safetensors", model)
    write_image(tmp_path / "a.tif", image)
    probability = predict_whole(prepare(model), image, 0.5)[1]
    threshold = float(probability.array.take(1, probability.axes.index("C")).mean())
    options = {"probability": kind, "threshold": threshold, "instances": True}
    predict(tmp_path, tmp_path / "files", **options)
    predict(tmp_path, tmp_path / "stores", suffix=".zarr", **options)
    assert open_image(tmp_path / "stores" / "a.zarr").dtype == kind

    pair = [
        list(read_prediction(found, dimensions))
        for folder in ("files", "stores")
        for found in find_predictions(tmp_path / folder)
    ]
    for ours, theirs in zip(*pair, strict=True):
        assert ours.suffix == theirs.suffix
        assert ours.probability.max() <= 1.0
        assert 1 < len(np.unique(theirs.mask)) <= classes
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        np.testing.assert_array_equal(ours.probability, theirs.probability)

    plain = open_image(tmp_path / "stores" / "a.zarr" / "labels" / "mask")
    drawn = np.random.default_rng(1).integers(0, classes, plain.shape).astype(np.uint8)
    truth = write(tmp_path / "truth.tif", drawn, plain.axes)
    section = Labels(kind="binary" if classes == 2 else "classes")
    files, folder, store = (
        evaluate_files(tmp_path / place, truth, section, dimensions)
        for place in ("files", "stores", "stores/a.zarr")
    )
    assert files == folder == store
    split = [n for a, n in zip(axes, shape, strict=True) if a == "T" or a + str(dimensions) == "Z2"]
    assert len(files["images"]) == np.prod(split, dtype=int)
    assert all(0 < row["mask_pixel_error"] < 1 for row in files["images"])
    assert all(row["pixel_error"] > 0 for row in files["images"])


def test_stores_and_files_are_scored_together(tmp_path):
    save_model(tmp_path / "model.safetensors", small_model())
    (tmp_path / "truth").mkdir()
    array = noise("YX", (40, 50)).array
    for name, image in (("a", array), ("b", array[::-1])):
        write(tmp_path / f"{name}.tif", image, "YX")
        write(tmp_path / "truth" / f"{name}.tif", (array == array.max()).astype(np.uint8), "YX")
        predict(tmp_path, tmp_path / "files", name)
    predict(tmp_path, tmp_path / "both", "a", suffix=".zarr")
    predict(tmp_path, tmp_path / "both", "b")
    both, files = (
        evaluate_files(tmp_path / place, tmp_path / "truth", BINARY) for place in ("both", "files")
    )
    assert both == files
    assert [row["name"] for row in both["images"]] == ["a", "b"]
