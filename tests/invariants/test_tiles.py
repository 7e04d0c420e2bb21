"""Tiles write every pixel once, from where they can be exact, and read no more than they need."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

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
        lengths = {tile.read[axis][1] - tile.read[axis][0] for tile in tiles}
        count = len({tile.write[axis] for tile in tiles})
        assert len(lengths) == 1
        smaller = footprint.core_extent(lengths.pop() - footprint.stride)
        assert smaller * count < extents[axis]
