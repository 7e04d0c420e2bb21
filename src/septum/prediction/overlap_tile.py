"""The overlap-tile strategy (Ronneberger et al. 2015, figure 2), exact.

Every pixel's result is what the network would give for the whole image at once: tiles are read
with the full context of what they write, on the grid of the pooling windows, and nothing that the
network computes depends on the tile (see ``septum.geometry`` and docs/decisions/0001). The
context that is missing at the image's border is the mirrored image.

Shapes: C channels, K classes, S the spatial axes (YX or ZYX).
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32

from septum.annotation.masks import bits_of
from septum.errors import ImageFileError, InputError
from septum.geometry import ArrayPixels, Pixels, Tile, read_mirrored, tile_grid
from septum.memory import array_off_heap, trim_heap
from septum.network.heads import Maps
from septum.prediction.predictor import Predictor, Ranges, prepare

__all__ = [
    "Predictor",
    "check_image",
    "predict_maps",
    "predict_mask",
    "predict_probabilities",
    "predict_tiles",
    "predict_windows",
    "prepare",
]

MOST_AT_ONCE = 64
"""Windows of small images that a GPU takes at once."""

ROWS = 128
"""Rows of a window that are normalised at a time."""

Request = tuple[Pixels, Tile, Ranges]
"""A tile of an image, and the image's ranges of grey values."""
_Window = tuple[Tile, torch.Tensor]
"""A tile, and what was read for it, normalised (C, *S), of the network's type."""


def predict_tiles(
    predictor: Predictor, image: np.ndarray | Pixels
) -> Iterator[tuple[Tile, Float32[np.ndarray, "k *t"]]]:
    """Class probabilities, tile by tile: each pixel of the image is in exactly one of them.

    ``image`` holds grey values as they are in the file, (C, Y, X) or (C, Z, Y, X), of any extents
    from 1 up, or reads them by region; only windows are read and converted to floating point, so
    it may be a memory map. The array yielded covers ``tile.write``. Raises InputError if the
    number of channels or axes is not the model's.
    """
    pixels = ArrayPixels(image) if isinstance(image, np.ndarray) else image
    check_image(predictor, pixels)
    tiles = list(tile_grid(pixels.extents, predictor.tile, predictor.footprint))
    ranges = predictor.ranges(pixels)
    found = predict_windows(predictor, ((pixels, tile, ranges) for tile in tiles))
    for tile, map_KT in zip(tiles, found, strict=True):
        yield tile, map_KT[: predictor.map_count]


def check_image(predictor: Predictor, image: Pixels) -> None:
    """Raise InputError if the number of channels or spatial axes is not the model's."""
    if len(image.extents) != predictor.dimensions:
        axes = "C, Y, X" if predictor.dimensions == 2 else "C, Z, Y, X"
        shape = (image.channels, *image.extents)
        raise InputError(
            f"image has shape {shape}; this {predictor.dimensions}D model takes ({axes})"
        )
    if image.channels != predictor.channels:
        raise InputError(
            f"image has {image.channels} channels; this model was trained on {predictor.channels}"
        )


def predict_windows(
    predictor: Predictor, requests: Iterable[Request]
) -> Iterator[Float32[np.ndarray, "k *t"]]:
    """Class probabilities of each tile asked for, (K, *extents of ``tile.write``), in order.

    Of a model that is several networks their uncertainty follows, as the last map.
    While the network computes, a thread reads the next window. A GPU takes several small windows
    of equal extents at once, and begins the next before what it has computed is fetched.
    """

    def read(request: Request) -> _Window:
        image, tile, ranges = request
        try:
            window_CS = read_mirrored(image, tile.read)
        except ImageFileError as error:
            spans = zip("ZYX"[-len(tile.read) :], tile.read, image.extents, strict=True)
            where = ", ".join(f"{a} {max(lo, 0)}–{min(hi, n)}" for a, (lo, hi), n in spans)
            raise ImageFileError(f"{error}; within {where} (--keep-going goes on)") from error
        wanted = (len(predictor.networks) * len(window_CS), *window_CS.shape[1:])
        room = array_off_heap((math.prod(wanted) * predictor.dtype.itemsize,), np.dtype(np.uint8))
        kept_CS = torch.from_numpy(room).view(predictor.dtype).view(wanted)
        for start in range(0, window_CS.shape[1], ROWS):  # what is made on the way stays small
            rows = slice(start, start + ROWS)
            kept_CS[:, rows] = torch.from_numpy(predictor.normalize(window_CS[:, rows], ranges))
        return tile, kept_CS

    cuda = predictor.device.type == "cuda"
    begun = deque[_Begun]()
    with ThreadPoolExecutor(1, thread_name_prefix="septum-read") as reader:
        try:
            ahead = predictor.tile**predictor.dimensions if cuda else 0
            windows = _read_ahead(reader, read, requests, ahead)
            for batch in _batches(windows, predictor):
                begun.append(_begin(predictor, batch))
                if not cuda:
                    trim_heap()
                if len(begun) > cuda:
                    yield from begun.popleft().fetch()
            while begun:
                yield from begun.popleft().fetch()
        finally:
            reader.shutdown(wait=False, cancel_futures=True)


