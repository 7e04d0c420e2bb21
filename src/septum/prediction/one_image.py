"""One image: looked at, its results begun, and finished when its tiles are done."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from septum.errors import ImageFileError
from septum.images.files import PICTURE_SUFFIXES
from septum.images.stored import StoredImage, load_image, open_image
from septum.images.tolerant import describe_damage, is_lost, tolerate
from septum.model import Model
from septum.prediction.doubts import doubt_chunks, doubt_pixel_size, find_doubt, middle
from septum.prediction.inputs import as_asked
from septum.prediction.job import Job, begin_job, finish_job, remove_store
from septum.prediction.options import Options, Written
from septum.prediction.outputs import Output, make_folder
from septum.prediction.predictor import Predictor
from septum.prediction.rescaling import bring_to, restore
from septum.prediction.results import ProbabilityType
from septum.prediction.separation import Separation

WHOLE_BYTES = 32 << 20
"""Images up to this size are read at once: less work than region by region, and no memory."""


@dataclass(frozen=True)
class Begun:
    """``job``: that of ``image``, or, if it is to be ``rescaled``, of what it becomes."""

    image: StoredImage
    output: Output
    job: Job
    rescaled: bool
    separation: Separation | None
    start: float
    doubts: list[str]
    before: float = 0.0
    """Share of its tiles that an earlier command has done."""


def begin(
    output: Output,
    model: Model,
    predictor: Predictor,
    options: Options,
    shared: bool = False,
) -> Begun:
    """Look at an image, and make room for its results; ``shared``: other processes write them.

    Raises ImageFileError, InputError, SaveError.
    """
    start, source = time.monotonic(), output.source
    image = open_image(source)
    doubts = [doubt_chunks(image)]
    image = as_asked(image, model)
    size = image.dtype.itemsize * int(np.prod(image.shape, dtype=np.int64))
    picture = source.suffix.lower() in PICTURE_SUFFIXES
    stored = image
    if picture or (size <= WHOLE_BYTES and not shared):
        try:
            image = as_asked(load_image(source), model)
        except ImageFileError as error:
            if picture:
                raise
            tolerated = tolerate(image, (0,) * image.channels)
            with suppress(ImageFileError):
                tolerated.read()
            if not options.keep_going:
                found = describe_damage(tolerated)
                located = f"{error}; {found} (--keep-going goes on)" if found else str(error)
                raise ImageFileError(located) from None
            if is_lost(tolerated):
                raise
    if options.keep_going and image is stored:
        image = tolerate(image, predictor.intensities[0].offset)
    threshold = model.threshold if options.threshold is None else options.threshold
    make_folder(output)
    separation, changed = choose_separation(options, model), None
    if options.rescale:
        changed = bring_to(image, model.pixel_size, predictor.dimensions)
    looked_at = changed or image
    with suppress(ImageFileError):  # its tile will say where
        doubts.append(find_doubt(middle(looked_at, predictor.dimensions), predictor.intensities[0]))
    doubts.append(doubt_pixel_size(looked_at.pixel_size, model.pixel_size))
    if changed is not None:
        store = output.hidden("rescaled")
        output_of_it = Output(source, ".zarr", {}, store, output.overwrite)
        job = begin_job(
            output_of_it, changed, predictor, threshold, "float32", None, shared, rescaled=True
        )
    else:
        job = begin_job(
            output,
            image,
            predictor,
            threshold,
            _probability(options),
            separation,
            shared,
        )
    known = job.manifest.done if job.manifest is not None else set()
    before = job.plan.pixels_of(known) / job.plan.pixels
    return Begun(image, output, job, changed is not None, separation, start, doubts, before)


def finish(begun: Begun, predictor: Predictor, options: Options) -> Written:
    """Write what follows the tiles. Raises ImageFileError, InputError, SaveError."""
    job, image = begun.job, begun.image
    if begun.rescaled:
        shown = begin_job(
            begun.output,
            image,
            predictor,
            job.threshold,
            _probability(options),
            begun.separation,
            rescaled=True,
        )
        restore(job, shown)
        uncertainty = shown.results.mean_uncertainty()
        objects = finish_job(shown, predictor.dimensions)
        assert job.results.store is not None
        remove_store(job.results.store)
    else:
        uncertainty = job.results.mean_uncertainty()
        objects = finish_job(job, predictor.dimensions)
    doubts = [*begun.doubts]
    if found := describe_damage(image):
        doubts.append(f"{found}; taken as grey, and what is predicted near them means nothing")
    pixels = int(np.prod(image.shape, dtype=np.int64)) // image.channels
    seconds = time.monotonic() - begun.start
    doubt = "; ".join(filter(None, doubts))
    files = begun.output.files
    return Written(
        begun.output.source,
        files,
        pixels,
        seconds,
        doubt,
        objects,
        begun.separation,
        begun.before,
        uncertainty,
    )


def _probability(options: Options) -> ProbabilityType:
    return options.probability or "float32"  # type: ignore[return-value]


def choose_separation(options: Options, model: Model) -> Separation | None:
    """How objects are told apart, if that is asked for: as the model says, where the user does not.

    Raises InputError.
    """
    if not options.instances:
        return None
    threshold = model.threshold if options.threshold is None else options.threshold
    seeds = options.seeds
    if seeds is None and model.seeds is not None:
        useful = model.maps == "core" or model.seeds > threshold
        seeds = model.seeds if useful else None
    minimum = model.minimum if options.minimum is None else options.minimum
    fill = model.fill if options.fill is None else options.fill
    separation = Separation(threshold, seeds, minimum, fill, model.maps)
    separation.check_classes(2 if model.maps == "overlapping" else model.classes)
    return separation
