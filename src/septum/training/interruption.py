"""Ctrl-C as a wish, not an accident: the step in hand is finished, then the run is saved."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any

TOGETHER = 1.0


class Interruption:
    """While active, SIGINT and SIGTERM set ``requested``. Another, later, interrupts at once.

    Within ``TOGETHER`` seconds of the first it is the same wish: a launcher hands on to its
    processes what the terminal has sent them already. ``speaks``: whether to say so.
    """

    def __init__(self, speaks: bool = True) -> None:
        self.requested = False
        self._speaks, self._asked = speaks, 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # elsewhere signals are not ours
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if time.monotonic() - self._asked > TOGETHER:
                raise KeyboardInterrupt
            return
        self.requested, self._asked = True, time.monotonic()
        if self._speaks:
            print(
                "stopping after this step, then saving…; once more: at once, without",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
