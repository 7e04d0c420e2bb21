"""The prediction of one image, from its first tile to the last of its files."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from septum.errors import InputError, SaveError
from septum.images.files import write_image
from septum.images.image import Image, ImageHeader
from septum.images.stored import StoredImage
from septum.images.tiff_writer import write_tiff_by_tile
from septum.images.tolerant import damage, is_tolerated
from septum.images.zarr_writer import saving
from septum.prediction.manifest import Manifest, is_finished
from septum.prediction.outputs import Output
from septum.prediction.overlap_tile import Predictor
from septum.prediction.results import (
    ProbabilityType,
    Results,
    nbytes,
    result_headers,
    results_in_memory,
    results_in_store,
)
from septum.prediction.separation import Separation
from septum.prediction.streaming import TilePlan, chunk_extent

HELD_BYTES = 256 << 20
"""Results up to this size wait in memory to be written as TIFF; larger ones in a hidden store."""


@dataclass(frozen=True, eq=False)
class Job:
    """The prediction of one image, begun: all that its tiles need, and where they go.

    ``chunk``: extent of the chunks of the store of ``results``, of which ``manifest`` says what is
    done; both are of no use for results in memory.
    """

    output: Output
    image: StoredImage
    plan: TilePlan
    results: Results
    threshold: float
    separation: Separation | None
    chunk: int = 1
    manifest: Manifest | None = None


def begin_job(
    output: Output,
    image: StoredImage,
    predictor: Predictor,
    threshold: float,
    probability: ProbabilityType,
    separation: Separation | None,
    shared: bool = False,
    rescaled: bool = False,
) -> Job:
    """Check ``image``, and make room for its results: in a store, or in memory if they are small.

    ``shared``: other processes write them, so in a store. One that was begun is taken up, unless
    it was begun otherwise; ``rescaled`` or not is a part of that.
    Raises InputError, ImageFileError, SaveError.
    """
    if output.suffix == ".png":
        _check_single_plane(image.header, predictor)
    instances, overlapping = separation is not None, predictor.maps == "overlapping"
    headers = result_headers(image.header, predictor.names, probability, instances, overlapping)
    store = output.store
    if store is None and (shared or nbytes(headers) > HELD_BYTES):
        store = output.hidden("predicting")
    # Tiles are the same for results in memory, so that both are the same to the last bit.
    chunk = chunk_extent(predictor.footprint, predictor.tile, predictor.dimensions)
    plan = TilePlan(predictor, image, chunk)
    if store is None:
        results = results_in_memory(headers, predictor.maps)
        return Job(output, image, plan, results, threshold, separation)
    if output.overwrite and is_finished(store) is not None:
        remove_store(store)
    # First, so that a process killed at any moment leaves what the next takes up.
    manifest = Manifest(store, _identity(image, predictor, threshold, probability, rescaled))
    damage(image).extend(manifest.damage)
    results = results_in_store(
        headers, store, chunk, predictor.dimensions, manifest.run, predictor.maps
    )
    if shared:  # now: what cannot be read is then this image's error, not that of a tile sent off
        plan.ranges_of(number for number in range(len(plan)) if number not in manifest.done)
    return Job(output, image, plan, results, threshold, separation, chunk, manifest)


def finish_job(job: Job, dimensions: int) -> int | None:
    """Write what follows the tiles; returns how many objects there are, if that was asked for.

    Raises ImageFileError, SaveError.
    """
    objects = None
    if job.separation is not None:
        from septum.prediction.numbering import number_objects  # numba: 65 MB, half a second

        table = job.output.paths["objects"]
        objects = number_objects(job.image, dimensions, job.results, job.separation, table)
    if job.output.store is not None:
        job.results.finish()
        assert job.manifest is not None
        job.manifest.finish()
    else:
        _write_files(job.output, job.results)
        if job.results.store is not None:
            remove_store(job.results.store)
    return objects


def remove_store(store: Path) -> None:
    """Remove a store of ours, at once for all who look. Raises SaveError."""
    with saving(store):
        gone = store.with_name(f".{store.name}.{secrets.token_hex(4)}.gone")
        store.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _identity(
    image: StoredImage, predictor: Predictor, threshold: float, probability: str, rescaled: bool
) -> dict[str, Any]:
    """What must be the same for tiles to fit each other."""
    digest = hashlib.sha256()
    for network in predictor.networks:
        for name, value in network.state_dict().items():
            digest.update(name.removeprefix("network.").encode())  # as on a GPU
            digest.update(value.cpu().float().contiguous().numpy().tobytes())
    state = image.source.stat() if image.source is not None else None
    where = str(image.source and image.source.resolve())
    return {
        "model": digest.hexdigest(),
        "image": [where, state.st_size if state else 0, image.axes, [*image.shape]],
        "tile": predictor.tile,
        "precision": str(predictor.dtype),
        "orientations": predictor.orientations,
        "threshold": threshold,
        "probability": probability,
        "rescaled": rescaled or None,
        "unreadable regions": "left out" if is_tolerated(image) else None,
    }


def _write_files(output: Output, results: Results) -> None:
    large = nbytes(results.headers) > HELD_BYTES
    for name in ("mask", *(name for name in results.headers if name != "mask")):
        header, array = results.headers[name], results.arrays[name]
        if output.suffix != ".png" and large:
            write_tiff_by_tile(output.paths[name], array, header)
            continue
        image = Image(np.asarray(array[...]), *_about(header))
        if output.suffix == ".png":
            image = _for_png(name, image)
        write_image(output.paths[name], image)


def _about(header: ImageHeader) -> tuple[Any, ...]:
    return header.axes, header.pixel_size, header.channel_names, header.source


def _for_png(name: str, image: Image) -> Image:
    """Of probabilities that of not being background, as 8 bits; of instances, 16 bits."""
    if name == "probability":
        background = image.array[0].astype(np.float32)
        if image.array.dtype == np.uint8:
            background /= 255
        return Image(np.rint((1 - background) * 255).astype(np.uint8), "YX")
    if name == "instances":
        if image.array.max(initial=0) > np.iinfo(np.uint16).max:
            raise SaveError(
                f"{image.source}: {image.array.max()} objects, and PNG numbers 65,535 at most; use "
                "--format tif"
            )
        return Image(image.array.astype(np.uint16), "YX")
    return image


def _check_single_plane(header: ImageHeader, predictor: Predictor) -> None:
    if predictor.maps == "overlapping":
        raise InputError(
            "has a mask for each of its classes, which overlap, and PNG holds single planes; use "
            "--format tif"
        )
    if header.axes.replace("C", "") != "YX":
        raise InputError(
            f"is a stack (axes {header.axes}), and PNG holds single planes; use --format tif"
        )
