"""One contestant's training step, in a process of its own that does what it is told line by line.

    python benchmarks/training_step.py septum paper-2015

Prints one line of JSON about itself, then reads words from its input and answers each with one
number: `step`, seconds of a training step; `gemm`, seconds of a bfloat16 4096³ matrix product;
`peak`, bytes of memory at most so far; `flop`, arithmetic of a step. Batch 1, the recipe's tile.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from septum.annotation.synthetic import write_example_data
from septum.memory import raise_allocator_thresholds
from septum.model import build_network
from septum.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("SEPTUM_DATA", ROOT.parent / "shared" / "data")) / "isbi2012-em"
GEMM = 4096


def main() -> None:
    name, recipe = sys.argv[1], load_recipe(sys.argv[2], ["training.batch=1", "validation.last=1"])
    peers = {"same network": lambda: build_network(recipe.network, 1, 2), **PEERS}
    if name == "septum":
        build, (about, step) = peers["same network"], ours(recipe)
    else:
        try:
            build = peers[name]
            about, step = theirs(build, recipe.training.tile)
        except ImportError as error:
            print(json.dumps({"missing": str(error)}), flush=True)
            return
    print(json.dumps(about), flush=True)
    actions: dict[str, Callable[[], float]] = {
        "step": lambda: seconds_of(step),
        "gemm": time_gemm,
        "peak": lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "flop": lambda: count_flop(build, recipe.training.tile),
    }
    for line in sys.stdin:
        print(actions[line.strip()](), flush=True)


def seconds_of(call: Callable[[], Any]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def time_gemm() -> float:
    """Seconds of the fastest of five bfloat16 products of 4096 × 4096 matrices."""
    one, other = (torch.randn(GEMM, GEMM).bfloat16() for _ in range(2))
    return min(seconds_of(lambda: one @ other) for _ in range(5))


def ours(recipe: Recipe) -> tuple[dict[str, Any], Callable[[], Any]]:
    """Septum's own step, drawing of the tile included: all that `septum train` does in one."""
    from septum.training.data import load_data
    from septum.training.job import Job
    from septum.training.run_folder import RunFolder
    from septum.training.step import train_step

    raise_allocator_thresholds()
    with tempfile.TemporaryDirectory() as folder:
        data = DATA
        if not data.exists():
            data = Path(folder)
            write_example_data(data, "membranes", count=3, size=512)
        run = RunFolder(Path(folder) / "run")
        job = Job(run, recipe, load_data(data, recipe), torch.device("cpu"))
    return describe(job.network, job.dtype), lambda: train_step(job)


def theirs(build: Callable[[], nn.Module], tile: int) -> tuple[dict[str, Any], Callable[[], Any]]:
    """A network under PyTorch's defaults: float32, contiguous, plain SGD, glibc as it is."""
    network = build()
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.99)
    image_NCS = torch.randn(1, 1, tile, tile)

    def step() -> None:
        logits_NKS = network(image_NCS)
        classes_NS = torch.zeros((1, *logits_NKS.shape[2:]), dtype=torch.long)
        loss = (entropy(logits_NKS, classes_NS) * torch.ones(classes_NS.shape)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return describe(network, torch.float32), step


def describe(network: nn.Module, dtype: torch.dtype) -> dict[str, Any]:
    """Parameters, type of the arithmetic, threads."""
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def entropy(logits_NKS: Tensor, classes_NS: Tensor) -> Tensor:
    """Cross entropy of each pixel, of a sigmoid or of a softmax."""
    if logits_NKS.shape[1] == 1:
        target_NS = classes_NS.float()
        return F.binary_cross_entropy_with_logits(logits_NKS[:, 0], target_NS, reduction="none")
    return F.cross_entropy(logits_NKS, classes_NS, reduction="none")


def monai_network() -> nn.Module:
    """MONAI's BasicUNet at the paper's widths; its own normalisation and activation."""
    from monai.networks.nets import BasicUNet

    network: nn.Module = BasicUNet(2, 1, 1, features=(64, 128, 256, 512, 1024, 64))
    return network


def smp_network() -> nn.Module:
    """segmentation-models-pytorch's Unet in the form nearest to the paper's: VGG at full width."""
    declare_torchvision_operators()
    import segmentation_models_pytorch as smp

    network: nn.Module = smp.Unet(
        "vgg13_bn",
        encoder_weights=None,
        decoder_channels=(512, 512, 256, 128, 64),
        in_channels=1,
        classes=1,
    )
    return network


def declare_torchvision_operators() -> None:
    """Let torchvision be imported where its compiled part was built for another torch.

    PyPI's wheel is built for CUDA; beside the processor's torch its library does not load, and
    the import fails on two operators that no network here uses.
    """
    global _operators  # noqa: PLW0603 (declarations live as long as this object)
    if _operators or torch.version.cuda or "+" in metadata.version("torchvision"):
        return
    _operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        _operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_operators: torch.library.Library | None = None

PEERS: dict[str, Callable[[], nn.Module]] = {
    "MONAI BasicUNet": monai_network,
    "segmentation-models-pytorch Unet": smp_network,
}


def count_flop(build: Callable[[], nn.Module], tile: int) -> int:
    """Of forward and backward pass, without the gradient of the image, which nobody needs."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        build()(torch.empty(1, 1, tile, tile)).sum().backward()
    return int(counter.get_total_flops())


if __name__ == "__main__":
    main()
