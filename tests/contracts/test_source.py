"""Rules of the house that a reader relies on, checked on the source text."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "septum"
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {str(path.relative_to(SOURCE)): ast.parse(path.read_text("utf-8")) for path in FILES}
LONGEST = 300

modules = pytest.mark.parametrize("name", MODULES)


def test_the_source_was_found():
    assert {"geometry.py", "network/unet.py", "prediction/overlap_tile.py"} <= set(MODULES)


def test_a_stage_imports_only_the_stages_before_it(root):
    command = shutil.which("lint-imports", path=Path(sys.executable).parent)
    if command is None:
        pytest.skip("import-linter is not installed")
    done = subprocess.run(
        [command, "--no-cache"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def is_public_method(node):
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    is_property = bool(decorators & {"property", "functools.cached_property"})
    return not node.name.startswith("_") and not is_property


def public_parts(tree):
    """The module, its public functions, classes and methods; a property's name is enough."""
    yield "the module", tree
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for part in node.body:
                    if isinstance(part, ast.FunctionDef) and is_public_method(part):
                        yield f"{node.name}.{part.name}", part


@modules
def test_everything_public_says_what_it_is(name):
    missing = [
        part
        for part, node in public_parts(MODULES[name])
        if not ast.get_docstring(node) and not part.endswith(".forward")  # the class says it
    ]
    if name == "__main__.py":
        missing = [part for part in missing if part != "the module"]
    assert missing == []


@modules
def test_nothing_can_load_a_pickle(name):
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & PICKLES
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in PICKLES
            assert not (node.module == "torch" and {"load", "save"} & {a.name for a in node.names})
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in {("torch", "load"), ("torch", "save")}
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec"}


PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@modules
def test_no_file_is_longer_than_a_reader_can_hold(name):
    lines = len((SOURCE / name).read_text("utf-8").splitlines())
    assert lines <= LONGEST, f"{lines} lines"


@modules
def test_nothing_is_left_to_do_in_the_code(name):
    text = (SOURCE / name).read_text("utf-8")
    assert re.findall(r"\b(TODO|FIXME|XXX|HACK)\b", text) == []


@modules
def test_a_module_is_named_for_what_it_holds(name):
    vague = {"utils", "util", "helpers", "helper", "common", "base", "manager", "factory", "misc"}
    parts = Path(name).with_suffix("").parts
    assert not {word for part in parts for word in part.split("_")} & vague


@modules
def test_no_function_swallows_arguments_that_it_does_not_name(name):
    for part, node in public_parts(MODULES[name]):
        if isinstance(node, ast.FunctionDef) and part != "Model.replace":
            assert node.args.kwarg is None, part


@modules
def test_no_default_argument_can_be_changed(name):
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.FunctionDef):
            for default in [*node.args.defaults, *node.args.kw_defaults]:
                assert not isinstance(default, ast.List | ast.Dict | ast.Set), node.name


GLOBAL_GENERATORS = re.compile(
    r"np\.random\.(seed|rand|randn|randint|random|normal|uniform|choice|shuffle|permutation)\b"
    r"|^\s*(import random|from random import)",
    re.MULTILINE,
)


@modules
def test_random_numbers_come_from_a_generator_that_was_passed_in(name):
    assert GLOBAL_GENERATORS.findall((SOURCE / name).read_text("utf-8")) == []
