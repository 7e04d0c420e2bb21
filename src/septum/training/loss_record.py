"""The losses of the steps: looked at as rarely as the device asks, refused if not finite."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from septum.devices import Ranks
from septum.errors import TrainingError

SETTLE_STEPS = 10
"""On a GPU, losses are looked at this often: looking makes the processor wait for the GPU."""


class LossRecord:
    """``values``: the losses of the steps that were looked at since ``take_mean``."""

    def __init__(self, device: torch.device, ranks: Ranks, learning_rate: float) -> None:
        self.values: list[float] = []
        self.last = math.nan
        self._ranks, self._learning_rate = ranks, learning_rate
        self._most = 1 if device.type == "cpu" else SETTLE_STEPS
        self._pending: list[tuple[int, Tensor, Tensor, list[str], float]] = []

    def add(
        self, step: int, loss: Tensor, finite: Tensor, names: list[str], learning_rate: float
    ) -> None:
        """Note a step: its loss, whether loss and gradients were finite, and its images."""
        self._pending.append((step, loss, finite, names, learning_rate))
        if len(self._pending) >= self._most:
            self.settle()

    def settle(self) -> None:
        """Look at the losses noted so far; raises TrainingError on one that is not finite.

        The optimiser left such a step out, so that the weights are those before it.
        """
        pending, self._pending = self._pending, []
        if not pending:
            return
        rows = torch.stack(
            [torch.stack((loss, finite.to(loss))) for _, loss, finite, *_ in pending]
        )
        for (step, _, _, names, rate), (loss, finite) in zip(pending, rows.tolist(), strict=True):
            if not finite:
                everyone = itertools.chain.from_iterable(self._ranks.gather(names))
                images = ", ".join(dict.fromkeys(everyone))
                cause = (
                    "its gradient is not finite, the loss" if math.isfinite(loss) else "the loss"
                )
                raise TrainingError(
                    f"step {step}: {cause} is {loss:g} (learning rate {rate:g}, images {images}); "
                    "the models saved so far are kept; in another --out try --set "
                    f"training.learning_rate={self._learning_rate / 10:.2g}"
                )
            self.values.append(loss)
            self.last = loss

    def take_mean(self) -> float | None:
        """The mean of ``values``, which begins anew; None if there are none."""
        self.settle()
        mean = sum(self.values) / len(self.values) if self.values else None
        self.values = []
        return mean
