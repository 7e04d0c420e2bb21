"""Recipes: what they say, what they refuse, and the remedy that they name."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from septum.errors import RecipeError
from septum.model import network_footprint
from septum.recipe import (
    Network,
    Recipe,
    build_recipe,
    dump_recipe,
    load_recipe,
    read_reasons,
    recipe_names,
)


def test_the_recipes_that_come_along_are_these():
    assert recipe_names() == [
        *("blog-2018", "default", "fcn-8s", "paper-2015", "quick", "sliding-window")
    ]


@pytest.mark.parametrize("name", recipe_names())
def test_a_packaged_recipe_loads_under_its_own_name(name):
    assert load_recipe(name).name == name


@pytest.mark.parametrize("name", recipe_names())
def test_a_packaged_recipe_trains_on_tiles_that_its_network_takes(name):
    recipe = load_recipe(name)
    network_footprint(recipe.network).check(recipe.training.tile)


@pytest.mark.parametrize("name", recipe_names())
def test_a_dumped_recipe_loads_equal(tmp_path, name):
    changes = ['validation.names=["a b", "ä\\"c"]', "labels.ignore=7", "labels.object=3"]
    recipe = load_recipe(name, changes)
    (tmp_path / "r.toml").write_text(dump_recipe(recipe), "utf-8")
    assert load_recipe(str(tmp_path / "r.toml")) == recipe


def test_a_dumped_recipe_says_every_key_that_has_a_value():
    text = dump_recipe(load_recipe("paper-2015"))
    for section, values in load_recipe("paper-2015").model_dump().items():
        if isinstance(values, dict):
            assert f"[{section}]" in text
            assert all(f"\n{key} = " in text for key, value in values.items() if value is not None)


@given(st.text(max_size=30), st.floats(1e-12, 1e6), st.lists(st.text(max_size=9), max_size=3))
def test_any_text_and_number_survives_dumping(name, rate, names):
    tree = {
        "name": name,
        "training": {"epochs": 1, "learning_rate": rate},
        "validation": {"names": names},
    }
    recipe = build_recipe(tree)
    dumped = tomllib.loads(dump_recipe(recipe))
    assert dumped.pop("base") == "complete"  # nothing of another recipe gets into this one
    assert build_recipe(dumped) == recipe


def test_a_recipe_of_ones_own_is_filled_from_the_one_it_names(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('base = "quick"\n[training]\nlearning_rate = 0.5\n')
    quick, mine = load_recipe("quick").model_dump(), load_recipe(str(file)).model_dump()
    assert mine.pop("name") == "mine"
    assert quick.pop("name") == "quick"
    quick["training"]["learning_rate"] = 0.5
    assert mine == quick
    file.write_text("[network]\nwidth = 8\n")
    default = load_recipe("default", ["network.width=8"])
    assert load_recipe(str(file)) == default.model_copy(update={"name": "mine"})
    file.write_text('base = "quik"\n')
    with pytest.raises(RecipeError, match="did you mean 'quick'"):
        load_recipe(str(file))


def test_who_asks_for_epochs_gets_epochs(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[training]\nepochs = 7\n")
    for recipe in (load_recipe(str(file)), load_recipe("default", ["training.epochs=7"])):
        assert (recipe.training.epochs, recipe.training.steps) == (7, 0)
    both = load_recipe("default", ["training.epochs=7", "training.steps=9"])
    assert both.training.steps == 9


def test_the_papers_recipe_is_what_the_paper_says():
    recipe = load_recipe("paper-2015")
    network, augment, loss = recipe.network, recipe.augment, recipe.loss
    assert (network.width, network.depth, network.padding) == (64, 4, "valid")
    assert (network.normalization, network.up, network.head) == ("none", "convolution", "softmax")
    assert network.dropout > 0
    assert (augment.elastic_sigma, augment.elastic_grid) == (10, 3)
    assert (loss.kind, loss.border_weight, loss.border_sigma) == ("cross_entropy", 10, 5)
    assert loss.class_weight == "balanced"
    training = recipe.training
    assert (training.optimizer, training.momentum, training.batch) == ("sgd", 0.99, 1)


def test_the_blogs_recipe_is_what_the_blog_says():
    recipe = load_recipe("blog-2018")
    network, augment, training = recipe.network, recipe.augment, recipe.training
    assert (network.padding, network.normalization, network.head) == ("same", "batch", "sigmoid")
    assert (network.dropout, recipe.loss.border_weight) == (0, 0)
    assert augment.flip
    assert not augment.shift
    assert (augment.rotation, augment.elastic_sigma, augment.brightness) == (0, 0, 0)
    assert (augment.contrast, augment.gamma, augment.noise) == (0, 0, 0)
    assert (training.learning_rate, training.momentum, training.weight_decay) == (0.01, 0.99, 5e-4)
    assert (training.epochs, training.step_epochs, training.step_factor) == (60, 30, 0.1)
    assert (training.batch, training.tile, recipe.validation.last) == (1, 512, 2)


def test_the_baselines_recipes_are_what_was_published():
    fcn, window = load_recipe("fcn-8s").network, load_recipe("sliding-window").network
    assert (fcn.architecture, fcn.width, fcn.dropout) == ("fcn-8s", 64, 0.5)
    assert (window.architecture, window.width, window.patch) == ("sliding-window", 48, 95)
    assert window.dropout == 0
    assert load_recipe("sliding-window").training.tile == window.patch
    for name in ("fcn-8s", "sliding-window"):
        loss = load_recipe(name).loss
        assert (loss.kind, loss.border_weight) == ("cross_entropy", 0)


@pytest.mark.parametrize("architecture", ["fcn-8s", "sliding-window"])
def test_what_is_left_out_is_as_the_architecture_has_it(tmp_path, architecture):
    """In Python, and in a recipe of one's own without a base."""
    published = load_recipe(architecture).network
    assert Network(architecture=architecture) == published
    file = tmp_path / "mine.toml"
    file.write_text(f'base = "complete"\n[network]\narchitecture = "{architecture}"\n')
    assert load_recipe(str(file)).network == published
    file.write_text(dump_recipe(load_recipe(str(file))))
    assert load_recipe(str(file)).network == published


