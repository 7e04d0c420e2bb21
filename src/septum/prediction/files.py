"""Files in, files out: what `septum predict` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from septum.errors import ImageFileError, InputError, SaveError
from septum.images.files import expand_inputs, read_image, write_image
from septum.images.image import Image
from septum.images.intensity_range import IntensityRange
from septum.model import load_model
from septum.prediction.overlap_tile import Predictor, predict_mask, predict_tiles, prepare


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


FAR = 5.0
"""Ranges of grey values between an image and the training images at which a result is doubted."""


@dataclass(frozen=True)
class Written:
    """What was written for one input, and how fast."""

    source: Path
    files: tuple[Path, ...]
    pixels: int
    seconds: float
    doubt: str = ""
    """Why the result may be worth nothing, in words; mostly empty."""


def predict_files(
    model: Path,
    inputs: Sequence[Path],
    out: Path,
    options: Options,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Written]:
    """Segment image files; per input NAME.ext write NAME.mask and NAME.probability in ``out``.

    The mask holds class ids (uint8), the probabilities float32 with the channel axis C (one
    entry a class); all other axes, and the pixel size, are those of the input. Stacks are taken
    plane by plane by a 2D model, volume by volume by a 3D one. All inputs are looked for, and all
    outputs checked, before the first is computed. ``watch(done, total)`` hears of pixels.

    Raises InputError (missing files, two inputs of one name, channels that do not fit),
    SaveError (an output that exists, unless ``options.overwrite``), ModelFileError.
    """
    from septum.devices import choose_device
    from septum.memory import raise_allocator_thresholds

    raise_allocator_thresholds()
    loaded = load_model(model)
    sources = expand_inputs(inputs)
    if options.suffix not in (".tif", ".tiff", ".png"):
        raise InputError(f"--format {options.suffix.lstrip('.')}: use tif or png")
    planned = _plan(sources, out, options)
    if options.orientations not in (None, 1, 8):
        raise InputError(f"--orientations {options.orientations}: use 1 or 8")
    if options.precision not in (None, "auto", "float32", "bfloat16"):
        raise InputError(f"--precision {options.precision}: use auto, float32 or bfloat16")
    predictor = prepare(
        loaded,
        choose_device(options.device),
        options.precision,  # type: ignore[arg-type]
        options.tile,
        options.orientations,  # type: ignore[arg-type]
    )
    threshold = loaded.threshold if options.threshold is None else options.threshold
    if out.is_file():
        raise SaveError(f"{out}: is a file; name a folder for the results")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(f"{out}: cannot be made: {error.strerror}") from error
    for source, targets in zip(sources, planned, strict=True):
        start = time.monotonic()
        image = read_image(source)
        if options.suffix == ".png":
            _check_single_plane(image)
        try:
            mask, probability = predict_whole(predictor, image, threshold, watch)
        except ImageFileError:  # names the file already
            raise
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        _write(mask, probability, targets)
        seconds = time.monotonic() - start
        doubt = find_doubt(image.stacks(predictor.dimensions)[0][1], predictor.intensity)
        yield Written(source, targets, mask.array.size, seconds, doubt)


def find_doubt(image_CS: np.ndarray, intensity: IntensityRange) -> str:
    """Whether grey values lie where training had none: another bit depth, another microscope.

    Says so where the mean of a channel, by every 8th pixel, is more than FAR ranges (standard
    deviations, for z-scores) away from where training images have theirs; "" otherwise, and for
    models that take grey values as they are.
    """
    if intensity == IntensityRange((0.0,) * len(image_CS), (1.0,) * len(image_CS)):
        return ""
    sparse_CS = image_CS[(slice(None), *(slice(None, None, 8),) * (image_CS.ndim - 1))]
    means = intensity.apply(sparse_CS).reshape(len(image_CS), -1).mean(1)
    for channel, mean in enumerate(means):
        if abs(mean) > FAR:
            offset, scale = intensity.offset[channel], intensity.scale[channel]
            return (
                f"its grey values (mean {sparse_CS[channel].mean():.0f}) lie far from those of the "
                f"training images (about {offset:.0f} ± {scale:.0f}); the result is doubtful: "
                "bring it to the same bit depth and brightness"
            )
    return ""


def predict_whole(
    predictor: Predictor,
    image: Image,
    threshold: float,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Image, Image]:
    """Mask and probabilities of an image with any axes that the model's dimensions allow."""
    parts = image.stacks(predictor.dimensions)
    extents = parts[0][1].shape[1:]
    masks = np.empty((len(parts), *extents), np.uint8)
    probabilities = np.empty((len(parts), predictor.classes, *extents), np.float32)
    done, total = 0, masks.size
    for index, (_, part_CS) in enumerate(parts):
        for tile, probability_KT in predict_tiles(predictor, part_CS):
            window = tile.write_slices
            probabilities[index][(slice(None), *window)] = probability_KT
            masks[index][window] = predict_mask(probability_KT, threshold)
            done += probability_KT[0].size
            watch(done, total)
    axes = image.axes.replace("C", "")
    leading = [
        extent
        for axis, extent in zip(image.axes, image.array.shape, strict=True)
        if axis == "T" or (axis == "Z" and predictor.dimensions == 2)
    ]
    array = probabilities.reshape(*leading, predictor.classes, *extents)
    if "Z" in axes and predictor.dimensions == 2:  # the order of axes in files is TCZYX
        array = np.moveaxis(array, len(leading), len(leading) - 1)
    channel_axes = axes.replace("ZYX", "CZYX") if "Z" in axes else axes.replace("YX", "CYX")
    names = tuple(f"class {number}" for number in range(predictor.classes))
    return (
        Image(masks.reshape(*leading, *extents), axes, image.pixel_size, None, image.source),
        Image(array, channel_axes, image.pixel_size, names, image.source),
    )


def _plan(sources: Sequence[Path], out: Path, options: Options) -> list[tuple[Path, Path]]:
    planned: dict[str, Path] = {}
    for source in sources:
        if source.stem in planned:
            raise InputError(
                f"{source}: has the same name as {planned[source.stem]}, so their results would "
                "overwrite each other; predict them into different folders"
            )
        planned[source.stem] = source
    targets = [
        (
            out / f"{stem}.mask{options.suffix}",
            out / f"{stem}.probability{options.suffix}",
        )
        for stem in planned
    ]
    present = [path for pair in targets for path in pair if path.exists()]
    if present and not options.overwrite:
        raise SaveError(
            f"{present[0]}: exists already ({len(present)} such files); add --overwrite or choose "
            "another --out"
        )
    return targets


def _check_single_plane(image: Image) -> None:
    if image.axes.replace("C", "") != "YX":
        raise InputError(
            f"{image.source}: is a stack (axes {image.axes}), and PNG holds single planes; use "
            "--format tif"
        )


def _write(mask: Image, probability: Image, targets: tuple[Path, Path]) -> None:
    mask_path, probability_path = targets
    if mask_path.suffix == ".png":
        probability = _grey(probability)
    write_image(mask_path, mask)
    write_image(probability_path, probability)


def _grey(probability: Image) -> Image:
    """The probability of not being background, as 8 bits, for a PNG."""
    return Image(np.rint((1 - probability.array[0]) * 255).astype(np.uint8), "YX")
