"""What the command line says while it works, and what it understands of what is typed."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from septum.errors import InputError

if TYPE_CHECKING:
    from septum.prediction.options import Written


def parse_bytes(text: str) -> int:
    """Bytes, of ``2GB``, ``800 MB`` or a plain number. Raises InputError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if found is None:
        raise InputError(f"--memory {text}: give a size such as 2GB or 800MB")
    return int(float(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " "))


def show_progress() -> Callable[[int, int], None]:
    """Say every few seconds how far a long prediction is, with the time left.

    What an earlier command has done counts as done, but not for the rate.
    """
    begun = shown = time.monotonic()
    before = last = size = 0

    def watch(done: int, total: int) -> None:
        nonlocal begun, shown, before, last, size
        now = time.monotonic()
        if total != size or done < last:  # another image
            begun, shown, before, size = now, now, done, total
        last = done
        if done in (before, total) or now - shown < (0.5 if sys.stderr.isatty() else 15):
            return
        shown = now
        rate = (done - before) / (now - begun)
        print(
            f"{done / total:4.0%} · {rate / 1e6:.2f} megapixels/s · {(total - done) / rate:.0f} s "
            "left  ",
            end="\r" if sys.stderr.isatty() else "\n",
            file=sys.stderr,
            flush=True,
        )

    return watch


def print_written(written: Written) -> None:
    """One line for an image that was predicted, and what is to be doubted of it."""
    rate = written.pixels * (1 - written.before) / written.seconds / 1e6
    names = ", ".join(path.name for path in written.files)
    count = "" if written.objects is None else f"{written.objects} objects, "
    if written.before:
        count += f"went on at {written.before:.0%}, "
    print(f"{written.source.name} → {names} ({count}{rate:.2f} megapixels/s)")
    if written.doubt:
        print(f"septum: {written.source}: {written.doubt}", file=sys.stderr)
