"""From class probabilities to numbered objects, in memory or, block by block, beyond it.

Shapes: K classes, S the spatial axes (YX or ZYX), D their number, N objects; other suffixes are
those of ``septum.prediction.pieces``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from septum.errors import InputError
from septum.images.blocks import blocks
from septum.images.tiff_regions import Box
from septum.images.tiff_writer import LazyArray
from septum.prediction.flooding import divide_object
from septum.prediction.pieces import (
    MOST_NUMBERS,
    Integers,
    PieceList,
    Pieces,
    WritableArray,
    join_objects,
    join_seeds,
)
from septum.prediction.separation import Separation

MOST_CLASSES = 255
CORE = 2
"""The map of the core of objects."""
Classes = npt.NDArray[np.uint8]


def label_objects(
    probability_KS: npt.NDArray[np.generic], separation: Separation
) -> tuple[npt.NDArray[np.uint32], Classes]:
    """Number the objects of a whole image: instances (*S), and class of each object (N,).

    ``probability_KS``: (K, Y, X) or (K, Z, Y, X), 2 to 255 classes, floating, or uint8 that is
    255 p; calculated in double precision if given so, else in single. Pixels are neighbours if
    they share a face.

    1. Each pixel gets its class as by `septum.prediction.overlap_tile.predict_mask`: with two
       classes 1 where p(1) > threshold, else 0; with more the likeliest. Class 0 is background.
       (The maps of a network that learns the core of objects are of two classes, and the core.)
    2. A hole is a connected component of class 0 that has no pixel on the image's rim. A hole of
       at most ``fill`` pixels, all of whose neighbours are of one class, becomes of that class.
    3. The connected components of pixels of equal class, but 0, are objects.
    4. Seeds, if asked for, are the connected components of pixels of equal class, as after step 1,
       whose p of this class, or core, exceeds ``seeds``. An object with several is divided among
       them by the watershed of −p of its class, or of the core, and parts of fewer than ``minimum``
       pixels are joined with others of it (`septum.prediction.flooding.divide_object`): in the
       object's bounding box alone, so that ties do not depend on what else is in the image. An
       object with one seed or none stays one.
    5. Objects of fewer than ``minimum`` pixels become background. The others are numbered 1, 2, …
       in the C order of their first pixels; 0 is background. Entry i of the classes is that of
       object i + 1.

    Raises InputError for another type or shape, and for ``seeds`` that, with two classes and no
    core, are not above ``threshold`` and so would divide nothing.
    """
    instances_S: npt.NDArray[np.uint32] = np.zeros(probability_KS.shape[1:], np.uint32)
    block = [max(int(extent), 1) for extent in instances_S.shape]
    return instances_S, label_objects_by_block(probability_KS, instances_S, separation, block)


def label_objects_by_block(
    probability: LazyArray,
    instances: WritableArray,
    separation: Separation,
    block: Sequence[int],
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Classes:
    """As ``label_objects``, of arrays that need not fit in memory; return each object's class.

    ``probability`` (K, *S) is read, ``instances`` (*S, uint32) written by regions of extents
    ``block`` or smaller, whatever was there before; the result is the same for all of them, and
    that of ``label_objects``. Blocks of whole chunks of ``instances`` are the fastest. Until the
    function has returned, ``instances`` holds provisional numbers, and it must be the only writer.
    ``watch(done, total)`` hears of pixels, of which each counts twice: labelled, and numbered.

    Memory: some 25 bytes a pixel of a block, 75 with ``seeds``; and for each piece of an object in
    a block (with ``fill`` of the background, too) 200 bytes, 500 with ``seeds`` or ``fill``. But an
    object with several seeds that lies in more than one block is read as a whole: 75 bytes a pixel
    of its bounding box, however large that is.

    Raises InputError as ``label_objects`` does, for arrays that do not fit each other, and for
    2³² pieces or more.
    """
    _check(probability, instances, separation, block)
    pixels = math.prod(instances.shape)
    found = PieceList(instances)
    done = 0
    for box in blocks(instances.shape, block):
        class_S, seed_S = _classify(probability, box, separation)
        found.add_block(box, class_S, seed_S, background=separation.fill > 0)
        done += class_S.size
        watch(done, 2 * pixels)
    pieces = found.pieces()
    object_N = join_objects(pieces, instances.shape, separation.fill)
    objects = pieces.grouped(object_N)
    basins = None
    if separation.seeds is not None:
        basins = _divide(probability, instances, pieces, object_N, objects, block, separation)
    number_P, classes_N = _number(objects, object_N, basins, separation.minimum)
    for box in blocks(instances.shape, block):
        instances[box] = number_P[np.asarray(instances[box])]
        done += math.prod(span.stop - span.start for span in box)
        watch(done, 2 * pixels)
    return classes_N


def _check(
    probability: LazyArray, instances: WritableArray, separation: Separation, block: Sequence[int]
) -> None:
    shape, dtype = tuple(probability.shape), probability.dtype
    if len(shape) not in (3, 4):
        raise InputError(f"probabilities have shape {shape}; expected (K, Y, X) or (K, Z, Y, X)")
    if separation.maps == "core" and shape[0] != CORE + 1:
        raise InputError(f"{shape[0]} maps; expected background, object and core")
    if not 2 <= shape[0] <= MOST_CLASSES:
        raise InputError(f"probabilities of {shape[0]} classes; expected 2 to {MOST_CLASSES}")
    if dtype.kind != "f" and dtype != np.uint8:
        raise InputError(f"probabilities are of type {dtype}; expected floating or uint8 (255 p)")
    if tuple(instances.shape) != shape[1:] or instances.dtype != np.uint32:
        raise InputError(
            f"objects would be written to an array of shape {tuple(instances.shape)} and type "
            f"{instances.dtype}; expected {shape[1:]}, uint32"
        )
    if len(block) != len(shape) - 1 or min(block) < 1:
        raise InputError(
            f"block = {tuple(block)}; expected {len(shape) - 1} extents of 1 or more, one an axis"
        )
    separation.check_classes(shape[0])


def _classify(
    probability: LazyArray, box: Box, separation: Separation
) -> tuple[Classes, npt.NDArray[np.bool_] | None]:
    """Class of each pixel of a block, and, if seeds are asked for, whether it is in one."""
    classes, core = probability.shape[0], separation.maps == "core"
    if classes == 2 or core:
        likeliest_S = _read(probability, 1, box)
        class_S = (likeliest_S > separation.threshold).astype(np.uint8)
        if core and separation.seeds is not None:
            likeliest_S = _read(probability, CORE, box)
    else:
        probability_KS = _floating(np.asarray(probability[(slice(0, classes), *box)]))
        class_S = probability_KS.argmax(0).astype(np.uint8)
        likeliest_S = probability_KS.max(0)
    if separation.seeds is None:
        return class_S, None
    return class_S, np.asarray((likeliest_S > separation.seeds) & (class_S > 0))


def _read(probability: LazyArray, number: int, box: Box) -> npt.NDArray[np.floating]:
    """The probabilities of one class in a region."""
    return _floating(np.asarray(probability[(slice(number, number + 1), *box)])[0])


def _floating(probability: npt.NDArray[np.generic]) -> npt.NDArray[np.floating]:
    if probability.dtype == np.uint8:
        return np.asarray(probability, np.float32) / np.float32(255)
    kind = np.promote_types(probability.dtype, np.float32)
    return np.asarray(probability, kind)


@dataclass(frozen=True, eq=False)
class Basins:
    """The parts of divided objects; entry i belongs to seed i + 1.

    ``object_B``: the object that is divided, -1 for the seed of one that is not. In the array of
    instances its pixels have the number of pieces plus that of the seed.
    """

    object_B: Integers
    pixels_B: Integers
    first_B: Integers


def _divide(
    probability: LazyArray,
    instances: WritableArray,
    pieces: Pieces,
    object_N: Integers,
    objects: Pieces,
    block: Sequence[int],
    separation: Separation,
) -> Basins:
    """Divide objects with several seeds, in ``instances`` too."""
    seed_N = join_seeds(pieces)
    seeds = int(seed_N.max())
    count = len(seed_N) - 1
    if count + seeds > MOST_NUMBERS:
        raise InputError(f"{seeds} seeds are more than 32 bits can number; raise seeds")
    object_B = np.zeros(seeds, np.int64)
    object_B[seed_N[seed_N > 0] - 1] = object_N[seed_N > 0]
    several_O = np.bincount(object_B, minlength=len(objects.class_N)) > 1
    object_B[~several_O[object_B]] = -1
    basins = Basins(object_B, np.zeros(seeds, np.int64), np.zeros(seeds, np.int64))
    object_P = np.concatenate([object_N, np.full(seeds, -1)])
    seed_P = np.concatenate([seed_N, np.zeros(seeds, np.int64)])
    for number, box, inside in _regions(objects, several_O, block):
        numbers_S = np.array(instances[box])
        height_S = -_read(probability, CORE if separation.maps == "core" else number, box)
        corner_D = np.array([span.start for span in box])
        for member in inside:
            low_D, high_D = objects.low_ND[member], objects.high_ND[member]
            crop = tuple(map(slice, low_D - corner_D, high_D - corner_D))
            inside_S = object_P[numbers_S[crop]] == member
            seed_S = np.where(inside_S, seed_P[numbers_S[crop]], 0)
            basin_S = divide_object(height_S[crop], seed_S, inside_S, separation.minimum)
            numbers_S[crop][inside_S] = count + basin_S[inside_S]
            _measure(basins, basin_S, low_D, instances.shape)
        instances[box] = numbers_S
    return basins


def _regions(
    objects: Pieces, chosen_O: npt.NDArray[np.bool_], block: Sequence[int]
) -> Iterator[tuple[int, Box, list[int]]]:
    """Class, box and objects of the regions to read: blocks, and objects that lie in several."""
    regions = defaultdict(list)
    block_D = np.asarray(block)
    last_D = objects.high_ND.max(0)
    for member in np.flatnonzero(chosen_O).tolist():
        low_D, high_D = objects.low_ND[member], objects.high_ND[member]
        start_D = low_D // block_D * block_D
        if (high_D <= start_D + block_D).all():
            low_D, high_D = start_D, np.minimum(start_D + block_D, last_D)
        box = (*low_D.tolist(), *high_D.tolist())
        regions[int(objects.class_N[member]), box].append(member)
    for (number, box), inside in regions.items():
        yield number, tuple(map(slice, box[: len(block)], box[len(block) :])), inside


def _measure(basins: Basins, basin_S: Integers, low_D: Integers, extents: Sequence[int]) -> None:
    """Enter the pixels and first pixels of the basins of one object, which begins at ``low_D``."""
    pixels = np.flatnonzero(basin_S)
    seed_B, first_B, count_B = np.unique(
        basin_S.ravel()[pixels], return_index=True, return_counts=True
    )
    place_DB = np.array(np.unravel_index(pixels[first_B], basin_S.shape)) + low_D[:, np.newaxis]
    basins.pixels_B[seed_B - 1] = count_B
    basins.first_B[seed_B - 1] = np.ravel_multi_index(tuple(place_DB), tuple(extents))


def _number(
    objects: Pieces, object_N: Integers, basins: Basins | None, minimum: int
) -> tuple[npt.NDArray[np.uint32], Classes]:
    """Final number of each provisional one, P of them, and the class of each object kept."""
    class_O, pixels_O, first_O = objects.class_N, objects.pixels_N, objects.first_N
    part_P = object_N  # of objects, then of the parts of those that were divided
    if basins is not None:
        class_B = np.where(basins.object_B < 0, 0, class_O[basins.object_B])
        whole_O = class_O.copy()
        whole_O[basins.object_B[basins.object_B >= 0]] = 0
        class_O = np.concatenate([whole_O, class_B])
        pixels_O = np.concatenate([pixels_O, basins.pixels_B])
        first_O = np.concatenate([first_O, basins.first_B])
        part_P = np.concatenate([object_N, len(whole_O) + np.arange(len(class_B))])
    kept = np.flatnonzero((class_O > 0) & (pixels_O >= minimum))
    kept = kept[np.argsort(first_O[kept])]
    number_O = np.zeros(len(class_O), np.uint32)
    number_O[kept] = np.arange(1, len(kept) + 1)
    return number_O[part_P], class_O[kept].astype(np.uint8)
