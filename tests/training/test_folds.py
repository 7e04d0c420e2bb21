"""Folds: each image validates once, and the joined model is the mean of all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from septum.annotation.pairs import split_validation
from septum.errors import AnnotationError, Interrupted, RecipeError, RunFolderError
from septum.images.files import read_image, write_image
from septum.images.image import Image
from septum.model import Model, load_model
from septum.prediction.overlap_tile import predict_maps, predict_probabilities, prepare
from septum.recipe import Recipe, Validation, read_reasons
from septum.training.folds import fold_of, join_folds, train_folds
from septum.training.loop import train
from septum.training.run_folder import RunFolder

SHORT = ("validation.last=0", "training.steps=4", "training.threshold=rand")


def member_of(model: Model, number: int) -> Model:
    member = model.members[number]
    return model.replace(network=member.network, intensity=member.intensity, others=())


@pytest.fixture(scope="module")
def three(
    tmp_path_factory: pytest.TempPathFactory, squares: Path, tiny: Callable[..., Recipe]
) -> Path:
    """Three folds of four images."""
    out = tmp_path_factory.mktemp("folds") / "run"
    train_folds(squares, out, 3, tiny(*SHORT))
    return out


def test_each_image_is_validated_on_once_by_a_model_that_has_not_seen_it(three: Path) -> None:
    held: list[str] = []
    for number in range(3):
        about = load_model(fold_of(three, number).best).provenance
        assert set(about["training_images"]).isdisjoint(about["validation_images"])
        assert len(about["training_images"]) + len(about["validation_images"]) == 4
        held += about["validation_images"]
    assert sorted(held) == [f"square{number}" for number in range(4)]
    recipes = [fold_of(three, number).recipe() for number in range(3)]
    assert [recipe.validation.fold for recipe in recipes] == [0, 1, 2]
    alike = {recipe.model_copy(update={"validation": recipes[0].validation}) for recipe in recipes}
    assert len(alike) == 1


def test_each_fold_says_why_its_recipe_is_so_also_when_it_goes_on_with_more_steps(
    squares: Path, tmp_path: Path
) -> None:
    short = ["network.width=2", "network.depth=1", "training.tile=32", "training.steps=2"]
    train_folds(squares, tmp_path / "run", 2, short, device="cpu")
    runs = [fold_of(tmp_path / "run", number) for number in range(2)]
    told = [read_reasons(run.recipe_file) for run in runs]
    assert told[0] == told[1]
    assert told[0]["training.steps"] == "given"
    assert told[0]["labels.kind"].startswith("taken for binary")
    train_folds(squares, tmp_path / "run", 2, ["training.steps=3"], resume=True, device="cpu")
    assert [run.recipe().training.steps for run in runs] == [3, 3]
    assert [read_reasons(run.recipe_file) for run in runs] == told


def test_the_joined_model_predicts_the_mean_of_all_and_how_far_they_disagree(
    three: Path, squares: Path
) -> None:
    joined = load_model(three)
    image_CYX = read_image(squares / "images" / "square1.png").array[None]
    each = []
    for number in range(3):
        fold = load_model(fold_of(three, number).best)
        assert torch.equal(
            next(joined.members[number].network.parameters()), next(fold.network.parameters())
        )
        assert joined.members[number].intensity == fold.intensity
        each.append(predict_probabilities(prepare(fold), image_CYX))
    assert len({member.intensity for member in joined.members}) > 1  # or it would not matter
    predictor = prepare(joined)
    map_KYX = predict_maps(predictor, image_CYX)
    np.testing.assert_allclose(map_KYX[:2], np.mean(each, 0), atol=1e-6)
    np.testing.assert_allclose(map_KYX[2], np.std(each, 0).max(0), atol=1e-6)
    assert map_KYX[2].max() > 0.01
    np.testing.assert_array_equal(predict_probabilities(predictor, image_CYX), map_KYX[:2])


@pytest.mark.parametrize("orientations", [1, 8])
def test_tiles_of_the_mean_and_of_the_uncertainty_are_those_of_the_whole(
    three: Path, squares: Path, orientations: Any
) -> None:
    joined = load_model(three)
    image_CYX = read_image(squares / "images" / "square2.png").array[None]
    footprint = joined.network.footprint
    small = footprint.extent_for_core(2 * footprint.stride)
    whole = predict_maps(prepare(joined, orientations=orientations), image_CYX)
    tiled = predict_maps(prepare(joined, orientations=orientations, tile=small), image_CYX)
    np.testing.assert_array_equal(tiled, whole)


def test_of_several_classes_the_uncertainty_is_that_of_the_class_where_it_is_largest(
    three: Path,
) -> None:
    predictor = prepare(load_model(three))
    given = iter([np.array([0.2, 0.5, 0.3]), np.array([0.2, 0.3, 0.5]), np.array([0.2, 0.1, 0.7])])
    maps = [torch.tensor(value, dtype=torch.float32).reshape(1, 3, 1, 1) for value in given]
    object.__setattr__(predictor, "_oriented", lambda network, part, keep: maps.pop(0))
    window = torch.zeros(1, 3, 1, 1)
    found = predictor.probabilities(window, [(0, 1), (0, 1)])
    expected = [0.2, 0.3, 0.5, np.std([0.5, 0.3, 0.1])]
    np.testing.assert_allclose(found.flatten(), expected, atol=1e-7)


def test_a_run_stopped_in_a_fold_goes_on_and_ends_as_one_that_was_not(
    three: Path,
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    interrupt_after: Callable[[int | None], None],
    contents: Callable[[Path], dict[str, bytes]],
) -> None:
    out, said = tmp_path / "run", []
    first = train(squares, fold_of(out, 0).path, fold_of(three, 0).recipe())
    interrupt_after(3)
    with pytest.raises(Interrupted, match=r"fold 2 of 3.*--folds 3 --resume"):
        train_folds(squares, out, 3, resume=True, say=said.append)
    assert said[0] == "fold 1 of 3: done before"
    interrupt_after(None)
    before = contents(first.path)
    reported: list[RunFolder] = []  # the first fold's as well, which has no report yet
    train_folds(squares, out, 3, resume=True, done=reported.append)
    assert reported == [fold_of(out, number) for number in range(3)]
    assert contents(first.path) == before
    joined, expected = load_model(out), load_model(three)
    assert joined.threshold == expected.threshold
    for one, other in zip(joined.members, expected.members, strict=True):
        assert one.intensity == other.intensity
        for name, value in one.network.state_dict().items():
            assert torch.equal(value, other.network.state_dict()[name]), name


def test_a_fold_that_validates_on_no_object_is_said(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    data, said = tmp_path / "data", []
    shutil.copytree(squares, data)
    names = [f"square{number}" for number in range(4)]
    _, held = split_validation(names, Validation(folds=2, fold=1))
    for index in held:
        path = data / "labels" / f"{names[index]}.png"
        write_image(path, Image(np.zeros_like(read_image(path).array), "YX"))
    train_folds(data, tmp_path / "run", 2, tiny(*SHORT, "training.steps=2"), say=said.append)
    (line,) = [line for line in said if "no object" in line]
    assert line.startswith("septum: fold 2 of 2: no object in its validation images")


def test_folds_stopped_on_the_way_to_more_steps_all_come_to_them(
    three: Path, squares: Path, tmp_path: Path, interrupt_after: Callable[[int | None], None]
) -> None:
    """A fold that once came to its end, and was stopped on the way to a later one, is not done."""
    out = tmp_path / "run"
    shutil.copytree(three, out)
    more = fold_of(out, 0).recipe().training.steps + 6
    interrupt_after(more - 3)
    with pytest.raises(Interrupted, match=r"fold 1 of 3.* --folds 3 --resume$"):
        train_folds(squares, out, 3, [f"training.steps={more}"], resume=True)
    interrupt_after(None)
    said: list[str] = []
    train_folds(squares, out, 3, resume=True, say=said.append)  # the others as the first
    assert not [line for line in said if "done before" in line]
    assert [fold_of(out, n).history()[-1]["step"] for n in range(3)] == [more] * 3


def test_all_folds_go_on_with_more_steps_and_with_nothing_else(
    three: Path, squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(three, out)
    steps = fold_of(out, 0).recipe().training.steps
    with pytest.raises(RunFolderError, match=r"fold-0: was trained with loss\.border_weight"):
        train_folds(squares, out, 3, ["loss.border_weight=7"], resume=True)
    assert load_model(out).provenance["scores"] == load_model(three).provenance["scores"]
    train_folds(squares, out, 3, [f"training.steps={steps + 2}"], resume=True)
    for number in range(3):
        run = fold_of(out, number)
        assert run.recipe().training.steps == steps + 2
        assert run.history()[-1]["step"] == steps + 2
        assert run.recipe().validation == fold_of(three, number).recipe().validation
    done = [f"fold {number} of 3: done before" for number in (1, 2, 3)]
    whole = tiny(*SHORT, f"training.steps={steps + 2}")
    for same in (["training.batch=2"], whole):
        said: list[str] = []
        train_folds(squares, out, 3, same, resume=True, say=said.append)
        assert [line for line in said if "done before" in line] == done


def test_the_threshold_is_chosen_on_images_that_each_model_has_not_seen(
    three: Path, squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from septum.training import separation_choice

    shown = []

    def choose(predictors: Any, targets: Any, walls: bool) -> float:
        shown.extend(zip(predictors, [target.name for target in targets], strict=True))
        return 0.7

    monkeypatch.setattr(separation_choice, "choose_threshold", choose)
    runs = [fold_of(three, number) for number in range(3)]
    assert join_folds(squares, runs, "cpu").threshold == 0.7
    assert sorted(name for _, name in shown) == [f"square{number}" for number in range(4)]
    for predictor, name in shown:
        (own,) = [run for run in runs if load_model(run.best).intensity == predictor.intensities[0]]
        assert name in load_model(own.best).provenance["validation_images"]


def test_scores_are_the_means_over_the_folds(three: Path) -> None:
    about = load_model(three).provenance
    each = [load_model(fold_of(three, n).best).provenance["scores"]["iou"] for n in range(3)]
    assert [scores["iou"] for scores in about["scores_of_folds"]] == each
    assert about["scores"]["iou"] == pytest.approx(np.mean(each))


@pytest.mark.parametrize(
    ("count", "changes", "resume", "error", "words"),
    [
        (1, (), False, RecipeError, "two or more"),
        (5, (), False, AnnotationError, "at most 4"),
        (3, ("validation.last=1",), False, RecipeError, "leave the validation out"),
    ],
)
def test_what_cannot_be_divided_is_refused_before_a_folder_is_made(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    count: int,
    changes: tuple[str, ...],
    resume: bool,
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        train_folds(squares, tmp_path / "run", count, tiny(*SHORT, *changes), resume=resume)
    assert not (tmp_path / "run").exists()


def test_changes_of_the_validation_are_refused(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--set validation\.last=2"):
        train_folds(squares, tmp_path / "run", 3, ["validation.last=2"])


def test_one_image_has_no_folds(
    tmp_path: Path, write_squares: Callable[..., Path], tiny: Callable[..., Recipe]
) -> None:
    data = write_squares(tmp_path / "one", 1, (96, 160))
    with pytest.raises(AnnotationError, match=r"folds = 2 for 1 image.*leave"):
        train_folds(data, tmp_path / "run", 2, tiny(*SHORT))


def test_folders_of_other_runs_are_left_alone(
    three: Path,
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    contents: Callable[[Path], dict[str, bytes]],
) -> None:
    before = contents(three)
    with pytest.raises(RunFolderError, match="holds a run already; add --resume"):
        train_folds(squares, three, 3, tiny(*SHORT))
    with pytest.raises(RunFolderError, match="holds 3 folds, not 4"):
        train_folds(squares, three, 4, tiny(*SHORT), resume=True)
    with pytest.raises(RunFolderError, match="holds a run already"):
        train(squares, three, tiny(*SHORT))
    with pytest.raises(RunFolderError, match="add --folds 3"):
        train(squares, three, resume=True)
    assert contents(three) == before

    one = train(squares, tmp_path / "one", tiny("training.steps=2"))
    with pytest.raises(RunFolderError, match="leave --folds out"):
        train_folds(squares, one.path, 3, tiny(*SHORT), resume=True)


def test_models_that_were_trained_otherwise_are_not_joined(
    three: Path, squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    other = train(squares, tmp_path / "other", tiny(*SHORT, "network.width=3"))
    with pytest.raises(RunFolderError, match="trained otherwise"):
        join_folds(squares, [fold_of(three, 0), other])
