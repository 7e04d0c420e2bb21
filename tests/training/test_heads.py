"""All heads through the same commands: trained, resumed, predicted in tiles, scored, reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion

from outlines import feature, write_geojson
from septum.annotation.labels import IGNORE
from septum.annotation.masks import bits_of, masks_of
from septum.errors import AnnotationError, InputError, Interrupted, RecipeError
from septum.evaluation.files import evaluate_files
from septum.images.files import Image, read_image, write_image
from septum.images.stored import load_image
from septum.model import load_model, network_footprint
from septum.network.heads import CORE_NAME
from septum.prediction.files import Options, predict_files
from septum.recipe import Labels, Recipe
from septum.report.page import write_report
from septum.training.data import load_data
from septum.training.device_samples import DeviceSampler
from septum.training.inspection import inspect_data
from septum.training.loop import train
from septum.training.run_folder import RunFolder
from septum.training.samples import build_sampler

CPU = torch.device("cpu")
HEADS = {
    "numbered": {
        "softmax": ["training.threshold=auto"],
        "border": ["network.head=border", "training.threshold=auto"],
        "distance": ["network.head=distance", "training.threshold=auto"],
    },
    "masks": {
        "sigmoid": ["labels.kind=overlapping", "network.head=sigmoid", "training.threshold=auto"],
    },
}
CASES = [(data, head) for data, heads in HEADS.items() for head in heads]


def write_data(folder: Path, kind: str) -> Path:
    """Bright squares that touch, numbered; or two masks that overlap."""
    for number in range(4):
        rng = np.random.default_rng([5, number])
        ids = np.zeros((48, 56), np.uint16)
        for place in range(6):
            y, x = int(rng.integers(0, 3)) * 12 + 4, int(rng.integers(0, 4)) * 12 + 3
            ids[y : y + 12, x : x + 12] = place + 1
        image = np.where(ids > 0, 140, 60) + rng.normal(0, 8, ids.shape)
        labels, axes, names = ids, "YX", None
        if kind == "masks":
            cell, nucleus = ids > 0, np.zeros(ids.shape, bool)
            nucleus[16:34, 8:50] = True
            image[nucleus] += 60
            labels = np.stack([cell, nucleus]).astype(np.uint8)
            axes, names = "CYX", ("cell", "nucleus")
        for part, array, own in (("images", image.clip(0, 255), None), ("labels", labels, names)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            whole = array.astype(np.uint8 if part == "images" else array.dtype)
            picture = Image(whole, "YX" if part == "images" else axes, None, own)
            write_image(folder / part / f"square{number}.tif", picture)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("heads")
    return {kind: write_data(folder / kind, kind) for kind in HEADS}


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Path], tiny: Callable[..., Recipe]
) -> dict[str, RunFolder]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        head: train(data[kind], folder / head, tiny(*HEADS[kind][head])) for kind, head in CASES
    }


@pytest.mark.parametrize(("kind", "head"), [case for case in CASES if case[1] != "softmax"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    kind: str,
    head: str,
    data: dict[str, Path],
    runs: dict[str, RunFolder],
    tiny: Callable[..., Recipe],
    tmp_path: Path,
    interrupt_after: Callable[[int | None], None],
    assert_same_run: Callable[[RunFolder, RunFolder], None],
) -> None:
    out = tmp_path / "run"
    interrupt_after(5)
    with pytest.raises(Interrupted):
        train(data[kind], out, tiny(*HEADS[kind][head]))
    interrupt_after(None)
    assert_same_run(train(data[kind], out, resume=True), runs[head])


@pytest.mark.parametrize(("kind", "head"), CASES)
def test_predicted_in_tiles_or_whole_the_files_are_the_same_and_can_be_scored(
    kind: str, head: str, data: dict[str, Path], runs: dict[str, RunFolder], tmp_path: Path
) -> None:
    for name, tile in (("whole", 240), ("tiles", 32)):
        options = Options(tile=tile, instances=True, threshold=0.4, precision="float32")
        list(predict_files(runs[head].path, [data[kind] / "images"], tmp_path / name, options))
    for file in sorted((tmp_path / "whole").iterdir()):
        other = tmp_path / "tiles" / file.name
        if file.suffix == ".csv":
            assert file.read_text("utf-8") == other.read_text("utf-8")
            continue
        one, two = read_image(file), read_image(other)
        assert one.header.axes == two.header.axes
        np.testing.assert_allclose(one.array, two.array, rtol=0, atol=1e-5)
    probability = read_image(tmp_path / "whole" / "square0.probability.tif")
    mask = read_image(tmp_path / "whole" / "square0.mask.tif")
    instances = read_image(tmp_path / "whole" / "square0.instances.tif")
    if kind == "masks":
        assert probability.channel_names == ("background", "cell", "nucleus")
        assert mask.axes == instances.axes == "CYX"
        assert np.array_equal(mask.array, probability.array[1:] > 0.4)
        assert np.array_equal(instances.array > 0, mask.array > 0)
    else:
        if head != "softmax":
            assert probability.channel_names == ("class 0", "class 1", CORE_NAME)
        assert np.array_equal(mask.array, probability.array[1] > 0.4)
    labels = Labels(kind="overlapping") if kind == "masks" else Labels(kind="instances")
    scores = evaluate_files(tmp_path / "whole", data[kind], labels)["mean"]
    assert {"pixel_error", "mask_iou"} <= scores.keys()
    assert ("iou_2" in scores) == (kind == "masks")
    assert ("seg" in scores) == (kind == "numbered")


@pytest.mark.parametrize(("kind", "head"), CASES)
def test_what_was_chosen_is_in_the_model_and_in_the_report(
    kind: str, head: str, data: dict[str, Path], runs: dict[str, RunFolder]
) -> None:
    model = load_model(runs[head].best)
    page = write_report(runs[head], data[kind]).read_text("utf-8")
    if kind == "masks":
        assert (model.threshold, model.seeds, model.minimum) == (0.5, None, 0)
        assert model.meaning.class_names == ("background", "cell", "nucleus")
        assert "nucleus" in page
    else:
        assert "best objects in validation images" in page
        assert model.meaning.seams == (head == "softmax")
    validations = [r for r in runs[head].history() if r["kind"] == "validation"]
    assert all(np.isfinite(r["loss"]) for r in validations)
    assert ("rand_error" in validations[-1]) == (kind == "numbered")


def test_the_objects_of_overlapping_classes_are_listed_by_the_names_of_their_classes(
    data: dict[str, Path], runs: dict[str, RunFolder], tmp_path: Path
) -> None:
    image = data["masks"] / "images" / "square0.tif"
    options = Options(instances=True, threshold=0.2, precision="float32")
    list(predict_files(runs["sigmoid"].path, [image], tmp_path, options))
    header, *rows = (tmp_path / "square0.objects.csv").read_text("utf-8").splitlines()
    assert header.startswith("id,class,class_name,area_px")
    instances = read_image(tmp_path / "square0.instances.tif").array
    for number, name in ((1, "cell"), (2, "nucleus")):
        own = [row.split(",") for row in rows if row.split(",")[1] == str(number)]
        assert len(own) == instances[number - 1].max()
        assert [int(row[0]) for row in own] == list(range(1, len(own) + 1))
        assert {row[2] for row in own} <= {name}
        areas = np.bincount(instances[number - 1].ravel())[1:]
        assert [int(row[3]) for row in own] == areas.tolist()


@pytest.mark.parametrize(("kind", "head"), CASES)
def test_tiles_made_on_a_device_have_the_targets_of_those_of_the_processor(
    kind: str, head: str, data: dict[str, Path], tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny(*HEADS[kind][head], "network.padding=valid", "training.tile=36")
    loaded = load_data(data[kind], recipe)
    sampler = build_sampler(loaded, recipe, network_footprint(recipe.network))
    device = DeviceSampler(sampler, CPU)
    for step in range(3):
        (_, _, told, weights), (_, _, other, weighed) = (
            tiles.batch(step, range(2), CPU) for tiles in (sampler, device)
        )
        assert (told != other).float().mean() < 0.002  # a pixel between two rounds either way
        assert (weights - weighed).abs().gt(1e-4).float().mean() < 0.002
    values = set(np.unique(told).tolist())
    assert values <= {"border": {0, 1, 2}, "sigmoid": {0, 1, 2, 3}, "softmax": {0, 1}}.get(
        head, set(range(255))
    )
    assert len(values) > 1


def test_targets_are_of_the_deformed_labels(
    data: dict[str, Path], tiny: Callable[..., Recipe]
) -> None:
    """The border is two pixels wide in a bent tile too: it was not bent with it."""
    recipe = tiny("network.head=border", "augment.elastic_sigma=6", "loss.border_weight=0")
    loaded = load_data(data["numbered"], recipe)
    sampler = build_sampler(loaded, recipe, network_footprint(recipe.network))
    for step in range(4):
        told = sampler.sample(step, 0).classes_S
        interior = told == 1
        # No pixel of the interior is nearer than three to background: nothing thinner is between.
        assert not (interior & ~binary_erosion(told > 0, iterations=2, border_value=1)).any()


@pytest.mark.parametrize(("kind", "head"), [("numbered", "distance"), ("masks", "sigmoid")])
def test_tiles_of_labels_left_in_their_files_are_those_of_labels_in_memory(
    kind: str, head: str, data: dict[str, Path], tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny(*HEADS[kind][head], "loss.border_weight=0", "labels.kind=instances")
    if kind == "masks":
        recipe = tiny(*HEADS[kind][head], "loss.border_weight=0")
    samplers = []
    for memory in (0, None):
        loaded = load_data(data[kind], recipe, memory)
        assert loaded.stored == (memory == 0)
        samplers.append(build_sampler(loaded, recipe, network_footprint(recipe.network)))
    for step in range(3):
        stored, held = (sampler.sample(step, 1) for sampler in samplers)
        assert np.array_equal(stored.classes_S, held.classes_S)
        assert len(np.unique(held.classes_S)) > 2


def test_masks_become_bits_and_bits_masks() -> None:
    masks = np.random.default_rng(0).integers(0, 2, (7, 5, 6)).astype(np.uint8)
    assert np.array_equal(masks_of(bits_of(masks), 8), masks)
    masks[3, 2, 2] = 9
    assert bits_of(masks, ignore=(9,))[2, 2] == IGNORE
    assert (bits_of(masks, ignore=(9,)) == IGNORE).sum() == 1


def test_pixels_ignored_in_a_mask_are_ignored_in_all(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    folder = write_data(tmp_path, "masks")
    labels = read_image(folder / "labels" / "square0.tif").array
    labels[1, :5] = 77
    write_image(folder / "labels" / "square0.tif", Image(labels, "CYX", None, ("cell", "nucleus")))
    recipe = tiny(*HEADS["masks"]["sigmoid"], "labels.ignore=77", "augment.shift=false")
    loaded = load_data(folder, recipe)
    item = next(item for item in [*loaded.training, *loaded.validation] if item.name == "square0")
    assert (item.labels_S[:5] == IGNORE).all()
    assert (item.labels_S[5:] < 4).all()


def test_masks_of_overlapping_classes_go_to_a_store_too_and_not_to_png(
    data: dict[str, Path], runs: dict[str, RunFolder], tmp_path: Path
) -> None:
    image = data["masks"] / "images" / "square0.tif"
    with pytest.raises(InputError, match=r"--format tif"):
        list(predict_files(runs["sigmoid"].path, [image], tmp_path, Options(suffix=".png")))
    for suffix in (".tif", ".zarr"):
        options = Options(suffix=suffix, tile=32, instances=True, threshold=0.4, overwrite=True)
        list(predict_files(runs["sigmoid"].path, [image], tmp_path, options))
    for kind in ("mask", "instances"):
        stored = load_image(tmp_path / "square0.zarr" / "labels" / kind).read()
        assert stored.axes == "CYX"
        assert np.array_equal(stored.array, read_image(tmp_path / f"square0.{kind}.tif").array)
    labels = Labels(kind="overlapping")
    in_store, in_files = (
        evaluate_files(tmp_path / name, data["masks"] / "labels" / "square0.tif", labels)["mean"]
        for name in ("square0.zarr", "square0.mask.tif")
    )
    assert in_store["mask_iou"] == in_files["iou"]


def test_what_cannot_be_learnt_is_said_before_training(
    tmp_path: Path, tiny: Callable[..., Recipe], data: dict[str, Path]
) -> None:
    def refuse(kind: str, *changes: str) -> str:
        with pytest.raises((RecipeError, AnnotationError)) as raised:
            train(data[kind], tmp_path / "refused", tiny(*changes))
        return str(raised.value)

    overlapping = "labels.kind=overlapping"
    assert "labels.kind=overlapping" in refuse("masks")
    assert "--set network.head=sigmoid" in refuse("masks", overlapping)
    assert "axes YX" in refuse("numbered", overlapping, "network.head=sigmoid")
    balanced = [overlapping, "network.head=sigmoid", "loss.class_weight=balanced"]
    assert "--set loss.class_weight=none" in refuse("masks", *balanced)
    named = [overlapping, "network.head=sigmoid", 'labels.names=["a"]']
    assert "1 names for 2 masks" in refuse("masks", *named)
    assert "name all of them" in refuse("numbered", "labels.kind=instances", 'labels.names=["a"]')
    assert not (tmp_path / "refused").exists()
    write_data(tmp_path / "other", "masks")
    labels = np.zeros((3, 48, 56), np.uint8)
    write_image(tmp_path / "other" / "labels" / "square1.tif", Image(labels, "CYX"))
    with pytest.raises(AnnotationError, match=r"square1.*expected the same"):
        load_data(tmp_path / "other", tiny(overlapping, "network.head=sigmoid"))


def test_names_are_in_the_outputs_of_classes_that_exclude_each_other(
    data: dict[str, Path], tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = tiny('labels.names=["sea", "an island, far"]', "labels.kind=instances")
    run = train(data["numbered"], tmp_path / "run", recipe)
    image = data["numbered"] / "images" / "square0.tif"
    list(predict_files(run.path, [image], tmp_path, Options(instances=True, threshold=0.1)))
    names = read_image(tmp_path / "square0.probability.tif").channel_names
    assert names == ("sea", "an island, far")
    header, *rows = (tmp_path / "square0.objects.csv").read_text("utf-8").splitlines()
    assert header.startswith("id,class,class_name,")
    assert all(',"an island, far",' in row for row in rows)
    assert json.loads(json.dumps(load_model(run.best).meaning.to_dict()))["class_names"] == list(
        names
    )


def write_class_files(folder: Path) -> Path:
    """The same images as masks that overlap, each class in a file of its own."""
    write_data(folder, "masks")
    for path in sorted((folder / "labels").iterdir()):
        masks = read_image(path).array
        path.unlink()
        for name, mask in zip(("cell", "nucleus"), masks, strict=True):
            write_image(folder / "labels" / f"{path.stem}_{name}.png", Image(mask * 255, "YX"))
    return folder


def test_a_file_a_class_that_overlaps_is_trained_predicted_and_scored_as_masks_in_one_file_are(
    tmp_path: Path, tiny: Callable[..., Recipe], data: dict[str, Path], runs: dict[str, RunFolder]
) -> None:
    folder = write_class_files(tmp_path / "files")
    with pytest.raises(AnnotationError, match=r"pixels are of both cell and nucleus.*sigmoid"):
        load_data(folder, tiny())
    recipe = tiny("network.head=sigmoid", "training.threshold=auto")  # the head says enough
    loaded = load_data(folder, recipe)
    other = load_data(data["masks"], tiny(*HEADS["masks"]["sigmoid"]))
    assert loaded.meaning == other.meaning
    for one, two in zip(loaded.training, other.training, strict=True):
        assert np.array_equal(one.labels_S, two.labels_S)
    run = train(folder, tmp_path / "run", recipe)
    best, known = load_model(run.best), load_model(runs["sigmoid"].best)
    for one, two in zip(best.network.parameters(), known.network.parameters(), strict=True):
        assert torch.equal(one, two)
    list(predict_files(run.path, [folder / "images"], tmp_path / "out", Options(threshold=0.4)))
    scores = [  # what was predicted says that the labels overlap
        evaluate_files(tmp_path / "out", truth, labels)["mean"]
        for truth, labels in (
            (folder, Labels()),
            (folder, best.meaning),
            (data["masks"], Labels(kind="overlapping")),
            (data["masks"], Labels()),
        )
    ]
    assert scores[0].keys() >= {"iou_1", "iou_2", "mask_iou_2"}
    assert all(each == scores[0] for each in scores)
    assert "nucleus" in write_report(run, folder).read_text("utf-8")


def test_without_a_recipe_classes_that_overlap_get_the_head_for_them(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    folder = write_class_files(tmp_path / "files")
    found = inspect_data(folder)
    assert not found.reason
    chosen = {choice.key: choice.value for choice in found.configuration.choices}
    assert chosen["labels.kind"] == "overlapping"
    assert chosen["network.head"] == "sigmoid"
    (note,) = [problem for problem in found.problems if problem.kind == "overlap"]
    assert note.level == "note"
    assert found.survey.meaning == load_data(folder, tiny("network.head=sigmoid")).meaning
    ordered = inspect_data(folder, ['labels.classes=["cell", "nucleus"]'])
    assert ordered.configuration.recipe.network.head == "softmax"


def test_the_head_that_was_asked_for_is_kept_though_classes_do_not_overlap(tmp_path: Path) -> None:
    folder = write_class_files(tmp_path / "files")
    for path in (folder / "labels").glob("*_nucleus.png"):
        cell = read_image(path.with_name(path.name.replace("nucleus", "cell"))).array
        write_image(path, Image(np.where(cell, 0, read_image(path).array), "YX"))
    chosen = inspect_data(folder).configuration.recipe
    assert (chosen.labels.kind, chosen.network.head) == ("classes", "softmax")
    chosen = inspect_data(folder, ["network.head=sigmoid"]).configuration.recipe
    assert (chosen.labels.kind, chosen.network.head) == ("overlapping", "sigmoid")
    assert load_data(folder, chosen).meaning.kind == "overlapping"


def test_outlines_of_classes_that_overlap_are_bits_and_what_is_ignored_is_in_none(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    folder = tmp_path / "drawn"
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 99, (48, 48)).astype(np.uint8)
        folder.mkdir(exist_ok=True)
        write_image(folder / f"{number}.png", Image(pixels, "YX"))
        boxes = [("cell", 4, 20), ("nucleus", 14, 20), ("Ignore*", 20, 4)]
        drawn = [
            feature([(x, x), (x + side, x), (x + side, x + side), (x, x + side)], name=name)
            for name, x, side in boxes
        ]
        write_geojson(folder / f"{number}.geojson", *drawn)
    loaded = load_data(folder, tiny("network.head=sigmoid", "network.depth=1", "training.tile=32"))
    labels = loaded.training[0].labels_S
    assert loaded.meaning.class_names == ("background", "cell", "nucleus")
    assert (labels[5, 5], labels[16, 16], labels[30, 30], labels[0, 0]) == (1, 3, 2, 0)
    assert (labels[20:24, 20:24] == IGNORE).all()
    assert (labels == IGNORE).sum() == 16
