"""One contestant's prediction, in a process of its own that does what it is told line by line.

    python benchmarks/prediction_worker.py septum model.safetensors image.npy

Prints one line of JSON about itself, then reads lines from its input and answers each with one of
JSON: `warm N`, seconds that the corner of N × N pixels takes; `predict`, seconds of the whole
image; `peak`, bytes of memory at most so far; `references FOLDER` writes there what the whole image
gives at once; `compare FOLDER`, how far the last prediction is from that.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prediction_contestants import CONTESTANTS, WHOLE, Contestant, whole, whole_mirrored
from septum.memory import peak_memory
from septum.model import Model, load_model

TINY = 1e-37


def main() -> None:
    name, model_file, image_file = sys.argv[1:]
    contestant, image_CYX = CONTESTANTS[name], np.load(image_file)
    model = load_model(model_file)
    model.network.requires_grad_(False)
    try:
        predict = contestant.build(model)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    keep, found = image_CYX.shape[-1] <= WHOLE, np.empty(0)
    print(json.dumps({"before": resident("VmRSS")}), flush=True)
    for line in sys.stdin:
        word, _, argument = line.strip().partition(" ")
        answer: Any = None
        with torch.inference_mode(), contextlib.redirect_stdout(sys.stderr):
            if word in ("warm", "predict"):
                window = slice(int(argument) if argument else None)
                found = np.empty(0)  # so that no two results are in memory at a time
                start = time.perf_counter()
                found = predict(image_CYX[:, window, window])
                answer = time.perf_counter() - start
                found = found if keep else np.empty(0)
            elif word == "peak":
                answer = resident("VmHWM")
            elif word == "references":
                write_references(model, image_CYX, Path(argument))
            elif word == "compare":
                answer = compare(found, contestant, Path(argument))
        print(json.dumps(answer), flush=True)


def resident(field: str) -> int:
    """Bytes that this process holds (VmRSS) or has held at most (VmHWM).

    Not by getrusage: there a new process begins with the peak of the one that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return peak_memory(torch.device("cpu"))
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def margins(found_KYX: np.ndarray, yields: str) -> np.ndarray:
    """Logits of all classes but the first less that of the first, (K - 1, Y, X).

    Logits are defined up to a summand a pixel, which softmax loses; their differences can be had
    back from probabilities: log p(k) - log p(0), to rounding, as each p has its own exponent.
    """
    if yields == "probabilities":
        found_KYX = np.log(np.maximum(found_KYX, TINY))
    return found_KYX if len(found_KYX) == 1 else found_KYX[1:] - found_KYX[:1]


def likeliest(margin_KYX: np.ndarray) -> np.ndarray:
    """Class ids, from the differences of the logits; two classes are divided at one half."""
    if len(margin_KYX) == 1:
        return (margin_KYX[0] > 0).astype(np.uint8)
    return np.where((margin_KYX > 0).any(0), margin_KYX.argmax(0) + 1, 0).astype(np.uint8)


def write_references(model: Model, image_CYX: np.ndarray, folder: Path) -> None:
    """What the network gives for the whole image at once, in float32."""
    for name, build in {"zero": whole, "mirrored": whole_mirrored}.items():
        np.save(folder / f"{name}.npy", margins(build(model)(image_CYX), "logits"))


def compare(found_KYX: np.ndarray, contestant: Contestant, folder: Path) -> dict[str, float]:
    """Share of labels that differ; largest and mean difference, in σ of the reference.

    The reference goes on beyond the border as the contestant does.
    """
    reference_KYX = np.load(folder / f"{contestant.border}.npy")
    if contestant.yields == "mask":
        return {"labels": float((found_KYX[0] != likeliest(reference_KYX)).mean())}
    margin_KYX = margins(found_KYX, contestant.yields)
    deviation = float(reference_KYX.std(dtype=np.float64))
    difference_KYX = np.abs(margin_KYX - reference_KYX)
    return {
        "largest": float(difference_KYX.max()) / deviation,
        "mean": float(difference_KYX.mean(dtype=np.float64)) / deviation,
        "labels": float((likeliest(margin_KYX) != likeliest(reference_KYX)).mean()),
    }


if __name__ == "__main__":
    main()
