import base64
import html
import io
import re
import shlex
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image as Picture

from septum.annotation.synthetic import write_example_data
from septum.errors import InputError, RunFolderError
from septum.images.files import Image, write_image
from septum.model import load_model
from septum.recipe import Recipe, dump_recipe, load_recipe
from septum.report.contents import MOST_PREDICTED, gather
from septum.report.page import NAMES, write_report
from septum.report.pictures import View, grey_range
from septum.training.loop import train
from septum.training.run_folder import RunFolder, create_run

TITLES = [
    "Scores on the validation images",
    "Figure 1: what it was trained on",
    "Figure 2: how training went",
    "Figure 3: what the model says about validation images",
    "Figure 4: what counts most",
    "Recipe",
    "Model and machine",
    "How to go on",
]


def sections(page: str) -> dict[str, str]:
    found = re.findall(r"<section><h2>(.*?)</h2>(.*?)</section>", page, re.DOTALL)
    return {html.unescape(title): body for title, body in found}


def pictures(markup: str, kind: str = "jpeg") -> list[np.ndarray]:
    found = re.findall(rf'src="data:image/{kind};base64,([^"]+)"', markup)
    return [np.asarray(Picture.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def charts(markup: str) -> list[str]:
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', markup)
    return [base64.b64decode(data).decode() for data in found]


def text(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


@pytest.fixture(scope="session")
def page(example: tuple[RunFolder, Path]) -> str:
    run, data = example
    return write_report(run, data).read_text("utf-8")


def test_the_parts_come_in_order(page: str) -> None:
    assert list(sections(page)) == TITLES


def test_nothing_is_fetched_and_nothing_runs(page: str) -> None:
    targets = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', page)
    assert targets
    assert all(target.startswith("data:image/") for target in targets)
    assert not re.search(r"<script|<link|<iframe|@import|url\(|\bon\w+=", page)
    for chart in charts(page):
        inside = [
            value
            for element in ElementTree.fromstring(chart).iter()
            for key, value in element.attrib.items()
            if key.endswith("href")
        ]
        assert all(value.startswith("#") for value in inside)


def test_it_is_small_enough_to_send(page: str) -> None:
    assert len(page) < 3_000_000


def test_figure_1_shows_the_images_their_labels_and_what_the_network_saw(
    page: str, example: tuple[RunFolder, Path]
) -> None:
    shown = pictures(sections(page)["Figure 1: what it was trained on"])
    assert len(shown) == 3 * 4
    contents = gather(*example)
    assert contents.sampler is not None
    assert contents.data is not None
    place = contents.sampler.order(0)[0]
    raw = contents.data.training[place].image_CS
    tones = grey_range(raw)
    expected = tones.picture(raw, View.of(raw.shape))
    assert np.abs(shown[0].astype(int) - expected).mean() < 3  # JPEG
    tile = contents.sampler.sample(0, 0).image_CS
    expected = tones.normalized(contents.data.intensity).picture(tile, View.of(tile.shape))
    assert np.abs(shown[2].astype(int) - expected).mean() < 3


def test_figure_2_has_curves_of_losses_and_errors(page: str) -> None:
    drawn = charts(sections(page)["Figure 2: how training went"])
    assert len(drawn) == 2
    for chart in drawn:
        assert ElementTree.fromstring(chart).tag.endswith("svg")


def test_figure_3_shows_each_validation_image_in_four_ways(
    page: str, example: tuple[RunFolder, Path]
) -> None:
    markup = sections(page)["Figure 3: what the model says about validation images"]
    assert len(pictures(markup)) == 2 * 4
    for name in load_model(example[0].path).provenance["validation_images"]:
        assert name in text(markup)


def test_figure_4_shows_the_border_weights_with_a_scale(page: str) -> None:
    markup = sections(page)["Figure 4: what counts most"]
    assert len(pictures(markup)) == 2
    (bar,) = pictures(markup, "png")
    brightness = bar.astype(int).sum(axis=-1)[0]
    assert brightness[0] < 30
    assert brightness[-1] > 550


def test_the_scores_are_those_of_the_history_and_of_the_kept_model(
    page: str, example: tuple[RunFolder, Path]
) -> None:
    best = gather(*example).best
    assert best is not None
    scores = text(sections(page)["Scores on the validation images"])
    for measure in ("pixel_error", "iou", "rand_error", "loss"):
        assert f"{NAMES[measure]} {best[measure]:.4f}" in scores
    assert f"at step {best['step']}" in scores


def test_the_recipe_on_the_page_can_be_trained_with(
    page: str, example: tuple[RunFolder, Path], tmp_path: Path
) -> None:
    found = re.search(r"<pre><code>(.*?)</code>", sections(page)["Recipe"], re.DOTALL)
    assert found
    (tmp_path / "again.toml").write_text(html.unescape(found[1]), "utf-8")
    assert load_recipe(str(tmp_path / "again.toml")) == example[0].recipe()


def test_what_the_user_named_stays_text_and_commands_are_quoted(
    run: RunFolder, data: Path, tmp_path: Path
) -> None:
    nasty = tmp_path / "it's <i>mine</i> & $HOME"
    run = RunFolder(Path(shutil.move(run.path, nasty / "run <b>")))
    named = run.recipe().model_copy(update={"name": "<script>alert('x')</script>"})
    run.recipe_file.write_text(dump_recipe(named))
    moved = nasty / "data"
    shutil.copytree(data, moved)
    for part in ("images", "labels"):
        for file in list((moved / part).iterdir()):
            file.rename(file.with_name(f"<b>&{file.name}"))
    page = write_report(run, moved).read_text("utf-8")
    assert "<script" not in page
    assert "<b>&" not in page
    assert "<i>mine" not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in page
    commands = html.unescape(sections(page)["How to go on"])
    predict = next(line for line in commands.splitlines() if line.startswith("septum predict"))
    assert shlex.split(predict)[2] == str(run.path)
    resume = next(line for line in commands.splitlines() if line.startswith("septum train"))
    assert shlex.split(resume)[2] == str(moved)


def test_a_run_that_has_only_begun_is_reported(data: Path, tmp_path: Path, tiny: Recipe) -> None:
    run = RunFolder(tmp_path / "run")
    create_run(run, tiny)
    page = write_report(run).read_text("utf-8")
    assert "Nothing has been logged yet" in text(page)
    assert "No model has been kept yet" in text(page)
    assert list(sections(page)) == TITLES
    page = write_report(run, data).read_text("utf-8")
    assert len(pictures(sections(page)["Figure 1: what it was trained on"])) == 12
    run.append({"kind": "training", "step": 1, "epoch": 0.5, "loss": 0.7, "learning_rate": 0.001})
    page = write_report(run, data).read_text("utf-8")
    assert "step 1 of 4" in text(page)
    assert len(charts(sections(page)["Figure 2: how training went"])) == 1
    assert "--resume" in page


def test_without_the_data_the_page_says_so_and_keeps_the_rest(run: RunFolder, data: Path) -> None:
    with run.history_file.open("a") as file:
        file.write('{"kind": "trai')  # cut short by a crash
    model = load_model(run.path)
    gone = {**model.provenance, "data": str(run.path / "gone")}
    run.save_best(model.replace(provenance=gone))
    page = write_report(run).read_text("utf-8")
    assert "cannot be read any more" in text(page)
    assert not pictures(page)
    assert len(charts(page)) == 3
    assert "of pixels right" in text(page)
    here = {**model.provenance, "data": str(data)}
    run.save_best(model.replace(provenance=here))
    assert pictures(write_report(run).read_text("utf-8"))


def test_data_that_is_named_or_was_never_noted_must_be_found(
    run: RunFolder, tmp_path: Path
) -> None:
    run.report.unlink(missing_ok=True)
    with pytest.raises(InputError, match="nowhere"):
        write_report(run, tmp_path / "nowhere")
    model = load_model(run.path)
    unknown = {key: value for key, value in model.provenance.items() if key != "data"}
    run.save_best(model.replace(provenance=unknown))
    with pytest.raises(InputError, match=rf"septum report {run.path} DATA"):
        write_report(run)
    with pytest.raises(RunFolderError, match="holds no run"):
        write_report(RunFolder(tmp_path / "nowhere"))
    assert not run.report.exists()


def test_other_images_than_those_trained_on_are_said(run: RunFolder, tmp_path: Path) -> None:
    write_example_data(tmp_path / "other", "cells", count=8, size=64, seed=5)
    page = write_report(run, tmp_path / "other").read_text("utf-8")
    assert "are not those that this model was trained on" in text(page)


def test_of_many_images_few_are_predicted_and_the_worst_are_shown(
    run: RunFolder, tmp_path: Path
) -> None:
    write_example_data(tmp_path / "many", "cells", count=18, size=48, seed=5)
    toml = run.recipe_file.read_text()
    run.recipe_file.write_text(toml.replace("last = 2", "last = 15"))
    contents = gather(run, tmp_path / "many")
    assert len(contents.examined) == MOST_PREDICTED
    names = [item.target.name for item in contents.examined]
    assert {"03", "17"} < set(names)
    ious = [item.own["iou"] for item in contents.examined]
    assert ious == sorted(ious)
    assert ious[0] < ious[-1]
    page = write_report(run, tmp_path / "many").read_text("utf-8")
    shown = sections(page)[TITLES[3]]
    assert len(pictures(shown)) == 3 * 4
    assert all(f"{name}: " in text(shown) for name in names[:3])
    assert f"The 3 worst, by IoU, of the {MOST_PREDICTED} predicted here" in text(shown)
    assert f"{MOST_PREDICTED} of 15" in text(page)


def write_pair(folder: Path, name: str, image: np.ndarray, axes: str, labels: np.ndarray) -> None:
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    write_image(folder / "images" / f"{name}.tif", Image(image, axes))
    write_image(folder / "labels" / f"{name}.tif", Image(labels, axes.replace("C", "")))


def test_colour_images_with_three_classes(tmp_path: Path, tiny: Recipe) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        labels = np.zeros((24, 40), np.uint8)
        labels[4:14, 5:20], labels[8:20, 22:36] = 1, 2
        image = rng.integers(0, 255, (3, 24, 40)).astype(np.uint8)
        write_pair(tmp_path / "data", f"{number}", image, "CYX", labels)
    section = tiny.loss.model_copy(update={"border_weight": 0.0})
    recipe = tiny.model_copy(update={"loss": section})
    run = train(tmp_path / "data", tmp_path / "run", recipe, device="cpu")
    found = sections(write_report(run, tmp_path / "data").read_text("utf-8"))
    assert "class 2 (label value 2)" in text(found[TITLES[1]])
    assert "found, but as another class" in text(found[TITLES[3]])
    assert "no extra weight" in text(found[TITLES[4]])
    assert "likeliest class" in text(found[TITLES[6]])


def test_volumes_of_16_bits_show_their_central_plane(tmp_path: Path, tiny: Recipe) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        labels = np.zeros((12, 24, 24), np.uint8)
        labels[3:9, 6:18, 6:18] = 255
        image = rng.integers(0, 60_000, labels.shape).astype(np.uint16)
        write_pair(tmp_path / "data", f"{number}", image, "ZYX", labels)
    network = tiny.network.model_copy(update={"dimensions": 3, "depth": 1, "padding": "valid"})
    training = tiny.training.model_copy(update={"tile": 28, "steps": 2})
    recipe = tiny.model_copy(update={"network": network, "training": training})
    run = train(tmp_path / "data", tmp_path / "run", recipe, device="cpu")
    found = sections(write_report(run, tmp_path / "data").read_text("utf-8"))
    assert "the central plane is shown" in text(found[TITLES[1]])
    assert len(pictures(found[TITLES[3]])) % 4 == 0
    first = pictures(found[TITLES[3]])[0]
    assert first.shape[0] == first.shape[1] >= 24 * 8
