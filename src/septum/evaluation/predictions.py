"""Predictions as files: `NAME.mask.tif`, `NAME.probability.tif`, `NAME.instances.tif`.

Or an OME-Zarr `NAME.zarr` of all three: the image is the probabilities, the others are in `labels`.
Or what other programs leave: plain label images and maps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np

from septum.annotation.census import take_census
from septum.annotation.labels import MANY_VALUES
from septum.errors import InputError
from septum.evaluation.large import read_blocks
from septum.images.files import SUFFIXES, image_files, natural_key
from septum.images.stored import open_image
from septum.images.zarr_store import PROGRESS, is_finished, is_zarr
from septum.network.heads import count_classes

Kind = Literal["mask", "probability", "instances"]

_WITHIN = {"mask": Path("labels", "mask"), "instances": Path("labels", "instances")}
_OURS = re.compile(r"(?P<name>.+)\.(?P<kind>mask|probability|instances)\.[^.]+")
_MASKS = ({0}, {1}, {255}, {0, 1}, {0, 255})


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one input file: at least one of the three files.

    Of an OME-Zarr, ``probability`` is the store, the others are label images in it.
    """

    name: str
    mask: Path | None = None
    probability: Path | None = None
    instances: Path | None = None

    @property
    def file(self) -> Path:
        """The file to name in a message."""
        path = self.probability or self.mask or self.instances
        assert path is not None
        return path


def find_predictions(path: Path) -> list[Prediction]:
    """Predictions of a folder, in natural order of their names, or of one file.

    In a folder with files of the names that `septum predict` gives, or its OME-Zarr stores, only
    those count; a store may also be given itself. In another folder, and for a single file, each
    image file or OME-Zarr image is a prediction of the name before its last suffix (of a label
    image in a store, X.zarr/labels/NAME, that of the store): probabilities if its pixels are
    floating and not whole numbers, else a mask (see `number_objects`). Raises InputError for no
    prediction, two of one name, an image with labels in it, or a store that is not finished.
    """
    if not path.exists():
        raise InputError(f"{path}: does not exist; expected a folder of predictions, or one file")
    stores = _find_stores(path)
    files = image_files(path) if path.is_dir() and not is_zarr(path) else [path]
    ours = [(file, match) for file in files if (match := _OURS.fullmatch(file.name))]
    found: dict[str, dict[str, Path]] = {}
    if ours or stores:
        entries = [(m["name"].removesuffix(".ome"), m["kind"], file) for file, m in ours]
    else:
        files += _plain_stores(path)
        entries = [(name_of(file), _plain_kind(file), file) for file in files if _is_plain(file)]
    for name, kind, file in entries:
        other = found.setdefault(name, {}).setdefault(kind, file)
        if other != file:
            _refuse_two(file, other)
    for store in stores:
        kinds = found.setdefault(name_of(store), {})
        if kinds:
            _refuse_two(store, next(iter(kinds.values())))
        within = {kind: store / place for kind, place in _WITHIN.items()}
        kinds |= {"probability": store}
        kinds |= {kind: place for kind, place in within.items() if place.is_dir()}
    if not found:
        raise InputError(
            f"{path}: no predictions; expected NAME.mask.tif, NAME.probability.tif, "
            f"NAME.instances.tif or NAME.zarr (with its {PROGRESS}) as `septum predict` writes "
            f"them, or label images ({' '.join(SUFFIXES)}, OME-Zarr)"
        )
    return [
        Prediction(name, kinds.get("mask"), kinds.get("probability"), kinds.get("instances"))
        for name, kinds in sorted(found.items(), key=lambda item: natural_key(item[0]))
    ]


def number_objects(predictions: Sequence[Prediction]) -> list[Prediction]:
    """For a truth of numbered objects: plain label images with more values than a mask are, too.

    Of the plain label images all are, if one is: a frame with a single object looks like a mask.
    What is named NAME.mask is a mask, whatever it holds. Raises InputError for an image whose many
    values are in scattered pieces, as those of a map of 8 bits.
    """
    plain = [p for p in predictions if p.mask is not None and is_plain(p.mask)]
    if not any(_holds_ids(p.mask) for p in plain if p.mask is not None):
        return list(predictions)
    return [replace(p, mask=None, instances=p.mask) if p in plain else p for p in predictions]


def are_numbered_only(predictions: Sequence[Prediction]) -> bool:
    """Whether all are numbered objects, and none comes from a model of more classes than two.

    Few objects in the truth look like classes, which no such prediction has.
    """
    return all(
        p.instances is not None
        and (p.mask is None or p.probability is not None)
        and (p.probability is None or _classes_of(p.probability) <= 2)
        for p in predictions
    )


