"""Where measured numbers are kept, docs/results/NAME.json, and the tables that are made of them."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from septum.atomic_file import replace_file
from septum.devices import describe_machine

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "results"


def write_result(
    name: str, numbers: Mapping[str, Any], command: str, threads: int | None = None
) -> None:
    """Write docs/results/NAME.json; ``threads``: those that were used, if not this process's."""
    machine = describe_machine()
    commit = git("rev-parse", "--short", "HEAD") or "unknown"
    if git("status", "--porcelain", "--", ".", ":!docs"):  # docs has the results before this one
        commit += "-dirty"
    result = {
        "name": name,
        "command": command,
        "commit": commit,
        "date": datetime.date.today().isoformat(),
        "device": machine["device"],
        "threads": machine["threads"] if threads is None else threads,
        "numbers": numbers,
    }
    FOLDER.mkdir(exist_ok=True)
    with replace_file(FOLDER / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


def git(*words: str) -> str:
    """What git prints of this repository; "" where it is none."""
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def versions(names: Iterable[str]) -> dict[str, str]:
    """Of the packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def print_tables(*beginnings: str) -> None:
    """Print the tables of docs/tables.py whose names begin so."""
    sys.path.insert(0, str(ROOT / "docs"))
    from tables import TABLES

    for name, table in TABLES.items():
        if name.startswith(beginnings):
            print(f"\n{table()}")
