"""Write a file as a whole or not at all: what stood there before survives every failure."""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from septum.errors import SaveError


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success it takes the place of ``path``.

    The temporary name is hidden and has the suffix of ``path``, for writers that go by it. The
    file and the folder's entry are on the disk (fsync) when the block has ended. If the block
    fails, with any exception, the temporary file is removed and ``path`` is untouched. An OSError
    (disk full, folder missing or not writable) becomes SaveError with the path and the reason.
    A symbolic link is followed: the file that it points to is replaced, not the link.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:64]}.{secrets.token_hex(4)}{target.suffix}")
    try:
        if target.is_dir():
            raise SaveError(f"{path}: cannot be written: it is a folder; name a file")
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise SaveError(
            f"{path}: cannot be written: {reason}; nothing was changed there"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that processes killed while they wrote ``path`` left behind.

    Only for a file that no other process may be writing.
    """
    target = Path(os.path.realpath(path))
    name, suffix = glob.escape(target.name[:64]), glob.escape(target.suffix)
    for leftover in target.parent.glob(f".{name}.{'[0-9a-f]' * 8}{suffix}"):
        with suppress(OSError):
            leftover.unlink()


def _sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder, and keeps its names in a journal
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
