"""What `septum predict` holds at most, by the size of the image: OME-Zarr in, OME-Zarr out.

    python benchmarks/prediction_memory.py MODEL [EXTENT ...]

For each extent an image is written, chunk by chunk, and predicted at the program's defaults by a
process of its own, whose peak the system tells when it has ended. Prints one line of JSON. 32768²
needs some 10 GB of disk in the folder for temporary files ($TMPDIR).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prediction_scene import describe, read_slices
from septum.images.image import ImageHeader
from septum.images.zarr_writer import create_image
from septum.model import load_model

EXTENTS = (2048, 8192, 32768)
CHUNK = 512


def main() -> None:
    model, *words = sys.argv[1:]
    print(json.dumps(memory(model, [int(word) for word in words] or EXTENTS)))


def memory(model: str, extents: Sequence[int] = EXTENTS) -> dict[str, Any]:
    """Peak resident bytes, seconds and MPixel/s of the whole program for each extent."""
    what, slices_CYX = read_slices()
    found = {}
    with tempfile.TemporaryDirectory() as name:
        image, out = Path(name) / "image.zarr", Path(name) / "out.zarr"
        for extent in extents:
            write_image(image, extent, slices_CYX)
            found[str(extent)] = measure(model, image, out, extent)
            print(f"  {extent}²: {found[str(extent)]}", file=sys.stderr, flush=True)
            for store in (image, out):
                shutil.rmtree(store)
    return {"image": what, "network": describe(load_model(Path(model))), "extents": found}


def write_image(path: Path, extent: int, slices_CYX: Sequence[np.ndarray]) -> None:
    """Slices side by side, over and over; never held whole."""
    header = ImageHeader("YX", (extent, extent), np.dtype(np.uint8))
    array = create_image(path, header, (CHUNK, CHUNK))
    across = extent // CHUNK
    for number in range(across**2):
        y, x = (CHUNK * place for place in divmod(number, across))
        array[y : y + CHUNK, x : x + CHUNK] = slices_CYX[number % len(slices_CYX)][0]


def measure(model: str, image: Path, out: Path, extent: int) -> dict[str, float]:
    """One run of the program, its start included."""
    words = [sys.executable, "-m", "septum", "predict", model, str(image), "--out", str(out)]
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: ended with status {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "peak_bytes": usage.ru_maxrss * unit,
        "seconds": seconds,
        "mpixel_per_second": extent**2 / seconds / 1e6,
    }


if __name__ == "__main__":
    main()
