"""A trained model: one safetensors file that says everything needed to use it. No pickle."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from septum.annotation.labels import LabelMeaning
from septum.atomic_file import replace_file
from septum.errors import ModelFileError, RecipeError
from septum.geometry import Footprint
from septum.images.intensity_range import IntensityRange
from septum.network.fcn import FCN8s
from septum.network.heads import CORE_NAME, UNCERTAINTY_NAME, Maps, check_head, maps_of
from septum.network.sliding_window import SlidingWindow
from septum.network.unet import UNet
from septum.recipe import Network, Recipe, build_recipe
from septum.tensor_file import write_tensors

FORMAT_VERSION = 1
_KEY = "septum"

AnyNetwork = UNet | FCN8s | SlidingWindow
"""What a recipe may ask for. All have ``section``, ``footprint``, ``dimensions``, ``dropout``,
``score``, the layers that give the logits, and ``widest``, the channels of their widest maps with
as many pixels as the input."""
_NETWORKS: dict[str, type[AnyNetwork]] = {
    "unet": UNet,
    "fcn-8s": FCN8s,
    "sliding-window": SlidingWindow,
}


@dataclass(frozen=True, eq=False)
class Member:
    """One of the networks of a model that is several, and the grey values that it has learnt."""

    network: AnyNetwork
    intensity: IntensityRange


@dataclass(frozen=True, eq=False)
class Model:
    """Network and what its numbers mean.

    ``channels``: input channels; ``meaning``: which label value became which class;
    ``intensity``: how grey values are normalised; ``threshold``: an object pixel of a two-class
    model has probability above this; ``seeds``, ``minimum``, ``fill``: how its objects are told
    apart unless something else is asked for, as of `septum.prediction.separation.Separation`;
    ``pixel_size``: micrometres along (Z)YX of the training images, if known; ``provenance``: where
    it comes from (versions, data, steps), JSON values; ``others``: further networks of the same
    recipe, of whose predictions and the first's the mean is taken, as `septum.training.folds` makes
    them.
    """

    network: AnyNetwork
    recipe: Recipe
    meaning: LabelMeaning
    intensity: IntensityRange
    channels: int
    threshold: float = 0.5
    seeds: float | None = None
    minimum: int = 0
    fill: int = 0
    pixel_size: tuple[float, ...] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    others: tuple[Member, ...] = ()

    @property
    def members(self) -> tuple[Member, ...]:
        """All its networks."""
        return (Member(self.network, self.intensity), *self.others)

    @property
    def classes(self) -> int:
        """Number of classes, background included."""
        return self.meaning.class_count

    @property
    def maps(self) -> Maps:
        """What the maps of its predictions are."""
        return maps_of(self.recipe.network.head, self.meaning)

    @property
    def map_names(self) -> tuple[str, ...]:
        """What each of these maps is called; the last is the uncertainty of several networks."""
        core = [CORE_NAME] if self.maps == "core" else []
        return (*self.meaning.titles, *core, *([UNCERTAINTY_NAME] if self.others else []))

    def replace(self, **changes: Any) -> Model:
        """A copy with some fields changed; the networks are shared."""
        return dataclasses.replace(self, **changes)


def build_network(section: Network, channels: int, classes: int) -> AnyNetwork:
    """The network that a recipe describes; `check_head` says if it can tell the classes."""
    return _NETWORKS[section.architecture](section, channels, classes)


def network_footprint(section: Network) -> Footprint:
    """The footprint of the network that a recipe describes, whatever it is to learn."""
    with torch.device("meta"):  # its weights would have no numbers
        return build_network(section, 1, 2).footprint


def save_model(path: Path, model: Model) -> None:
    """Write a model as a whole or not at all; raises SaveError and leaves what stood there."""
    header = {
        "format_version": FORMAT_VERSION,
        "recipe": model.recipe.model_dump(mode="json"),
        "meaning": model.meaning.to_dict(),
        "intensity": model.intensity.to_dict(),
        "channels": model.channels,
        "threshold": model.threshold,
        "seeds": model.seeds,
        "minimum": model.minimum,
        "fill": model.fill,
        "pixel_size": model.pixel_size,
        "provenance": model.provenance,
        "others": [member.intensity.to_dict() for member in model.others],
    }
    tensors = dict(model.network.state_dict())
    for number, member in enumerate(model.others):
        tensors |= {f"{_other(number)}{k}": v for k, v in member.network.state_dict().items()}
    with replace_file(path) as temporary:
        write_tensors(temporary, tensors, {_KEY: json.dumps(header)})


def model_path(path: Path | str) -> Path:
    """The model file of a run's folder, or the file itself; raises ModelFileError."""
    path = Path(path)
    if path.is_dir():
        if not (path / "model.safetensors").is_file():
            if (path / "fold-0").is_dir():
                raise ModelFileError(
                    f"{path}: its folds have not all been trained; go on with `septum train … "
                    f"--folds K --resume`, or use one of them: {path / 'fold-0'}"
                )
            raise ModelFileError(
                f"{path}: no model.safetensors in this folder; expected a run that `septum train` "
                "has saved at least once, or a model file"
            )
        return path / "model.safetensors"
    if not path.is_file():
        raise ModelFileError(f"{path}: no such model file or run folder")
    return path


def load_model(path: Path | str) -> Model:
    """Read a model from its file or from a run's folder, on the processor, in evaluation mode.

    Raises ModelFileError for anything that is not a septum model of a known format version.
    """
    path = model_path(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"{path}: not a model of septum (no safetensors file: {error}); expected "
            "model.safetensors as `septum train` writes it"
        ) from None
    if _KEY not in metadata:
        raise ModelFileError(
            f"{path}: a safetensors file of another program; expected one that `septum train` wrote"
        )
    return _assemble(path, metadata[_KEY], tensors)


def _other(number: int) -> str:
    """What the names of tensors of a further network begin with."""
    return f"others.{number}."


def _assemble(path: Path, text: str, tensors: dict[str, torch.Tensor]) -> Model:
    try:
        header = json.loads(text)
        version = header["format_version"]
    except (ValueError, KeyError, TypeError):
        raise ModelFileError(f"{path}: the model's header is damaged; copy the file anew") from None
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: model format {version}, this septum reads format {FORMAT_VERSION}; "
            "use the version of septum that wrote it, or train again"
        )
    try:
        recipe = build_recipe(header["recipe"])
        meaning = LabelMeaning.from_dict(header["meaning"])
        check_head(recipe.network.head, meaning)

        def take(prefix: str) -> AnyNetwork:
            network = build_network(recipe.network, header["channels"], meaning.class_count)
            own = [name for name in tensors if name.startswith(prefix)]
            network.load_state_dict({name.removeprefix(prefix): tensors.pop(name) for name in own})
            return network.eval()

        others = [
            Member(take(_other(number)), IntensityRange.from_dict(grey))
            for number, grey in enumerate(header.get("others", []))
        ]
        pixel_size = header["pixel_size"]
        return Model(
            network=take(""),
            recipe=recipe,
            meaning=meaning,
            intensity=IntensityRange.from_dict(header["intensity"]),
            channels=header["channels"],
            threshold=header["threshold"],
            seeds=header.get("seeds"),
            minimum=header.get("minimum", 0),
            fill=header.get("fill", 0),
            pixel_size=tuple(pixel_size) if pixel_size else None,
            provenance=header["provenance"],
            others=tuple(others),
        )
    except (RecipeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(
            f"{path}: the model's header does not fit its weights ({str(error).splitlines()[0]}); "
            "copy the file anew or train again"
        ) from None
