"""Several processes leave what one leaves, byte for byte, whatever happens to them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from predictions import (
    Deadly,
    SlowTiles,
    contents,
    local_cluster,
    noise,
    small_model,
    with_own_ranges,
    write_zarr,
)
from septum.errors import ImageFileError, InputError, SaveError
from septum.images.files import write_image
from septum.model import save_model
from septum.prediction import cluster
from septum.prediction.cluster import Workers
from septum.prediction.files import Options, predict_files
from septum.prediction.manifest import NAME

pytestmark = pytest.mark.filterwarnings(  # of dask's own
    "ignore::DeprecationWarning", "ignore::ResourceWarning"
)


@pytest.fixture(scope="module")
def scheduler():
    """The address of a cluster of two workers, as a user would have one."""
    with local_cluster(2) as local:
        yield local.scheduler_address


def predict(folder, inputs, out, **options):
    model = folder / "model.safetensors"
    return list(predict_files(model, inputs, folder / out, Options(tile=96, **options)))


@pytest.mark.parametrize("suffix", [".zarr", ".tif", ".png"])
def test_a_cluster_leaves_the_bytes_of_one_process(tmp_path, scheduler, suffix):
    own = suffix != ".png"  # of each image, which a worker sees but a part of
    save_model(
        tmp_path / "model.safetensors", with_own_ranges(small_model()) if own else small_model()
    )
    inputs = [write_zarr(tmp_path / "a.zarr", noise("YX", (300, 310)))]
    for number in range(3):
        inputs.append(tmp_path / f"{number}.tif")
        write_image(inputs[-1], noise("YX", (40 + number, 50)))
    options = {"suffix": suffix, "instances": True}
    one = predict(tmp_path, inputs, "whole", **options)
    many = predict(tmp_path, inputs, "out", scheduler=scheduler, **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert [(w.source, w.pixels, w.objects) for w in many] == [
        (w.source, w.pixels, w.objects) for w in one
    ]
    assert not list((tmp_path / "out").glob(".*"))


def test_stacks_of_a_3d_model_and_planes_of_a_2d_one(tmp_path, scheduler):
    for dimensions, tile in ((2, 96), (3, 48)):
        save_model(tmp_path / "model.safetensors", small_model(dimensions=dimensions))
        source = write_zarr(tmp_path / f"{dimensions}.zarr", noise("TZYX", (2, 5, 70, 60)))
        for out, where in (("whole", {}), ("out", {"scheduler": scheduler})):
            list(
                predict_files(
                    tmp_path / "model.safetensors",
                    [source],
                    tmp_path / out / f"{dimensions}.zarr",
                    Options(tile=tile, **where),
                )
            )
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_workers_of_this_machine_share_its_cores(tmp_path, monkeypatch):
    save_model(tmp_path / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "a.zarr", noise("YX", (200, 200)))
    predict(tmp_path, [source], "whole", suffix=".zarr")
    seen = []
    usual = cluster.Workers.__enter__

    def enter(self):
        entered = usual(self)
        seen.append(len(self._client.nthreads()))
        seen.append(set(self._client.run(threads).values()))
        return entered

    monkeypatch.setattr(cluster.Workers, "__enter__", enter)
    monkeypatch.setattr(cluster.torch, "get_num_threads", lambda: 6)
    predict(tmp_path, [source], "out", suffix=".zarr", workers=2)
    assert seen[0] == 2
    assert 3 in seen[1]  # of the worker that chose; the other has computed nothing yet
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def threads():
    import torch

    return torch.get_num_threads()


def test_what_is_done_is_not_done_again(tmp_path, scheduler, monkeypatch):
    save_model(tmp_path / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "a.zarr", noise("YX", (300, 310)))
    predict(tmp_path, [source], "whole", suffix=".zarr")
    usual, settled = Workers._settle, []

    def settle(self, future, group):
        if len(settled) == 3:
            raise KeyboardInterrupt
        settled.append(group.numbers)
        return usual(self, future, group)

    with monkeypatch.context() as patch:
        patch.setattr(Workers, "_settle", settle)
        with pytest.raises(KeyboardInterrupt):
            predict(tmp_path, [source], "out", suffix=".zarr", scheduler=scheduler)
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(
            Workers,
            "_settle",
            lambda self, future, group: seen.extend(group.numbers) or usual(self, future, group),
        )
        predict(tmp_path, [source], "out", suffix=".zarr", scheduler=scheduler)
    first = {number for numbers in settled for number in numbers}
    assert first
    assert not first & set(seen)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_workers_killed_at_random_moments(tmp_path):
    """kill -9, 20 times, of one of two; each is started again by its nanny."""
    save_model(tmp_path / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "a.zarr", noise("YX", (900, 900)))
    predict(tmp_path, [source], "whole", suffix=".zarr")
    chance, killed, done = random.Random(3), [], threading.Event()

    with local_cluster(2) as local:

        def kill():
            while len(killed) < 20 and not done.wait(chance.uniform(0.05, 0.4)):
                pids = [nanny.pid for nanny in local.workers.values() if nanny.pid]
                if pids:
                    killed.append(chance.choice(pids))
                    os.kill(killed[-1], signal.SIGKILL)

        # So slow that kills meet it at work, wherever it is.
        local_client = Client(local, set_as_default=False)
        local_client.register_plugin(SlowTiles())
        thread = threading.Thread(target=kill)
        thread.start()
        try:
            predict(tmp_path, [source], "out", suffix=".zarr", scheduler=local.scheduler_address)
        finally:
            done.set()
            thread.join()
            local_client.close()
    assert len(killed) == 20, "ended before the last kill: a larger image"
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert_each_tile_once(tmp_path / "out" / "a.zarr")


def assert_each_tile_once(store):
    """The manifest has each tile, and none twice."""
    lines = (json.loads(line) for line in (store / NAME).read_text().splitlines())
    numbers = [number for line in lines for number in line.get("tiles", ())]
    assert sorted(numbers) == list(range(len(numbers)))


def test_a_worker_lost_while_it_gets_the_model_is_not_the_end(tmp_path, scheduler, monkeypatch):
    """It is replaced by another; nor is one that is lost while it says what it can do."""
    save_model(tmp_path / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "a.zarr", noise("YX", (200, 200)))
    predict(tmp_path, [source], "whole", suffix=".zarr")
    usual, lost = Client.register_plugin, []
    choices = iter([0, 0, 1])

    def register(self, *args, **kwargs):
        if len(lost) < 2:
            lost.append(self)
            raise CommClosedError("in <TCP>: while trying to send message: connection broken")
        return usual(self, *args, **kwargs)

    def submit(self, function, *args, **kwargs):
        if function is cluster.choose_setting and not next(choices):
            raise KilledWorker("choose_setting", None, 3)
        return usual_submit(self, function, *args, **kwargs)

    usual_submit = Client.submit
    monkeypatch.setattr(Client, "register_plugin", register)
    monkeypatch.setattr(Client, "submit", submit)
    predict(tmp_path, [source], "out", suffix=".zarr", scheduler=scheduler)
    assert len(lost) == 2
    assert next(choices, None) is None
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_the_client_killed_and_run_again(tmp_path):
    save_model(tmp_path / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "a.zarr", noise("YX", (900, 900)))
    predict(tmp_path, [source], "whole", suffix=".zarr")
    out = tmp_path / "out" / "a.zarr"
    words = [sys.executable, "-m", "septum", "predict", tmp_path / "model.safetensors", source]
    words += ["--out", out, "--workers", "2", "--tile", "96"]
    process = subprocess.Popen(words)
    end = time.monotonic() + 240
    while time.monotonic() < end and '"tiles"' not in text_of(out / NAME):
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "too fast a machine: a larger image"
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive  # no worker outlives the client that has started it
    begun = text_of(out / NAME)
    assert begun.count('"tiles"') >= 1
    subprocess.run(words, check=True)
    assert text_of(out / NAME).startswith(begun.rstrip())
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert_each_tile_once(out)


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_no_scheduler(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    save_model(tmp_path / "model.safetensors", small_model())
    write_image(tmp_path / "a.tif", noise("YX", (40, 50)))
    for address, words in (
        ("tcp://127.0.0.1:9", "no scheduler answers"),
        ("nonsense://x:1", "is no address of a Dask scheduler"),
        ("http://localhost:8787", "not the dashboard"),
        ("localhost", "use the one that it says"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            predict(tmp_path, [tmp_path / "a.tif"], "out", scheduler=address)
        assert "\n" not in str(caught.value)
        assert address in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_scheduler_that_goes_away(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    save_model(tmp_path / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "a.zarr", noise("YX", (300, 310)))
    with dask.config.set({"distributed.comm.timeouts.connect": 1}), local_cluster(1) as local:
        usual = Workers._settle

        def settle(self, future, group):
            again = usual(self, future, group)
            local.close()
            return again

        monkeypatch.setattr(Workers, "_settle", settle)
        with pytest.raises(InputError, match="run the same command again"):
            predict(tmp_path, [source], "out", suffix=".zarr", scheduler=local.scheduler_address)
    monkeypatch.undo()
    predict(tmp_path, [source], "out", suffix=".zarr")
    predict(tmp_path, [source], "whole", suffix=".zarr")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_what_a_worker_cannot_read_is_said_by_name(tmp_path, scheduler):
    save_model(tmp_path / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "a.zarr", noise("YX", (600, 600)))
    (source / "0" / "c" / "0" / "0").write_bytes(b"\0\1nothing")
    with pytest.raises(ImageFileError, match=r"a\.zarr"):
        predict(tmp_path, [source], "out", suffix=".zarr", scheduler=scheduler)


def test_a_store_that_workers_do_not_see(tmp_path, scheduler, monkeypatch):
    save_model(tmp_path / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "a.zarr", noise("YX", (100, 100)))
    usual = Workers._open

    def hide(self, job):
        opened = usual(self, job)
        (tmp_path / "out" / "a.zarr").rename(tmp_path / "elsewhere")
        return opened

    monkeypatch.setattr(Workers, "_open", hide)
    with pytest.raises(SaveError, match="a worker does not see it"):
        predict(tmp_path, [source], "out", suffix=".zarr", scheduler=scheduler)
    assert not (tmp_path / "out" / "a.zarr").exists()


def test_another_version_on_a_worker(tmp_path, scheduler, monkeypatch):
    monkeypatch.setattr("septum.__version__", "9.9.9")
    save_model(tmp_path / "model.safetensors", small_model())
    write_image(tmp_path / "a.tif", noise("YX", (40, 50)))
    with pytest.raises(InputError, match=r"a worker has septum .* and this is 9\.9\.9"):
        predict(tmp_path, [tmp_path / "a.tif"], "out", scheduler=scheduler)


def test_a_group_that_kills_every_worker_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "MOST_LOST", 1)
    save_model(tmp_path / "model.safetensors", small_model())
    source = write_zarr(tmp_path / "a.zarr", noise("YX", (100, 100)))
    with local_cluster(2) as local:
        with Client(local, set_as_default=False) as client:
            client.register_plugin(Deadly())
        with pytest.raises(Exception, match="workers ended while they computed tiles"):
            predict(tmp_path, [source], "out", suffix=".zarr", scheduler=local.scheduler_address)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "--workers 0: use 1 or more"),
        ({"workers": 2, "scheduler": "tcp://x:1"}, "give one"),
    ],
)
def test_choices_that_exclude_each_other(tmp_path, options, words):
    save_model(tmp_path / "model.safetensors", small_model())
    write_image(tmp_path / "a.tif", noise("YX", (40, 50)))
    with pytest.raises(InputError, match=words):
        predict(tmp_path, [tmp_path / "a.tif"], "out", **options)


def test_without_dask_the_way_to_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "septum.prediction.cluster", raising=False)
    monkeypatch.delitem(sys.modules, "septum.prediction.worker", raising=False)
    save_model(tmp_path / "model.safetensors", small_model())
    write_image(tmp_path / "a.tif", noise("YX", (40, 50)))
    with pytest.raises(InputError, match=r"pip install 'septum\[cluster\]'"):
        predict(tmp_path, [tmp_path / "a.tif"], "out", workers=2)
