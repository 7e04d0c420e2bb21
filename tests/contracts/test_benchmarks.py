"""The benchmarks are run rarely; what they import is looked at every time."""

from __future__ import annotations

import ast
import importlib


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module, [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []


def test_all_that_a_benchmark_imports_is_there(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    monkeypatch.syspath_prepend(str(root / "docs"))
    files = sorted((root / "benchmarks").glob("*.py"))
    tables = {"tables", "prediction_tables", "training_tables"}
    ours = {"septum", *tables, *(path.stem for path in files)}
    checked = 0
    for path in files:
        for module, names in imports(ast.parse(path.read_text("utf-8"))):
            if module.split(".")[0] not in ours:
                continue  # a peer, which may not be installed
            try:
                found = importlib.import_module(module)
            except ImportError as error:
                if (error.name or "").split(".")[0] in ours:
                    raise
                continue  # a sibling that needs a peer
            for name in names:
                checked += 1
                assert hasattr(found, name), f"{path.name}: {module} has no {name}"
    assert checked > 50
