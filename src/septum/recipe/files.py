"""Recipes read, checked and written.

A recipe is a TOML file that says only what makes it different: what it leaves out is taken from
the recipe that its key ``base`` names (without: default). The recipes that come along have no base:
what they leave out has the value written in ``sections``. The copy in a run's folder says
everything.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from septum.errors import RecipeError
from septum.recipe.changes import apply_change, fill_gaps
from septum.recipe.sections import Recipe, Section

COMPLETE = "complete"
"""In place of a base: this recipe has no gaps."""


def recipe_names() -> list[str]:
    """Names of the recipes that come with septum, sorted."""
    folder = resources.files("septum") / "recipes"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def load_recipe(name_or_file: str, changes: Iterable[str] = ()) -> Recipe:
    """Read a recipe by name, or from a TOML file, and apply ``section.key=value`` changes in order.

    Values are TOML (``training.steps=2000``, ``validation.names=["a", "b"]``); a bare word is
    taken as a string. Raises RecipeError naming the nearest known recipe or key.
    """
    tree, changes = _read_tree(name_or_file), list(changes)
    for change in changes:
        apply_change(tree, change)
    try:
        return build_recipe(tree, source=name_or_file)
    except RecipeError as error:
        said = str(error).removeprefix(f"{name_or_file}: ")
        for change in reversed(changes):
            key = change.partition("=")[0].strip()
            if said.startswith((f"{key}: ", f"unknown key '{key}'")):
                raise RecipeError(f"--set {change}: {said}") from None
        raise


def build_recipe(tree: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """Check a nested mapping and freeze it; raises RecipeError in one line."""
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(f"{source}: {_explain(error)}") from None


def dump_recipe(recipe: Recipe, reasons: Mapping[str, str] | None = None) -> str:
    """The complete recipe as TOML, every key written, ready to be trained with again.

    ``reasons``, by ``section.key`` (or ``name``), become comments, of one line each.
    """
    reasons = reasons or {}
    lines = [_line("name", recipe.name, reasons.get("name", "")), f"base = {_toml(COMPLETE)}"]
    for section, values in recipe.model_dump(exclude_none=True).items():
        if isinstance(values, dict):
            lines += ["", f"[{section}]"]
            for key, value in values.items():
                lines.append(_line(key, value, reasons.get(f"{section}.{key}", "")))
    return "\n".join(lines) + "\n"


def read_reasons(path: Path) -> dict[str, str]:
    """The reasons that `dump_recipe` wrote into a file, by their keys."""
    reasons, section = {}, ""
    for line in path.read_text("utf-8").split("\n"):
        if line.startswith("["):
            section = f"{line[1:].partition(']')[0]}."
            continue
        before, _, reason = line.rpartition("  # ")
        try:
            (key,) = tomllib.loads(before)
        except ValueError:  # no reason, or one in a text
            continue
        reasons[section + key] = reason
    return reasons


def _line(key: str, value: object, reason: str) -> str:
    return f"{key} = {_toml(value)}" + (f"  # {' '.join(reason.split())}" if reason else "")


def _toml(value: object) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    text = json.dumps(value, ensure_ascii=False)  # JSON scalars are TOML scalars, but for DEL
    return text.replace("\x7f", "\\u007f")


def _read_tree(name_or_file: str) -> dict[str, Any]:
    path = Path(name_or_file)
    if path.suffix != ".toml":
        known = recipe_names()
        if name_or_file not in known:
            near = difflib.get_close_matches(name_or_file, known, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise RecipeError(
                f"no recipe '{name_or_file}': {hint}known: {', '.join(known)}, or a .toml file"
            )
        text = (resources.files("septum") / "recipes" / f"{name_or_file}.toml").read_text("utf-8")
    else:
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            names = ", ".join(recipe_names())
            raise RecipeError(f"{path}: no such recipe file; known by name: {names}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: cannot be read as a recipe ({error})") from None
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from None
    if path.suffix == ".toml":
        tree.setdefault("name", path.stem)
        parent = tree.pop("base", "default")
        if parent != COMPLETE:
            tree = fill_gaps(tree, _read_tree(parent))
    return tree


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("int",))
    if first["type"] == "extra_forbidden":
        known, given = _known_keys(), first.get("input")
        if isinstance(given, dict) and len(given) == 1:  # of a section that is none
            where = f"{where}.{next(iter(given))}"
        near = difflib.get_close_matches(where, known, n=1, cutoff=0.5)
        near = near or [key for key in known if key.split(".")[-1] == where.split(".")[-1]][:1]
        hint = f"; did you mean '{near[0]}'?" if near else f"; sections: {', '.join(_sections())}"
        return f"unknown key '{where}'{hint}"
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (given: {given!r})" if not isinstance(given, dict | Section) else ""
    return f"{where}: {message}{shown}" if where else message


def _sections() -> list[str]:
    return [key for key in Recipe.model_fields if key != "name"]


def _known_keys() -> list[str]:
    tree = Recipe().model_dump()
    return [*tree, *(f"{section}.{key}" for section in _sections() for key in tree[section])]
