"""The pixels of a prediction, checked, a plane (or volume) at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from septum.annotation.masks import bits_of
from septum.errors import InputError
from septum.evaluation.pixels import Numbers
from septum.evaluation.predictions import Prediction, is_whole
from septum.images.image import Image
from septum.images.stored import load_image
from septum.network.heads import CORE_NAME

Dimensions = Literal[2, 3]
Parts = list[tuple[str, np.ndarray]]
"""Suffix and pixels of each plane or volume of a file."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A prediction of one image, or of one plane of a stack; at least one of the three arrays.

    `suffix` tells the planes of a file apart. `probability` is in [0, 1], channels first; `mask`
    has class ids, `instances` object ids, 0 is none. `remarks`: what the user should know of it.
    """

    suffix: str
    mask: Numbers | None = None
    probability: npt.NDArray[np.floating] | None = None
    instances: Numbers | None = None
    remarks: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape."""
        if self.probability is not None:
            return self.probability.shape[1:]
        labels_S = self.mask if self.mask is not None else self.instances
        assert labels_S is not None
        return labels_S.shape


def read_prediction(
    prediction: Prediction, dimensions: Dimensions = 2, overlapping: bool = False
) -> Iterator[Plane]:
    """Read the files and split stacks: with 2 dimensions each plane (Y, X) is an image of its own.

    Of ``overlapping`` classes the mask has one channel each, which become bits, and numbered
    objects are left out. Probabilities of 8 bits are scaled by 255; the map of the core of objects,
    which is no probability of a class, is left out. Labels that are stored as floating numbers
    count if all are whole and exact, which is remarked. Raises InputError for a map outside [0, 1]
    or of another integer type, labels that are no whole numbers or have channels, or files of one
    prediction that differ in number or size of planes.
    """
    read: dict[Path, Parts] = {}
    remarks: list[str] = []
    for file, what in ((prediction.mask, "class"), (prediction.instances, "object")):
        if file is not None and not (overlapping and what == "object"):
            image = _read_labels(file, what, remarks, overlapping)
            read[file] = [
                (suffix, bits_of(part) if overlapping else part[0])
                for suffix, part in image.stacks(dimensions)
            ]
    if prediction.probability is not None:
        read[prediction.probability] = _read_probabilities(prediction.probability, dimensions)
    _check_parts(read, prediction.probability)
    for parts in zip(*read.values(), strict=True):
        arrays = {file: array for file, (_, array) in zip(read, parts, strict=True)}
        yield Plane(
            parts[0][0],
            arrays.get(prediction.mask or Path()),
            arrays.get(prediction.probability or Path()),
            arrays.get(prediction.instances or Path()),
            tuple(remarks),
        )


def show(shape: tuple[int, ...]) -> str:
    """A size for a message, `512 × 512`."""
    return " × ".join(map(str, shape))


def _read_labels(file: Path, what: str, remarks: list[str], several: bool) -> Image:
    image = load_image(file, labels=True).read()
    array = image.array
    if image.channels != 1 and not several:
        noun = "a mask has" if what == "class" else "instances have"
        raise InputError(f"{file}: {noun} one channel, found {image.channels}")
    if array.dtype.kind != "f":
        return image
    if not (is_whole(array) or np.isin(array, (0, 1)).all()):
        name = file.name.partition(".")[0]
        raise InputError(
            f"{file}: labels are integer {what} ids, found {array.dtype} from {array.min():g} to "
            f"{array.max():g}; name a map of probabilities {name}.probability.tif, save labels as "
            "uint16 or uint32"
        )
    remarks.append(f"labels are stored as {array.dtype}; all are whole numbers, taken for ids")
    whole = array.astype(np.uint32)
    return Image(whole, image.axes, image.pixel_size, image.channel_names, image.source)


def _read_probabilities(file: Path, dimensions: Dimensions) -> Parts:
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
            f"{file}: probabilities are floating or 8-bit (scaled by 255), found {array.dtype}; "
            "name a mask NAME.mask.tif, numbered objects NAME.instances.tif"
        )
    stacks = image.stacks(dimensions)
    if image.channel_names is not None and image.channel_names[-1] == CORE_NAME:
        stacks = [(suffix, part[:-1]) for suffix, part in stacks]
    return [(suffix, part.astype(np.float32) / scale) for suffix, part in stacks]


def _check_parts(read: dict[Path, Parts], probability: Path | None) -> None:
    """Raise InputError unless all files have planes of the same number and size."""
    shapes = {
        file: [array.shape[1:] if file == probability else array.shape for _, array in parts]
        for file, parts in read.items()
    }
    (first, expected), *others = shapes.items()
    for file, found in others:
        if found != expected:
            raise InputError(
                f"{first} and {file} differ in size: {len(expected)} of {show(expected[0])} and "
                f"{len(found)} of {show(found[0])}"
            )