def _read_ahead(
    reader: ThreadPoolExecutor,
    read: Callable[[Request], _Window],
    requests: Iterable[Request],
    pixels: int,
) -> Iterator[_Window]:
    """Windows in order, while the next is read, and more up to so many ``pixels``."""
    pending = deque[tuple[int, Future[_Window]]]()
    ahead = 0  # pixels of all that wait but the first
    for request in requests:
        size = math.prod(stop - start for start, stop in request[1].read)
        ahead += size if pending else 0
        pending.append((size, reader.submit(read, request)))
        while len(pending) > 1 and ahead > pixels:
            yield pending.popleft()[1].result()
            ahead -= pending[0][0]
    while pending:
        yield pending.popleft()[1].result()


def _batches(windows: Iterable[_Window], predictor: Predictor) -> Iterator[list[_Window]]:
    """Windows one by one; for a GPU runs of equal shape and crop, of a tile's pixels at most."""
    for (shape, _), alike in itertools.groupby(windows, lambda one: (one[1].shape, one[0].crop)):
        most = 1
        if predictor.device.type == "cuda":
            pixels = predictor.tile**predictor.dimensions
            most = min(max(pixels // math.prod(shape[1:]), 1), MOST_AT_ONCE)
        while batch := list(itertools.islice(alike, most)):
            yield batch


@dataclass(frozen=True, eq=False)
class _Begun:
    """Probabilities on their way from the device."""

    parts: list[torch.Tensor]
    copied: torch.cuda.Event | None

    def fetch(self) -> list[np.ndarray]:
        if self.copied is not None:
            self.copied.synchronize()
        return [part_KS.numpy() for part_KS in self.parts]


def _begin(predictor: Predictor, batch: list[_Window]) -> _Begun:
    """Run the network on windows of one shape and crop; on a GPU nothing here waits for it."""
    cuda = predictor.device.type == "cuda"
    window_NCS = batch[0][1][None]
    if len(batch) > 1:
        window_NCS = torch.stack([window_CS for _, window_CS in batch])
    if cuda:
        window_NCS = window_NCS.pin_memory()
    parts = []
    for part_KS in predictor.probabilities(window_NCS, batch[0][0].crop):
        if cuda:
            kept = torch.empty(part_KS.shape, dtype=part_KS.dtype, pin_memory=True)
            parts.append(kept.copy_(part_KS, non_blocking=True))
        else:
            parts.append(part_KS)
    copied = torch.cuda.Event() if cuda else None  # type: ignore[no-untyped-call]
    if copied is not None:
        copied.record(torch.cuda.current_stream(predictor.device))
    return _Begun(parts, copied)


def predict_probabilities(
    predictor: Predictor, image_CS: np.ndarray
) -> Float32[np.ndarray, "k *s"]:
    """The maps (K, S) of a whole image that fits in memory.

    Of classes that exclude each other they are probabilities, which sum to 1; what else they may
    be is in `septum.network.heads.Maps`.
    """
    return predict_maps(predictor, image_CS)[: predictor.map_count]


def predict_maps(predictor: Predictor, image_CS: np.ndarray) -> Float32[np.ndarray, "m *s"]:
    """The same, and last, where the model is several networks, their uncertainty, in [0, 0.5].

    It is the standard deviation over the networks of a class's probability, of the class where that
    is largest. Where it is large one more annotated image would tell them most.
    """
    image = ArrayPixels(image_CS)
    check_image(predictor, image)
    extents, ranges = image.extents, predictor.ranges(image)
    map_MS = np.empty((predictor.stored_count, *extents), np.float32)
    tiles = list(tile_grid(extents, predictor.tile, predictor.footprint))
    asked = ((image, tile, ranges) for tile in tiles)
    for tile, part_MT in zip(tiles, predict_windows(predictor, asked), strict=True):
        map_MS[(slice(None), *tile.write_slices)] = part_MT
    return map_MS


def predict_mask(
    probability_KS: Float[np.ndarray, "k *s"], threshold: float, maps: Maps = "classes"
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Class ids: with two classes, 1 where p(1) > threshold; with more, the likeliest class.

    ``maps``: what the maps are, the model's. Of overlapping classes bit k − 1 says whether
    p(k) > threshold.
    """
    if maps == "overlapping":
        return bits_of(probability_KS[1:] > threshold)
    if maps == "core" or len(probability_KS) == 2:
        mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = (
            probability_KS[1] > threshold
        ).astype(np.uint8)
        return mask
    likeliest: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = probability_KS.argmax(0).astype(
        np.uint8
    )
    return likeliest
