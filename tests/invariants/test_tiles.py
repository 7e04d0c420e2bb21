"""Tiles write every pixel once, from where they can be exact, and read no more than they need."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septum.errors import TileSizeError
from septum.geometry import tile_grid, unet_footprint


@st.composite
def grids(draw, axes=2):
    footprint = unet_footprint(
        draw(st.integers(1, 5)),
        draw(st.sampled_from(["valid", "same"])),
        draw(st.sampled_from(["convolution", "linear"])),
    )
    extents = [draw(st.integers(1, 90 if axes == 3 else 300)) for _ in range(axes)]
    least = footprint.extent_for_core(1)
    sizes = [least + footprint.stride * draw(st.integers(0, 8)) for _ in range(axes)]
    return footprint, extents, sizes


@given(grids())
def test_every_pixel_is_written_exactly_once(grid):
    footprint, extents, sizes = grid
    written = np.zeros(extents, int)
    for tile in tile_grid(extents, sizes, footprint):
        written[tile.write_slices] += 1
    assert (written == 1).all()


@given(grids(axes=3))
def test_every_voxel_is_written_exactly_once(grid):
    footprint, extents, sizes = grid
    written = np.zeros(extents, np.int8)
    for tile in tile_grid(extents, sizes, footprint):
        written[tile.write_slices] += 1
    assert (written == 1).all()


@given(grids())
def test_tiles_are_legal_no_larger_than_asked_and_write_what_they_crop(grid):
    footprint, extents, sizes = grid
    for tile in tile_grid(extents, sizes, footprint):
        axes = zip(tile.read, tile.crop, tile.write, sizes, extents, strict=True)
        for read, crop, write, size, extent in axes:
            length = read[1] - read[0]
            assert length <= size
            output = footprint.output_extent(length)  # raises for an illegal one
            assert 0 <= crop[0] < crop[1] <= output
            assert 0 <= write[0] < write[1] <= extent
            # The output starts shrink / 2 after the input: what is cropped is what is written.
            assert read[0] + footprint.shrink // 2 + crop[0] == write[0]
            assert crop[1] - crop[0] == write[1] - write[0]


@given(grids())
def test_tile_origins_are_on_one_grid_of_the_stride(grid):
    footprint, extents, sizes = grid
    for axis in range(2):
        starts = {
            tile.read[axis][0] % footprint.stride for tile in tile_grid(extents, sizes, footprint)
        }
        assert starts == {-footprint.lead % footprint.stride}
        writes = {
            tile.write[axis][0] % footprint.stride for tile in tile_grid(extents, sizes, footprint)
        }
        assert writes == {0}


@given(grids())
def test_every_block_of_the_stride_that_is_written_has_its_whole_context_in_the_tile(grid):
    footprint, extents, sizes = grid
    for tile in tile_grid(extents, sizes, footprint):
        for read, write in zip(tile.read, tile.write, strict=True):
            last_block = -(-write[1] // footprint.stride) * footprint.stride
            assert read[0] <= write[0] - footprint.context
            assert read[1] >= last_block + footprint.context


@given(grids())
def test_no_tile_could_be_smaller_with_as_few_tiles(grid):
    footprint, extents, sizes = grid
    tiles = list(tile_grid(extents, sizes, footprint))
    for axis in range(2):
        spans = sorted({(tile.write[axis], tile.read[axis]) for tile in tiles})
        lengths = [read[1] - read[0] for _, read in spans]
        assert len(set(lengths[:-1])) <= 1
        assert lengths[-1] <= lengths[0]
        smaller = footprint.core_extent(lengths[0] - footprint.stride)
        assert smaller * len(spans) < extents[axis]


@given(grids(), st.integers(1, 40), st.integers(1, 4))
def test_tiles_write_whole_chunks(grid, chunk, more):
    footprint, extents, _ = grid
    size = footprint.extent_for_core(more * math.lcm(chunk, footprint.stride))
    written = np.zeros(extents, int)
    for tile in tile_grid(extents, size, footprint, chunk):
        written[tile.write_slices] += 1
        for (start, stop), (low, high), extent in zip(tile.write, tile.read, extents, strict=True):
            assert start % chunk == 0
            assert stop % chunk == 0 or stop == extent
            assert high - low <= size
    assert (written == 1).all()


def test_a_tile_smaller_than_a_chunk_is_refused_with_the_smallest_that_is_not():
    footprint = unet_footprint(4, "same")
    with pytest.raises(TileSizeError, match=r"chunks of 512 .*use at least 704"):
        list(tile_grid((2000, 2000), 688, footprint, 512))
    assert len(list(tile_grid((2000, 2000), 704, footprint, 512))) == 16
    assert len(list(tile_grid((300, 300), 688, footprint, 512))) == 1
