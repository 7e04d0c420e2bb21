"""What was seen becomes a recipe: the same each time, with a reason for each value."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from septum.annotation.labels import LabelMeaning
from septum.annotation.pairs import split_validation
from septum.errors import TileSizeError
from septum.model import network_footprint
from septum.recipe import Recipe, Validation, dump_recipe, load_recipe
from septum.survey.survey import Channel, Histogram, ImageFacts, ObjectFacts, Series, Spread, Survey
from septum.training.configuration import ALWAYS, Configuration, configure
from septum.training.loop import train

CHANNEL = Channel(
    {"0.1": 1, "1": 2, "50": 40, "99": 180, "99.8": 202}, 50.0, 20.0, Histogram((0, 1), (1,))
)


def image(name: str, extents: tuple[int, ...] = (512, 512), **changes: Any) -> ImageFacts:
    facts = ImageFacts(
        name, f"{name}.tif", f"{name}_labels.tif", "YX", extents, 1, "uint8", None, 2, 202, 0, 30,
        0.3, 0,
    )  # fmt: skip
    return dataclasses.replace(facts, **changes)


def objects(width: float = 30, near: float = 0.9, narrow: float = 3, pairs: int = 0) -> ObjectFacts:
    area = 3.14 / 4 * width**2
    return ObjectFacts(
        1000, 0, Spread(area / 2, area, 2 * area), Spread(0.7 * width, width, 1.4 * width), None,
        pairs, 0.2 * (pairs > 0), Spread(narrow, 2 * narrow, 3 * narrow), near, None,
    )  # fmt: skip


def survey(**changes: Any) -> Survey:
    """Thirty grey images of 512 × 512, their objects common and close, as default likes them."""
    seen = Survey(
        "data", 2, tuple(image(f"d{n:02d}") for n in range(30)), False, 8, (CHANNEL,),
        LabelMeaning("binary", (0, 255), shares=(0.25, 0.75)), "", {}, objects(), (), (), (),
    )  # fmt: skip
    return dataclasses.replace(seen, **changes)


def values(found: Configuration) -> dict[str, Any]:
    return {choice.key: choice.value for choice in found.choices}


def changed(found: Configuration) -> dict[str, Any]:
    """What differs from the recipe ``default``, but for what always does."""
    return {c.key: c.value for c in found.changed if c.key not in ALWAYS}


def numbered(share: float) -> LabelMeaning:
    return LabelMeaning("instances", (0, 1), shares=(1 - share, share))


def test_a_chosen_recipe_ends_by_itself_unless_the_user_says_otherwise() -> None:
    found = configure(survey())
    assert found.recipe.training.patience == 4
    assert found.recipe.training.validate_every * 10 == found.recipe.training.steps
    assert configure(survey(), ["training.patience=0"]).recipe.training.patience == 0
    short = configure(survey(), ["training.steps=40"]).recipe.training
    assert (short.steps, short.validate_every) == (40, 4)


def test_on_a_processor_it_begins_with_the_recipe_that_is_ahead_there() -> None:
    found = configure(survey(meaning=numbered(0.3)), device="cpu")
    assert found.recipe.network == load_recipe("quick").network
    assert found.describe()[0] == "chosen for this device: the recipe quick"
    usual = load_recipe("default").loss  # quick itself has no border weights
    pieces = values(configure(survey(), device="cpu"))
    assert pieces["loss.border_weight"] == usual.border_weight > 0
    assert pieces["loss.border_sigma"] == usual.border_sigma
    own = configure(survey(), ["loss.border_weight=0", "network.width=8"], device="cpu").recipe
    assert (own.loss.border_weight, own.network.width) == (0, 8)
    assert configure(survey()).recipe.network == load_recipe("default").network


def test_images_that_default_was_made_for_get_it() -> None:
    found = configure(survey())
    default = load_recipe("default", ["labels.kind=binary", "training.patience=4"])
    assert found.recipe.model_copy(update={"name": "default"}) == default
    assert found.describe() == ["chosen for this device: the recipe default"]
    assert all(choice.reason for choice in found.choices)
    assert found.advice == ()


def test_the_same_survey_gives_the_same_recipe_and_that_is_all_in_its_file(tmp_path: Path) -> None:
    seen = survey(bits=16, meaning=numbered(0.01), objects=objects(60, pairs=4))
    found = configure(seen, fits=lambda recipe, tiles: recipe.training.tile < 300)
    again = configure(seen, fits=lambda recipe, tiles: recipe.training.tile < 300)
    assert found == again
    text = dump_recipe(found.recipe, found.reasons)
    (tmp_path / "recipe.toml").write_text(text, "utf-8")
    assert load_recipe(str(tmp_path / "recipe.toml")) == found.recipe
    for choice in found.choices:
        line = next(
            line for line in text.splitlines() if line.startswith(f"{choice.key.split('.')[1]} = ")
            and choice.reason in line
        )  # fmt: skip
        assert "  # " in line


def test_the_file_says_where_it_began_and_what_was_given() -> None:
    found = configure(survey(), ["loss.border_sigma=4", "training.seed=3"], device="cpu")
    lines = dump_recipe(found.recipe, found.reasons).splitlines()
    assert lines[0] == 'name = "configured"  # for these images, from the recipe quick'
    assert "border_sigma = 4.0  # given" in lines
    assert "seed = 3  # given" in lines
    assert len([line for line in lines if line.endswith("# given")]) == 2


@pytest.mark.parametrize(
    ("extents", "width", "tile"),
    [
        ((512, 512), 30, 444),
        ((256, 256), 30, 444),  # 260 are predicted: all of an image
        ((128, 96), 30, 316),  # 132
        ((20, 20), 8, 204),  # 20; the smallest that batch normalisation can learn of
        ((2000, 2000), 200, 604),  # 420: 1.5 · 1.4 · 200
        ((2000, 2000), 900, 700),
        ((300, 300), 900, 492),  # an image has no more
    ],
)
def test_the_tile_suits_images_and_objects(
    extents: tuple[int, int], width: float, tile: int
) -> None:
    images = tuple(image(f"{n:02d}", extents) for n in range(30))
    found = configure(survey(images=images, objects=objects(width)))
    assert values(found)["training.tile"] == tile
    network_footprint(found.recipe.network).check(tile)


@pytest.mark.parametrize(
    ("width", "times"),  # 0.7 of the width: what 5 % of the objects are below
    [(10, 1), (30, 1), (45, 1), (46, 2), (60, 2), (69, 3), (92, 4), (500, 4)],
)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_large_objects_are_learnt_at_a_lower_resolution(
    width: float, times: int, device: str
) -> None:
    seen = survey(meaning=numbered(0.3), objects=objects(width))
    found = configure(seen, device=device)
    assert found.recipe.network.reduction == times
    inner = network_footprint(found.recipe.network).output_extent(found.recipe.training.tile)
    longest = max(image.extents[0] for image in seen.images)
    assert inner >= min(1.5 * width, longest)  # an object, and what is around it
    assert ("network.reduction" in changed(found)) == (times > 1)
    assert configure(seen, ["network.reduction=1"], device=device).recipe.network.reduction == 1
    # A tile that the user gives fits the network as it is, and may fit no other.
    own = configure(seen, ["training.tile=316"], device="cuda").recipe
    assert (own.training.tile, own.network.reduction) == (316, 1)
    tile = {"cpu": 512, "cuda": 508}[device]
    own = configure(seen, [f"prediction.tile={tile}"], device=device).recipe
    assert (own.prediction.tile, own.network.reduction) == (tile, 1)


def test_in_colour_each_channel_of_each_image_has_its_own_range() -> None:
    grey = configure(survey())
    assert values(grey)["intensity.scope"] == "set"
    seen = survey(channels=(CHANNEL,) * 3)
    found = configure(seen)
    assert values(found)["intensity.scope"] == "image"
    assert values(found)["intensity.method"] == "percentile"
    assert "lamps" in found.reasons["intensity.scope"]
    assert changed(found).keys() == changed(grey).keys() | {
        "intensity.scope",
        "intensity.method",
        "augment.brightness",
    }
    # What the user wants of the range decides how it is found, and in which unit it varies.
    alike = configure(seen, ["intensity.scope=set"])
    assert alike.recipe.intensity == grey.recipe.intensity
    assert alike.recipe.augment == grey.recipe.augment
    moments = configure(seen, ["intensity.method=zscore"]).recipe
    assert (moments.intensity.scope, moments.intensity.method) == ("image", "zscore")
    assert moments.augment == grey.recipe.augment
    assert values(configure(survey(channels=(CHANNEL,) * 2)))["intensity.scope"] == "set"


def test_a_step_is_as_much_work_at_a_lower_resolution() -> None:
    images = tuple(image(f"{n:02d}", (2000, 2000)) for n in range(30))
    work = {}
    for times in (1, 2, 4):
        seen = survey(meaning=numbered(0.3), objects=objects(30 * times), images=images)
        found = configure(seen, [f"network.reduction={times}"], device="cpu").recipe
        work[times] = found.training.batch * (found.training.tile / times) ** 2
    assert work[2] == work[4] == pytest.approx(work[1], rel=0.15)


@pytest.mark.parametrize(
    ("narrowest", "times"), [(None, 1), (7.0, 1), (15.9, 1), (16.0, 2), (24.5, 3), (90.0, 3)]
)
def test_wide_classes_are_learnt_at_a_lower_resolution(narrowest: float | None, times: int) -> None:
    three = LabelMeaning("classes", (0, 1, 2), shares=(0.7, 0.2, 0.1))
    wide = dataclasses.replace(objects(90), narrowest=narrowest)
    found = configure(survey(meaning=three, objects=wide), device="cpu")
    assert found.recipe.network.reduction == times
    kept = configure(survey(meaning=three, objects=wide), ["network.reduction=1"], device="cpu")
    assert kept.recipe.network.reduction == 1
    # The pieces of class 0 are not measured, which is no background here.
    full = LabelMeaning("classes", (1, 2, 3), shares=(0.7, 0.2, 0.1))
    found = configure(survey(meaning=full, objects=wide), device="cpu")
    assert found.recipe.network.reduction == 1


def test_of_foreground_and_of_volumes_no_pixels_are_put_together() -> None:
    assert configure(survey(objects=objects(90))).recipe.network.reduction == 1
    volumes = tuple(image(f"{n}", (60, 200, 200), axes="ZYX") for n in range(5))
    seen = survey(meaning=numbered(0.3), objects=objects(90), images=volumes, dimensions=3)
    assert configure(seen, ["network.dimensions=3"]).recipe.network.reduction == 1


@pytest.mark.parametrize("extents", [(20, 64, 64), (60, 90, 90), (20, 96, 80)])
def test_small_numbered_volumes_have_a_recipe(extents: tuple[int, int, int]) -> None:
    volumes = tuple(image(f"{n}", extents, axes="ZYX") for n in range(5))
    seen = survey(meaning=numbered(0.3), objects=objects(12), images=volumes, dimensions=3)
    found = configure(seen, ["network.dimensions=3"], device="cpu")
    assert found.recipe.training.batch == load_recipe("quick").training.batch
    network_footprint(found.recipe.network).check(found.recipe.training.tile)


def test_objects_that_the_network_cannot_see_whole_are_said() -> None:
    (said,) = configure(survey(objects=objects(200))).advice
    assert "wider than 200 pixels" in said
    (advised,) = re.findall(r"--set (network\.reduction=\d)", said)
    assert configure(survey(objects=objects(200)), [advised]).advice == ()
    assert "images reduced by" in configure(survey(objects=objects(2000))).advice[0]
    assert "narrower than 3.0 pixels" in configure(survey(objects=objects(3))).advice[0]
    assert configure(survey(objects=objects(60))).advice == ()


def test_what_may_be_the_background_is_said_with_what_swaps_it() -> None:
    mostly = LabelMeaning("binary", (0, 255), shares=(0.15, 0.85))
    assert "labels.object=zero" in configure(survey(meaning=mostly)).advice[0]
    swapped = dataclasses.replace(mostly, object="zero")
    assert configure(survey(meaning=swapped)).advice == ()


def test_slices_of_volumes_may_be_learnt_as_volumes() -> None:
    stack = tuple(image(f"v[{n}]", axes="ZYX") for n in range(9))
    assert "network.dimensions=3" in configure(survey(images=stack)).advice[0]
    assert configure(survey(images=stack), ["network.dimensions=3"]).advice == ()


def test_more_than_8_bits_go_by_percentiles() -> None:
    found = configure(survey(bits=12))
    assert changed(found) == {"intensity.method": "percentile", "augment.brightness": 0.02}
    # The deviation, 20, is a tenth of the range, 2 to 202; so then is what is added to it.
    assert found.recipe.augment.brightness == pytest.approx(0.2 * 20 / 200)
    assert values(configure(survey(bits=0)))["intensity.method"] == "percentile"


def test_many_small_tiles_show_more_images_than_few_large_ones() -> None:
    small = survey(meaning=numbered(0.3), objects=objects(20))
    found = values(configure(small, device="cpu"))
    assert (found["training.tile"], found["training.batch"]) == (128, 8)
    large = survey(meaning=numbered(0.3), objects=objects(60))
    found = values(configure(large, device="cpu"))
    assert (found["training.tile"], found["training.batch"]) == (256, 8)  # reduced by 2
    assert found["training.batch"] * (256 / 2) ** 2 == 2 * 256**2
    larger = survey(meaning=numbered(0.3), objects=objects(100))  # by 4: an image is a tile
    found = values(configure(larger, device="cpu"))
    assert (found["training.tile"], found["training.batch"]) == (512, 8)
    # Images that are smaller than the recipe's tile: as much work again, of more of them at once.
    tiny = tuple(image(f"{n}", (130, 160)) for n in range(30))
    found = values(configure(survey(meaning=numbered(0.3), images=tiny), device="cpu"))
    assert (found["training.tile"], found["training.batch"]) == (128, 8)
    cells = survey(meaning=numbered(0.3), images=tiny, objects=objects(60))  # reduced by 2
    found = values(configure(cells, device="cpu"))
    assert (found["training.tile"], found["training.batch"]) == (160, 8)
    specks = tuple(image(f"{n}", (40, 40)) for n in range(30))
    found = values(configure(survey(meaning=numbered(0.3), images=specks), device="cpu"))
    assert (found["training.tile"], found["training.batch"]) == (48, 8)
    # An unpadded network pays for the rim of each tile, and pieces of a mask may be of any size.
    assert "training.batch" not in values(configure(small))
    assert "training.batch" not in values(configure(survey(objects=objects(20)), device="cpu"))


def test_images_of_other_exposures_each_have_their_own_range() -> None:
    exposed = tuple(image(f"{n:02d}", low=n, high=n + 20 * (1 + n % 4)) for n in range(30))
    found = configure(survey(images=exposed))
    assert values(found)["intensity.scope"] == "image"
    assert values(found)["intensity.method"] == "percentile"
    assert "4 times" in found.reasons["intensity.scope"]
    alike = tuple(image(f"{n:02d}", low=n, high=n + 100 + n) for n in range(30))
    assert values(configure(survey(images=alike)))["intensity.scope"] == "set"
    # Images without an object are dim because nothing is in them.
    empty = tuple(image(f"e{n}", low=0, high=5, objects=0) for n in range(20))
    assert values(configure(survey(images=alike + empty)))["intensity.scope"] == "set"


def test_a_rare_class_is_weighted_and_rare_objects_are_sought() -> None:
    three = LabelMeaning("classes", (0, 1, 2), shares=(0.7, 0.29, 0.01))
    longer = {"training.steps": 4000, "training.validate_every": 400}
    assert changed(configure(survey(meaning=three))) == {
        "loss.class_weight": "balanced",
        "training.keep_best": "iou_error",
        **longer,
    }
    few = configure(survey(meaning=numbered(0.04)))
    seams = {
        "loss.border_weight": 10.0,
        "loss.border_sigma": 3.0,
        "training.keep_best": "object_error",
        **longer,
    }
    assert changed(few) == {"training.object_share": 0.5, **seams}
    assert "4.0 %" in few.reasons["training.object_share"]
    assert changed(configure(survey(meaning=numbered(0.06)))) == seams
    thin = LabelMeaning("binary", (0, 255), shares=(0.01, 0.99))
    assert changed(configure(survey(meaning=thin))) == {
        "loss.class_weight": "balanced",
        "training.keep_best": "iou_error",
    }
    assert (
        values(configure(survey(meaning=numbered(0.04)), ["augment.shift=false"]))[
            "training.object_share"
        ]
        == 0.0
    )


def test_the_best_model_of_numbered_objects_is_not_that_with_the_fewest_wrong_pixels() -> None:
    # Seams are few pixels: the share of wrong ones stays level while objects come apart.
    assert configure(survey(meaning=numbered(0.3))).recipe.training.keep_best == "object_error"
    assert configure(survey()).recipe.training.keep_best == "pixel_error"
    # Of a rare object a mask of nothing has few wrong pixels.
    rare = configure(survey(meaning=LabelMeaning("binary", (0, 255), shares=(0.95, 0.05))))
    assert rare.recipe.training.keep_best == "iou_error"
    assert "5.0 %" in rare.reasons["training.keep_best"]


def test_the_threshold_goes_by_walls_where_there_are_some_and_else_by_the_mask() -> None:
    assert configure(survey()).recipe.training.threshold == "auto"
    far = survey(objects=objects(near=0.01))
    assert configure(far).recipe.training.threshold == "iou"
    assert configure(far, ["training.threshold=rand"]).recipe.training.threshold == "rand"
    numbers = configure(dataclasses.replace(far, meaning=numbered(0.3)))
    assert numbers.recipe.training.threshold == "auto"
    three = LabelMeaning("classes", (0, 1, 2), shares=(0.4, 0.3, 0.3))
    assert configure(dataclasses.replace(far, meaning=three)).recipe.training.threshold == "auto"


def test_seams_between_numbered_objects_have_more_weight_than_membranes() -> None:
    usual, found = load_recipe("default").loss, values(configure(survey(meaning=numbered(0.3))))
    assert found["loss.border_weight"] > usual.border_weight
    assert found["loss.border_sigma"] > usual.border_sigma
    wide = survey(meaning=numbered(0.3), objects=objects(narrow=18))
    assert values(configure(wide))["loss.border_sigma"] == 5.0
    own = ["loss.border_weight=30", "loss.border_sigma=4"]
    kept = configure(survey(meaning=numbered(0.3)), own).recipe.loss
    assert (kept.border_weight, kept.border_sigma) == (30, 4)


def test_walls_have_weight_as_wide_as_they_are() -> None:
    assert changed(configure(survey(objects=objects(near=0.01)))) == {
        "loss.border_weight": 0.0,
        "training.threshold": "iou",
    }
    assert changed(configure(survey(objects=objects(near=0.01, pairs=3)))) == {}
    assert changed(configure(survey(objects=objects(narrow=4.5)))) == {"loss.border_sigma": 3.0}
    assert changed(configure(survey(objects=objects(narrow=18)))) == {"loss.border_sigma": 5.0}


def test_validation_holds_an_object() -> None:
    """Of 30 images without one but for two; the hash of the names keeps others."""
    drawn = {"d07", "d08"}
    images = tuple(
        dataclasses.replace(part, objects=30 * (part.name in drawn)) for part in survey().images
    )
    found = configure(survey(images=images))
    _, held = split_validation([part.name for part in images], found.recipe.validation)
    assert len(drawn & {images[index].name for index in held}) == 1
    assert len(held) > 1
    assert "which they have not" in found.reasons["validation.names"]
    one = tuple(dataclasses.replace(part, objects=30 * (part.name == "d07")) for part in images)
    assert "validation.names" not in values(configure(survey(images=one)))


@pytest.mark.parametrize(("count", "least"), [(2, 1), (5, 1), (7, 1), (8, 2), (12, 3), (30, 3)])
def test_of_few_images_one_alone_does_not_validate(count: int, least: int) -> None:
    """By the hash of these names a tenth of 12 would be one, and of 8 none."""
    names = [f"{n:02d}" for n in range(count)]
    found = configure(survey(images=tuple(image(name) for name in names)))
    learnt, held = split_validation(names, found.recipe.validation)
    assert least <= len(held) <= max(least, count // 4)
    assert len(learnt) >= count / 2
    share = values(found)["validation.fraction"]
    assert all(
        len(split_validation(names, Validation(fraction=0.1 * n))[1]) < least
        for n in range(1, round(10 * share))
    )


def test_more_images_get_more_steps_unless_the_time_is_given() -> None:
    def many(count: int) -> Survey:
        return survey(images=tuple(image(f"{n:04d}") for n in range(count)))

    assert values(configure(many(100)))["training.steps"] == 2500
    found = values(configure(many(200)))
    assert found["training.steps"] == 4750  # 12 · 200 · 512² / 260² / 2, to the next 250
    assert found["training.validate_every"] == 475
    assert values(configure(many(9000)))["training.steps"] == 10_000
    few = values(configure(dataclasses.replace(many(3), meaning=numbered(0.3))))
    assert (few["training.steps"], few["training.validate_every"]) == (4000, 400)
    short = configure(dataclasses.replace(many(3), meaning=numbered(0.3)), ["training.steps=9"])
    assert short.recipe.training.steps == 9
    planned = values(configure(many(200), hours=1.0))
    assert "training.steps" not in planned
    assert planned["training.validate_every"] == 0  # as often as the plan says
    assert "training.steps" not in values(configure(many(200), ["training.epochs=3"]))


def test_a_stack_keeps_a_block_for_validation_and_stacks_whole_stacks() -> None:
    def stack(name: str, count: int) -> tuple[ImageFacts, ...]:
        return tuple(image(f"{name}[{n:02d}]", image=f"{name}.tif") for n in range(count))

    def series(*stacks: tuple[ImageFacts, ...]) -> tuple[Series, ...]:
        return tuple(Series(s[0].image, tuple(i.name for i in s), 0.7) for s in stacks)

    one = stack("a", 30)
    assert changed(configure(survey(images=one, series=series(one)))) == {"validation.last": 3}
    parts = [stack(name, 10) for name in ("brain", "liver", "lung")]
    several = survey(images=sum(parts, ()), series=series(*parts))
    (held,) = values(configure(several))["validation.names"]
    assert held in ("brain", "liver", "lung")
    bare = tuple(dataclasses.replace(i, objects=30 * (i.whole[:5] != held)) for i in several.images)
    (other,) = values(configure(dataclasses.replace(several, images=bare)))["validation.names"]
    assert other != held
    kept = configure(several, ["validation.fraction=0.3"])
    assert not [key for key in values(kept) if key.startswith("validation.")]


@pytest.mark.parametrize(
    ("first", "beyond", "held"),
    [(0, 100, None), (30, 71, range(66, 76)), (92, 100, range(86, 96)), (3, 4, None),
     (95, 96, range(85, 95)), (97, 100, range(88, 98)), (40, 42, range(41, 51))],
)  # fmt: skip
def test_a_block_that_validates_has_objects_and_leaves_some(
    first: int, beyond: int, held: range | None
) -> None:
    """Objects are in slices ``first`` … ``beyond`` − 1 of 100; None: the last ten validate."""
    slices = tuple(
        image(f"a[{n:02d}]", image="a.tif", objects=30 * (first <= n < beyond)) for n in range(100)
    )
    row = Series("a.tif", tuple(part.name for part in slices), 0.7)
    found = configure(survey(images=slices, series=(row,)))
    if held is None:
        assert values(found)["validation.last"] == 10
        return
    assert values(found)["validation.names"] == tuple(f"a[{n:02d}]" for n in held)
    _, chosen = split_validation(survey(images=slices).names, found.recipe.validation)
    assert chosen == list(held)
    assert "leaves some" in found.reasons["validation.names"]


def test_one_image_too_small_to_be_divided_is_said_to_be_validated_on_as_well() -> None:
    small = dataclasses.replace(image("a"), extents=(100, 90))
    assert "one image only" in configure(survey(images=(small,))).advice[0]
    assert configure(survey(images=(image("a"),))).advice == ()


def test_what_the_user_gives_stays_and_the_rest_is_chosen_around_it() -> None:
    seen = survey(bits=16, meaning=numbered(0.01))
    changes = ["training.tile=320", "training.object_share=0.1", "network.depth=3"]
    found = configure(seen, [*changes, "network.padding=same"])
    assert found.recipe.training.object_share == 0.1
    kept = {"training.tile", "training.batch", "training.object_share"}
    assert not kept & values(found).keys()
    legal = configure(survey(bits=16), ["network.padding=same"])
    assert legal.recipe.training.tile == 448  # 444 is none for a padded network
    with pytest.raises(TileSizeError, match=r"training\.tile = 50 "):
        configure(seen, ["training.tile=50"])


def test_memory_takes_one_tile_at_a_time_and_then_smaller_ones() -> None:
    assert configure(survey(), fits=lambda recipe, tiles: True) == configure(survey())
    one = configure(survey(), fits=lambda recipe, tiles: tiles == 1)
    assert changed(one) == {"training.micro_batch": 1}
    small = configure(
        survey(), fits=lambda recipe, tiles: tiles == 1 and recipe.training.tile <= 320
    )
    assert changed(small) == {"training.micro_batch": 1, "training.tile": 316}
    held = configure(survey(), ["training.tile=444"], fits=lambda recipe, tiles: False)
    assert held.recipe.training.tile == 444


def test_volumes_get_a_network_that_fits() -> None:
    images = tuple(image(f"{n}", (60, 400, 400)) for n in range(4))
    found = configure(survey(images=images, dimensions=3), ["network.dimensions=3"])
    assert found.recipe.network.depth == 2
    assert found.recipe.training.tile == 100
    network_footprint(found.recipe.network).check(100)


def test_of_what_cannot_be_understood_the_recipe_is_default() -> None:
    found = configure(survey(meaning=None, objects=None), ["training.steps=7"])
    assert found.recipe == load_recipe("default", ["training.steps=7"])
    assert found.choices == ()


SMALL = [
    "network.width=2",
    "network.depth=1",
    "training.steps=2",
    "training.validate_every=2",
    "training.precision=float32",
]


def test_training_without_a_recipe_writes_its_choices_and_is_repeated_by_them(
    squares: Path, tmp_path: Path, assert_same_run: Callable[..., None], capsys: Any
) -> None:
    run = train(squares, tmp_path / "run", SMALL, device="cpu")
    said = capsys.readouterr().err
    assert "chosen for this device: the recipe quick" in said
    assert "chosen for these images: training.tile = 56" in said
    assert "recipe configured" in said
    recipe = run.recipe()
    assert recipe.labels.kind == "binary"
    assert recipe.training.tile == 56  # all of an image
    assert recipe.network.width == 2
    text = run.recipe_file.read_text("utf-8")
    assert "tile = 56  # predicts 56 pixels an axis" in text
    again = train(squares, tmp_path / "again", recipe, device="cpu")
    again.recipe_file.write_text(text, "utf-8")  # which has the reasons too
    assert_same_run(again, run)
    train(squares, run.path, resume=True, device="cpu")
    assert run.recipe_file.read_text("utf-8") == text


def test_a_recipe_that_is_given_is_not_touched(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("septum.training.loop.inspect_data", None)
    run = train(squares, tmp_path / "run", tiny("training.steps=2"))
    assert run.recipe() == tiny("training.steps=2")
    assert "#" not in run.recipe_file.read_text("utf-8")


@pytest.mark.slow
def test_the_stack_of_the_challenge_gets_default_but_for_its_validation(data_folder: Path) -> None:
    from septum.survey.examination import take_survey

    seen = take_survey(data_folder / "isbi2012-em", load_recipe("default"))
    assert changed(configure(seen)) == {"validation.last": 3}
