"""The tree of errors is the one drawn, and each has the exit status that it says."""

from __future__ import annotations

import inspect
import re

from septum import errors


def classes():
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }


def test_the_tree_drawn_in_the_docstring_is_the_tree():
    drawn, path = {}, []
    for line in errors.__doc__.splitlines():
        found = re.match(r"( {4}[ │├└─]*)(\w+(?:Error|Interrupted)|Interrupted) ", line)
        if found:
            depth = (len(found.group(1)) - 4) // 4
            path = [*path[:depth], found.group(2)]
            drawn[path[-1]] = path[-2] if depth else "Exception"
    assert drawn == {name: value.__base__.__name__ for name, value in classes().items()}


def test_the_exit_status_says_whose_mistake_it_was():
    for name, value in classes().items():
        if issubclass(value, errors.UserError):
            assert value.exit_status == 2, name
    assert errors.SeptumError.exit_status == errors.TrainingError.exit_status == 1
    assert errors.Interrupted.exit_status == 130
