"""A tutorial as a program sees it: its commands, the output that it quotes, the files it names."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from septum import cli

BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
NAMED_FILE = re.compile(r"`((?:[\w.-]+/)+[\w-]+\.[\w.]+|[\w-]+\.html)`")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e-\d+)?")
SHORT = (
    *("network.width=4", "network.depth=2", "training.tile=124", "training.validate_every=2"),
    *("training.batch=2", "training.precision=float32"),
)
STEPS, MORE_STEPS = 2, 4
"""Of a run, and of one that goes on."""


@dataclass(frozen=True)
class Block:
    """Lines for the shell, and those that the tutorial says will be printed."""

    lines: tuple[str, ...]
    quoted: tuple[str, ...]

    @property
    def is_septum(self) -> bool:
        return all(line.startswith("septum ") for line in self.lines)

    @property
    def status(self) -> int:
        """2 where an ERROR is quoted."""
        return 2 if any(line.lstrip().startswith("ERROR") for line in self.quoted) else 0


def blocks_of(text: str) -> list[Block]:
    """The blocks of language sh, in order, each with a block of language text that follows it."""
    found: list[Block] = []
    after_shell = False
    for language, content in BLOCK.findall(text):
        lines = tuple(line for line in content.splitlines() if line.strip())
        if language == "sh":
            found.append(Block(lines, ()))
        elif language == "text" and after_shell:
            found[-1] = Block(found[-1].lines, lines)
        after_shell = language == "sh"
    return found


def named_files(text: str) -> list[str]:
    """Paths of files in running text, but for those that stand for many (NAME) and in links."""
    running = BLOCK.sub("", text)
    return [name for name in NAMED_FILE.findall(running) if "NAME" not in name]


def follow(block: Block) -> str:
    """Run a block in the working directory, training cut short; what it printed."""
    if not block.is_septum:
        command = ["bash", "-euc", "\n".join(block.lines)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block.lines}: {done.stderr}"
        return done.stdout
    printed = ""
    for line in block.lines:
        words = shortened(shlex.split(line)[1:])
        status, said = run_septum(words)
        assert status == block.status, f"{shlex.join(words)} ended with {status}: {said}"
        printed += said
    return printed


def shortened(words: list[str]) -> list[str]:
    """A command with a few steps of a small network in place of the time that it asks for."""
    if words[0] != "train":
        return words
    words = list(words)
    if "--hours" in words:
        place = words.index("--hours")
        assert float(words[place + 1]) > 0
        del words[place : place + 2]
    steps = MORE_STEPS if "--resume" in words else STEPS
    kept = [w for w in words if not w.startswith("training.steps=")]
    if len(kept) < len(words):
        del kept[kept.index("--resume") + 1]  # its --set
    more = (f"training.steps={steps}", *SHORT)
    return [*kept, *(word for change in more for word in ("--set", change))]


def run_septum(words: Sequence[str]) -> tuple[object, str]:
    """The command line in this process: exit status, and all that was printed."""
    both, before = io.StringIO(), sys.argv
    sys.argv = ["septum", *words]
    try:
        with (
            contextlib.redirect_stdout(both),
            contextlib.redirect_stderr(both),
            pytest.raises(SystemExit) as end,
        ):
            cli.main()
    finally:
        sys.argv = before
    return end.value.code, both.getvalue()


def missing_quotes(quoted: Sequence[str], printed: str, numbers: bool) -> list[str]:
    """Lines that a tutorial quotes and that were not printed in this order.

    … stands for anything, a line of it for any lines. Lines that were broken to fit the terminal
    are one. Without ``numbers``, any number may stand for another.
    """
    left: Iterator[str] = iter([_plain(line, numbers) for line in unbroken(printed)])
    missing = []
    for line in unbroken("\n".join(quoted)):
        parts = [re.escape(_plain(part, numbers)) for part in line.strip().split("…")]
        pattern = re.compile(".*".join(parts))
        if line.strip() != "…" and not any(pattern.fullmatch(other) for other in left):
            missing.append(line)
            break  # the lines before it are used up
    return missing


def unbroken(text: str) -> list[str]:
    """Lines, with those that go on an indented next one joined."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and lines[-1] and line.startswith(" " * 6):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return [line for line in lines if line.strip()]


def _plain(line: str, numbers: bool) -> str:
    line = " ".join(line.split())
    return line if numbers else NUMBER.sub("#", line)


def page(root: Path, name: str) -> str:
    """The text of a tutorial."""
    return (root / "docs" / "tutorials" / f"{name}.md").read_text("utf-8")
