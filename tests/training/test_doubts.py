"""A run that goes wrong says so, once, in a line with advice; one that goes well says nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from septum.recipe import Recipe
from septum.report.contents import gather
from septum.training.doubts import LEVEL_STEPS, find_doubts
from septum.training.loop import train


def losses(*values: float, every: int = 10) -> list[dict[str, Any]]:
    steps = range(every, every * len(values) + 1, every)
    return [{"kind": "training", "step": s, "loss": v} for s, v in zip(steps, values, strict=True)]


def validation(loss: float, drawn: float = 0.2, predicted: float = 0.2, step: int = 300) -> Any:
    shares = {"object_share": drawn, "predicted_share": predicted}
    return {"kind": "validation", "step": step, "loss": loss, **shares}


def falling(count: int = 30) -> list[dict[str, Any]]:
    return losses(*(0.2 + 0.5 * 0.9**n for n in range(count)))


def test_a_run_that_goes_well_is_not_doubted() -> None:
    assert find_doubts([]) == {}
    assert find_doubts(falling()) == {}
    assert find_doubts([*falling(), validation(0.25), validation(0.3), validation(0.2)]) == {}


@pytest.mark.parametrize("last", [0.7, 0.69, 5.0])
def test_a_loss_that_does_not_fall_is_said_when_enough_steps_were_done(last: float) -> None:
    count = LEVEL_STEPS // 10
    level = losses(*[0.7] * (count // 2), *[last] * (count // 2))
    assert list(find_doubts(level)) == ["level"]
    assert "200 steps (0.7 → " in find_doubts(level)["level"]
    assert find_doubts(level[:-1]) == {}
    # What it does later is no longer the question: by then it has been said.
    later = [record | {"step": record["step"] + LEVEL_STEPS} for record in falling()]
    assert list(find_doubts([*level, *later])) == ["level"]


@pytest.mark.parametrize(
    ("drawn", "predicted", "doubt"),
    [
        (0.2, 0.0, "nothing"),
        (1e-4, 0.0, "nothing"),
        (0.0, 0.0, None),
        (0.2, 1e-4, "nothing"),  # some stray pixels
        (0.2, 0.003, None),
        (0.2, 1.0, "everything"),
        (1.0, 1.0, None),
        (0.9995, 1.0, None),
        (0.0, 1.0, "everything"),
    ],
)
def test_predictions_of_one_class_alone_are_said(
    drawn: float, predicted: float, doubt: str | None
) -> None:
    found = find_doubts([*falling(), validation(0.2, drawn, predicted)])
    assert list(found) == ([doubt] if doubt else [])
    assert find_doubts([*falling(), validation(0.2, 0.2, 0), validation(0.2)]) == {}


def test_validation_far_from_training_is_said_after_two_in_a_row_with_what_it_may_be() -> None:
    alike = [*falling(), validation(0.7), validation(0.7)]
    assert "look otherwise" in find_doubts(alike)["far"]
    learnt = [*falling(), validation(0.3), validation(0.6), validation(0.7)]
    assert "by heart" in find_doubts(learnt)["far"]
    assert find_doubts(alike[:-1]) == {}
    assert find_doubts([*falling(), validation(0.7), validation(0.3)]) == {}


def test_records_of_an_older_version_are_not_doubted_for_what_they_lack() -> None:
    assert find_doubts([*falling(), {"kind": "validation", "step": 300, "loss": 0.2}]) == {}


def test_a_doubt_is_said_once_also_over_an_interruption_and_shown_in_the_report(
    squares: Path,
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    validate_as: Callable[[Sequence[float]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    validate_as([0.4, 0.3, 0.2])
    run = train(squares, tmp_path / "run", tiny("training.steps=2", "training.validate_every=1"))
    assert capsys.readouterr().err.count("is predicted as background") == 1
    recipe = tiny("training.steps=3", "training.validate_every=1")
    train(squares, tmp_path / "run", recipe, resume=True)
    assert "is predicted as background" not in capsys.readouterr().err
    assert any("is predicted as background" in note for note in gather(run, None).notes)
