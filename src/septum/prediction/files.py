"""Files in, files out: what `septum predict` does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from septum.errors import InputError, SaveError
from septum.images.files import expand_inputs
from septum.memory import raise_allocator_thresholds
from septum.model import Model, load_model
from septum.prediction.one_image import WHOLE_BYTES, Begun, begin, finish, naming
from septum.prediction.options import Options, Written, check_options
from septum.prediction.outputs import Job, Output, make_folder, plan_outputs
from septum.prediction.predictor import prepare
from septum.prediction.streaming import Watch, predict_into

__all__ = ["Options", "Written", "predict_files"]


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
    check_options(options)
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
    files = [(output.source, output) for output in planned]
    if not files:  # all were there
        return
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
        begun = begin(source, output, loaded, predictor, options)
        job = begun.job
        with naming(source):
            predict_into(
                predictor,
                job.plan,
                job.results,
                job.threshold,
                manifest=job.manifest,
                watch=watch,
            )
        yield finish(begun, predictor, options)


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
        begun = deque[Begun]()

        def jobs() -> Iterator[Job]:
            for source, output in files:
                begun.append(begin(source, output, model, predictor, options, shared=True))
                yield begun[-1].job

        for _ in workers.compute(jobs(), watch):
            yield finish(begun.popleft(), predictor, options)


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
