"""What a report is about: the run, its data if it is still there, and a few fresh predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from septum.devices import choose_device
from septum.errors import InputError, RunFolderError
from septum.evaluation.scores import score_image, score_overlapping
from septum.evaluation.truth import truth_maps
from septum.model import Model, load_model, network_footprint
from septum.prediction.overlap_tile import predict_mask, predict_probabilities, prepare
from septum.recipe import Recipe
from septum.training.data import Data, load_data
from septum.training.doubts import find_doubts
from septum.training.run_folder import RunFolder
from septum.training.samples import Sampler, build_sampler
from septum.training.validation import AnnotatedTarget, Targets
from septum.training.windows import glimpse

MOST_PREDICTED = 12
"""At most so many validation images are predicted for a report, evenly spread over all of them."""


@dataclass(frozen=True, eq=False)
class Examined:
    """A validation image, what the network was to say about it, what it says, and the scores.

    ``own``: scores at the model's threshold; ``half``: at 0.5 (the same for several classes).
    """

    target: AnnotatedTarget
    probability_KS: np.ndarray
    mask_S: np.ndarray
    own: dict[str, float]
    half: dict[str, float]


@dataclass(frozen=True, eq=False)
class Contents:
    """Everything that a report shows. ``examined``: the image with the lowest IoU first.
    ``notes``: what the reader must be told first.
    """

    run: RunFolder
    recipe: Recipe
    history: list[dict[str, Any]]
    model: Model | None
    data_path: Path | None
    data: Data | None
    sampler: Sampler | None
    examined: list[Examined]
    notes: list[str]

    @property
    def validations(self) -> list[dict[str, Any]]:
        return [record for record in self.history if record.get("kind") == "validation"]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Records of the training loss."""
        return [record for record in self.history if record.get("kind") == "training"]

    @property
    def best(self) -> dict[str, Any] | None:
        """The record of the validation whose model was kept."""
        kept = [record for record in self.validations if record.get("best")]
        return kept[-1] if kept else None

    @property
    def planned(self) -> int | None:
        """How many steps the run is to have; None if that cannot be told yet."""
        section = self.recipe.training
        if section.steps:
            return section.steps
        if not self.history:
            return None
        last = self.history[-1]
        return int(section.epochs * last["step"] / last["epoch"] + 0.5)

    @property
    def finished(self) -> bool:
        """Whether the last planned step was done and validated, or the last of a cool-down."""
        if not self.validations or self.planned is None:
            return False
        last = self.validations[-1]["step"]
        ends = [record["end"] for record in self.history if record["kind"] == "cooling"]
        return bool(last >= min([self.planned, *ends[-1:]]))


def gather(run: RunFolder, data: Path | None) -> Contents:
    """Read a run's folder and its data, and predict a few validation images.

    ``data`` None: where the model says it was trained. Data that is no longer there becomes a
    note; data that was named and cannot be read raises InputError. Raises RunFolderError for a
    folder without a run, ModelFileError, and InputError if nobody knows where the data is.
    """
    if not run.holds_a_run():
        raise RunFolderError(
            f"{run.path}: holds no run; name a folder that `septum train` wrote with --out"
        )
    notes: list[str] = []
    recipe, history = run.recipe(), run.history()
    model = load_model(run.best) if run.best.exists() else None
    path = data if data is not None else _remembered(run, model)
    loaded = None
    if path is not None:
        try:
            loaded = load_data(path, recipe)
        except InputError as error:
            if data is not None:
                raise
            notes.append(
                f"The training data cannot be read any more, so the pictures are missing: {error}. "
                f"If it has moved: septum report {run.path} DATA"
            )
    if model is None:
        notes.append(
            "No model has been kept yet: that happens at the first validation. Scores and "
            "predictions will be here when this report is written again (septum report "
            f"{run.path}{'' if data else ' DATA'})."
        )
    if loaded is not None and model is not None:
        loaded = _as_trained(loaded, model, path, notes)
    contents = Contents(
        run, recipe, history, model, path, loaded, _sampler(loaded, recipe), [], notes
    )
    notes.extend(f"{doubt[0].upper()}{doubt[1:]}." for doubt in find_doubts(history).values())
    _note_progress(contents)
    if model is not None and loaded is not None:
        found = _examine(model, loaded, notes)
        contents.examined.extend(sorted(found, key=lambda item: item.own["iou"]))
    return contents


def _remembered(run: RunFolder, model: Model | None) -> Path | None:
    """Where the model says its data was; None while there is no model that could say it."""
    if model is None:
        return None
    if "data" not in model.provenance:
        raise InputError(
            f"{run.path}: the model does not say where its training data is; name it: "
            f"septum report {run.path} DATA"
        )
    return Path(str(model.provenance["data"]))


def _as_trained(data: Data, model: Model, path: Path | None, notes: list[str]) -> Data:
    """The data as the model took it: labels and grey values mean what they meant in training."""
    names = [item.name for item in data.training]
    if names != model.provenance.get("training_images", names):
        notes.append(
            f"The images in {path} are not those that this model was trained on: the pictures and "
            "the scores of single images below are of the images that are there now."
        )
    return replace(data, meaning=model.meaning, intensity=model.intensity)


def _note_progress(contents: Contents) -> None:
    notes, data = contents.notes, contents.data
    if not contents.history:
        notes.append("Training has only begun: nothing is logged yet.")
    elif not contents.finished:
        notes.append(
            f"This run is unfinished: step {contents.history[-1]['step']} of "
            f"{contents.planned}. What follows is its state when this page was written."
        )
    if data is not None and data.divided:
        notes.append(
            "There is only one annotated image: a quarter of it was kept from training, and the "
            "scores are of that part. How the model does on other images they do not show."
        )
    if data is not None and data.validates_on_training:
        notes.append(
            "There is only one annotated image, so validation is on the very image that was "
            "trained on. The scores show that the network can learn, not that it can generalise."
        )


def _sampler(data: Data | None, recipe: Recipe) -> Sampler | None:
    """The sampler of the run: it draws what the network saw."""
    if data is None:
        return None
    return build_sampler(data, recipe, network_footprint(recipe.network))


def _examine(model: Model, data: Data, notes: list[str]) -> list[Examined]:
    places = np.linspace(0, len(data.validation) - 1, min(MOST_PREDICTED, len(data.validation)))
    chosen = [glimpse(data.validation[round(place)]) for place in places]
    predictor = prepare(model, choose_device())
    examined = []
    for item, target in zip(chosen, Targets(chosen, model.meaning), strict=True):
        try:
            probability_KS = predict_probabilities(predictor, target.image_CS)
        except InputError as error:
            notes.append(f"{item.image_path} cannot be predicted: {error}")
            continue
        classes_S, instances_S = truth_maps(item, model.meaning)
        mask_S, half_S = (
            predict_mask(probability_KS, p, model.maps) for p in (model.threshold, 0.5)
        )
        own, half = (
            score_overlapping(mask, classes_S, model.classes)
            if model.maps == "overlapping"
            else score_image(mask, classes_S, instances_S, model.classes)
            for mask in (mask_S, half_S)
        )
        examined.append(Examined(target, probability_KS, mask_S, own, half))
    return examined