def test_a_recipe_from_before_there_were_architectures_is_of_a_unet():
    tree = load_recipe("paper-2015").model_dump()
    for key in ("architecture", "patch"):
        del tree["network"][key]
    assert build_recipe(tree) == load_recipe("paper-2015")


@pytest.mark.parametrize(
    ("recipe", "change", "mended"),
    [
        ("quick", "network.patch=65", "network.patch=95, or begin with --recipe sliding-window"),
        ("fcn-8s", "network.dimensions=3", "network.dimensions=2, or begin with --recipe fcn-8s"),
        ("fcn-8s", "network.depth=4", "network.depth=5"),
        ("fcn-8s", "network.padding=valid", "network.padding=same"),
        ("fcn-8s", "network.normalization=batch", "network.normalization=none"),
        ("fcn-8s", "network.up=convolution", "network.up=linear"),
        ("fcn-8s", "network.patch=65", "network.patch=95"),
        ("sliding-window", "network.dimensions=3", "network.dimensions=2"),
        ("sliding-window", "network.depth=5", "network.depth=4"),
        ("sliding-window", "network.padding=same", "network.padding=valid"),
        ("sliding-window", "network.normalization=batch", "network.normalization=none"),
        ("sliding-window", "network.up=linear", "network.up=convolution"),
    ],
)
def test_what_an_architecture_does_not_have_is_refused_with_what_it_has(recipe, change, mended):
    key, value = change.removeprefix("network.").split("=")
    with pytest.raises(RecipeError, match=rf"{key} = '?{value}'? cannot be had") as refused:
        load_recipe(recipe, [change])
    assert f"--set {mended}" in str(refused.value)
    assert "\n" not in str(refused.value)
    setting = re.search(r"--set (network\.\w+=\w+)", str(refused.value))
    assert load_recipe(recipe, [change, setting[1]]) == load_recipe(recipe)


