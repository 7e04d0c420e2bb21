"""Where tiles lie: what to read, what to keep, where to write. Pure arithmetic, no torch.

The seamless guarantee rests on three facts that are computed here and proved in
``tests/invariants``: a tile is read with the network's whole receptive field around what it
writes; tile origins are multiples of the network's stride, so that every pooling window falls
on the same pixels in every tile; and only the core, which no tile border can influence, is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from septum.errors import TileSizeError

Span = tuple[int, int]
"""Half-open interval [start, stop) of pixels along one axis; start may be negative."""


@dataclass(frozen=True)
class Footprint:
    """The extents that a fully convolutional network accepts and what it does with them.

    ``stride``: product of its pooling strides; ``context``: pixels of input to each side, which an
    unpadded network loses, and which a padded one needs around a block of ``stride`` output
    pixels on the grid of the pooling windows; ``shrink``: input extent minus output extent;
    ``remainder``: legal input extents are ``k * stride + remainder``; ``minimum``: the smallest.
    All along one axis, every axis alike.
    """

    stride: int
    context: int
    shrink: int
    remainder: int
    minimum: int

    def output_extent(self, extent: int) -> int:
        """Output extent for a legal input extent; raises TileSizeError for any other."""
        self.check(extent)
        return extent - self.shrink

    def check(self, extent: int, name: str = "tile", least: int | None = None) -> None:
        """Raise TileSizeError, naming the nearest legal extents, unless ``extent`` is legal.

        ``least``: the smallest extent of use, where that is more than the smallest legal one.
        """
        least = least or self.minimum
        if extent >= least and (extent - self.remainder) % self.stride == 0:
            return
        above = self.legal_at_least(max(extent, least))
        below = above - self.stride
        offers = f"{below} or {above}" if below >= least else f"{above}"
        raise TileSizeError(
            f"{name} = {extent} does not fit this network: extents must be "
            f"{self.stride}·k + {self.remainder} and at least {least}; use {offers}"
        )

    def check_tile(self, extent: int, name: str = "tile") -> None:
        """As ``check``, for a tile of which a core must be left after the context."""
        self.check(extent, name, least=self.extent_for_core(1))

    def legal_at_least(self, extent: int) -> int:
        """The smallest legal input extent that is not below ``extent``."""
        steps = math.ceil((max(extent, self.minimum) - self.remainder) / self.stride)
        return steps * self.stride + self.remainder

    @property
    def lead(self) -> int:
        """Pixels read before the first one written: the context, kept on the stride's grid."""
        if self.shrink:
            return self.shrink // 2
        return math.ceil(self.context / self.stride) * self.stride

    def core_extent(self, extent: int) -> int:
        """How many pixels of a tile of this input extent are kept, a multiple of the stride."""
        kept = extent - 2 * self.lead
        return kept // self.stride * self.stride

    def extent_for_core(self, core: int) -> int:
        """The smallest legal input extent whose core holds ``core`` pixels."""
        core = max(math.ceil(core / self.stride), 1) * self.stride
        return self.legal_at_least(core + 2 * self.lead)


def unet_footprint(
    depth: int,
    padding: Literal["valid", "same"] = "valid",
    up: Literal["convolution", "linear"] = "convolution",
    reduction: int = 1,
) -> Footprint:
    """Footprint of a U-Net with ``depth`` poolings of 2 and two 3-wide convolutions a level.

    For ``padding="valid"``, depth 4: 572 in, 388 out, 92 pixels of context (Ronneberger et al.
    2015, figure 1). The context of the padded form is found by following one block of output
    pixels back to the input, because it depends on where the pixel lies between pooling windows.
    ``reduction``: pixels an axis that are one to it, so that all is as many times larger.
    """
    footprint = _valid_footprint(depth, up) if padding == "valid" else _same_footprint(depth, up)
    return Footprint(*(reduction * value for value in astuple(footprint)))


