"""Files in, files out: what `septum predict` does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from septum.errors import ImageFileError, InputError, SaveError
from septum.images.files import expand_inputs
from septum.images.stored import load_image, open_image
from septum.memory import raise_allocator_thresholds
from septum.model import Model, load_model
from septum.prediction.doubts import doubt_pixel_size, find_doubt, middle
from septum.prediction.outputs import (
    Job,
    Output,
    begin_job,
    finish_job,
    make_folder,
    plan_outputs,
)
from septum.prediction.overlap_tile import Predictor
from septum.prediction.predictor import prepare
from septum.prediction.separation import Separation
from septum.prediction.streaming import Watch, predict_into

WHOLE_BYTES = 32 << 20
"""Images up to this size are read at once: less work than region by region, and no memory."""


@dataclass(frozen=True)
class Options:
    """Choices of one prediction; None is what the model's recipe says."""

    tile: int | None = None
    orientations: int | None = None
    precision: str | None = None
    threshold: float | None = None
    device: str = "cpu"
    suffix: str = ".tif"
    overwrite: bool = False
    memory: int | None = None
    """Bytes that the process may take in all; None: what suits the device."""
    probability: str = "float32"
    instances: bool = False
    seeds: float | None = None
    minimum: int = 0
    fill: int = 0
    workers: int | None = None
    """So many processes of this machine."""
    scheduler: str | None = None
    """Address of a dask.distributed scheduler whose workers are to compute."""


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


def predict_files(
    model: Path,
    inputs: Sequence[Path],
    out: Path,
    options: Options,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Written]:
    """Segment image files; per input NAME.ext write NAME.mask and NAME.probability in ``out``.

    The mask holds class ids (uint8), the probabilities have the channel axis C (one entry a
    class); all other axes, and the pixel size, are those of the input. With ``instances`` also
    NAME.instances (uint32) and NAME.objects.csv. With the suffix .zarr, NAME.zarr holds them all;
    an ``out`` of that name is the store itself. Stacks are taken plane by plane by a 2D model,
    volume by volume by a 3D one. All inputs are looked for, and all outputs checked, before the
    first is computed. Nothing whole is in memory, but small images and results.
    ``watch(done, total)`` hears of pixels. A store that was begun is gone on with.

    Raises InputError (missing files, two inputs of one name, channels that do not fit),
    SaveError (an output that exists, unless ``options.overwrite``), ModelFileError.
    """
    from septum.devices import choose_device

    raise_allocator_thresholds(bounded=True)
    loaded = load_model(model)
    sources = expand_inputs(inputs)
    _check(options)
    if out.is_file():
        raise SaveError(f"{out}: is a file; name a folder for the results")
    planned = plan_outputs(sources, out, options.suffix, options.instances, options.overwrite)
    files = list(zip(sources, planned, strict=True))
    if options.workers is not None or options.scheduler is not None:
        yield from _predict_apart(model, loaded, files, options, watch)
        return
    memory = None if options.memory is None else memory_for_tiles(options.memory)
    predictor = prepare(
        loaded,
        choose_device(options.device),
        options.precision,  # type: ignore[arg-type]
        options.tile,
        options.orientations,  # type: ignore[arg-type]
        memory,
    )
    make_folder(planned)
    for source, output in files:
        begun = _begin(source, output, loaded, predictor, options)
        job = begun.job
        with _naming(source):
            predict_into(
                predictor,
                job.plan,
                job.results,
                job.threshold,
                manifest=job.manifest,
                watch=watch,
            )
        yield _finish(begun, predictor)


