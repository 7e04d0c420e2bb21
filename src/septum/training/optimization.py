"""Optimiser and learning rate, and the optimiser's state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from septum.recipe import Training


def build_optimizer(parameters: Iterable[nn.Parameter], section: Training) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW; fused, which saves a pass over the weights for each term."""
    if section.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=section.learning_rate,
            momentum=section.momentum,
            weight_decay=section.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(
        parameters, lr=section.learning_rate, weight_decay=section.weight_decay, fused=True
    )


def learning_rate(step: int, steps: int, steps_per_epoch: int, section: Training) -> float:
    """The learning rate of ``step`` (from 0) of a run of ``steps``, by the count alone."""
    rate = section.learning_rate
    if step < section.warmup_steps:
        rate *= (step + 1) / section.warmup_steps
    if section.schedule == "step":
        rate *= section.step_factor ** (step // (steps_per_epoch * section.step_epochs))
    elif section.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / steps))
    return rate


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state, flat: ``optimizer.<parameter index>.<name>``."""
    return {
        f"optimizer.{index}.{name}": value
        for index, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
        if isinstance(value, Tensor)
    }


def tensors_of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with ``prefix``, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` gave, in the memory order of the parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if not key.startswith("optimizer."):
            continue
        _, index, name = key.split(".", 2)
        parameter = parameters[int(index)]
        entries = state.setdefault(int(index), {})
        like = value.shape == parameter.shape
        entries[name] = torch.empty_like(parameter).copy_(value) if like else value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


STATISTICS_TILES = 64
"""Tiles of which the statistics of batch normalisation are taken for averaged weights."""


def tiles_of_statistics(section: Training, every: int) -> list[tuple[int, range]]:
    """Step and samples of the tiles of which averaged weights take their statistics.

    The first of the run, always the same, so that statistics change with the weights alone; as many
    at once as in training, and no more than take a small share of ``every`` steps.
    """
    at_once = section.micro_batch or section.batch
    steps = min(math.ceil(STATISTICS_TILES / section.batch), every // 8 + 1)
    parts = [range(section.batch)[i : i + at_once] for i in range(0, section.batch, at_once)]
    return [(step, part) for step in range(steps) for part in parts]


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Move average ← d · average + (1 − d) · network, d rising to ``decay`` over the first steps.

    Buffers, the statistics of batch normalisation, stay: those of the network are of other weights,
    and `measure_batch_norm` finds the average's own when it is to be used.
    """
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(
        [p.data for p in average.parameters()],
        [p.data for p in network.parameters()],
        1 - decay,
    )
