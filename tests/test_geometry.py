"""Legal extents, mirroring and reading beyond the border."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from septum.errors import TileSizeError
from septum.geometry import (
    ArrayPixels,
    Footprint,
    mirror_indices,
    read_mirrored,
    tile_grid,
    unet_footprint,
)

FOOTPRINTS = st.builds(
    unet_footprint,
    st.integers(1, 6),
    st.sampled_from(["valid", "same"]),
    st.sampled_from(["convolution", "linear"]),
)


def is_legal(footprint, extent):
    return extent >= footprint.minimum and (extent - footprint.remainder) % footprint.stride == 0


def test_the_papers_network_takes_572_pixels_and_loses_92_a_side():
    footprint = unet_footprint(4)
    assert (footprint.output_extent(572), footprint.context, footprint.stride) == (388, 92, 16)


@given(FOOTPRINTS, st.integers(1, 3000))
def test_an_illegal_extent_is_refused_with_the_nearest_legal_ones(footprint, extent):
    if is_legal(footprint, extent):
        footprint.check(extent)
        return
    with pytest.raises(TileSizeError, match=f"prediction.tile = {extent} ") as refused:
        footprint.check(extent, "prediction.tile")
    offers = [int(text) for text in re.findall(r"\d+", str(refused.value).split("use ")[1])]
    assert all(is_legal(footprint, offer) for offer in offers)
    others = [
        candidate
        for candidate in range(max(1, extent - footprint.stride), extent + footprint.stride + 1)
        if is_legal(footprint, candidate)
    ]
    assert offers == (others or [footprint.minimum])


@given(FOOTPRINTS, st.integers(1, 500))
def test_the_smallest_extent_for_a_core_holds_it_and_no_smaller_one_does(footprint, core):
    extent = footprint.extent_for_core(core)
    assert is_legal(footprint, extent)
    assert footprint.core_extent(extent) >= core
    smaller = extent - footprint.stride
    assert smaller < footprint.minimum or footprint.core_extent(smaller) < core


def test_a_tile_that_is_all_context_is_refused_with_the_smallest_useful_one():
    footprint = unet_footprint(4, "same")
    with pytest.raises(TileSizeError, match="at least") as refused:
        list(tile_grid((100, 100), 128, footprint))
    least = int(re.search(r"at least (\d+)", str(refused.value)).group(1))
    assert list(tile_grid((100, 100), least, footprint))
    with pytest.raises(TileSizeError):
        list(tile_grid((100, 100), least - footprint.stride, footprint))


@given(st.integers(1, 12), st.integers(0, 60), st.integers(0, 60))
def test_mirroring_is_numpys_reflection_however_often_and_for_a_single_pixel(extent, before, after):
    expected = np.pad(np.arange(extent), (before, after), mode="reflect")
    assert np.array_equal(mirror_indices((-before, extent + after), extent), expected)


@given(
    st.lists(st.integers(1, 7), min_size=2, max_size=3).flatmap(
        lambda extents: st.tuples(
            st.just(extents),
            st.lists(
                st.tuples(st.integers(-20, 20), st.integers(1, 20)),
                min_size=len(extents),
                max_size=len(extents),
            ),
        )
    )
)
def test_a_window_anywhere_is_cut_from_the_reflected_image(case):
    extents, windows = case
    image = np.arange(2 * np.prod(extents)).reshape(2, *extents)
    spans = [(start, start + size) for start, size in windows]
    padded = np.pad(image, [(0, 0), *((20, 40) for _ in extents)], mode="reflect")
    expected = padded[(slice(None), *(slice(a + 20, b + 20) for a, b in spans))]
    assert np.array_equal(read_mirrored(ArrayPixels(image), spans), expected)


def test_a_window_inside_a_large_image_is_a_view_and_not_a_copy():
    image = np.zeros((1, 50, 50))
    assert np.shares_memory(read_mirrored(ArrayPixels(image), [(3, 9), (40, 50)]), image)


def test_geometry_is_plain_arithmetic_without_torch():
    script = "import septum.geometry, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_footprint_with_a_remainder_of_its_own_is_obeyed():
    footprint = Footprint(stride=4, context=3, shrink=6, remainder=2, minimum=10)
    assert [extent for extent in range(30) if is_legal(footprint, extent)] == [10, 14, 18, 22, 26]
    assert footprint.output_extent(14) == 8
    with pytest.raises(TileSizeError, match="use 10 or 14"):
        footprint.check(12)
