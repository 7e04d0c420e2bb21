"""Files in, files out: what `septum predict` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from septum.errors import ImageFileError, InputError, SaveError
from septum.images.files import expand_inputs
from septum.images.intensity_range import IntensityRange
from septum.images.stored import StoredImage, load_image, open_image
from septum.memory import raise_allocator_thresholds
from septum.model import Model, load_model
from septum.prediction.outputs import Output, make_folder, plan_outputs, write_outputs
from septum.prediction.overlap_tile import Predictor
from septum.prediction.predictor import prepare
from septum.prediction.separation import Separation
from septum.prediction.streaming import Watch

WHOLE_BYTES = 32 << 20
"""Images up to this size are read at once: less work than region by region, and no memory."""
FAR = 5.0
"""Ranges of grey values between an image and the training images at which a result is doubted."""
MOST_ENLARGED = 2.0
"""Times that pixel sizes may differ from those of training before a result is doubted."""
LOOKED_AT = 2048
"""Pixels an axis, in the middle of an image, whose grey values are compared with training."""


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
    predictor = prepare(
        loaded,
        choose_device(options.device),
        options.precision,  # type: ignore[arg-type]
        options.tile,
        options.orientations,  # type: ignore[arg-type]
        None if options.memory is None else memory_for_tiles(options.memory),
    )
    make_folder(planned)
    for source, output in zip(sources, planned, strict=True):
        yield _predict(source, output, loaded, predictor, options, watch)


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


def _predict(
    source: Path, output: Output, model: Model, predictor: Predictor, options: Options, watch: Watch
) -> Written:
    start = time.monotonic()
    image = open_image(source)
    size = image.dtype.itemsize * int(np.prod(image.shape, dtype=np.int64))
    if size <= WHOLE_BYTES or source.suffix.lower() in (".png", ".jpg", ".jpeg"):
        image = load_image(source)
    threshold = model.threshold if options.threshold is None else options.threshold
    separation = None
    if options.instances:
        separation = Separation(threshold, options.seeds, options.minimum, options.fill)
    try:
        doubt = find_doubt(middle(image, predictor.dimensions), predictor.intensity)
        doubt = doubt or doubt_pixel_size(image.pixel_size, model.pixel_size)
        objects = write_outputs(
            output,
            image,
            predictor,
            threshold,
            options.probability,  # type: ignore[arg-type]
            separation,
            watch,
        )
    except ImageFileError:  # names the file already
        raise
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    pixels = int(np.prod(image.shape, dtype=np.int64)) // image.channels
    return Written(source, output.files, pixels, time.monotonic() - start, doubt, objects)


def middle(image: StoredImage, dimensions: int) -> np.ndarray:
    """The middle of the first plane or volume of an image, (C, *spatial)."""
    _, stack = image.stacks(dimensions)[0]
    spans = []
    for extent in stack.extents:
        start = max((extent - LOOKED_AT) // 2, 0)
        spans.append(slice(start, min(start + LOOKED_AT, extent)))
    if dimensions == 3:
        half = stack.extents[0] // 2
        spans[0] = slice(half, half + 1)
    return stack.read(tuple(spans))


def find_doubt(image_CS: np.ndarray, intensity: IntensityRange) -> str:
    """Whether grey values lie where training had none: another bit depth, another microscope.

    Says so where the mean of a channel, by every 8th pixel, is more than FAR ranges (standard
    deviations, for z-scores) away from where training images have theirs; "" otherwise, and for
    models that take grey values as they are.
    """
    channels = len(image_CS)
    if channels != len(intensity.offset):
        return ""  # which is refused in other words
    if intensity == IntensityRange((0.0,) * channels, (1.0,) * channels):
        return ""
    sparse_CS = image_CS[(slice(None), *(slice(None, None, 8),) * (image_CS.ndim - 1))]
    means = intensity.apply(sparse_CS).reshape(channels, -1).mean(1)
    for channel, mean in enumerate(means):
        if abs(mean) > FAR:
            offset, scale = intensity.offset[channel], intensity.scale[channel]
            return (
                f"its grey values (mean {sparse_CS[channel].mean():.0f}) lie far from those of the "
                f"training images (about {offset:.0f} ± {scale:.0f}); the result is doubtful: "
                "bring it to the same bit depth and brightness"
            )
    return ""


def doubt_pixel_size(image: tuple[float, ...] | None, training: tuple[float, ...] | None) -> str:
    """Whether an image is enlarged much more, or less, than those that the model has learnt from.

    Both in µm, one entry a spatial axis, or None where unknown; "" unless an axis is off by more
    than ``MOST_ENLARGED``.
    """
    if image is None or training is None:
        return ""
    for own, learnt in zip(reversed(image), reversed(training), strict=False):
        if max(own / learnt, learnt / own) > MOST_ENLARGED:
            return (
                f"its pixels are {own:.3g} µm, those of the training images {learnt:.3g} µm; the "
                "result is doubtful: resample the image to that pixel size"
            )
    return ""


def _check(options: Options) -> None:
    if options.suffix not in (".tif", ".tiff", ".png", ".zarr"):
        raise InputError(f"--format {options.suffix.lstrip('.')}: use tif, png or zarr")
    if options.orientations not in (None, 1, 8):
        raise InputError(f"--orientations {options.orientations}: use 1 or 8")
    if options.precision not in (None, "auto", "float32", "bfloat16"):
        raise InputError(f"--precision {options.precision}: use auto, float32 or bfloat16")
    if options.probability not in ("uint8", "float16", "float32"):
        raise InputError(f"--probability {options.probability}: use uint8, float16 or float32")
    if not options.instances and (options.seeds is not None or options.minimum or options.fill):
        raise InputError("--seeds, --minimum and --fill are for --instances: add it")
