"""Prediction on a GPU: speed and memory, what overlaps, share of the matrix rate, exactness.

    python benchmarks/gpu_prediction.py                      # all rows of both networks
    python benchmarks/gpu_prediction.py --only paper --again # those whose name begins so
    python benchmarks/gpu_prediction.py --device cpu --extent 512 --only default-mask

Rows are named RECIPE-KIND-EXTENT. KIND `probabilities`: speed and memory, the whole result held;
`mask`: of the mask alone; `parts`: reading, copies and network one at a time beside the whole, and
the arithmetic beside a matrix product's; `bfloat16`: beside float32; `processor`: the GPU beside
it. Each is printed as a line of JSON and written when it is measured, to the folder $OUT or, if not
set, docs/results: gpu-prediction.json (gpu-prediction-cpu.json of a processor). Rows that are there
are left without --again, and none is begun after --minutes, so the same command goes on. Networks
are untrained; the image is made of slices in $SEPTUM_DATA (default ../shared/data).
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import datetime
import json
import os
import shlex
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpu_training import wait
from prediction_claims import count_flop
from prediction_scene import describe, make_image, read_slices, untrained_model
from prediction_worker import resident
from results import ROOT
from septum.atomic_file import replace_file
from septum.devices import Precision, choose_device, describe_machine
from septum.geometry import ArrayPixels, Span, Tile, read_mirrored, tile_grid
from septum.memory import array_off_heap, raise_allocator_thresholds
from septum.model import Model
from septum.network.strips import StripUNet
from septum.network.unet import fold_batch_norm
from septum.prediction import overlap_tile
from septum.prediction.overlap_tile import Predictor, predict_probabilities, predict_tiles
from septum.recipe import load_recipe
from training_rounds import Contestant, time_in_turn

RECIPES = ("default", "paper-2015")
MATRIX = {"cuda": (8192, 20), "cpu": (2048, 1)}
"""Extent of the matrices whose product tells the matrix rate; so many are timed together."""

Row = dict[str, Any]
Batch = list[tuple[Tile, torch.Tensor]]
"""Windows (C, Y, X) that the device takes at once, normalised, each with its tile."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What is predicted, by what, where, and how often."""

    model: Model
    image_CYX: np.ndarray
    device: torch.device
    rounds: int

    def prepare(self, precision: Precision = "auto", device: str | None = None) -> Predictor:
        """The network with the tile that is chosen for the device, in one orientation."""
        torch.cuda.empty_cache()  # the tile depends on what is free; on a processor it does nothing
        return overlap_tile.prepare(self.model, device or self.device, precision, orientations=1)

    def seconds(self, works: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        """Medians of the rounds, in turn, after one to warm up."""
        calls = {name: lambda w=work: (w(), wait(self.device)) for name, work in works.items()}
        contestants = {name: Contestant(call) for name, call in calls.items()}
        found = time_in_turn(contestants, self.rounds, seconds=0)
        return {name: each["median"] for name, each in found.items()}

    def form(self, predictor: Predictor) -> Row:
        """Largest tile, extent and number of those of the image, and type of the arithmetic."""
        tiles = tile_grid(self.image_CYX.shape[1:], predictor.tile, predictor.footprint)
        first, end = tiles[0].read[0]
        row = {"tile": predictor.tile, "window": end - first, "tiles": len(tiles)}
        return {**row, "dtype": str(predictor.dtype).removeprefix("torch."), "rounds": self.rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--extent", type=int, default=8192, help="pixels an axis of the image")
    parser.add_argument("--only", default="", help="the beginning of the names of rows")
    parser.add_argument("--again", action="store_true", help="also rows that are there already")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=8.0, help="after which none is begun")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    raise_allocator_thresholds(bounded=True)  # as `septum predict` does
    device = choose_device(arguments.device)
    facts = provenance(device)
    path, rows = open_results("" if device.type == "cuda" else f"-{device.type}")
    known = [name for name, row in rows.items() if row["device"] == facts["device"]]
    asked = wanted(arguments.extent, arguments.only, [] if arguments.again else known)
    what, slices_CYX = read_slices()
    image_CYX, failed = make_image(arguments.extent, slices_CYX), 0
    for number, (name, (recipe, kind)) in enumerate(asked.items()):
        if time.monotonic() > end:
            raise SystemExit(f"the time is over, {len(asked) - number} rows are left: go on again")
        model = untrained_model(load_recipe(recipe), slices_CYX)
        row = {"name": name, **facts, "image": what, "network": describe(model)}
        try:
            rows[name] = row | KINDS[kind](Scene(model, image_CYX, device, arguments.rounds))
        except RuntimeError as error:  # such as too little memory, which other rows may not need
            failed += 1
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            continue
        print(json.dumps(rows[name]), flush=True)
        result = {"name": path.stem, **facts, "numbers": {"rows": rows}}
        with replace_file(path) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    raise SystemExit(f"{failed} rows failed" if failed else 0)


def wanted(extent: int, only: str, known: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Recipe and kind of the rows to measure, by name. Ends the program if no name begins so."""
    names = {f"{recipe}-{kind}-{extent}": (recipe, kind) for recipe in RECIPES for kind in KINDS}
    asked = {name: each for name, each in names.items() if name.startswith(only)}
    if not asked:
        raise SystemExit(f"--only {only}: there are {', '.join(names)}")
    return {name: each for name, each in asked.items() if name not in set(known)}


def provenance(device: torch.device) -> Row:
    """Where a row comes from: those of one file may be of several calls."""
    machine, commit = describe_machine(), ""
    with contextlib.suppress(OSError):  # where the GPU is, there may be no git
        git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "command": f"python benchmarks/gpu_prediction.py {shlex.join(sys.argv[1:])}".rstrip(),
        "commit": commit or "unknown",
        "date": datetime.date.today().isoformat(),
        "device": machine["gpu" if device.type == "cuda" else "device"],
        "threads": machine["threads"],
    }


def open_results(suffix: str) -> tuple[Path, dict[str, Row]]:
    """The file to write, and the rows that it begins with: if it is new, those of docs/results."""
    kept = ROOT / "docs" / "results" / f"gpu-prediction{suffix}.json"
    path = Path(os.environ.get("OUT") or kept.parent) / kept.name
    found = next((each for each in (path, kept) if each.exists()), None)
    return path, json.loads(found.read_text("utf-8"))["numbers"]["rows"] if found else {}


def predict_mask_alone(predictor: Predictor, image_CYX: np.ndarray) -> np.ndarray:
    """Tile by tile; the whole image is held as its mask alone (Y, X), a byte a pixel."""
    mask_YX = np.empty(image_CYX.shape[1:], np.uint8)
    for tile, probability_KYX in predict_tiles(predictor, image_CYX):
        mask_YX[tile.write_slices] = overlap_tile.predict_mask(probability_KYX, 0.5)
    return mask_YX


def speed(scene: Scene, predict: Callable[[Predictor, np.ndarray], np.ndarray]) -> Row:
    """MPixel/s, and the most bytes held meanwhile: on the GPU, and resident, beside before."""
    predictor, cuda = scene.prepare(), scene.device.type == "cuda"
    with contextlib.suppress(OSError):  # the system forgets the peaks of other rows; not Linux
        Path("/proc/self/clear_refs").write_text("5")
    if cuda:
        torch.cuda.reset_peak_memory_stats(scene.device)
    before = resident("VmRSS")
    seconds = scene.seconds({"whole": lambda: predict(predictor, scene.image_CYX)})["whole"]
    return scene.form(predictor) | {
        "seconds": seconds,
        "mpixel_per_second": scene.image_CYX[0].size / seconds / 1e6,
        "gpu_peak_bytes": torch.cuda.max_memory_allocated(scene.device) if cuda else 0,
        "rss_before_bytes": before,
        "rss_peak_bytes": resident("VmHWM"),
    }


def parts(scene: Scene) -> Row:
    """Seconds of the whole, of its parts and of a product of matrices of the network's type."""
    predictor, image_CYX = scene.prepare(), scene.image_CYX
    batches = list(read(predictor, image_CYX))
    windows = [to_device(predictor, batch) for batch in batches]
    found = [predictor.probabilities(*each) for each in windows]
    extent, times = MATRIX[scene.device.type]
    square = torch.randn(extent, extent, device=scene.device, dtype=predictor.dtype)
    works = {
        "whole": lambda: drain(predict_tiles(predictor, image_CYX)),
        "matrix": lambda: drain(square @ square for _ in range(times)),
        "read": lambda: drain(read(predictor, image_CYX)),
        "network": lambda: drain(predictor.probabilities(*each) for each in windows),
    }
    if scene.device.type == "cuda":
        works["to_device"] = lambda: drain(to_device(predictor, batch) for batch in batches)
        works["to_host"] = lambda: drain(map(to_host, found))
    seconds = {"to_device": 0.0, "to_host": 0.0} | scene.seconds(works)
    alone = [seconds[name] for name in ("read", "to_device", "network", "to_host")]
    rate = 2 * extent**3 * times / seconds.pop("matrix")
    flop = count_tiles(scene.model, predictor, image_CYX.shape[1:])
    return scene.form(predictor) | {
        "seconds": {**seconds, "sum": sum(alone)},
        "overlapped_share": overlapped_share(seconds["whole"], alone),
        "flop": flop,
        "matrix_flop_per_second": rate,
        "share_of_matrix_rate": {n: flop / seconds[n] / rate for n in ("whole", "network")},
    }


def drain(results: Iterable[object]) -> None:
    """Make each, keep none."""
    deque(results, maxlen=0)


def count_tiles(model: Model, predictor: Predictor, extents: Sequence[int]) -> int:
    """FLOP of all tiles of an image; in strips, of what is kept of them.

    Counted in the model's plain layers: torch does not know the arithmetic of those that are fused.
    """
    network: torch.nn.Module = fold_batch_norm(copy.deepcopy(model.network))
    if isinstance(predictor.networks[0], StripUNet):
        network = StripUNet(network)
    tiles = tile_grid(extents, predictor.tile, predictor.footprint)
    known = 2 if isinstance(network, StripUNet) else 1
    kinds = Counter((tuple(stop - start for start, stop in t.read), t.crop)[:known] for t in tiles)
    return sum(count * count_flop(network, *kind) for kind, count in kinds.items())


def overlapped_share(whole: float, alone: Sequence[float]) -> float | None:
    """1: all is done beside the longest part; 0: one by one; None: there is but the longest."""
    beside = sum(alone) - max(alone)
    return 1 - (whole - max(alone)) / beside if beside > 0 else None


def read(predictor: Predictor, image_CYX: np.ndarray) -> Iterator[Batch]:
    """Windows as `predict_windows` reads and normalises them, in the batches that it makes."""
    ranges = predictor.ranges(ArrayPixels(image_CYX))

    def windows() -> Iterator[tuple[Tile, torch.Tensor]]:
        for tile in tile_grid(image_CYX.shape[1:], predictor.tile, predictor.footprint):
            window_CYX = read_mirrored(ArrayPixels(image_CYX), tile.read)
            room = array_off_heap((window_CYX.size * predictor.dtype.itemsize,), np.dtype(np.uint8))
            kept_CYX = torch.from_numpy(room).view(predictor.dtype).view(window_CYX.shape)
            for start in range(0, window_CYX.shape[1], overlap_tile.ROWS):
                rows = (slice(None), slice(start, start + overlap_tile.ROWS))
                kept_CYX[rows] = torch.from_numpy(predictor.normalize(window_CYX[rows], ranges))
            yield tile, kept_CYX

    return overlap_tile._batches(windows(), predictor)


def to_device(predictor: Predictor, batch: Batch) -> tuple[torch.Tensor, Sequence[Span]]:
    """Windows (N, C, Y, X), by way of pinned memory, and what is kept of each."""
    windows = [window_CYX for _, window_CYX in batch]
    window_NCYX = torch.stack(windows) if len(windows) > 1 else windows[0][None]
    if predictor.device.type == "cuda":
        window_NCYX = window_NCYX.pin_memory()
    return window_NCYX.to(predictor.device, non_blocking=True), batch[0][0].crop


def to_host(found_NKYX: torch.Tensor) -> list[np.ndarray]:
    """Probabilities (K, Y, X) of each window of a batch, when they are there."""
    kept_NKYX = torch.empty(found_NKYX.shape, pin_memory=found_NKYX.is_cuda)
    for kept_KYX, found_KYX in zip(kept_NKYX, found_NKYX, strict=True):
        kept_KYX.copy_(found_KYX, non_blocking=True)
    wait(found_NKYX.device)
    return list(kept_NKYX.numpy())


def bfloat16(scene: Scene) -> Row:
    """Beside float32, both on the device."""
    fast, exact = scene.prepare("bfloat16"), scene.prepare("float32")
    found = (predict_probabilities(each, scene.image_CYX) for each in (fast, exact))
    return scene.form(fast) | difference(*found)


def processor(scene: Scene) -> Row:
    """A corner on the device beside the processor, both float32."""
    there, here = scene.prepare("float32"), scene.prepare("float32", "cpu")
    found = [predict_probabilities(p, scene.image_CYX[:, :1024, :1024]) for p in (there, here)]
    return scene.form(there) | {"corner": found[0].shape[1], **difference(*found)}


def difference(found_KYX: np.ndarray, expected_KYX: np.ndarray) -> Row:
    """Share of labels that differ, beside that of object; largest difference of probabilities."""
    labels = [overlap_tile.predict_mask(each_KYX, 0.5) for each_KYX in (found_KYX, expected_KYX)]
    return {
        "labels": float((labels[0] != labels[1]).mean()),
        "object": float(labels[1].mean()),
        "largest": float(np.abs(found_KYX - expected_KYX).max()),
    }


KINDS: dict[str, Callable[[Scene], Row]] = {
    "probabilities": lambda scene: speed(scene, predict_probabilities),
    "mask": lambda scene: speed(scene, predict_mask_alone),
    "parts": parts,
    "bfloat16": bfloat16,
    "processor": processor,
}

if __name__ == "__main__":
    main()
