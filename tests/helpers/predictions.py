"""Small models and images, and what a prediction has left; for tests, and for their workers."""

from __future__ import annotations

import dataclasses
import os
import signal
import time

import numpy as np
import torch
from distributed import LocalCluster, WorkerPlugin

from septum.annotation.labels import LabelMeaning
from septum.images.image import Image
from septum.images.intensity_range import IntensityRange
from septum.images.own_range import OwnRange
from septum.images.zarr_writer import create_image
from septum.model import Model, build_network
from septum.prediction.manifest import NAME
from septum.prediction.results import Results
from septum.recipe import Network, Recipe, Training

SIZE = {"YX": (0.5, 0.5), "ZYX": (2.0, 0.5, 0.5)}


def small_model(channels=1, dimensions=2, classes=2, depth=1):
    torch.manual_seed(1)
    section = Network(width=2, depth=depth, dropout=0, padding="same", dimensions=dimensions)
    recipe = Recipe(network=section, training=Training(steps=1, precision="float32"))
    kind = "binary" if classes == 2 else "classes"
    return Model(
        build_network(section, channels, classes),
        recipe,
        LabelMeaning(kind, tuple(range(classes))),
        IntensityRange((100.0,) * channels, (50.0,) * channels),
        channels,
    )


def with_own_ranges(model, method="percentile"):
    """The same, but that each image, or plane, has a range of its own."""
    bounds = (1.0,) * model.channels
    own = OwnRange(method, 1.0, 99.8, least=bounds, contrast=bounds)
    return model.replace(intensity=dataclasses.replace(model.intensity, own=own))


def noise(axes, shape):
    """Smooth enough to have objects."""
    rng = np.random.default_rng(0)
    array = rng.normal(0, 40, shape)
    for axis in (-1, -2):
        array = (array + np.roll(array, 1, axis) + np.roll(array, 2, axis)) / 1.7
    array += 100
    spatial = "".join(axis for axis in axes if axis in "ZYX")
    return Image(array.clip(0, 255).astype(np.uint8), axes, SIZE[spatial])


def write_zarr(path, image):
    """As OME-Zarr, in chunks that no tile fits."""
    chunk = (20,) * len(image.spatial_axes)
    array = create_image(path, image.header, chunk)
    array[...] = image.array
    return path


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def local_cluster(workers):
    """A Dask cluster as a user would have one, and quiet."""
    return LocalCluster(
        workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
    )


def stop_after(monkeypatch, count):
    """Writing fails, as if the process had been killed, after so many tiles; tiles written."""
    usual, written = Results.write, []

    def write(self, *arguments):
        if len(written) >= count:
            raise KeyboardInterrupt
        written.append(arguments[1].write)
        return usual(self, *arguments)

    monkeypatch.setattr(Results, "write", write)
    return written


class SlowTiles(WorkerPlugin):
    """A worker of which each tile takes a while."""

    name = "slow"

    def setup(self, worker):
        usual = Results.write

        def write(self, *arguments):
            time.sleep(0.05)
            return usual(self, *arguments)

        Results.write = write


class Deadly(WorkerPlugin):
    """A worker that a tile kills, as one that needs too much memory does."""

    name = "deadly"

    def setup(self, worker):
        Results.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
