"""One image through the network, tile by tile: read ahead, written behind, never held whole."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from septum.errors import ImageFileError
from septum.geometry import Footprint, Tile, tile_grid
from septum.images.image import Image
from septum.images.stored import StoredImage, StoredStack, hold_image
from septum.images.tolerant import damage
from septum.prediction.manifest import Manifest
from septum.prediction.overlap_tile import Predictor, check_image, predict_windows
from septum.prediction.predictor import Ranges
from septum.prediction.results import Place, Results, result_headers, results_in_memory

LARGEST_CHUNK = {2: 512, 3: 64}
"""Pixels an axis, by the number of spatial axes that a tile has."""
WRITTEN_BEHIND = 1
"""Tiles that wait to be written at most, while the network computes one more."""
RECORDED_EVERY = 1.0
"""Seconds between two entries in the manifest: what a killed process computes again."""

Watch = Callable[[int, int], None]
"""``watch(done, total)`` hears of pixels of an image: first of those that were done before."""


@dataclass(frozen=True)
class Work:
    """One tile of one plane or volume; ``number`` counts through the whole image, ``plane`` through
    its planes or volumes.
    """

    number: int
    plane: int
    place: Place
    stack: StoredStack
    tile: Tile


def chunk_extent(footprint: Footprint, tile: int, dimensions: int) -> int:
    """Extent of the chunks of a store: a power of two, such that a tile can write whole ones."""
    chunk = footprint.stride
    while 2 * chunk <= min(LARGEST_CHUNK[dimensions], footprint.core_extent(tile)):
        chunk *= 2
    return chunk


class TilePlan(Sequence[Work]):
    """All tiles of all planes (volumes, of a 3D model) of an image, in order; made when asked for.

    ``pixels``: those of all tiles. ``ranges``: what `ranges_of` gave in another process. Raises
    InputError if the channels or axes are not the model's, ImageFileError for an image without Z if
    the model is 3D.
    """

    def __init__(
        self,
        predictor: Predictor,
        image: StoredImage,
        chunk: int = 1,
        ranges: Mapping[int, Ranges] | None = None,
    ) -> None:
        self.image = image
        self._predictor, self._ranges = predictor, dict(ranges or {})
        self._axes = image.axes
        self._stacks = [stack for _, stack in image.stacks(predictor.dimensions)]
        check_image(predictor, self._stacks[0])
        extents = self._stacks[0].extents
        self._grid = tile_grid(extents, predictor.tile, predictor.footprint, chunk)
        self.pixels = len(self._stacks) * math.prod(extents)

    def __len__(self) -> int:
        return len(self._stacks) * len(self._grid)

    def __getitem__(self, number: int) -> Work:  # type: ignore[override]  # no slices
        if not 0 <= number < len(self):
            raise IndexError(number)
        plane, inside = divmod(number, len(self._grid))
        stack = self._stacks[plane]
        axes = zip(self._axes, stack.index, strict=True)
        place = {axis: index for axis, index in axes if isinstance(index, int)}
        return Work(number, plane, place, stack, self._grid[inside])

    def ranges_of(self, numbers: Iterable[int]) -> dict[int, Ranges]:
        """For each plane that tiles of these numbers are of, its ranges of grey values.

        Where each image has its own, the plane is read once for it. Raises ImageFileError.
        """
        found = {}
        for plane in sorted({number // len(self._grid) for number in numbers}):
            if plane not in self._ranges:
                try:
                    self._ranges[plane] = self._predictor.ranges(self._stacks[plane])
                except ImageFileError as error:
                    raise ImageFileError(f"{error} (--keep-going goes on)") from error
            found[plane] = self._ranges[plane]
        return found

    def pixels_of(self, numbers: Iterable[int]) -> int:
        """Those that the tiles of these numbers write."""
        return sum(_pixels(self[number].tile) for number in numbers)


def predict_into(
    predictor: Predictor,
    plan: TilePlan,
    results: Results,
    threshold: float,
    numbers: Sequence[int] | None = None,
    manifest: Manifest | None = None,
    watch: Watch = lambda done, total: None,
) -> None:
    """Compute tiles of ``plan`` and write them: ``numbers``, or those that ``manifest`` has not.

    While the network computes, one thread reads the next tile and one writes those before.
    Raises what reading and writing raise.
    """
    known = manifest.done if manifest is not None else set()
    if numbers is None:
        numbers = [number for number in range(len(plan)) if number not in known]
    total, done = plan.pixels, plan.pixels_of(known)
    written: list[int] = []
    recorded = time.monotonic()
    watch(done, total)
    behind = deque[tuple[Work, Future[int]]]()

    def settle(most: int) -> None:
        nonlocal done, recorded
        while len(behind) > most:
            work, future = behind.popleft()
            done += future.result()
            written.append(work.number)
            watch(done, total)
        if manifest is not None and time.monotonic() - recorded > RECORDED_EVERY:
            manifest.add(written, damage(plan.image))
            written.clear()
            recorded = time.monotonic()

    asked = (
        (work.stack, work.tile, plan.ranges_of([work.number])[work.plane])
        for work in map(plan.__getitem__, numbers)
    )
    found = predict_windows(predictor, asked)
    with ThreadPoolExecutor(1, thread_name_prefix="septum-write") as writer:
        try:
            for number, probability_KT in zip(numbers, found, strict=True):
                work = plan[number]
                future = writer.submit(
                    results.write, work.place, work.tile, probability_KT, threshold
                )
                behind.append((work, future))
                settle(WRITTEN_BEHIND)
        finally:
            try:
                settle(0)
            finally:
                if manifest is not None:
                    manifest.add(written, damage(plan.image))


def predict_whole(
    predictor: Predictor, image: Image, threshold: float, watch: Watch = lambda done, total: None
) -> tuple[Image, Image]:
    """Mask (uint8 class ids) and probabilities (float32, axis C one entry a class) of an image.

    The image may have any axes that the model's dimensions allow: stacks are taken plane by plane
    by a 2D model, volume by volume by a 3D one. Raises InputError, ImageFileError.
    """
    overlapping = predictor.maps == "overlapping"
    headers = result_headers(image.header, predictor.names, "float32", False, overlapping)
    results = results_in_memory(headers, predictor.maps)
    plan = TilePlan(predictor, hold_image(image))
    predict_into(predictor, plan, results, threshold, watch=watch)
    mask, probability = (
        Image(results.arrays[n], h.axes, h.pixel_size, h.channel_names, h.source)
        for n, h in ((n, headers[n]) for n in ("mask", "probability"))
    )
    return mask, probability


def _pixels(tile: Tile) -> int:
    return math.prod(stop - start for start, stop in tile.write)