def test_another_architecture_in_a_recipe_of_a_unet_names_all_that_does_not_fit():
    with pytest.raises(RecipeError) as refused:
        load_recipe("quick", ["network.architecture=fcn-8s"])
    settings = re.findall(r"--set (\S+?),? ", str(refused.value) + " ")
    assert "or begin with --recipe fcn-8s" in str(refused.value)
    mended = load_recipe("quick", ["network.architecture=fcn-8s", *settings])
    assert mended.network.architecture == "fcn-8s"
    with pytest.raises(RecipeError, match=r"network\.architecture.*given: 'vgg'"):
        load_recipe("quick", ["network.architecture=vgg"])


def test_width_dropout_and_patch_can_be_chosen():
    changes = ["network.width=2", "network.dropout=0.25"]
    assert load_recipe("fcn-8s", changes).network.dropout == 0.25
    window = load_recipe("sliding-window", [*changes, "network.patch=65"]).network
    assert (window.width, window.dropout, window.patch) == (2, 0.25, 65)
    assert network_footprint(window).minimum == 65


@pytest.mark.parametrize(
    ("change", "section", "key", "value"),
    [
        ("training.steps=20", "training", "steps", 20),
        ("training.learning_rate=1e-3", "training", "learning_rate", 0.001),
        ("augment.flip=false", "augment", "flip", False),
        ("network.padding=same", "network", "padding", "same"),
        ('network.padding="same"', "network", "padding", "same"),
        (" network.padding = same ", "network", "padding", "same"),
        ('validation.names=["a", "b"]', "validation", "names", ("a", "b")),
        ("labels.object=zero", "labels", "object", "zero"),
        ("labels.object=255", "labels", "object", 255),
        ("labels.ignore=0", "labels", "ignore", 0),
    ],
)
def test_a_change_is_toml_and_a_bare_word_is_a_string(change, section, key, value):
    changed = getattr(getattr(load_recipe("quick", [change]), section), key)
    assert changed == value
    assert type(changed) is type(value)


def test_later_changes_win_and_others_stay():
    recipe = load_recipe("quick", ["training.batch=3", "name=mine", "training.batch=4"])
    assert (recipe.training.batch, recipe.name) == (4, "mine")
    assert recipe.training.tile == load_recipe("quick").training.tile


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.stepz=3", r"unknown key 'training\.stepz'; did you mean 'training\.steps'\?"),
        ("trainng.steps=3", r"unknown key 'trainng\.steps'; did you mean 'training\.steps'\?"),
        ("optimizer.learning_rate=3", r"did you mean 'training\.learning_rate'\?"),
        ("learning_rate=3", r"unknown key 'learning_rate'; did you mean 'training\.learning_rate'"),
        ("network.depht=3", r"did you mean 'network\.depth'"),
        ("loss.w0=3", r"unknown key 'loss\.w0'"),
        ("qqq=3", "sections: labels, validation, intensity, augment, network"),
        ("network.depth=9", r"network\.depth.*8.*given: 9"),
        ("network.depth=deep", r"network\.depth.*given: 'deep'"),
        ("augment.rotation=181", r"augment\.rotation.*180.*given: 181"),
        ("training.momentum=1", r"training\.momentum.*given: 1"),
        ("training.learning_rate=nan", r"training\.learning_rate.*given: nan"),
        ("network.padding=full", r"network\.padding.*'valid' or 'same'.*given: 'full'"),
        ("prediction.orientations=4", r"prediction\.orientations.*1 or 8.*given: 4"),
        ("training.steps=2.5", r"training\.steps.*given: 2\.5"),
        ("training.steps", r"--set training\.steps: expected section\.key=value"),
        ("=3", r"expected section\.key=value"),
        ("name.x=3", "'name' is a value, not a section"),
        ("training=3", r"training.*given: 3"),
    ],
)
def test_what_is_wrong_is_named_with_its_key_and_value(change, message):
    with pytest.raises(RecipeError, match=message) as refused:
        load_recipe("quick", [change])
    assert "\n" not in str(refused.value)


