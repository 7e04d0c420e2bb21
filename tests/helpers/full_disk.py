"""A disk that fills up while a file is written."""

from __future__ import annotations

import errno
import io
from typing import Any


class FullDisk(io.FileIO):
    """A new file of which half of the first thing written arrives."""

    def write(self, data: Any) -> int:
        whole = memoryview(data).cast("B")
        super().write(whole[: len(whole) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")
