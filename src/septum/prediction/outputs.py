"""The files that `septum predict` leaves for an image: named, and looked for before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from septum.errors import InputError, SaveError
from septum.images.zarr_store import read_progress
from septum.prediction.manifest import is_finished


@dataclass(frozen=True)
class Output:
    """What will be written for one input: a file for each kind of result, or one store."""

    source: Path
    suffix: str
    paths: dict[str, Path]
    store: Path | None
    overwrite: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """What the user will find."""
        if self.store is None:
            return tuple(self.paths.values())
        return (self.store, *(p for name, p in self.paths.items() if name == "objects"))

    def hidden(self, stage: str) -> Path:
        """A store beside the files, where results are until those are made: "predicting" them, or
        those of the "rescaled" image.
        """
        first = self.files[0]
        return first.with_name(f".{first.name}.{stage}.zarr")


def plan_outputs(
    sources: Sequence[Path],
    out: Path,
    suffix: str | None,
    instances: bool,
    overwrite: bool,
    skip_existing: bool = False,
) -> list[Output]:
    """What will be written for each of ``sources``; nothing is touched yet.

    With ``skip_existing`` those whose results are there already are left out.

    Raises InputError for two inputs of one name, SaveError for outputs that are there already.
    """
    single = out.suffix.lower() == ".zarr"
    if single and suffix not in (None, ".zarr"):
        raise InputError(
            f"{out}: is the name of a store, and --format {suffix.lstrip('.')} gives files; name a "
            "folder, or leave --format out"
        )
    if single and len(sources) > 1:
        raise InputError(
            f"{out}: one store for {len(sources)} images; name a folder, and --format zarr"
        )
    suffix = ".zarr" if single else suffix or ".tif"
    folder = out.parent if single else out
    planned: dict[str, Path] = {}
    for source in sources:
        if source.stem in planned:
            raise InputError(
                f"{source}: has the same name as {planned[source.stem]}, so their results would "
                "overwrite each other; predict them into different folders"
            )
        planned[source.stem] = source
    kinds = ["mask", "probability", *(["instances"] if instances else [])]
    outputs = []
    for stem, source in planned.items():
        name = out.stem if single else stem
        store = folder / f"{name}.zarr" if suffix == ".zarr" else None
        paths = {} if store else {kind: folder / f"{name}.{kind}{suffix}" for kind in kinds}
        if instances:
            paths["objects"] = folder / f"{name}.objects.csv"
        outputs.append(Output(source, suffix, paths, store, overwrite))
    inputs = {source.resolve(): source for source in sources}
    for path in (path for output in outputs for path in output.files):
        if path.resolve() in inputs:
            raise SaveError(f"{path}: is the image that is to be predicted; choose another --out")
    if skip_existing:
        outputs = [output for output in outputs if not is_complete(output)]
    _check_room(outputs, overwrite, skip_existing)
    return outputs


def is_complete(output: Output) -> bool:
    """Whether all that is to be written is there."""
    if output.store is not None and not is_finished(output.store):
        return False
    return all(path.exists() for path in output.files)


def begun_tile(outputs: Sequence[Output]) -> int | None:
    """The tile of a store of ``outputs`` that was begun and is to be gone on with, if any."""
    for output in outputs:
        stores = [output.store, output.hidden("predicting"), output.hidden("rescaled")]
        for store in stores if not output.overwrite else []:
            if store is not None and is_finished(store) is False:
                begun = read_progress(store)
                tile = begun[0].get("tile") if begun else None
                return tile if isinstance(tile, int) else None
    return None


def make_folder(output: Output) -> None:
    """The folder that ``output`` goes to. Raises SaveError."""
    folder = output.files[0].parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(f"{folder}: cannot be made: {error.strerror}") from error


def _check_room(outputs: Sequence[Output], overwrite: bool, skip_existing: bool) -> None:
    present = []
    for output in outputs:
        if output.store is not None and output.store.exists():
            if not output.store.is_dir():
                raise SaveError(f"{output.store}: is a file; choose another --out")
            finished = is_finished(output.store)
            if finished is None and any(output.store.iterdir()):
                raise SaveError(
                    f"{output.store}: is no store of septum predict; choose another --out"
                )
            if finished:
                present.append(output.store)  # one that was begun is gone on with
        present += [path for path in output.paths.values() if path.exists()]
    if not present or overwrite:
        return
    others = f" (and {len(present) - 1} other results)" if len(present) > 1 else ""
    if skip_existing:
        raise SaveError(
            f"{present[0]}: exists already{others}, but not all that belongs to it; add "
            "--overwrite to make such images anew (those that have all stay), or choose another "
            "--out"
        )
    raise SaveError(
        f"{present[0]}: exists already{others}; add --overwrite, or --skip-existing to leave out "
        "images that have results, or choose another --out"
    )
