"""Each file read once: what is measured of an image before anyone knows what its labels mean."""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from septum.annotation.mask_files import OverlapError
from septum.annotation.pairs import Annotated, Pair, load_pairs
from septum.annotation.stored_pairs import StoredAnnotated, open_pairs, part_name
from septum.errors import ImageFileError, InputError
from septum.images.files import PICTURE_SUFFIXES
from septum.images.stored import open_image
from septum.survey.grey import grey_difference, spread_values
from septum.survey.likeness import digest, fingerprint
from septum.survey.registration import FIT, REACH, fit_surface, fit_turns
from septum.survey.survey import Problem

WHOLE_FILE = 64 << 20
"""Bytes: of larger files, and of OME-Zarr, the header tells first how large the images are."""
WINDOW_PIXELS, WINDOWS = 2**22, 4
"""Of an image with more pixels so many windows of that size are looked at."""
OVERLAP = "overlap"
"""The kind of the problem that pixels are of two classes."""
KEPT = 1 << 30
"""Bytes of labels that are kept; those beyond are read a second time."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen of one image, plane of a stack or window; see `ImageFacts`.

    ``grey``: of three channels that are equal. ``samples``: grey values (C, n). ``surface``: how
    the labels fit, see `fit_surface`; ``turns``: where they do not, see `fit_turns`.
    ``difference``: see `grey_difference`. ``read_labels``: the labels, kept or read again.
    """

    name: str
    image_path: Path
    label_path: Path
    axes: str
    extents: tuple[int, ...]
    whole: bool
    channels: int
    grey: bool
    dtype: np.dtype
    pixel_size: tuple[float, ...] | None
    highest: float
    samples: np.ndarray
    digest: str
    fingerprint: np.ndarray | None
    surface: np.ndarray | None
    turns: np.ndarray | None
    difference: float
    read_labels: Callable[[], np.ndarray]


class Reader:
    """Reads pairs in threads, and keeps the labels of the first ones."""

    def __init__(self, dimensions: int, ignore: Sequence[int]) -> None:
        self.dimensions, self.ignore = dimensions, ignore
        self._kept = 0

    def read(
        self, pairs: Sequence[Pair], watch: Callable[[int, int], None] | None = None
    ) -> Iterator[list[Seen] | Problem]:
        """What each pair holds, or why it cannot be read, in their order.

        ``watch`` is told how many pairs are done, of how many.
        """
        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            for done, found in enumerate(threads.map(self._read, pairs), start=1):
                if watch is not None:
                    watch(done, len(pairs))
                yield found

    def _read(self, pair: Pair) -> list[Seen] | Problem:
        try:
            large = pair.image.is_dir() or pair.image.stat().st_size > WHOLE_FILE
            if large:
                stored = open_pairs([pair], self.dimensions)
                large = any(math.prod(item.extents) > WINDOW_PIXELS for item in stored)
            if large:
                return [seen for item in stored for seen in self._windows(item)]
            items = load_pairs([pair], self.dimensions)
            pictures = pair.image.suffix.lower() in PICTURE_SUFFIXES
            axes = "" if pictures else open_image(pair.image).axes
            return [
                self._measure(item, axes, again=functools.partial(self._labels, pair, index))
                for index, item in enumerate(items)
            ]
        except InputError as error:
            return explain(error, pair)
        except OSError as error:
            return explain(ImageFileError(f"{pair.image}: cannot be read: {error.strerror}"), pair)

    def _labels(self, pair: Pair, index: int) -> np.ndarray:
        return open_pairs([pair], self.dimensions)[index].read_labels()  # of that plane alone

    def _windows(self, item: StoredAnnotated) -> Iterator[Seen]:
        axes = item.image.image.axes
        for box in _boxes(item.extents, item.name):
            part = item.read(box)
            again = functools.partial(item.read_labels, box)
            if box is None:
                yield self._measure(part, axes, again=again)
                continue
            yield self._measure(part, axes, part_name(item.name, box), item.extents, again=again)

    def _measure(
        self,
        item: Annotated,
        axes: str,
        name: str = "",
        extents: tuple[int, ...] = (),
        *,
        again: Callable[[], np.ndarray],
    ) -> Seen:
        labels_S, image_CS = item.labels_S, item.image_CS
        plane = labels_S.shape[0] // 2 if labels_S.ndim == 3 else None
        flat_CYX = image_CS if plane is None else image_CS[:, plane]
        flat_YX = labels_S if plane is None else labels_S[plane]
        self._kept += labels_S.nbytes
        if self._kept <= KEPT:
            again = lambda: labels_S
        surface = fit_surface(flat_CYX, flat_YX, self.ignore)
        turns = None
        if surface is not None and not extents and surface[REACH, REACH] < FIT:
            turns = fit_turns(flat_CYX, flat_YX, self.ignore)
        return Seen(
            name=name or item.name,
            image_path=item.image_path,
            label_path=item.label_path,
            axes=axes or ("CYX" if len(image_CS) > 1 else "YX"),
            extents=extents or item.extents,
            whole=not extents,
            channels=len(image_CS),
            grey=len(image_CS) == 3 and bool((image_CS == image_CS[:1]).all()),
            dtype=image_CS.dtype,
            pixel_size=item.pixel_size,
            highest=float(image_CS.max()),
            samples=spread_values(image_CS),
            digest=digest(image_CS),
            fingerprint=fingerprint(image_CS),
            surface=surface,
            turns=turns,
            difference=grey_difference(flat_CYX, flat_YX, self.ignore),
            read_labels=again,
        )


def explain(error: InputError, pair: Pair | None = None) -> Problem:
    """The problem that an error of reading is, its remedy apart from what is wrong."""
    text, remedy = str(error), ""
    head, _, tail = text.rpartition(": ")
    kind = "unreadable" if isinstance(error, ImageFileError) else "labels"
    if isinstance(error, OverlapError):
        kind = OVERLAP
    if ";" in head:
        text, remedy = head, tail
    elif kind == "unreadable" and "; copy it again" in text:  # an empty file
        text, _, remedy = text.partition("; ")
    elif kind == "unreadable":
        remedy = "copy it again from its origin, or take image and label away"
    paths = (pair.image, pair.labels) if pair is not None else ()
    named = tuple(str(path) for path in paths if str(path) in text)
    return Problem(kind, "error", named or tuple(str(path) for path in paths[:1]), text, remedy)


def _boxes(extents: tuple[int, ...], name: str) -> list[tuple[slice, ...] | None]:
    """Windows at places that depend on the name alone; None is all of an image."""
    if math.prod(extents) <= WINDOW_PIXELS:
        return [None]
    rng = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()[:8]))
    room, sides = float(WINDOW_PIXELS), {}
    for number, axis in enumerate(sorted(range(len(extents)), key=lambda a: extents[a])):
        sides[axis] = min(extents[axis], int(room ** (1 / (len(extents) - number))))
        room /= sides[axis]
    boxes: list[tuple[slice, ...] | None] = []
    for _ in range(WINDOWS):
        starts = [int(rng.integers(n - sides[axis] + 1)) for axis, n in enumerate(extents)]
        boxes.append(tuple(slice(s, s + sides[axis]) for axis, s in enumerate(starts)))
    return boxes
