"""README says what is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def tree_of_readme() -> set[str]:
    block = re.search(r"```text\nsrc/septum/\n(.*?)```", README, re.DOTALL)
    assert block
    paths, parents = set(), []
    for line in block[1].splitlines():
        match = re.match(r"([│ ]*)[├└]── (\S+)", line)
        assert match, line
        depth = len(match[1]) // 4
        name = match[2]
        parents = [*parents[:depth], name.rstrip("/")]
        if not name.endswith("/"):
            paths.add("/".join(parents))
    return paths


def test_the_tree_in_the_readme_lists_every_source_file_and_no_other():
    folder = ROOT / "src" / "septum"
    files = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert tree_of_readme() == files


def test_the_tables_are_those_of_the_measured_results():
    command = [sys.executable, str(ROOT / "docs" / "tables.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0


def test_every_recipe_that_comes_along_is_described():
    for path in (ROOT / "src" / "septum" / "recipes").glob("*.toml"):
        assert f"| `{path.stem}` |" in README


def test_links_into_the_repository_lead_somewhere():
    for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    import numpy as np

    import septum

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for name in ("a", "b"):
        labels = np.zeros((64, 64), np.uint8)
        labels[:, 20:40] = 255
        image = rng.integers(0, 99, (64, 64)).astype(np.uint8) + labels // 2
        septum.write_image(tmp_path / f"data/images/{name}.png", septum.Image(image, "YX"))
        septum.write_image(tmp_path / f"data/labels/{name}.png", septum.Image(labels, "YX"))
    septum.write_image(tmp_path / "slice.tif", septum.Image(image, "YX"))
    tiny = ["network.width=2", "network.depth=1", "training.tile=32", "training.steps=2"]
    septum.train("data", "runs/em", septum.load_recipe("quick", tiny))
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert block
    names: dict[str, object] = {}
    exec(block[1], names)
    assert np.asarray(names["mask_YX"]).shape == (64, 64)
