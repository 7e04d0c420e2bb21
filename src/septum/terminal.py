"""What the command line says while it works, and what it understands of what is typed."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from septum.errors import InputError, SaveError, SeptumError

if TYPE_CHECKING:
    from septum.evaluation.choices import Scored
    from septum.prediction.options import Written


def run_to_exit(command: Callable[[], object]) -> NoReturn:
    """Errors become one line and an exit status; with SEPTUM_DEBUG set, a traceback as well."""
    try:
        command()  # leaves by SystemExit: 0, or 2 where the command line itself is wrong
    except SystemExit as leaving:
        _leave(leaving.code)
    except SeptumError as error:
        if _is_rank():  # of several ranks one speaks for all
            from septum.devices import was_said

            if was_said():
                sys.exit(error.exit_status)
        _fail(str(error), error.exit_status)
    except KeyboardInterrupt:
        _fail("stopped at once; what was saved before is intact", 130)
    except Exception as error:  # the last line of defence: ours, and said so
        if os.environ.get("SEPTUM_DEBUG"):
            raise
        _fail(
            f"a fault in septum: {type(error).__name__}: {error}; run again as "
            "`septum --debug …` for the traceback",
            1,
        )
    _leave(0)


def _is_rank() -> bool:
    """Whether torchrun started this process as one of several."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def _leave(status: str | int | None) -> NoReturn:
    """End the process; a rank that has done its work at once, without the interpreter's own end.

    Everything is written by then, but the threads of a process group may still let go of tensors,
    which ends the process by SIGABRT when the interpreter is half gone, and the launcher takes the
    run for a failed one.
    """
    if _is_rank() and not status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    sys.exit(status)


def _fail(message: str, status: int) -> NoReturn:
    if os.environ.get("SEPTUM_DEBUG"):
        import traceback

        traceback.print_exc()
    print(f"septum: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


def parse_bytes(text: str) -> int:
    """Bytes, of ``2GB``, ``800 MB`` or a plain number. Raises InputError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if found is None:
        raise InputError(f"--memory {text}: give a size such as 2GB or 800MB")
    return int(float(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " "))


def show_progress() -> Callable[[int, int], None]:
    """Say every few seconds how far a long command is, with the time left.

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


def count_files() -> Callable[[int, int], None]:
    """Say every few seconds how many files are read, of how many, with the time left."""
    begun = shown = time.monotonic()

    def watch(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if done == total or now - shown < (0.5 if sys.stderr.isatty() else 15):
            return
        shown = now
        left = (now - begun) / done * (total - done)
        end = "\r" if sys.stderr.isatty() else "\n"
        words = f"{done} of {total} images read · {left:.0f} s left  "
        print(words, end=end, file=sys.stderr, flush=True)

    return watch


def watch_scored(scored: Iterator[Scored], pixels: int) -> Iterator[Scored]:
    """Pass on what is scored, and say every few seconds how far it is, of so many pixels."""
    watch, done = show_progress(), 0
    for item in scored:
        done += item.pixels
        watch(done, pixels)
        yield item


def check_folders(*files: Path | None) -> None:
    """Raise SaveError, before anything is computed, for a file that has no folder to go to."""
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise SaveError(f"{file}: cannot be written: there is no folder {file.parent}")
        if file is not None and file.is_dir():
            raise SaveError(f"{file}: cannot be written: it is a folder; name a file")


def print_written(written: Written) -> None:
    """One line for an image that was predicted, and what is to be doubted of it."""
    rate = written.pixels * (1 - written.before) / written.seconds / 1e6
    names = ", ".join(path.name for path in written.files)
    count = "" if written.objects is None else f"{written.objects} objects, "
    if written.uncertainty is not None:
        count += f"mean uncertainty {written.uncertainty:.4f}, "
    if written.before:
        count += f"went on at {written.before:.0%}, "
    print(f"{written.source.name} → {names} ({count}{rate:.2f} megapixels/s)")
    if written.doubt:
        print(f"septum: {written.source}: {written.doubt}", file=sys.stderr)
