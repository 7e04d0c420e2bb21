"""Predictions as files: `NAME.mask.tif` and `NAME.probability.tif`, or plain masks and maps.

Or an OME-Zarr `NAME.zarr` of both: the image is the probabilities, `labels/mask` the mask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
import numpy.typing as npt

from septum.errors import InputError
from septum.evaluation.pixels import Numbers
from septum.images.files import SUFFIXES, image_files, natural_key, read_image
from septum.images.stored import load_image
from septum.images.zarr_store import PROGRESS, is_finished

Dimensions = Literal[2, 3]

_MASK = Path("labels", "mask")
_OURS = re.compile(r"(?P<name>.+)\.(?P<kind>mask|probability|instances)\.[^.]+")


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one input file: at least one of the two files.

    Of an OME-Zarr, ``probability`` is the store and ``mask`` the label image in it.
    """

    name: str
    mask: Path | None = None
    probability: Path | None = None

    @property
    def file(self) -> Path:
        """The file to name in a message."""
        path = self.probability or self.mask
        assert path is not None
        return path


@dataclass(frozen=True)
class Plane:
    """A prediction of one image, or of one plane of a stack; at least one of the two arrays.

    `suffix` tells the planes of a file apart. `probability` is in [0, 1], channels first;
    `mask` has class ids.
    """

    suffix: str
    mask: Numbers | None
    probability: npt.NDArray[np.floating] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape."""
        if self.probability is not None:
            return self.probability.shape[1:]
        assert self.mask is not None
        return self.mask.shape


def find_predictions(path: Path) -> list[Prediction]:
    """Predictions of a folder, in natural order of their names, or of one file.

    In a folder with files of the names that `septum predict` gives, or its OME-Zarr stores, only
    those count; a store may also be given itself. Other OME-Zarr images never count. In another
    folder, and for a single file, each image file is a prediction of the name before its last
    suffix: a probability if its pixels are floating, else a mask. Raises InputError for no
    prediction, two of one name, or a store that is not finished.
    """
    if not path.exists():
        raise InputError(f"{path}: does not exist; expected a folder of predictions, or one file")
    stores = _find_stores(path)
    files = image_files(path) if path.is_dir() else [path]
    ours = [(file, match) for file in files if (match := _OURS.fullmatch(file.name))]
    found: dict[str, dict[str, Path]] = {}
    if ours or stores:
        entries = [
            (m["name"].removesuffix(".ome"), m["kind"], file)
            for file, m in ours
            if m["kind"] != "instances"
        ]
    else:
        entries = [(file.stem.removesuffix(".ome"), _kind(file), file) for file in files]
    for name, kind, file in entries:
        other = found.setdefault(name, {}).setdefault(kind, file)
        if other != file:
            _refuse_two(file, other)
    for store in stores:
        kinds = found.setdefault(store.stem.removesuffix(".ome"), {})
        if kinds:
            _refuse_two(store, kinds.get("probability") or kinds["mask"])
        kinds |= {"probability": store, "mask": store / _MASK}
    if not found:
        raise InputError(
            f"{path}: no predictions; expected NAME.mask.tif, NAME.probability.tif or NAME.zarr "
            f"(with its {PROGRESS}) as `septum predict` writes them, or masks "
            f"({' '.join(SUFFIXES)})"
        )
    return [
        Prediction(name, kinds.get("mask"), kinds.get("probability"))
        for name, kinds in sorted(found.items(), key=lambda item: natural_key(item[0]))
    ]


def read_prediction(prediction: Prediction, dimensions: Dimensions = 2) -> Iterator[Plane]:
    """Read the files and split stacks: with 2 dimensions each plane (Y, X) is an image of its own.

    Probabilities of 8 bits are scaled by 255. Raises InputError for a map outside [0, 1] or of
    another integer type, a mask that is floating or has channels, or two files of one prediction
    that differ in number or size of planes.
    """
    masks = probabilities = None
    if prediction.mask is not None:
        masks = _read_masks(prediction.mask, dimensions)
    if prediction.probability is not None:
        probabilities = _read_probabilities(prediction.probability, dimensions)
    if masks is None or probabilities is None:
        for suffix, array in masks or []:
            yield Plane(suffix, array, None)
        for suffix, array in probabilities or []:
            yield Plane(suffix, None, array)
        return
    if [a.shape for _, a in masks] != [a.shape[1:] for _, a in probabilities]:
        raise InputError(
            f"{prediction.mask} and {prediction.probability} differ in size: "
            f"{len(masks)} of {show(masks[0][1].shape)} and "
            f"{len(probabilities)} of {show(probabilities[0][1].shape[1:])}"
        )
    for (suffix, mask_S), (_, probability_CS) in zip(masks, probabilities, strict=True):
        yield Plane(suffix, mask_S, probability_CS)


def show(shape: tuple[int, ...]) -> str:
    """A size for a message, `512 × 512`."""
    return " × ".join(map(str, shape))


def _find_stores(path: Path) -> list[Path]:
    """The OME-Zarr stores that `septum predict` has left: ``path`` itself, or those in it."""
    if is_finished(path) is not None:
        candidates = [path]
    else:
        candidates = sorted(path.glob("[!.]*.zarr")) if path.is_dir() else []
    finished = {store: is_finished(store) for store in candidates}
    for store in candidates:
        if finished[store] is False:
            raise InputError(
                f"{store}: is not finished; wait for `septum predict` if it is still at work, else "
                "run the same command again, which goes on where it was stopped"
            )
    return [store for store in candidates if finished[store] and (store / _MASK).is_dir()]


def _refuse_two(one: Path, other: Path) -> NoReturn:
    raise InputError(f"{one} and {other} are two predictions of one name; remove one")


def _kind(file: Path) -> str:
    return "probability" if read_image(file).array.dtype.kind == "f" else "mask"


def _read_masks(file: Path, dimensions: Dimensions) -> list[tuple[str, Numbers]]:
    image = load_image(file, labels=True).read()
    if image.array.dtype.kind == "f":
        raise InputError(
            f"{file}: a mask has integer class ids, found {image.array.dtype}; name a map of "
            "probabilities NAME.probability.tif"
        )
    if image.channels != 1:
        raise InputError(f"{file}: a mask has one channel, found {image.channels}")
    return [(suffix, array[0]) for suffix, array in image.stacks(dimensions)]


def _read_probabilities(
    file: Path, dimensions: Dimensions
) -> list[tuple[str, npt.NDArray[np.floating]]]:
    image = load_image(file).read()
    array = image.array
    if array.dtype == np.uint8:
        scale = np.float32(255)
    elif array.dtype.kind == "f":
        scale = np.float32(1)
        low, high = float(array.min()), float(array.max())
        if low < 0.0 or high > 1.0:
            raise InputError(
                f"{file}: probabilities must lie in [0, 1], found {low:g} … {high:g}; "
                "scale them, or give masks"
            )
    else:
        raise InputError(
            f"{file}: probabilities are floating or 8-bit (scaled by 255), found {array.dtype}"
        )
    return [(suffix, part.astype(np.float32) / scale) for suffix, part in image.stacks(dimensions)]
