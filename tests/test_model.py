"""The model file: everything in it comes back, and nothing else is taken for one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from full_disk import FullDisk
from septum.annotation.labels import LabelMeaning
from septum.errors import ModelFileError, SaveError
from septum.images.intensity_range import IntensityRange
from septum.model import FORMAT_VERSION, Model, build_network, load_model, save_model
from septum.recipe import Network, Recipe, Training


def random_model(seed=0, **network):
    torch.manual_seed(seed)
    unet = {"width": 3, "depth": 2, "normalization": "batch"}
    section = Network(**(network if "architecture" in network else unet | network))
    network = build_network(section, 2, 3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return Model(
        network=network.eval(),
        recipe=Recipe(name="mine", network=section, training=Training(epochs=3)),
        meaning=LabelMeaning("classes", (0, 128, 255), shares=(0.5, 0.25, 0.25), ignore=(7,)),
        intensity=IntensityRange((0.1, 1 / 3), (2.5, 1e-7)),
        channels=2,
        threshold=0.4321,
        pixel_size=(0.25, 0.5),
        provenance={"step": 12, "names": ["ä", "b"]},
    )


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_loaded_model_computes_the_same_and_says_the_same(tmp_path, dimensions):
    model = random_model(dimensions=dimensions, padding="same")
    save_model(tmp_path / "m.safetensors", model)
    loaded = load_model(tmp_path / "m.safetensors")
    image = torch.randn(1, 2, *(8,) * dimensions)
    assert torch.equal(loaded.network(image), model.network(image))
    assert not loaded.network.training
    for field in dataclasses.fields(Model):
        if field.name != "network":
            assert getattr(loaded, field.name) == getattr(model, field.name), field.name
    assert loaded.classes == 3


@pytest.mark.parametrize(
    ("network", "extent"),
    [
        ({"architecture": "fcn-8s", "width": 2}, 64),
        ({"architecture": "sliding-window", "width": 3}, 99),
        ({"architecture": "sliding-window", "width": 3, "patch": 65}, 65),
    ],
)
def test_a_loaded_baseline_computes_the_same(tmp_path, network, extent):
    model = random_model(**network)
    save_model(tmp_path / "m.safetensors", model)
    loaded = load_model(tmp_path / "m.safetensors")
    image = torch.randn(1, 2, extent, extent)
    assert type(loaded.network) is type(model.network)
    assert torch.equal(loaded.network(image), model.network(image))
    assert loaded.recipe == model.recipe


def test_a_model_from_before_there_were_architectures_is_a_unet(saved):
    def forget(header):
        for key in ("architecture", "patch"):
            del header["recipe"]["network"][key]
        return header

    image = torch.randn(1, 2, 60, 60)
    expected = load_model(saved).network(image)
    rewrite(saved, forget)
    assert torch.equal(load_model(saved).network(image), expected)


def test_a_network_in_channels_last_order_is_saved_and_loaded_unchanged(tmp_path):
    model = random_model()
    image = torch.randn(1, 2, 60, 60)
    expected = model.network(image)
    model.network.to(memory_format=torch.channels_last)
    save_model(tmp_path / "m.safetensors", model)
    torch.testing.assert_close(load_model(tmp_path / "m.safetensors").network(image), expected)


def test_saving_a_loaded_model_gives_the_same_file_byte_for_byte(tmp_path):
    save_model(tmp_path / "a.safetensors", random_model())
    save_model(tmp_path / "b.safetensors", load_model(tmp_path / "a.safetensors"))
    first, second = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "ab")
    assert first == second


def test_a_folder_stands_for_the_model_in_it(tmp_path):
    save_model(tmp_path / "model.safetensors", random_model())
    assert load_model(tmp_path).recipe.name == "mine"


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, random_model())
    return path


def rewrite(path: Path, change) -> None:
    """Change the header of a model file."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["septum"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata={"septum": json.dumps(change(header))})


