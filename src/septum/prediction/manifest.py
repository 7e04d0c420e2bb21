"""Which tiles of a store are written: so that a command that is run again does no tile twice."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from septum.errors import SaveError
from septum.images.tiff_regions import Box
from septum.images.zarr_store import FINISHED, RUN, is_finished, read_progress
from septum.images.zarr_store import PROGRESS as NAME
from septum.images.zarr_writer import saving

__all__ = ["NAME", "Manifest", "is_finished"]


class Manifest:
    """A file in the store: one line that says what is computed, then the numbers of tiles done.

    ``done``: those numbers. ``finished``: all that follows the last tile is done as well. A line
    that a killed process left half-written is ignored, and such chunks are removed: nothing else
    may be writing to the store. Raises SaveError if the store was begun with another model, image
    or setting: its tiles would not fit each other. ``damage``: regions of the image that could not
    be read; ``run``: a word that is another for each store that was begun, also in its place.
    """

    def __init__(self, store: Path, identity: dict[str, Any]) -> None:
        self.path = store / NAME
        self.done: set[int] = set()
        self.damage: list[Box] = []
        self.finished = False
        self.run = uuid.uuid4().hex
        with saving(store):
            store.mkdir(parents=True, exist_ok=True)
        begun = read_progress(store)
        if not begun:
            self._append({**identity, RUN: self.run}, "w")
            return
        other = [key for key in identity if begun[0].get(key) != identity[key]]
        if other:
            was = ", ".join(f"{key} ({_show(begun[0].get(key))})" for key in other)
            raise SaveError(
                f"{store}: was begun with another {was}; give that again to go on, add --overwrite "
                "to start it anew, or choose another --out"
            )
        self.run = begun[0].get(RUN, "")
        with saving(store):
            for leftover in store.rglob("*.partial"):  # chunks that a killed process was writing
                leftover.unlink(missing_ok=True)
        for line in begun[1:]:
            self.done.update(line.get("tiles", ()))
            self.damage += [tuple(slice(*span) for span in box) for box in line.get("damage", ())]
            self.finished |= bool(line.get(FINISHED))

    def add(self, numbers: Iterable[int], damage: Sequence[Box] = ()) -> None:
        """These tiles are in the store; all the regions that were read in vain are ``damage``.

        This record is on the disk (fsync) when this returns.
        """
        numbers = list(numbers)
        self.done.update(numbers)
        new = damage[len(self.damage) :]
        self.damage += new
        if numbers:
            spans = [[[part.start, part.stop] for part in box] for box in new]
            self._append({"tiles": numbers} | ({"damage": spans} if new else {}))

    def finish(self) -> None:
        """All is in the store."""
        self.finished = True
        self._append({FINISHED: True})

    def _append(self, record: dict[str, Any], mode: str = "a") -> None:
        with saving(self.path), self.path.open(mode, encoding="utf-8") as file:
            # A line of its own, also after one that was cut short.
            file.write(("\n" if mode == "a" else "") + json.dumps(record))
            file.flush()
            os.fsync(file.fileno())


def _show(value: Any) -> str:
    """A setting for a message; of what is long its beginning."""
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:12]}…"
