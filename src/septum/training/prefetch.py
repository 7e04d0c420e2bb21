"""Tiles made ahead of the network, in a thread: for images that are read from a disk."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from septum.training.samples import Batch, Batches


class Prefetched:
    """Gives what ``source`` gives; while a step is computed, the next step's tiles are made.

    Not for images in memory: their tiles take milliseconds, and a second thread that uses the
    processor slows the network's own threads by more. Reading from a disk mostly waits.
    """

    def __init__(self, source: Batches) -> None:
        self._source = source
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="septum-tiles")
        self._ahead: dict[tuple[int, tuple[int, ...]], Future[Batch]] = {}

    def batch(self, step: int, indices: Sequence[int], device: torch.device) -> Batch:
        """Tiles ``indices`` of the batch of ``step``; those of the next step are begun."""
        key, following = (step, tuple(indices)), (step + 1, tuple(indices))
        self._ahead = {k: made for k, made in self._ahead.items() if k[0] >= step}
        if key not in self._ahead:
            self._begin(key, device)
        made = self._ahead.pop(key)
        if following not in self._ahead:
            self._begin(following, device)
        return made.result()

    def _begin(self, key: tuple[int, tuple[int, ...]], device: torch.device) -> None:
        self._ahead[key] = self._thread.submit(self._source.batch, *key, device)