def _predict_apart(
    path: Path,
    model: Model,
    files: Sequence[tuple[Path, Output]],
    options: Options,
    watch: Watch,
) -> Iterator[Written]:
    """``predict_files`` by other processes; everything goes through stores that they share."""
    try:
        from septum.prediction.cluster import Workers
        from septum.prediction.worker import Wishes
    except ModuleNotFoundError as error:
        raise InputError(
            f"--workers and --scheduler need {error.name}; install it with "
            "`pip install 'septum[cluster]'`"
        ) from None
    tile = options.tile
    if tile is None and options.memory is None:
        tile = model.recipe.prediction.tile or None
    memory = None if options.memory is None else memory_for_tiles(options.memory)
    wishes = Wishes(options.device, options.precision, tile, options.orientations, memory)
    with Workers(options.scheduler, options.workers or 1, path, wishes) as workers:
        setting = workers.setting
        predictor = prepare(
            model,
            "cpu",
            setting.precision,  # type: ignore[arg-type]
            setting.tile,
            options.orientations,  # type: ignore[arg-type]
        )
        make_folder([output for _, output in files])
        begun = deque[_Begun]()

        def jobs() -> Iterator[Job]:
            for source, output in files:
                begun.append(_begin(source, output, model, predictor, options, shared=True))
                yield begun[-1].job

        for _ in workers.compute(jobs(), watch):
            yield _finish(begun.popleft(), predictor)


def memory_for_tiles(memory: int) -> int:
    """Of ``memory`` bytes for the whole process, those that the network may take for a tile.

    Raises InputError if the process holds more already.
    """
    from septum.memory import held_memory

    rest = memory - held_memory() - 2 * WHOLE_BYTES
    if rest <= 0:
        raise InputError(
            f"--memory {memory / 1e9:.2f} GB: the program and the model alone take "
            f"{(memory - rest) / 1e9:.2f} GB; give more than that"
        )
    return rest


@dataclass(frozen=True)
class _Begun:
    source: Path
    job: Job
    start: float
    doubt: str


def _begin(
    source: Path,
    output: Output,
    model: Model,
    predictor: Predictor,
    options: Options,
    shared: bool = False,
) -> _Begun:
    start = time.monotonic()
    image = open_image(source)
    size = image.dtype.itemsize * int(np.prod(image.shape, dtype=np.int64))
    picture = source.suffix.lower() in (".png", ".jpg", ".jpeg")
    if not shared and (picture or size <= WHOLE_BYTES):
        image = load_image(source)
    threshold = model.threshold if options.threshold is None else options.threshold
    separation = None
    if options.instances:
        separation = Separation(threshold, options.seeds, options.minimum, options.fill)
    with _naming(source):
        doubt = find_doubt(middle(image, predictor.dimensions), predictor.intensity)
        doubt = doubt or doubt_pixel_size(image.pixel_size, model.pixel_size)
        job = begin_job(
            output,
            image,
            predictor,
            threshold,
            options.probability,  # type: ignore[arg-type]
            separation,
            shared,
        )
    return _Begun(source, job, start, doubt)


def _finish(begun: _Begun, predictor: Predictor) -> Written:
    image = begun.job.image
    with _naming(begun.source):
        objects = finish_job(begun.job, predictor.dimensions)
    pixels = int(np.prod(image.shape, dtype=np.int64)) // image.channels
    seconds = time.monotonic() - begun.start
    return Written(begun.source, begun.job.output.files, pixels, seconds, begun.doubt, objects)


@contextmanager
def _naming(source: Path) -> Iterator[None]:
    """Put the name of the image before what is wrong with it, unless it is there already."""
    try:
        yield
    except ImageFileError:
        raise
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _check(options: Options) -> None:
    if options.suffix not in (".tif", ".tiff", ".png", ".zarr"):
        raise InputError(f"--format {options.suffix.lstrip('.')}: use tif, png or zarr")
    if options.orientations not in (None, 1, 8):
        raise InputError(f"--orientations {options.orientations}: use 1 or 8")
    if options.precision not in (None, "auto", "float32", "bfloat16"):
        raise InputError(f"--precision {options.precision}: use auto, float32 or bfloat16")
    if options.probability not in ("uint8", "float16", "float32"):
        raise InputError(f"--probability {options.probability}: use uint8, float16 or float32")
    if options.workers is not None and options.scheduler is not None:
        raise InputError("--workers starts processes here, --scheduler uses others: give one")
    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers {options.workers}: use 1 or more")
    if not options.instances and (options.seeds is not None or options.minimum or options.fill):
        raise InputError("--seeds, --minimum and --fill are for --instances: add it")