def are_of_overlapping(predictions: Sequence[Prediction]) -> bool:
    """Whether `septum predict` left masks of one channel a class for all of them."""
    return all(
        p.mask is not None and not is_plain(p.mask) and open_image(p.mask, labels=True).channels > 1
        for p in predictions
    )


def _classes_of(probability: Path) -> int:
    """How many classes have a probability; core of objects and uncertainty are none."""
    image = open_image(probability)
    return count_classes(image.channel_names, image.channels)


def is_plain(file: Path) -> bool:
    """Whether a file's name does not say what it holds, as those of `septum predict` do."""
    return not _OURS.fullmatch(file.name) and not file.match("labels/mask")


def name_of(path: Path) -> str:
    """The name of a file or store; of a label image in a store, X.zarr/labels/NAME, the store's."""
    if path.parent.name == "labels" and is_zarr(path.parent.parent) and is_zarr(path):
        path = path.parent.parent
    return path.stem.removesuffix(".ome")


def is_whole(array: np.ndarray) -> bool:
    """Whether floating numbers can be ids or classes: whole, and exact."""
    exact = 2 ** (np.finfo(array.dtype).nmant + 1)
    low, high = array.min(initial=0), array.max(initial=0)
    return bool(low >= 0 and high <= exact and (array == np.rint(array)).all())


def _find_stores(path: Path) -> list[Path]:
    """The OME-Zarr stores that `septum predict` has left: ``path`` itself, or those in it."""
    if path.parent.name == "labels" and is_finished(path.parent.parent) is False:
        _refuse_unfinished(path.parent.parent)
    if is_finished(path) is not None:
        candidates = [path]
    else:
        candidates = sorted(path.glob("[!.]*.zarr")) if path.is_dir() else []
    finished = {store: is_finished(store) for store in candidates}
    for store in candidates:
        if finished[store] is False:
            _refuse_unfinished(store)
    return [s for s in candidates if finished[s] and (s / _WITHIN["mask"]).is_dir()]


def _refuse_unfinished(store: Path) -> NoReturn:
    raise InputError(
        f"{store}: is not finished; wait for `septum predict` if it is still at work, else "
        "run the same command again, which goes on where it was stopped"
    )


def _plain_stores(path: Path) -> list[Path]:
    """OME-Zarr images in a folder that `septum predict` did not write."""
    if not path.is_dir() or is_zarr(path):
        return []
    found = [s for s in path.glob("[!.]*.zarr") if is_zarr(s) and is_finished(s) is None]
    return [s for s in found if not (s / "labels").is_dir()]


def _is_plain(path: Path) -> bool:
    """A store with labels in it is an image; which of its labels are meant has to be said."""
    if not is_zarr(path):
        return True
    if is_finished(path):
        return False  # `septum predict`'s own, of which the mask has gone
    labels = path / "labels"
    if not labels.is_dir():
        return True
    held = [item.name for item in sorted(labels.iterdir()) if is_zarr(item)]
    raise InputError(
        f"{path}: is an image with labels in it, no predictions; name the labels: "
        f"{labels / (held[0] if held else 'NAME')}"
    )


def _refuse_two(one: Path, other: Path) -> NoReturn:
    raise InputError(f"{one} and {other} are two predictions of one name; remove one")


def _plain_kind(file: Path) -> Kind:
    """A mask until something is known of the truth; only floating pixels have to be looked at."""
    if file.match("labels/instances"):
        return "instances"
    if open_image(file, labels=True).dtype.kind != "f":
        return "mask"
    highest = 0.0
    for array in _blocks(file):
        if not is_whole(array):
            return "probability"
        highest = max(highest, float(array.max(initial=0)))
    return "mask" if highest > 1 else "probability"  # 0 and 1 may be either


def _holds_ids(file: Path) -> bool:
    values: set[float] = set()
    floating = False
    for array in _blocks(file, labels=True):
        floating = array.dtype.kind == "f"
        values.update(np.unique(array).tolist())
    if values in _MASKS:
        return False
    if not floating and len(values) > MANY_VALUES:
        census = take_census([(file.name, _blocks(file, labels=True))], (), pieces=True)
        if census.one_piece_share(census.totals.keys() - {0}) < 0.5:
            raise InputError(
                f"{file}: {len(values)} values in scattered pieces are no numbered objects; is "
                "this a map of 8 bits, or a grey image? Name a map NAME.probability.tif"
            )
    return True


def _blocks(file: Path, labels: bool = False) -> Iterator[np.ndarray]:
    image = open_image(file, labels)
    return read_blocks(lambda box: image.read(box).array, image.shape)