def as_other_program(path):
    save_file({"weight": torch.zeros(3)}, path, metadata={"format": "pt"})


def as_pickle(path):
    torch.save({"weight": torch.zeros(3)}, path)


REFUSED = {
    "a missing file": (lambda path: path.unlink(), "no such model file"),
    "an empty file": (lambda path: path.write_bytes(b""), "not a model of septum"),
    "a text": (lambda path: path.write_text("weights: none\n" * 50), "not a model of septum"),
    "a file of another program": (as_other_program, "another program"),
    "a pickle": (as_pickle, "not a model of septum"),
    "a file cut short": (
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        "not a model of septum",
    ),
    "a header cut short": (
        lambda path: path.write_bytes(path.read_bytes()[:300]),
        "not a model of septum",
    ),
    "a future format": (
        lambda path: rewrite(path, lambda header: header | {"format_version": FORMAT_VERSION + 1}),
        f"model format {FORMAT_VERSION + 1}, this septum reads format {FORMAT_VERSION}",
    ),
    "a header without a version": (lambda path: rewrite(path, lambda _: {}), "damaged"),
    "a header that is a list": (lambda path: rewrite(path, lambda _: [1]), "damaged"),
    "weights of another network": (
        lambda path: rewrite(
            path,
            lambda header: (
                header | {"recipe": header["recipe"] | {"network": {"width": 5, "depth": 2}}}
            ),
        ),
        "does not fit its weights",
    ),
    "a recipe with a key not known here": (
        lambda path: rewrite(
            path, lambda header: header | {"recipe": header["recipe"] | {"colour": 1}}
        ),
        "unknown key",
    ),
    "an impossible intensity range": (
        lambda path: rewrite(
            path, lambda header: header | {"intensity": {"offset": [0, 0], "scale": [0, 1]}}
        ),
        "does not fit",
    ),
    "a header without its meaning": (
        lambda path: rewrite(path, lambda header: header | {"meaning": None}),
        "does not fit",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_a_model_is_refused_by_name_and_reason(saved, what):
    spoil, reason = REFUSED[what]
    spoil(saved)
    with pytest.raises(ModelFileError, match=reason) as refused:
        load_model(saved)
    assert str(saved) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_without_a_model_is_refused_with_what_would_make_one(tmp_path):
    with pytest.raises(ModelFileError, match=r"no model\.safetensors.*septum train"):
        load_model(tmp_path)


def test_no_code_of_a_pickle_is_ever_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save(Trap(), tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError):
        load_model(tmp_path / "m.safetensors")
    assert not (tmp_path / "sprung").exists()


def test_a_full_disk_leaves_the_earlier_model_and_no_other_file(saved, monkeypatch):
    before = saved.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode: FullDisk(path, "w"))
        with pytest.raises(SaveError, match=r"m\.safetensors.*No space left"):
            save_model(saved, random_model(1))
    assert saved.read_bytes() == before
    assert [item.name for item in saved.parent.iterdir()] == [saved.name]


def test_how_objects_are_told_apart_comes_back_and_older_files_say_nothing_of_it(tmp_path):
    path = tmp_path / "model.safetensors"
    model = random_model().replace(threshold=0.4, seeds=0.7, minimum=12, fill=34)
    save_model(path, model)
    again = load_model(path)
    assert (again.threshold, again.seeds, again.minimum, again.fill) == (0.4, 0.7, 12, 34)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["septum"])
    del header["seeds"], header["minimum"], header["fill"]
    for key in ("class_names", "seams", "known_values", "stray_pixels"):
        del header["meaning"][key]
    header["meaning"]["ignore"] = 7  # one value, or null
    save_file(tensors, path, {"septum": json.dumps(header)})
    older = load_model(path)
    assert (older.seeds, older.minimum, older.fill) == (None, 0, 0)
    assert older.meaning.titles == ("class 0", "class 1", "class 2")
    assert older.meaning.seams
    assert older.meaning.ignore == (7,)
