"""An image whose pixels have another size than those that the model has learnt from.

It is brought to that size, predicted there, and its probabilities are brought back, so that results
have the image's own pixels. Both ways region by region, and the same whatever the tile is.
"""

from __future__ import annotations

import time

import numpy as np

from septum.errors import InputError
from septum.images.rescaled import read_rescaled, rescale
from septum.images.stored import StoredImage
from septum.prediction.job import Job
from septum.prediction.streaming import RECORDED_EVERY

NEARLY = 0.02
"""Pixel sizes that differ by no more than this share are taken for equal."""


def bring_to(
    image: StoredImage, learnt: tuple[float, ...] | None, dimensions: int
) -> StoredImage | None:
    """``image`` with the pixel size of training; None if it has it already.

    A 2D model has learnt from planes: a stack keeps its Z. Raises InputError where a pixel size is
    not known.
    """
    if learnt is None:
        raise InputError(
            "--rescale: the model does not know the pixel size of its training images (they did "
            "not say); train on images with a pixel size, or resample the image yourself"
        )
    if image.pixel_size is None:
        raise InputError(
            "--rescale: the image does not say its pixel size; save it with one, or leave "
            "--rescale out"
        )
    image.stacks(dimensions)  # raises ImageFileError for a plane where volumes are needed
    own = image.pixel_size
    wanted = (*own[: len(own) - dimensions], *learnt[-dimensions:])
    if all(abs(new / old - 1) <= NEARLY for old, new in zip(own, wanted, strict=True)):
        return None
    return rescale(image, wanted)


def restore(rescaled: Job, job: Job) -> None:
    """Fill the results of ``job`` from those of the rescaled image, tile by tile.

    Tiles that the manifest of ``job`` has are not made again. Raises SaveError.
    """
    known = job.manifest.done if job.manifest is not None else set()
    written, recorded = [], time.monotonic()
    for number in range(len(job.plan)):
        if number in known:
            continue
        work = job.plan[number]
        part = rescaled.results.part("probability", work.place)
        extents = work.stack.extents
        probability_KT = read_rescaled(
            lambda box, part=part: part[box],  # type: ignore[misc]
            part.shape,
            (part.shape[0], *extents),
            (slice(0, part.shape[0]), *work.tile.write_slices),
        )
        np.clip(probability_KT, 0, 1, out=probability_KT)  # to rounding, means may lie outside
        job.results.write(work.place, work.tile, probability_KT, job.threshold)
        written.append(number)
        if job.manifest is not None and time.monotonic() - recorded > RECORDED_EVERY:
            job.manifest.add(written)
            written, recorded = [], time.monotonic()
    if job.manifest is not None:
        job.manifest.add(written)
