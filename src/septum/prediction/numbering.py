"""The objects of one image, numbered and measured block by block."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from septum.images.stored import StoredImage
from septum.network.heads import count_classes
from septum.prediction.instances import label_objects_by_block
from septum.prediction.objects import ObjectTable, measure_objects, write_objects
from septum.prediction.results import Results
from septum.prediction.separation import Separation

LABEL_BLOCK = 2048
"""Pixels an axis, at most, that are numbered and measured at once; in 3D 256."""


def number_objects(
    image: StoredImage, dimensions: int, results: Results, separation: Separation, table: Path
) -> int:
    """Fill the instances of ``results``, and write the objects of all planes (volumes) to a CSV.

    Overlapping classes are each numbered from 1.

    Returns how many there are. Raises InputError, ImageFileError, SaveError.
    """
    tables: dict[str, ObjectTable] = {}
    side = LABEL_BLOCK if dimensions == 2 else LABEL_BLOCK // 8
    for suffix, stack in image.stacks(dimensions):
        axes = zip(image.axes, stack.index, strict=True)
        place = {axis: number for axis, number in axes if isinstance(number, int)}
        whole = results.part("instances", place)
        probability = _Maps(results.part("probability", place), results.map_count)
        size = None if image.pixel_size is None else image.pixel_size[-dimensions:]
        block = [min(side, extent) for extent in stack.extents]
        several = separation.maps == "overlapping"
        for number in range(1, probability.shape[0]) if several else [0]:
            instances = _OneOf(whole, number - 1) if number else whole
            maps = _OneClass(probability, number) if number else probability
            with results.saving():
                class_N = label_objects_by_block(maps, instances, separation, block)
            class_N *= np.uint8(number or 1)
            found = measure_objects(
                instances, _Grey(stack), class_N, block, size, image.channel_names
            )
            named = replace(found, class_names=_given_names(results))
            known = tables.get(suffix)
            tables[suffix] = named if known is None else known.followed_by(named)
    write_objects(table, tables)
    return sum(len(each.id_N) for each in tables.values())


def _given_names(results: Results) -> tuple[str, ...]:
    """Of the classes, unless they are called by their numbers alone."""
    names = results.headers["probability"].channel_names or ()
    classes = names[: count_classes(names, len(names))]
    numbered = all(name == f"class {number}" for number, name in enumerate(classes))
    return () if numbered else classes


class _Maps:
    """Of what is stored (M, *S) the first maps, without the uncertainty."""

    def __init__(self, stored: Any, count: int) -> None:
        self._stored = stored
        self.shape: tuple[int, ...] = (count, *stored.shape[1:])
        self.dtype: np.dtype[Any] = stored.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        start, stop, _ = index[0].indices(self.shape[0])
        return self._stored[(slice(start, stop), *index[1:])]


class _OneOf:
    """The instances of one of several overlapping classes, (*S) of (K, *S)."""

    def __init__(self, whole: Any, number: int) -> None:
        self._whole, self._number = whole, number
        self.shape: tuple[int, ...] = tuple(whole.shape[1:])
        self.dtype: np.dtype[Any] = whole.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        return self._whole[(slice(self._number, self._number + 1), *index)][0]

    def __setitem__(self, index: tuple[slice, ...], values: np.ndarray) -> None:
        self._whole[(slice(self._number, self._number + 1), *index)] = values[np.newaxis]


class _OneClass:
    """Of maps (K, *S) a class as one of two, of which only its own probability is asked for."""

    def __init__(self, maps: Any, number: int) -> None:
        self._maps, self._number = maps, number
        self.shape: tuple[int, ...] = (2, *maps.shape[1:])
        self.dtype: np.dtype[Any] = maps.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        assert index[0] == slice(1, 2)
        return self._maps[(slice(self._number, self._number + 1), *index[1:])]


class _Grey:
    """A stack read like an array (C, *S)."""

    def __init__(self, stack: Any) -> None:
        self._stack = stack
        self.shape: tuple[int, ...] = (stack.channels, *stack.extents)
        self.dtype: np.dtype[Any] = np.dtype(stack.dtype)

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        return self._stack.read(tuple(index[1:]))[index[0]]
