"""What is asked of a prediction, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from septum.errors import InputError
from septum.prediction.separation import Separation


@dataclass(frozen=True)
class Options:
    """Choices of one prediction; None is what the model's recipe says."""

    tile: int | None = None
    orientations: int | None = None
    precision: str | None = None
    threshold: float | None = None
    device: str = "cpu"
    suffix: str | None = None
    """.tif, .png or .zarr; None: what the output's name says, else .tif."""
    overwrite: bool = False
    memory: int | None = None
    """Bytes that the process may take in all; None: what suits the device."""
    probability: str | None = None
    """Type of the probabilities: uint8, float16, float32; None: float32, and uint8 in PNG."""
    instances: bool = False
    seeds: float | None = None
    minimum: int | None = None
    fill: int | None = None
    workers: int | None = None
    """So many processes of this machine."""
    scheduler: str | None = None
    """Address of a dask.distributed scheduler whose workers are to compute."""
    rescale: bool = False
    """Bring images to the pixel size of training, and results back."""
    keep_going: bool = False
    """Past regions that cannot be read."""
    skip_existing: bool = False
    """Leave out images whose results are there."""


@dataclass(frozen=True)
class Written:
    """What was written for one input, and how fast."""

    source: Path
    files: tuple[Path, ...]
    pixels: int
    seconds: float
    doubt: str = ""
    """Why the result may be worth nothing, in words; mostly empty."""
    objects: int | None = None
    """How many were numbered, if any were asked for."""
    separation: Separation | None = None
    """How they were told apart."""
    before: float = 0.0
    """Share of it that an earlier command had computed."""
    uncertainty: float | None = None
    """Mean over its pixels of how far the networks of a model of several folds disagree."""


def check_options(options: Options) -> None:
    """Raise InputError for values that are not known, or that exclude each other."""
    if options.suffix not in (None, ".tif", ".tiff", ".png", ".zarr"):
        raise InputError(f"--format {options.suffix.lstrip('.')}: use tif, png or zarr")
    if options.orientations not in (None, 1, 8):
        raise InputError(f"--orientations {options.orientations}: use 1 or 8")
    if options.precision not in (None, "auto", "float32", "bfloat16"):
        raise InputError(f"--precision {options.precision}: use auto, float32 or bfloat16")
    if options.probability not in (None, "uint8", "float16", "float32"):
        raise InputError(f"--probability {options.probability}: use uint8, float16 or float32")
    if options.suffix == ".png" and options.probability not in (None, "uint8"):
        raise InputError(
            f"--probability {options.probability}: PNG holds 8 bits of it; use --format tif or zarr"
        )
    if options.tile is not None and options.memory is not None:
        raise InputError("--tile and --memory both set how large a tile is: give one")
    if options.workers is not None and options.scheduler is not None:
        raise InputError("--workers starts processes here, --scheduler uses others: give one")
    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers {options.workers}: use 1 or more")
    if not options.instances and (
        options.seeds is not None or options.minimum is not None or options.fill is not None
    ):
        raise InputError("--seeds, --minimum and --fill are for --instances: add it")
