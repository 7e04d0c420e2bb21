"""The page of a run of several folds says what they are together, and which of them stands out."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from septum.errors import RunFolderError
from septum.model import load_model
from septum.recipe import Recipe
from septum.report.folds import write_folds_report
from septum.training.folds import fold_of, train_folds
from septum.training.run_folder import RunFolder

SHORT = ("validation.last=0", "training.steps=4", "training.validate_every=2")


def text(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


@pytest.fixture
def three(tmp_path: Path, squares: Path, tiny: Callable[..., Recipe]) -> RunFolder:
    """Three folds of four images."""
    return train_folds(squares, tmp_path / "run", 3, tiny(*SHORT))


def test_scores_of_each_fold_and_their_means_are_shown(three: RunFolder) -> None:
    fold_of(three.path, 1).report.write_text("its own page")
    page = write_folds_report(three).read_text("utf-8")
    scores = load_model(three.best).provenance["scores_of_folds"]
    assert len(scores) == 3
    for number, own in enumerate(scores):
        assert f"fold-{number}" in page
        assert f"<td>{own['iou']:.4f}</td>" in page
    mean = sum(own["iou"] for own in scores) / 3
    assert f"<b>{100 * mean:.1f} %</b>" in page
    assert re.findall(r'href="([^"]+)"', page) == ["fold-1/report.html"]
    assert page.count("data:image/svg+xml") == 2
    assert "Each of 4 images was validated on once" in text(page)
    assert f"--folds 3 --resume --set training.steps={2 * 4}" in text(page)
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize(("worse", "said"), [(1.4, False), (1.6, True)])
def test_a_fold_that_is_much_worse_is_pointed_at(
    three: RunFolder, worse: float, said: bool
) -> None:
    for number, error in enumerate((0.1, 0.1 * worse, 0.1)):
        fold = fold_of(three.path, number)
        records = [{**r, "pixel_error": error} for r in fold.history()]
        fold.history_file.write_text("".join(json.dumps(r) + "\n" for r in records))
    page = text(write_folds_report(three).read_text("utf-8"))
    assert ("fold-1: pixel error" in page) == said
    assert ("where half of the folds have 0.1000 or less" in page) == said
    assert "fold-0: pixel error" not in page


def test_folds_that_are_not_joined_and_a_run_of_one_model_are_refused(three: RunFolder) -> None:
    with pytest.raises(RunFolderError, match="holds no folds"):
        write_folds_report(fold_of(three.path, 0))
    three.best.unlink()
    with pytest.raises(RunFolderError, match=r"not joined yet.*--folds 3 --resume"):
        write_folds_report(three)
    assert not three.report.exists()
