"""benchmarks/nuclei_curve.py scores each best model of a run, in a few steps on a few images."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

SHORT = (
    *("network.width=2", "network.depth=1", "training.tile=44", "training.steps=4"),
    *("training.validate_every=1", "training.keep_best=loss", "training.precision=float32"),
    "augment.elastic_sigma=0",
)


@pytest.mark.slow
def test_each_best_model_is_scored_with_the_choices_of_the_last(
    root: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    monkeypatch.syspath_prepend(str(root / "docs"))
    bench = importlib.import_module("nuclei_curve")
    heads = sys.modules["heads"]
    if not heads.BOWL.is_dir():
        pytest.skip(f"no data under {heads.BOWL}")
    learnt, scored = heads.split("dsb")
    monkeypatch.setattr(heads, "split", lambda data: (learnt[:9], scored[:2]))
    monkeypatch.setattr(sys.modules["results"], "FOLDER", tmp_path / "results")
    train = bench.train
    monkeypatch.setattr(
        bench, "train", lambda data, out, resume, hours: train(data, out, SHORT, resume=resume)
    )
    run = tmp_path / "run"
    monkeypatch.setattr(sys, "argv", ["nuclei_curve.py", "--minutes", "90", "--run", str(run)])
    bench.main()
    result = json.loads((tmp_path / "results" / "nuclei-curve-90-minutes.json").read_text())
    numbers = result["numbers"]
    checks = [r for r in bench.RunFolder(run).history() if r["kind"] == "validation"]
    steps = [point["step"] for point in numbers["curve"]]
    # Models that follow one another within half a second may be missed, but never the last.
    assert set(steps) <= {r["step"] for r in checks if r["best"]}
    last = numbers["curve"][-1]
    assert last["step"] == numbers["step_of_best"]
    assert last["ap_50"] == numbers["scores"]["ap_50"]
    assert last["merged"] == numbers["merged"]
    tables = importlib.import_module("tutorial_tables")
    assert tables.nuclei_curve({result["name"]: result}.get).count(result["command"]) == 1
