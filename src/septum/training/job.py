"""All that a run consists of while it is in memory: data, network, optimiser, counters."""

from __future__ import annotations

import copy
import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from septum import __version__
from septum.devices import Ranks, channels_last, choose_dtype, describe_machine
from septum.errors import RecipeError, RunFolderError
from septum.memory import peak_memory
from septum.model import AnyNetwork, Model, build_network, load_model
from septum.network.batch_norm import measure_batch_norm, share_batch_norm
from septum.prediction.overlap_tile import prepare
from septum.recipe import Recipe
from septum.training.data import Data, planned_steps
from septum.training.device_samples import choose_tiles
from septum.training.ending import has_settled
from septum.training.loss_record import LossRecord
from septum.training.optimization import (
    build_optimizer,
    optimizer_tensors,
    restore_optimizer,
    tensors_of,
    tiles_of_statistics,
)
from septum.training.run_folder import RunFolder
from septum.training.samples import build_sampler
from septum.training.separation_choice import describe_choices, with_choices
from septum.training.tracking import format_duration
from septum.training.validation import Targets, validate


class Job:
    """A run in memory. ``step`` steps are done; the loop moves it on, the methods keep records."""

    def __init__(
        self,
        run: RunFolder,
        recipe: Recipe,
        data: Data,
        device: torch.device,
        ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
    ) -> None:
        section = recipe.training
        if section.batch < ranks.count:
            raise RecipeError(
                f"training.batch = {section.batch} cannot be divided among {ranks.count} ranks; "
                f"start fewer, or --set training.batch={ranks.count}"
            )
        self.run, self.recipe, self.data = run, recipe, data
        self.device, self.ranks = device, ranks
        self.dtype = choose_dtype(section.precision, device)
        torch.manual_seed(section.seed % 2**63)  # torch takes no larger one
        network = build_network(recipe.network, data.channels, data.meaning.class_count)
        self._check_tiles(network)
        self.network: AnyNetwork = network.to(
            device=device, memory_format=channels_last(recipe.network.dimensions)
        )  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network) if section.weight_average else None
        share_batch_norm(self.network, ranks)
        self.parallel = ranks.parallel(self.network)
        self.optimizer = build_optimizer(self.network.parameters(), section)

        self.sampler = build_sampler(data, recipe, network.footprint)
        self.tiles = choose_tiles(self.sampler, device)
        self.targets = Targets(data.validation, data.meaning)
        self.steps_per_epoch = math.ceil(len(data.training) / section.batch)
        self.steps = planned_steps(recipe, data)
        self.longer = False  # whether the run was begun with fewer steps
        self.choices: list[str] = []  # how the recipe was chosen, in words, if it was
        self.validate_every = section.validate_every or self.steps_per_epoch

        self.step = 0
        self.cooling = 0  # the step after which it began to end early; septum.training.ending
        self.best: dict[str, Any] = {}
        self.latest: dict[str, Any] = {}
        self.losses = LossRecord(device, ranks, section.learning_rate)
        self._rate = 0.0
        self._clock = self._saved = time.monotonic()
        self.ended: dict[str, Any] = {}  # the training section that it has come to the end of

    def _check_tiles(self, network: AnyNetwork) -> None:
        """Refuse those that the network cannot take, or whose last pixel has no variance."""
        footprint, tile = network.footprint, self.recipe.training.tile
        footprint.check(tile, "training.tile")
        if extent := self.recipe.prediction.tile:
            footprint.check_tile(extent, "prediction.tile")
        if self.recipe.network.normalization == "batch" and tile == footprint.minimum:
            raise RecipeError(
                f"training.tile = {tile} leaves one pixel at the bottom of the network, of which "
                "batch normalisation cannot learn; --set "
                f"training.tile={tile + footprint.stride} or more"
            )

    def exchange_gradients(self, now: bool) -> AbstractContextManager[None]:
        """Within this, a backward pass sums gradients over the ranks, or (not ``now``) does not."""
        if now or not isinstance(self.parallel, DistributedDataParallel):
            return nullcontext()
        return self.parallel.no_sync()

    def count(self, rate: float) -> None:
        """One more step is done."""
        self.step += 1
        self._rate = rate

    @property
    def seconds(self) -> float:
        """Time that the run has taken so far, validation included, interruptions left out."""
        return time.monotonic() - self._clock

    def log_training(self) -> None:
        """Write the mean loss since the last such record."""
        loss = self.losses.take_mean()
        if loss is None:
            return
        self.run.append(
            {
                "kind": "training",
                "step": self.step,
                "epoch": self.step / self.steps_per_epoch,
                "loss": loss,
                "learning_rate": self._rate,
                "seconds": round(self.seconds, 2),
            }
        )

    def validation_is_due(self) -> bool:
        """Whether the steps done so far call for a validation."""
        return self.step % self.validate_every == 0 or self.step == self.steps

    def measure_statistics(self) -> None:
        """Give averaged weights the statistics of batch normalisation that are their own."""
        if self.average is not None and self.recipe.network.normalization == "batch":
            often = min(self.validate_every, self.steps)
            wanted = tiles_of_statistics(self.recipe.training, often)
            own = self.ranks.share(len(wanted))
            drawn = (self.tiles.batch(*wanted[number], self.device)[1] for number in own)
            with torch.autocast(self.device.type, self.dtype, self.dtype == torch.bfloat16):
                measure_batch_norm(self.average, drawn, len(wanted), self.ranks)

    def validate(self) -> dict[str, Any]:
        """Score the validation images, write the record, keep the model if it is the best."""
        self.measure_statistics()
        predictor = prepare(self.model(), self.device)
        section, head = self.recipe.loss, self.recipe.network.head
        scores = validate(predictor, self.targets, section, self.sampler.weigh, self.ranks, head)
        measure = self.recipe.training.keep_best
        value = scores.get(measure, scores["loss"])
        lowest = self.best.get("lowest", math.inf)
        better = not self.best or value < lowest
        settled = not better and has_settled(self, value, lowest)
        self.latest = {
            "kind": "validation",
            "step": self.step,
            "epoch": self.step / self.steps_per_epoch,
            **scores,
            "best": better or settled,
            **({"settled": True} if settled else {}),
            "seconds": round(self.seconds, 2),
        }
        if better or settled:
            self.best = {**self.latest, measure: value, "lowest": min(value, lowest)}
            self.run.save_best(self.model())
        self.run.append(self.latest)
        return self.latest

    def model(self, threshold: float = 0.5) -> Model:
        """The model as it is now: the averaged weights, if the recipe averages."""
        sizes = {item.pixel_size for item in self.data.training}
        return Model(
            network=self.average if self.average is not None else self.network,
            recipe=self.recipe,
            meaning=self.data.meaning,
            intensity=self.data.intensity,
            channels=self.data.channels,
            threshold=threshold,
            pixel_size=sizes.pop() if len(sizes) == 1 else None,
            provenance={
                "septum": __version__,
                "step": self.step,
                "data": str(self.data.path.resolve()),
                "training_images": [item.name for item in self.data.training],
                "validation_images": [item.name for item in self.data.validation],
                "scores": {k: v for k, v in self.latest.items() if isinstance(v, float)},
                "machine": describe_machine(),
            },
        )

    def save(self, now: bool = False) -> None:
        """Save all that is needed to go on, unless that was done a moment ago."""
        if not now and time.monotonic() - self._saved < self.recipe.training.save_seconds:
            return
        self.losses.settle()
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= optimizer_tensors(self.optimizer)
        counters = {
            "step": self.step,
            "best": self.best,
            "latest": self.latest,
            "losses": self.losses.values,
            "rate": self._rate,
            "seconds": self.seconds,
            "left_in_files": self.data.stored,
            "ended": self.ended,
            "cooling": self.cooling,
            "until": [self.steps, self.recipe.training.patience],
            **self.data.fingerprints,
        }
        self.run.save_state(tensors, counters)
        self._saved = time.monotonic()

    def restore(self) -> None:
        """Go back to the last save; a run stopped before its first save starts again.

        Raises RunFolderError if the images are not those that the run began with. Those of the
        validation count too: scores on others say nothing about which model is the best.
        """
        state = self.run.load_state()
        if state is None:
            self.run.rewind_history(-1)
            return
        tensors, counters = state
        for side, now in self.data.fingerprints.items():
            if counters.get(side, now) != now:
                noun = "training" if side == "data" else side
                raise RunFolderError(
                    f"{self.run.path}: the {noun} images or labels changed since this run was "
                    "saved; give the same DATA to resume, or choose another --out"
                )
        self.network.load_state_dict(tensors_of(tensors, "network."))
        if self.average is not None:
            self.average.load_state_dict(tensors_of(tensors, "average."))
        restore_optimizer(self.optimizer, tensors)
        self.step, self.best, self.latest = counters["step"], counters["best"], counters["latest"]
        if counters.get("until") == [self.steps, self.recipe.training.patience]:
            self.cooling = counters["cooling"]
        self.losses.values, self._rate = counters["losses"], counters["rate"]
        self._clock = time.monotonic() - counters["seconds"]
        self.run.rewind_history(self.step, cooling=bool(self.cooling))

    def finish(self) -> str:
        """Choose how objects are told apart, write both models; says in words what came out.

        The first rank does that; the others are done.
        """
        if not self.ranks.first:
            return ""
        about, is_best = (self.recipe, self.data, self.device), self.best["step"] == self.step
        last = with_choices(self.model(), *about)
        best = last if is_best else with_choices(load_model(self.run.best), *about)
        self.run.save_last(last)
        self.run.save_best(best)
        self.ended = self.recipe.training.model_dump()
        self.save(now=True)
        measure = self.recipe.training.keep_best
        return (
            f"finished in {format_duration(self.seconds)}; kept: validation "
            f"{measure.replace('_', ' ')} {self.best[measure]:.4f} at step {self.best['step']}; "
            f"{describe_choices(best)}; peak memory {peak_memory(self.device) / 1e9:.1f} GB; "
            f"model: {self.run.best}"
        )