def test_of_several_changes_the_one_that_is_wrong_is_named(tmp_path):
    with pytest.raises(RecipeError) as refused:
        load_recipe("quick", ["training.steps=9", "training.tile=-4", "training.seed=1"])
    assert str(refused.value).startswith("--set training.tile=-4: training.tile: ")
    # What is wrong with two of them together is in neither, and is said of the recipe.
    with pytest.raises(RecipeError, match=r"^quick: training: training\.steps or"):
        load_recipe("quick", ["training.epochs=0", "training.steps=0"])
    path = tmp_path / "own.toml"
    path.write_text("[training]\ntile = -4\n", "utf-8")
    with pytest.raises(RecipeError, match=r"own\.toml: training\.tile"):
        load_recipe(str(path))


def test_a_recipe_that_never_ends_is_refused():
    with pytest.raises(RecipeError, match=r"training\.steps or training\.epochs"):
        load_recipe("quick", ["training.steps=0"])


@pytest.mark.parametrize(
    "changes", [["validation.folds=1"], ["validation.folds=3", "validation.fold=3"]]
)
def test_a_fold_that_does_not_exist_is_refused(changes):
    with pytest.raises(RecipeError, match="does not exist"):
        load_recipe("quick", changes)


@pytest.mark.parametrize(
    ("name", "nearest"), [("paper-2105", "paper-2015"), ("defualt", "default"), ("quik", "quick")]
)
def test_an_unknown_recipe_name_offers_the_nearest_and_all(name, nearest):
    with pytest.raises(RecipeError, match=f"did you mean '{nearest}'") as refused:
        load_recipe(name)
    assert all(known in str(refused.value) for known in recipe_names())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, r"no such recipe file; known by name: .*quick"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[training\nsteps=3", "not valid TOML"),
        (b"[training]\nsteps = -1", r"training\.steps.*given: -1"),
    ],
)
def test_a_recipe_file_that_cannot_be_used_is_named(tmp_path, content, reason):
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=reason) as refused:
        load_recipe(str(path))
    assert "mine.toml" in str(refused.value)


def test_a_recipe_cannot_be_changed_once_built():
    recipe = Recipe()
    with pytest.raises(ValidationError, match="frozen"):
        recipe.training.steps = 5
    with pytest.raises(ValidationError, match="frozen"):
        recipe.name = "other"


def test_float16_is_refused_with_what_there_is():
    """On a processor a 4096³ product in float16 takes minutes; bfloat16 has float32's range."""
    with pytest.raises(RecipeError, match="precision") as refused:
        load_recipe("quick", ["training.precision=float16"])
    assert "bfloat16" in str(refused.value)
    assert "float32" in str(refused.value)


def test_reasons_are_read_as_they_were_written(tmp_path):
    changes = ['labels.names=["cells  # mine", "b"]', "training.seed=3"]
    recipe = load_recipe("quick", changes)
    reasons = {
        "name": "for these images",
        "labels.names": 'said so: "# 1"',
        "training.tile": "shows objects (50 pixels at 95 %) and what is around them",
    }
    (tmp_path / "r.toml").write_text(dump_recipe(recipe, reasons), "utf-8")
    assert load_recipe(str(tmp_path / "r.toml")) == recipe
    assert read_reasons(tmp_path / "r.toml") == reasons
    text = (tmp_path / "r.toml").read_text("utf-8").replace("[training]", "[training]  # mine")
    (tmp_path / "r.toml").write_text(text, "utf-8")
    assert read_reasons(tmp_path / "r.toml") == reasons
    (tmp_path / "r.toml").write_text(dump_recipe(recipe), "utf-8")
    assert read_reasons(tmp_path / "r.toml") == {}
