import re
from pathlib import Path

import pytest

from septum.errors import RunFolderError
from septum.recipe import load_recipe
from septum.report import demo

TINY = (
    "network.width=2",
    "network.depth=2",
    "training.tile=32",
    "training.steps=4",
    "training.validate_every=0",
    "training.precision=float32",
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo with a tiny network on tiny images."""
    monkeypatch.setattr(demo, "TRAINING_IMAGES", 4)
    monkeypatch.setattr(demo, "UNSEEN_IMAGES", 2)
    monkeypatch.setattr(demo, "SIZE", 48)
    monkeypatch.setattr(
        demo, "load_recipe", lambda name, changes: load_recipe(name, (*TINY, *changes))
    )


@pytest.mark.usefixtures("small")
def test_the_demo_ends_with_one_page_and_may_be_run_again(tmp_path: Path) -> None:
    out = tmp_path / "the demo"
    lines = list(demo.run_demo(out, 0.02))
    assert lines[-1] == f"report: {out / 'report.html'}"
    assert sum("of pixels right" in line for line in lines) == 2
    page = (out / "report.html").read_text("utf-8")
    targets = set(re.findall(r'(?:src|href)="([^"]*)"', page))
    links = {target for target in targets if not target.startswith("data:image/")}
    assert links == {"runs/cells/report.html", "runs/membranes/report.html"}
    assert all((out / target).is_file() for target in links)
    assert page.count("data:image/jpeg") == 2 * 2 * 4

    trained = (out / "data/cells/images/00.png").read_bytes()
    assert trained != (out / "data/cells-unseen/images/00.png").read_bytes()

    kept = [out / "notes.txt", out / "runs" / "mine" / "model.safetensors"]
    for file in kept:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
    stale = out / "predictions" / "cells" / "stale.mask.tif"
    stale.write_text("")
    list(demo.run_demo(out, 0.02))
    assert all(file.read_text() == "mine" for file in kept)
    assert not stale.exists()


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_what_no_demo_made_is_left_alone(tmp_path: Path, what: str) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine"
    mine.mkdir()
    (mine / "image.tif").write_text("mine")
    if what == "file":
        out.write_text("mine")
    elif what == "folder":
        out.mkdir()
        (out / "image.tif").write_text("mine")
    else:
        (out / "runs").mkdir(parents=True)
        (out / demo.MARKER).write_text("")
        (out / "runs" / "cells").symlink_to(mine, target_is_directory=True)
    with pytest.raises(RunFolderError, match="--out"):
        next(demo.run_demo(out, 0.02))
    assert (mine / "image.tif").read_text() == "mine"
    assert not (out / "data").exists()
