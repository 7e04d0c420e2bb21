"""Files in, files out: what `septum predict` does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from septum.errors import InputError, SaveError, TileSizeError
from septum.memory import raise_allocator_thresholds
from septum.model import Model, load_model
from septum.prediction.inputs import LeftOut, check_images, find_images
from septum.prediction.job import Job
from septum.prediction.one_image import WHOLE_BYTES, Begun, begin, choose_separation, finish
from septum.prediction.options import Options, Written, check_options
from septum.prediction.outputs import Output, begun_tile, plan_outputs
from septum.prediction.predictor import Predictor, prepare
from septum.prediction.streaming import Watch, predict_into

__all__ = ["Options", "Written", "predict_files"]

NEARLY_THE_SAME = 1.05
"""As much larger a tile that was begun may be than the one that ``--memory`` gives now."""


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
    With ``options.keep_going`` images that cannot be used are left out, and named at the end.

    Raises InputError (missing files, two inputs of one name, channels that do not fit, images that
    were left out), SaveError (an output that exists, unless ``options.overwrite``), ModelFileError.
    """
    raise_allocator_thresholds(bounded=True)
    loaded = load_model(model)
    sources = find_images(inputs)
    check_options(options)
    choose_separation(options, loaded)
    if out.is_file():
        raise SaveError(f"{out}: is a file; name a folder for the results")
    if options.scheduler is not None:  # whose workers have other working folders
        sources, out = [source.resolve() for source in sources], out.resolve()
    planned = plan_outputs(
        sources,
        out,
        options.suffix,
        options.instances,
        options.overwrite,
        options.skip_existing,
    )
    left_out = LeftOut(options.keep_going, len(planned))
    outputs = check_images(planned, loaded, left_out)
    if outputs:  # unless all were there
        apart = options.workers is not None or options.scheduler is not None
        if apart:
            yield from _predict_apart(model, loaded, outputs, options, watch, left_out)
        else:
            yield from _predict_here(loaded, outputs, options, watch, left_out)
    left_out.tell()


def _predict_here(
    model: Model, outputs: Sequence[Output], options: Options, watch: Watch, left_out: LeftOut
) -> Iterator[Written]:
    from septum.devices import choose_device

    predictor = prepare(
        model,
        choose_device(options.device),
        options.precision,  # type: ignore[arg-type]
        options.tile,
        options.orientations,  # type: ignore[arg-type]
        None if options.memory is None else memory_for_tiles(options.memory),
    )
    predictor = _as_begun(predictor, outputs, options)
    for output in outputs:
        with left_out.noting(output.source):
            begun = begin(output, model, predictor, options)
            job = begun.job
            predict_into(
                predictor,
                job.plan,
                job.results,
                job.threshold,
                manifest=job.manifest,
                watch=watch,
            )
            written = finish(begun, predictor, options)
            yield written


def _predict_apart(
    path: Path,
    model: Model,
    outputs: Sequence[Output],
    options: Options,
    watch: Watch,
    left_out: LeftOut,
) -> Iterator[Written]:
    """As `_predict_here` by other processes; everything goes through stores that they share."""
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
        predictor = prepare(
            model,
            "cpu",
            workers.setting.precision,  # type: ignore[arg-type]
            workers.setting.tile,
            options.orientations,  # type: ignore[arg-type]
        )
        predictor = _as_begun(predictor, outputs, options)
        workers.setting = replace(workers.setting, tile=predictor.tile)
        begun = deque[Begun]()

        def jobs() -> Iterator[Job]:
            for output in outputs:
                with left_out.noting(output.source):
                    begun.append(begin(output, model, predictor, options, shared=True))
                    yield begun[-1].job

        for _ in workers.compute(jobs(), watch):
            done = begun.popleft()
            with left_out.noting(done.output.source):
                written = finish(done, predictor, options)
                yield written


def _as_begun(predictor: Predictor, outputs: Sequence[Output], options: Options) -> Predictor:
    """With the tile of a store that was begun, which goes on with no other.

    How much memory is free may have changed since. Not if the user chose a tile. Raises InputError
    if the memory that was given is too little for it.
    """
    tile = begun_tile(outputs)
    if tile is None or options.tile is not None:
        return predictor
    if options.memory is not None and tile > NEARLY_THE_SAME * predictor.tile:
        raise InputError(
            f"--memory: gives tiles of {predictor.tile}, and what is there was begun with {tile}; "
            "give more memory to go on, or add --overwrite to start it anew"
        )
    try:
        predictor.footprint.check_tile(tile, "tile")
    except TileSizeError:  # of another model; the store will say so
        return predictor
    return replace(predictor, tile=tile)


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
