"""Tiles computed by many processes: those of a dask.distributed cluster, or some of this machine.

A task is a group of tiles of one image; each tile writes whole chunks of the store that all of them
share, so no two touch one file. What is done the client alone records, in the store's manifest: a
group whose worker is lost is computed again by another, and after the client is lost the same
command goes on. Every process computes a tile alike, so the store is the same, byte for byte.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from distributed import Client, Future, LocalCluster, as_completed
from distributed.client import ClosedClientError, FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from septum.errors import InputError, SeptumError
from septum.images.tolerant import damage
from septum.memory import available_memory
from septum.model import model_path
from septum.prediction.job import Job
from septum.prediction.manifest import Manifest
from septum.prediction.predictor import TILE_BYTES
from septum.prediction.streaming import Watch
from septum.prediction.worker import Equipment, Setting, Wishes, choose_setting, predict_group

CONNECT_SECONDS = 15
LARGEST_GROUP = 16
"""Tiles of a task at most: what a lost worker takes with it."""
GROUPS_A_WORKER = 4
"""Of an image at least, where it has the tiles, so that workers end at about the same time."""
WAITING = 2
"""Groups that a worker has at a time: one that it computes, and the next."""
MOST_LOST = 4
"""Times that dask may give a group up, each after it has killed 4 workers, before we do."""
LOST = (CommClosedError, ClosedClientError, FutureCancelledError)
"""What dask raises where a process at the other end is no longer there."""
GONE = (OSError, TimeoutError, *LOST)
"""Where nothing else can raise: what a lost connection raises as well."""


@dataclass(eq=False)
class _Progress:
    """An image whose tiles are being computed."""

    job: Job
    manifest: Manifest
    todo: deque[list[int]]
    left: int
    done: int


@dataclass(frozen=True)
class _Group:
    progress: _Progress
    numbers: list[int]
    lost: int = 0


class Workers:
    """Processes that predict; a context manager, which lets them go at the end.

    ``scheduler``: the address of a dask.distributed scheduler; None: ``count`` workers are started
    here, and share its cores and memory. Raises InputError if no scheduler answers, or a worker
    cannot do what is asked.
    """

    def __init__(self, scheduler: str | None, count: int, model: Path, wishes: Wishes) -> None:
        self.address = scheduler or "--workers"
        self._cluster = None
        if scheduler is not None and not re.fullmatch(r"(tcp|tls|ucx|wss?)://\S+:\d+", scheduler):
            raise InputError(
                f"--scheduler {scheduler}: is no address of a Dask scheduler; use the one that it "
                "says when it starts, such as tcp://HOST:8786 (not the dashboard's)"
            )
        if scheduler is None:
            wishes = _share(wishes, count)
            self._cluster = LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,  # the tile bounds it; dask would kill what comes near a limit
                dashboard_address="127.0.0.1:0",
                silence_logs=50,
            )
        self._equipment = Equipment(model_path(model).read_bytes(), wishes)
        try:
            self._client = Client(
                self._cluster or scheduler, timeout=CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, ValueError) as error:
            if self._cluster is not None:
                self._cluster.close()
            raise InputError(
                f"--scheduler {self.address}: no scheduler answers ({_line(error)}); start "
                "one with `dask scheduler`, and workers with `dask worker ADDRESS`"
            ) from None

    def __enter__(self) -> Workers:
        try:
            self._equip()
            if not self._count():
                print(f"septum: {self.address}: has no workers yet; waiting …", file=sys.stderr)
            self.setting: Setting = self._choose()
        except BaseException as error:
            self._leave()
            raise self._explained(error) from None
        return self

    def _equip(self) -> None:
        """Send the model to the workers, and to those that come later."""
        for lost in range(MOST_LOST + 1):
            try:
                self._client.register_plugin(self._equipment, name=self._equipment.name)
                return
            except GONE:
                self._count()  # raises if it is the scheduler that is gone, and no worker
                if lost == MOST_LOST:
                    raise self._gone() from None

    def _choose(self) -> Setting:
        """What a worker can do, and all of them then do."""
        for _ in range(MOST_LOST):
            with suppress(KilledWorker):  # by others than us: nothing has been computed yet
                future = self._client.submit(choose_setting, self._equipment.name, pure=False)
                setting: Setting = future.result()
                return setting
        raise SeptumError(
            f"--scheduler {self.address}: its workers end as soon as they are asked for something; "
            "look at their logs"
        )

    def __exit__(self, *error: object) -> None:
        self._leave()

    def _leave(self) -> None:
        with suppress(*GONE):  # a scheduler that is gone
            if self._client.status == "running":
                self._client.unregister_worker_plugin(self._equipment.name)
            self._client.close(timeout=CONNECT_SECONDS)
        if self._cluster is not None:
            self._cluster.close()

    def _explained(self, error: BaseException) -> BaseException:
        """What dask raises, in the user's words."""
        if isinstance(error, ModuleNotFoundError):
            return InputError(
                f"--scheduler {self.address}: its workers cannot import septum "
                f"({_line(error)}); install the same version there"
            )
        if isinstance(error, LOST):
            return self._gone()
        return error

    def compute(self, jobs: Iterable[Job], watch: Watch) -> Iterator[Job]:
        """Each of ``jobs`` when all of its tiles are in its store, in order.

        The next are begun while workers would be idle. ``watch(done, total)`` hears of the pixels
        of an image. Raises what computing a tile raises; InputError if workers die of it again and
        again, or the scheduler is gone: run again, it goes on.
        """
        waiting = iter(jobs)
        opened: deque[_Progress] = deque()
        flying: dict[Future[Any], _Group] = {}
        finished = as_completed(loop=self._client.loop)
        failed: list[SeptumError] = []

        def send(group: _Group) -> None:
            job = group.progress.job
            future = self._client.submit(
                predict_group,
                self._equipment.name,
                self.setting,
                job.image,
                job.chunk,
                job.results,
                job.threshold,
                group.numbers,
                job.plan.ranges_of(group.numbers),
                pure=False,
            )
            flying[future] = group
            finished.add(future)

        def next_group() -> _Group | None:
            while not opened or not opened[-1].todo:
                try:
                    job = None if failed else next(waiting, None)
                except SeptumError as error:  # the images before it are done first
                    failed.append(error)
                    job = None
                if job is None:
                    return None
                opened.append(self._open(job))
            progress = opened[-1]
            return _Group(progress, progress.todo.popleft())

        try:
            while True:
                capacity = WAITING * max(self._count(), 1)
                while len(flying) < capacity and (group := next_group()) is not None:
                    send(group)
                while opened and not opened[0].left:
                    yield opened.popleft().job
                if not flying:
                    if opened:
                        continue
                    if failed:
                        raise failed[0]
                    return
                future = next(finished)
                group = flying.pop(future)
                again = self._settle(future, group)
                if again is not None:
                    send(again)
                watch(opened[0].done, opened[0].job.plan.pixels)
        finally:
            with suppress(*GONE):
                self._client.cancel(list(flying))

    def _count(self) -> int:
        """Workers that there are now."""
        try:
            return len(self._client.nthreads())
        except GONE:
            raise self._gone() from None

    def _gone(self) -> InputError:
        return InputError(
            f"--scheduler {self.address}: the scheduler is gone, or has dropped the work; what is "
            "done is kept: run the same command again"
        )

    def _open(self, job: Job) -> _Progress:
        assert job.manifest is not None
        known = job.manifest.done
        numbers = [number for number in range(len(job.plan)) if number not in known]
        count = max(self._count(), 1)
        size = max(min(len(numbers) // (GROUPS_A_WORKER * count), LARGEST_GROUP), 1)
        groups = deque(numbers[i : i + size] for i in range(0, len(numbers), size))
        return _Progress(job, job.manifest, groups, len(groups), job.plan.pixels_of(known))

    def _settle(self, future: Future[Any], group: _Group) -> _Group | None:
        """Record a group that is done; the group itself if it has to be computed again."""
        progress = group.progress
        if future.status == "finished":
            damage(progress.job.image).extend(future.result())
            progress.manifest.add(group.numbers, damage(progress.job.image))
            progress.left -= 1
            progress.done += progress.job.plan.pixels_of(group.numbers)
            return None
        if future.status != "error":
            raise self._gone()
        error = future.exception()
        if not isinstance(error, KilledWorker):
            raise self._explained(error) from None
        if group.lost + 1 < MOST_LOST:
            return _Group(progress, group.numbers, group.lost + 1)
        raise SeptumError(
            f"{progress.job.image.source}: {4 * MOST_LOST} workers ended while they computed tiles "
            f"{group.numbers[0]} to {group.numbers[-1]}; look at their logs, or, if memory was "
            "short, give --memory or --tile, and run again"
        ) from None


def _share(wishes: Wishes, count: int) -> Wishes:
    """Cores and memory of this machine for one of ``count`` workers."""
    memory = wishes.memory
    if memory is None and wishes.device in ("auto", "cpu"):
        memory = min(available_memory() // (2 * count), TILE_BYTES)
    threads = max(torch.get_num_threads() // count, 1)
    return Wishes(
        wishes.device, wishes.precision, wishes.tile, wishes.orientations, memory, threads
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