def _valid_footprint(depth: int, up: str) -> Footprint:
    stride = 1 << depth
    # A level costs 2 pixels a side per pair of convolutions, times 2**level; the linear
    # up-sampling is undefined in its outermost pixel, so one more a side is cropped there.
    lost = 2 * (6 * stride - 4) if up == "convolution" else 2 * (7 * stride - 5)
    remainder = 4 * (stride - 1)
    minimum = remainder + stride
    while minimum - lost < 1 or _valid_bottom_too_small(minimum, depth, up):
        minimum += stride
    return Footprint(stride, lost // 2, lost, remainder, minimum)


def _valid_bottom_too_small(extent: int, depth: int, up: str) -> bool:
    for _ in range(depth):
        extent = (extent - 4) // 2
    extent -= 4
    if extent < 1:
        return True
    for _ in range(depth):
        extent = 2 * extent - (2 if up == "linear" else 0) - 4
        if extent < 1:
            return True
    return False


def _same_footprint(depth: int, up: str) -> Footprint:
    stride = 1 << depth
    first, last = 0, stride - 1
    low, high = first, last
    for _ in range(depth):  # up the right side of the U: two convolutions, then the up-sampling
        low, high = low - 2, high + 2
        if up == "linear":  # half-pixel centres: output p reads floor((p - 1) / 2) and one more
            low, high = (low - 1) // 2, (high - 1) // 2 + 1
        else:
            low, high = low // 2, high // 2
    low, high = low - 2, high + 2
    for _ in range(depth):  # down the left side, backwards
        low, high = 2 * low - 2, 2 * high + 1 + 2
    context = max(first - low, high - last)
    return Footprint(stride, context, shrink=0, remainder=0, minimum=stride)


@dataclass(frozen=True)
class Tile:
    """One tile: ``read`` in image coordinates (may reach outside: mirror there), ``crop`` in
    coordinates of the network's output for it, ``write`` in image coordinates. One entry an axis.
    """

    read: tuple[Span, ...]
    crop: tuple[Span, ...]
    write: tuple[Span, ...]

    @property
    def crop_slices(self) -> tuple[slice, ...]:
        """``crop`` as slices of the spatial axes of the network's output."""
        return tuple(slice(*span) for span in self.crop)

    @property
    def write_slices(self) -> tuple[slice, ...]:
        """``write`` as slices of the spatial axes of the image."""
        return tuple(slice(*span) for span in self.write)


class TileGrid(Sequence[Tile]):
    """Tiles that write every pixel of an image exactly once, in C order; made when asked for.

    ``axes``: for each axis read, crop and write of its parts.
    """

    def __init__(self, axes: Sequence[Sequence[tuple[Span, Span, Span]]]) -> None:
        self._axes = axes
        self._counts = [len(parts) for parts in axes]

    def __len__(self) -> int:
        return math.prod(self._counts)

    def __getitem__(self, number: int) -> Tile:  # type: ignore[override]  # no slices
        if not 0 <= number < len(self):
            raise IndexError(number)
        parts = []
        for axis, count in zip(reversed(self._axes), reversed(self._counts), strict=True):
            number, place = divmod(number, count)
            parts.append(axis[place])
        read, crop, write = zip(*reversed(parts), strict=True)
        return Tile(tuple(read), tuple(crop), tuple(write))


def tile_grid(
    extents: Sequence[int],
    tile: int | Sequence[int],
    footprint: Footprint,
    chunk: int | Sequence[int] = 1,
) -> TileGrid:
    """Tiles that write every pixel of an image of ``extents`` exactly once, in C order.

    ``tile`` is the largest input extent to give to the network; tiles are as small as their
    number allows. ``chunk``: each tile writes whole chunks of so many pixels, so that no two
    write into one. Both one for all axes, or one an axis. Raises TileSizeError.
    """
    sizes = [tile] * len(extents) if isinstance(tile, int) else tile
    chunks = [chunk] * len(extents) if isinstance(chunk, int) else chunk
    axes = zip(extents, sizes, chunks, strict=True)
    return TileGrid([_axis_tiles(*axis, footprint=footprint) for axis in axes])


def _axis_tiles(
    extent: int, tile: int, chunk: int, footprint: Footprint
) -> list[tuple[Span, Span, Span]]:
    footprint.check_tile(tile)
    core = footprint.core_extent(tile)
    if core < extent:
        # As many tiles as needed, all of the same size but the last, and no larger than that takes.
        unit = math.lcm(footprint.stride, chunk)
        if core < unit:
            least = footprint.extent_for_core(unit)
            raise TileSizeError(
                f"tile = {tile} keeps {core} pixels an axis, and whole chunks of {chunk} are "
                f"written; use at least {least}"
            )
        count = math.ceil(extent / (core // unit * unit))
        core = math.ceil(math.ceil(extent / count) / unit) * unit
    offset = footprint.lead - footprint.shrink // 2
    tiles = []
    for start in range(0, extent, core):
        kept = min(core, extent - start)
        size = footprint.extent_for_core(kept)
        read = (start - footprint.lead, start - footprint.lead + size)
        tiles.append((read, (offset, offset + kept), (start, start + kept)))
    return tiles


def mirror_indices(span: Span, extent: int) -> np.ndarray:
    """Indices into an axis of ``extent`` pixels that continue it by mirroring, for ``span``.

    The edge pixel is not repeated (…2 1 0 1 2…), and a span longer than the image is mirrored
    again and again, so any context is defined for any image, down to one pixel.
    """
    positions = np.arange(*span)
    if extent == 1:
        return np.zeros_like(positions)
    period = 2 * (extent - 1)
    positions = np.abs(positions) % period
    return np.where(positions >= extent, period - positions, positions)


@runtime_checkable
class Pixels(Protocol):
    """Channels first and spatial axes S that are read by region: in memory, in a file, rescaled."""

    @property
    def channels(self) -> int:
        """Extent of the channel axis."""

    @property
    def extents(self) -> tuple[int, ...]:
        """Pixels along the spatial axes."""

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """The region (C, *S) within ``box``: one slice a spatial axis, inside the extents."""


@dataclass(frozen=True, eq=False)
class ArrayPixels:
    """``Pixels`` of an array (C, *S)."""

    image_CS: np.ndarray

    @property
    def channels(self) -> int:
        """Extent of the first axis."""
        return len(self.image_CS)

    @property
    def extents(self) -> tuple[int, ...]:
        """Extents of the others."""
        return self.image_CS.shape[1:]

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """A view of the region."""
        return self.image_CS[(slice(None), *box)]


def read_mirrored(image: Pixels, spans: Sequence[Span]) -> np.ndarray:
    """Cut ``spans`` out of the spatial axes of ``image``, mirrored beyond its border: (C, *S).

    Only the region that the window shows is read.
    """
    axes = list(zip(spans, image.extents, strict=True))
    indices = [mirror_indices(span, extent) for span, extent in axes]
    region = image.read(tuple(slice(int(i.min()), int(i.max()) + 1) for i in indices))
    for axis, ((lo, hi), extent) in enumerate(axes, start=1):
        if lo < 0 or hi > extent:
            index = indices[axis - 1]
            region = np.take(region, index - index.min(), axis=axis)
    return region
