"""The best model is the best, thresholds come from training images, full disks harm nothing."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from full_disk import FullDisk
from septum.errors import Interrupted, RecipeError, SaveError
from septum.model import load_model
from septum.recipe import Recipe
from septum.training import job as job_module
from septum.training import separation_choice
from septum.training.loop import train
from septum.training.run_folder import RunFolder

Scores = dict[str, float]


def scores(number: float) -> Scores:
    return {"loss": number, "pixel_error": number, "iou": 1 - number, "rand_error": number}


@pytest.fixture
def validate_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Scores]], None]:
    """Let validations give these scores, one after the other."""

    def arrange(given: Sequence[Scores]) -> None:
        rest = iter(given)
        monkeypatch.setattr(job_module, "validate", lambda *_: dict(next(rest)))

    return arrange


@pytest.mark.parametrize("measure", ["loss", "pixel_error", "rand_error"])
def test_the_model_with_the_lowest_named_measure_is_kept_the_first_of_equals(
    measure: str,
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    validate_as: Callable[[Sequence[Scores]], None],
) -> None:
    others = [0.9, 0.8, 0.7, 0.6, 0.1]  # by any other measure the last would be the best
    named = [0.5, 0.3, 0.4, 0.3, 0.6]
    validate_as([scores(o) | {measure: n} for o, n in zip(others, named, strict=True)])
    changes = ("training.steps=5", "training.validate_every=1", f"training.keep_best={measure}")
    run = train(squares, tmp_path / "run", tiny(*changes))
    assert load_model(run.best).provenance["step"] == 2
    assert load_model(run.last).provenance["step"] == 5
    assert load_model(run.best).provenance["scores"][measure] == 0.3
    bests = [record["best"] for record in run.history() if record["kind"] == "validation"]
    assert bests == [True, True, False, False, False]


def test_the_best_so_far_is_remembered_over_an_interruption(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    validate_as: Callable[[Sequence[Scores]], None],
    interrupt_after: Callable[[int | None], None],
) -> None:
    validate_as([scores(number) for number in (0.3, 0.4, 0.5)])
    interrupt_after(6)
    with pytest.raises(Interrupted):
        train(squares, tmp_path / "run", tiny("training.steps=12"))
    run = train(squares, tmp_path / "run", resume=True)
    assert load_model(run.best).provenance["step"] == 4
    assert load_model(run.last).provenance["step"] == 12


@pytest.mark.parametrize(
    ("wish", "names", "by_walls"),
    [("rand", ["square0", "square1", "square2"], True), ("iou", ["square3"], False)],
)
def test_the_threshold_is_chosen_for_both_models_by_walls_or_by_the_mask(
    wish: str,
    names: list[str],
    by_walls: bool,
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    validate_as: Callable[[Sequence[Scores]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    validate_as([scores(0.1), scores(0.2)])
    shown, given = [], iter([0.65, 0.9])  # one for the last model, one for the best

    def choose(predictor: Any, targets: Sequence[Any], walls: bool) -> float:
        shown.append(([target.name for target in targets], walls))
        return next(given)

    monkeypatch.setattr(separation_choice, "choose_threshold", choose)
    run = train(squares, tmp_path / "run", tiny(f"training.threshold={wish}"))
    assert shown == [(names, by_walls)] * 2
    assert load_model(run.last).threshold == 0.65
    assert load_model(run.best).threshold == 0.9


def test_without_rand_the_threshold_is_half(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    run = train(squares, tmp_path / "run", tiny("training.steps=4"))
    assert load_model(run.best).threshold == load_model(run.last).threshold == 0.5


@pytest.mark.parametrize("file", ["model", "state", "last", "history"])
def test_a_full_disk_is_a_save_error_and_what_was_saved_survives(
    file: str,
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    validate_as: Callable[[Sequence[Scores]], None],
    contents: Callable[[Path], dict[str, bytes]],
    assert_same_run: Callable[[RunFolder, RunFolder], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longer, falling = tiny("training.steps=12"), [scores(n) for n in (0.5, 0.4, 0.3)]
    validate_as(falling)
    run = train(squares, tmp_path / "run", tiny())
    before, opened = contents(run.path), Path.open

    def open_some(path: Path, mode: str = "r", **options: Any) -> Any:
        if file == "history" and path.name == "history.jsonl" and mode == "a":
            raise OSError(errno.ENOSPC, "No space left on device")
        if path.name.startswith(f".{file}.") and mode == "wb":
            return FullDisk(path, "w")
        return opened(path, mode, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_some)
        validate_as(falling[2:])
        with pytest.raises(SaveError, match=rf"{file}.*No space left on device") as failed:
            train(squares, run.path, longer, resume=True)
    assert failed.value.exit_status == 2
    after = contents(run.path)
    assert after.keys() == before.keys()  # no half of a file is left
    # The state is saved after every step, so it moves on unless it is what cannot be written.
    kept = {"model": {"model", "last"}, "state": {"state", "last"}, "history": {"last", "model"}}
    kept_here = kept.get(file, {"last"})
    for name, data in before.items():
        if Path(name).name.split(".")[0] in kept_here:
            assert after[name] == data, name
    load_model(run.best)
    # With room again the run goes on as if nothing had been.
    validate_as(falling[2:])
    run = train(squares, run.path, longer, resume=True)
    validate_as(falling)
    assert_same_run(run, train(squares, tmp_path / "whole", longer))


def test_a_resume_folder_that_cannot_be_made_is_a_save_error(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "resume").write_text("a file of somebody's")
    with pytest.raises(SaveError, match="resume: cannot be made"):
        train(squares, tmp_path / "run", tiny("training.steps=4"))


def test_an_out_below_a_file_is_a_save_error(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SaveError, match="file/run: cannot be made"):
        train(squares, tmp_path / "file" / "run", tiny())
    assert (tmp_path / "file").read_text() == "not a folder"


def test_training_again_with_the_recipe_of_a_run_gives_the_same_run(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    assert_same_run: Callable[[RunFolder, RunFolder], None],
) -> None:
    from septum.recipe import load_recipe

    run = train(squares, tmp_path / "run", tiny("training.threshold=rand", "labels.ignore=7"))
    shutil.copy(run.recipe_file, tmp_path / "again.toml")
    again = train(squares, tmp_path / "again", load_recipe(str(tmp_path / "again.toml")))
    assert_same_run(again, run)


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_a_tile_with_one_pixel_at_the_bottom_is_refused_where_it_is_normalised(
    squares: Path, tmp_path: Path, tiny: Callable[..., Recipe], micro_batch: int
) -> None:
    changes = ("network.depth=4", "training.tile=16", f"training.micro_batch={micro_batch}")
    with pytest.raises(RecipeError, match=r"tile = 16 .* --set training.tile=32 or more"):
        train(squares, tmp_path / "run", tiny(*changes))
    plain = tiny(*changes, "network.normalization=none")
    assert train(squares, tmp_path / "run", plain).last.exists()
