"""A step on a GPU as one CUDA graph: launched at once, instead of a thousand small kernels.

The work of a step of the paper's network takes a modern GPU less time than Python needs to ask for
it. Captured once, the kernels of drawing, network, loss and optimiser are replayed by one call.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

from septum.training.device_samples import DeviceSampler
from septum.training.ending import rate_of
from septum.training.job import Job
from septum.training.optimization import update_average
from septum.training.step import descend, train_step

WARM_STEPS = 3
"""Steps taken as usual first: libraries choose their algorithms, the optimiser makes its state."""


def choose_step(job: Job) -> Callable[[], None]:
    """What takes a step of ``job``: ``train_step``, or its graph.

    The graph only where SEPTUM_CUDA_GRAPH=1 asks for it, until it was measured on a GPU
    (benchmarks/gpu_training.py does).
    """
    if os.environ.get("SEPTUM_CUDA_GRAPH") == "1" and can_capture(job):
        return StepGraph(job)
    return lambda: train_step(job)


def can_capture(job: Job) -> bool:
    """Whether the steps of ``job`` are the same work each time, on one GPU that holds the set."""
    section = job.recipe.training
    whole = section.micro_batch in (0, section.batch)
    return isinstance(job.tiles, DeviceSampler) and job.ranks.count == 1 and whole


class StepGraph:
    """``train_step`` for jobs that ``can_capture``: the same sums, but for the bits of dropout.

    Dropout draws from the GPU's generator, seeded at each step by the step's number; the first
    ``WARM_STEPS`` after a start draw as ``train_step`` does, so that with dropout an interrupted
    run differs in these from an uninterrupted one.
    """

    def __init__(self, job: Job) -> None:
        assert can_capture(job)
        self._job = job
        self._warm = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream(job.device)  # type: ignore[no-untyped-call]
        self._rate = torch.zeros((), device=job.device)
        for group in job.optimizer.param_groups:
            if "capturable" in group:
                group["capturable"] = True

    def __call__(self) -> None:
        """Take one step."""
        job, section = self._job, self._job.recipe.training
        if self._warm < WARM_STEPS:
            self._warm += 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                train_step(job)
            torch.cuda.current_stream().wait_stream(self._stream)
            return
        rate = rate_of(job)
        assert isinstance(job.tiles, DeviceSampler)
        names, rows, greys = job.tiles.pack(job.step, range(section.batch))
        if self._graph is None:
            self._capture(rows, greys)
        assert self._graph is not None
        self._rows.copy_(rows, non_blocking=True)
        self._greys.copy_(greys, non_blocking=True)
        self._rate.fill_(rate)
        torch.cuda.manual_seed((section.seed * 1_000_003 + job.step) % 2**63)
        self._graph.replay()
        # The graph writes its results to the same place each time.
        job.losses.add(job.step, self._loss.clone(), self._finite.clone(), names, rate)
        if job.average is not None:
            update_average(job.average, job.network, job.step, section.weight_average)
        job.count(rate)

    def _capture(self, rows: Tensor, greys: Tensor) -> None:
        job = self._job
        assert isinstance(job.tiles, DeviceSampler)
        self._rows, self._greys = rows.to(job.device), greys.to(job.device)
        for group in job.optimizer.param_groups:
            group["lr"] = self._rate
        job.network.dropout.seeds = None
        job.optimizer.zero_grad(set_to_none=True)  # the graph makes its own, at fixed places
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            tiles = job.tiles.tiles(self._rows, self._greys)
            self._loss, self._finite = descend(job, [tiles])
