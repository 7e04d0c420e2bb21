"""One object divided among its seeds: flooded, and parts that are too small joined with others.

Whatever else is in the image, and however it is cut into blocks, an object is divided in its own
bounding box alone. Shapes: S the spatial axes (YX or ZYX).
"""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def divide_object(
    height_S: npt.NDArray[np.floating],
    seed_S: Integers,
    inside_S: npt.NDArray[np.bool_],
    minimum: int,
) -> Integers:
    """The seed that each pixel ``inside_S`` of an object belongs to; 0 outside of it.

    The object hangs together by faces, and ``seed_S`` is above 0 at its seeds. From these it is
    flooded along the surface ``height_S``, the lowest pixels first
    (`skimage.segmentation.watershed`). Then, while a part has fewer than ``minimum`` pixels, the
    smallest (of equal ones that which begins first, in C order) is joined with the neighbour
    across the lowest pass: the lowest of all pairs of pixels, one of each part, that share a face,
    a pair being as high as its higher pixel; of passes equally low that to the neighbour which
    began first before anything was joined. What is joined has the neighbour's number. So nothing
    of an object is lost, unless all of it is too small. Numbers decide nothing: they depend on how
    an image is cut into blocks.
    """
    from skimage.segmentation import watershed

    seed_S = np.ascontiguousarray(seed_S)  # in Fortran order, skimage 0.26 gives back the seeds
    part_S = watershed(height_S, seed_S, mask=inside_S)  # type: ignore[no-untyped-call]
    return join_small_parts(np.asarray(part_S, np.int64), height_S, minimum)


def join_small_parts(
    part_S: Integers, height_S: npt.NDArray[np.floating], minimum: int
) -> Integers:
    """The second half of `divide_object`: ``part_S`` with parts of too few pixels joined."""
    numbers, first, place_S, sizes = np.unique(
        part_S, return_index=True, return_inverse=True, return_counts=True
    )
    first[numbers == 0] = -1
    order = np.argsort(first)
    numbers, sizes = numbers[order], sizes[order]
    outside = int(numbers[0] == 0)
    if len(numbers) - outside < 2 or sizes[outside:].min() >= minimum:
        return part_S
    rank_S = np.argsort(order)[place_S].reshape(part_S.shape)
    passes = _passes(rank_S, height_S, outside)
    size, joined = sizes.tolist(), np.arange(len(numbers))
    waiting = [(size[part], part) for part in passes if size[part] < minimum]
    heapq.heapify(waiting)
    while waiting:
        pixels, part = heapq.heappop(waiting)
        around = passes.get(part)
        if not around or pixels != size[part]:  # joined already, grown since, or all that is left
            continue
        other = min(around, key=lambda number: (around[number], number))
        joined[joined == part] = other
        size[other] += pixels
        for number, height in passes.pop(part).items():
            del passes[number][part]
            if number != other:
                lowest = min(height, passes[other].get(number, height))
                passes[other][number] = passes[number][other] = lowest
        if size[other] < minimum:
            heapq.heappush(waiting, (size[other], other))
    return np.asarray(numbers[joined][rank_S])


def _passes(
    rank_S: npt.NDArray[np.intp], height_S: npt.NDArray[np.floating], outside: int
) -> dict[int, dict[int, float]]:
    """For each part the height of the lowest pass to each of its neighbours."""
    found: dict[int, dict[int, float]] = {}
    for axis in range(rank_S.ndim):
        rank, height = np.moveaxis(rank_S, axis, 0), np.moveaxis(height_S, axis, 0)
        one, other = rank[:-1], rank[1:]
        meet = (one != other) & (one >= outside) & (other >= outside)
        higher = np.maximum(height[:-1], height[1:])[meet]
        pairs = zip(one[meet].tolist(), other[meet].tolist(), higher.tolist(), strict=True)
        for a, b, level in pairs:
            lowest = min(level, found.setdefault(a, {}).get(b, level))
            found[a][b] = found.setdefault(b, {})[a] = lowest
    return found
