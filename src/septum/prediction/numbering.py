"""The objects of one image, numbered and measured block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from septum.images.stored import StoredImage
from septum.prediction.instances import label_objects_by_block
from septum.prediction.objects import measure_objects, write_objects
from septum.prediction.results import Results
from septum.prediction.separation import Separation

LABEL_BLOCK = 2048
"""Pixels an axis, at most, that are numbered and measured at once; in 3D 256."""


def number_objects(
    image: StoredImage, dimensions: int, results: Results, separation: Separation, table: Path
) -> int:
    """Fill the instances of ``results``, and write the objects of all planes (volumes) to a CSV.

    Returns how many there are. Raises InputError, ImageFileError, SaveError.
    """
    tables = {}
    side = LABEL_BLOCK if dimensions == 2 else LABEL_BLOCK // 8
    for suffix, stack in image.stacks(dimensions):
        axes = zip(image.axes, stack.index, strict=True)
        place = {axis: number for axis, number in axes if isinstance(number, int)}
        instances = results.part("instances", place)
        block = [min(side, extent) for extent in instances.shape]
        probability = results.part("probability", place)
        with results.saving():
            classes = label_objects_by_block(probability, instances, separation, block)
        size = None if image.pixel_size is None else image.pixel_size[-dimensions:]
        tables[suffix] = measure_objects(
            instances, _Grey(stack), classes, block, size, image.channel_names
        )
    write_objects(table, tables)
    return sum(len(each.id_N) for each in tables.values())


class _Grey:
    """A stack read like an array (C, *S)."""

    def __init__(self, stack: Any) -> None:
        self._stack = stack
        self.shape: tuple[int, ...] = (stack.channels, *stack.extents)
        self.dtype: np.dtype[Any] = np.dtype(stack.dtype)

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        return self._stack.read(tuple(index[1:]))[index[0]]
