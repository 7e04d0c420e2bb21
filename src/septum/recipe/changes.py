"""Recipes as plain trees: fill the gaps of one from another, change a single value."""

from __future__ import annotations

import tomllib
from typing import Any

from septum.errors import RecipeError


def fill_gaps(tree: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """The values of ``tree``, and where it has none, those of ``base``; sections key by key."""
    merged = {**base, **tree}
    for section, values in base.items():
        own = tree.get(section)
        if isinstance(values, dict) and isinstance(own, dict):
            merged[section] = {**values, **own}
            _let_epochs_count(merged[section], own)
    return merged


def apply_change(tree: dict[str, Any], change: str) -> None:
    """Apply one ``section.key=value`` to ``tree``, in place.

    The value is TOML; what is not is taken as a string. Raises RecipeError.
    """
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {change}: expected section.key=value")
    try:
        parsed = tomllib.loads(f"value = {text}")
        value = parsed["value"] if len(parsed) == 1 else text.strip()
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *sections, last = key.strip().split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise RecipeError(f"--set {change}: '{section}' is a value, not a section")
    tree[last] = value
    _let_epochs_count(tree, {last: value})


def _let_epochs_count(training: dict[str, Any], own: dict[str, Any]) -> None:
    """Who asks for epochs means them: steps from elsewhere would overrule them silently."""
    if own.get("epochs") and "steps" not in own:
        training["steps"] = 0
