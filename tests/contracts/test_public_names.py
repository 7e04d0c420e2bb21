"""The names that other programs may import, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import septum

PUBLIC = {
    "Image",
    "Model",
    "Recipe",
    "load_model",
    "load_recipe",
    "predict_maps",
    "predict_mask",
    "predict_probabilities",
    "predict_tiles",
    "prepare",
    "read_image",
    "save_model",
    "train",
    "write_image",
}
HEAVY = {
    "torch",
    "numpy",
    "scipy",
    "matplotlib",
    "numba",
    "skimage",
    "tifffile",
    "pydantic",
    "PIL",
    "imagecodecs",
    "safetensors",
    "zarr",
}


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, **options
    )


def test_the_public_names_are_these_sorted_and_each_is_there():
    assert set(septum.__all__) == PUBLIC
    assert list(septum.__all__) == sorted(septum.__all__)
    for name in PUBLIC:
        assert getattr(septum, name).__name__ == name
    assert set(dir(septum)) == PUBLIC | {"__version__"}


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'predikt'"):
        septum.predikt  # noqa: B018


def test_the_version_is_the_packages(root):
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert septum.__version__ == project["version"]


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], set()),
        # Typer itself imports pydantic, where it is installed, as soon as a command is run.
        (["--version"], {"pydantic"}),
        (["train", "--help"], {"pydantic"}),
        (["predict", "--help"], {"pydantic"}),
    ],
)
def test_the_command_line_answers_without_importing_anything_heavy(arguments, allowed):
    script = (
        "import sys, runpy\n"
        f"sys.argv = ['septum', *{arguments!r}]\n"
        "try:\n    runpy.run_module('septum', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('HEAVY', sorted(set(sys.modules) & set({sorted(HEAVY - allowed)!r})))"
    )
    done = run("-c", script)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 1  # it did answer
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_importing_the_package_imports_nothing_heavy():
    script = f"import septum, sys; sys.exit(bool(set(sys.modules) & set({sorted(HEAVY)!r})))"
    assert run("-c", script).returncode == 0


def test_the_recipe_needs_no_torch():
    script = "import septum.recipe, sys; sys.exit('torch' in sys.modules)"
    assert run("-c", script).returncode == 0


def test_annotations_are_checked_while_testing():
    import numpy as np
    from jaxtyping import TypeCheckError

    from septum.augment.intensity import GreyValues, vary_grey_values

    with pytest.raises(TypeCheckError):
        vary_grey_values(np.zeros((1, 3, 3)), GreyValues())  # double precision, not single
