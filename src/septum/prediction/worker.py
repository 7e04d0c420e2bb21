"""What runs on the workers of ``septum.prediction.cluster``."""

from __future__ import annotations

import tempfile
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from distributed import WorkerPlugin, get_worker

import septum
from septum.devices import choose_device
from septum.errors import InputError, SaveError
from septum.images.stored import Box, StoredImage
from septum.images.tolerant import damage
from septum.memory import raise_allocator_thresholds
from septum.model import load_model
from septum.prediction.manifest import NAME
from septum.prediction.predictor import Predictor, Ranges, prepare
from septum.prediction.results import Results
from septum.prediction.streaming import TilePlan, predict_into


@dataclass(frozen=True)
class Setting:
    """How all workers compute: what the first of them chose where the user did not."""

    tile: int
    precision: str
    device: str


@dataclass(frozen=True)
class Wishes:
    """What the user and this machine ask of a worker; None: what suits it."""

    device: str
    precision: str | None
    tile: int | None
    orientations: int | None
    memory: int | None
    threads: int | None = None


class Equipment(WorkerPlugin):
    """What each worker gets once, also one that comes later: the model's file, and the wishes."""

    def __init__(self, model: bytes, wishes: Wishes) -> None:
        self.name = f"septum-{uuid.uuid4().hex}"
        self.version = septum.__version__
        self.model, self.wishes = model, wishes

    def setup(self, worker: Any) -> None:
        """Called by dask on the worker; the network is made when a task needs it."""
        self.threads = self.wishes.threads or worker.state.nthreads
        self.turn = threading.Lock()
        self.made: tuple[Setting, Predictor] | None = None

    def choose(self) -> Setting:
        """What this worker would do where the user left it open."""
        predictor = self._prepare(self.wishes.tile, self.wishes.precision, self.wishes.device)
        precision = str(predictor.dtype).removeprefix("torch.")
        setting = Setting(predictor.tile, precision, predictor.device.type)
        self.made = (setting, predictor)
        return setting

    def predictor(self, setting: Setting) -> Predictor:
        """The network, made ready by the first call."""
        if self.made is None or self.made[0] != setting:
            made = self._prepare(setting.tile, setting.precision, setting.device)
            self.made = (setting, made)
        return self.made[1]

    def _prepare(self, tile: int | None, precision: str | None, device: str) -> Predictor:
        if self.version != septum.__version__:
            raise InputError(
                f"a worker has septum {septum.__version__}, and this is {self.version}; install "
                "the same version on all machines"
            )
        raise_allocator_thresholds(bounded=True)
        torch.set_num_threads(self.threads)  # dask sets OMP_NUM_THREADS=1 for its workers
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            path.write_bytes(self.model)
            model = load_model(path)
        return prepare(
            model,
            choose_device(device),
            precision,  # type: ignore[arg-type]
            tile,
            self.wishes.orientations,  # type: ignore[arg-type]
            self.wishes.memory,
        )


def _equipment(name: str) -> Equipment:
    equipment = get_worker().plugins[name]
    assert isinstance(equipment, Equipment)
    return equipment


def choose_setting(name: str) -> Setting:
    """Runs on a worker."""
    equipment = _equipment(name)
    with equipment.turn:
        return equipment.choose()


def predict_group(
    name: str,
    setting: Setting,
    image: StoredImage,
    chunk: int,
    results: Results,
    threshold: float,
    numbers: list[int],
    ranges: dict[int, Ranges],
) -> list[Box]:
    """Runs on a worker: compute tiles and write them to the store.

    Returns the regions of a tolerated image that could not be read.
    """
    assert results.store is not None
    if not (results.store / NAME).exists():
        raise SaveError(
            f"{results.store}: a worker does not see it ({get_worker().address}); write to storage "
            "that all machines share, under the same path"
        )
    equipment = _equipment(name)
    with equipment.turn:  # one at a time: the tile was chosen for the whole machine
        predictor = equipment.predictor(setting)
        known = len(damage(image))
        plan = TilePlan(predictor, image, chunk, ranges)
        predict_into(predictor, plan, results, threshold, numbers)
    return damage(image)[known:]
