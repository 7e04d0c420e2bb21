"""The pixels of a prediction, checked, a plane (or volume) at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from septum.annotation.masks import bits_of
from septum.errors import InputError
from septum.evaluation.large import is_large
from septum.evaluation.pixels import Numbers
from septum.evaluation.predictions import Prediction, is_whole
from septum.images.stored import Box, StoredImage, StoredStack, load_image, open_image
from septum.network.heads import count_classes

Dimensions = Literal[2, 3]


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


@dataclass(frozen=True)
class StoredPlane:
    """The same, left in its files. ``overlapping``: the mask has one channel a class."""

    suffix: str
    mask: StoredStack | None = None
    probability: StoredStack | None = None
    instances: StoredStack | None = None
    overlapping: bool = False

    @property
    def extents(self) -> tuple[int, ...]:
        """Pixels along the spatial axes."""
        stack = self.mask or self.probability or self.instances
        assert stack is not None
        return stack.extents

    def read(self, box: Box | None = None) -> Plane:
        """All of it, or a region; probabilities of 8 bits are scaled by 255.

        The masks of overlapping classes become bits; the map of the core of objects, which is no
        probability of a class, is left out.
        Labels that are stored as floating numbers count if all are whole and exact, which is
        remarked. Raises InputError for other labels, and probabilities outside [0, 1].
        """
        remarks: list[str] = []
        return Plane(
            self.suffix,
            _read_labels(self.mask, box, "class", remarks, self.overlapping),
            _read_probability(self.probability, box, remarks),
            _read_labels(self.instances, box, "object", remarks),
            tuple(remarks),
        )


def read_prediction(
    prediction: Prediction, dimensions: Dimensions = 2, overlapping: bool = False
) -> Iterator[Plane]:
    """Read the files and split stacks: with 2 dimensions each plane (Y, X) is an image of its own.

    Raises InputError as `open_prediction` and `StoredPlane.read`.
    """
    for plane in open_prediction(prediction, dimensions, overlapping):
        yield plane.read()


def open_prediction(
    prediction: Prediction, dimensions: Dimensions = 2, overlapping: bool = False
) -> list[StoredPlane]:
    """Each plane, or volume, of a prediction; files that fit into memory are read at once.

    Of ``overlapping`` classes the mask has one channel each, and numbered objects are left out.
    Raises InputError for a map that is neither floating nor of 8 bits, labels with channels, or
    files of one prediction that differ in number or size of planes.
    """
    opened: dict[Path, list[tuple[str, StoredStack]]] = {}
    for file, noun in ((prediction.mask, "a mask has"), (prediction.instances, "instances have")):
        several = overlapping and file == prediction.mask
        if file is not None and (several or not overlapping):
            image = _open(file, labels=True)
            if image.channels != 1 and not several:
                raise InputError(f"{file}: {noun} one channel, found {image.channels}")
            opened[file] = image.stacks(dimensions)
    if prediction.probability is not None:
        image = _open(prediction.probability, labels=False)
        if image.dtype != np.uint8 and image.dtype.kind != "f":
            raise InputError(
                f"{prediction.probability}: probabilities are floating or 8-bit (scaled by 255), "
                f"found {image.dtype}; name a mask NAME.mask.tif, numbered objects "
                "NAME.instances.tif"
            )
        opened[prediction.probability] = image.stacks(dimensions)
    _check_parts(opened)
    planes = []
    for parts in zip(*opened.values(), strict=True):
        stacks = {file: stack for file, (_, stack) in zip(opened, parts, strict=True)}
        planes.append(
            StoredPlane(
                parts[0][0],
                stacks.get(prediction.mask or Path()),
                stacks.get(prediction.probability or Path()),
                stacks.get(prediction.instances or Path()),
                overlapping,
            )
        )
    return planes


def show(shape: tuple[int, ...]) -> str:
    """A size for a message, `512 × 512`."""
    return " × ".join(map(str, shape))


def _open(file: Path, labels: bool) -> StoredImage:
    """A file that is large is left where it is, but for PNG, JPEG and BMP, which are read whole."""
    image = open_image(file, labels)
    return image if is_large(math.prod(image.shape)) else load_image(file, labels)


def _read_labels(
    stack: StoredStack | None, box: Box | None, what: str, remarks: list[str], several: bool = False
) -> Numbers | None:
    if stack is None:
        return None
    channels: np.ndarray = stack.read(box)
    array: np.ndarray = bits_of(channels) if several else channels[0]
    if array.dtype.kind != "f":
        return array
    file = stack.image.source or Path("labels")
    if not is_whole(array):
        name = file.name.partition(".")[0]
        raise InputError(
            f"{file}: labels are integer {what} ids, found {array.dtype} from {array.min():g} to "
            f"{array.max():g}; name a map of probabilities {name}.probability.tif, save labels as "
            "uint16 or uint32"
        )
    remarks.append(f"labels are stored as {array.dtype}; all are whole numbers, taken for ids")
    return array.astype(np.uint32)


def _read_probability(
    stack: StoredStack | None, box: Box | None, remarks: list[str]
) -> npt.NDArray[np.floating] | None:
    if stack is None:
        return None
    array, names = stack.read(box), stack.image.channel_names
    array = array[: count_classes(names, len(array))]
    if array.dtype == np.uint8:
        if box is None and array.max(initial=0) == 1:
            remarks.append(
                f"{stack.image.source} holds 0 and 1, which as probabilities of 8 bits are 0 and "
                "1/255; is it a mask? Name it NAME.mask.tif"
            )
        return np.asarray(array.astype(np.float32) / np.float32(255))
    low, high = float(array.min()), float(array.max())
    if low < 0.0 or high > 1.0:
        raise InputError(
            f"{stack.image.source}: probabilities must lie in [0, 1], found {low:g} … {high:g}; "
            "scale them, or give masks"
        )
    return np.asarray(array.astype(np.float32))


def _check_parts(opened: dict[Path, list[tuple[str, StoredStack]]]) -> None:
    """Raise InputError unless all files have planes of the same number and size."""
    extents = {file: [stack.extents for _, stack in parts] for file, parts in opened.items()}
    (first, expected), *others = extents.items()
    for file, found in others:
        if found != expected:
            raise InputError(
                f"{first} and {file} differ in size: {len(expected)} of {show(expected[0])} and "
                f"{len(found)} of {show(found[0])}"
            )
