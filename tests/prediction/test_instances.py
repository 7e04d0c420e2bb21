"""What an object is: against scikit-image on the whole image, and the same for all blocks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label, regionprops
from skimage.segmentation import watershed

from septum.errors import InputError
from septum.prediction.instances import label_objects, label_objects_by_block
from septum.prediction.overlap_tile import predict_mask
from septum.prediction.separation import Separation


def fill_holes(class_S, fill):
    """Hole by hole, each looked at alone."""
    filled_S = class_S.copy()
    hole_S = label(class_S == 0, connectivity=1)
    for hole in regionprops(hole_S):
        here = hole_S == hole.label
        low, high = np.array(hole.bbox).reshape(2, -1)
        around = ndimage.binary_dilation(here) & ~here
        classes = set(class_S[around].tolist())
        inside = (low > 0).all() and (high < class_S.shape).all()
        if inside and hole.num_pixels <= fill and len(classes) == 1:
            filled_S[here] = classes.pop()
    return filled_S


def join_simply(part_S, height_S, minimum):
    """Look at all pairs of pixels anew after each part that was joined."""
    part_S = part_S.copy()
    numbers = sorted(set(part_S[part_S > 0].tolist()), key=lambda n: np.argmax(part_S == n))
    begin = {number: place for place, number in enumerate(numbers)}
    while True:
        sizes = {n: int((part_S == n).sum()) for n in begin if (part_S == n).any()}
        smallest = min(sizes, key=lambda n: (sizes[n], begin[n]))
        if len(sizes) == 1 or sizes[smallest] >= minimum:
            return part_S
        best = None
        for pixel in np.argwhere(part_S == smallest):
            for axis, step in itertools.product(range(part_S.ndim), (-1, 1)):
                near = pixel.copy()
                near[axis] += step
                if not 0 <= near[axis] < part_S.shape[axis]:
                    continue
                other = int(part_S[tuple(near)])
                if other not in (0, smallest):
                    level = max(height_S[tuple(pixel)], height_S[tuple(near)])
                    best = min(best or (level, begin[other], other), (level, begin[other], other))
        part_S[part_S == smallest] = best[2]


def label_simply(probability_KS, separation):
    """The definition, step by step, of the whole image at once."""
    class_S = predict_mask(probability_KS, separation.threshold)
    object_S = label(fill_holes(class_S, separation.fill), background=0, connectivity=1)
    parts = []
    if separation.seeds is None:
        separated = np.zeros(class_S.shape, int)
    else:
        own_S = np.take_along_axis(probability_KS, class_S[np.newaxis].astype(int), 0)[0]
        separated = label(class_S * (own_S > separation.seeds), background=0, connectivity=1)
    for found in regionprops(object_S):
        here = object_S[found.slice] == found.label
        seed_S = np.where(here, separated[found.slice], 0)
        if len(np.unique(seed_S[seed_S > 0])) > 1:
            number = class_S[found.slice][seed_S > 0].max()
            seed_S = np.ascontiguousarray(seed_S)
            height_S = -probability_KS[number][found.slice]
            basin_S = watershed(height_S, seed_S, mask=here)
            basin_S = join_simply(basin_S, height_S, separation.minimum)
            masks = [basin_S == basin for basin in np.unique(basin_S[here])]
        else:
            masks = [here]
        for mask in masks:
            whole = np.zeros(class_S.shape, bool)
            whole[found.slice] = mask
            if mask.sum() >= separation.minimum:
                parts.append((np.flatnonzero(whole)[0], class_S[whole].max(), whole))
    parts.sort(key=lambda part: part[0])
    instances_S = np.zeros(class_S.shape, np.uint32)
    for number, (_, _, whole) in enumerate(parts, start=1):
        instances_S[whole] = number
    return instances_S, [number for _, number, _ in parts]


def label_in_blocks(probability_KS, separation, block):
    instances_S = np.full(probability_KS.shape[1:], 77, np.uint32)  # what was there before
    classes = label_objects_by_block(probability_KS, instances_S, separation, block)
    return instances_S, classes


@st.composite
def probabilities(draw, most=24):
    """Blobs and noise, smooth or rough, with many ties; 2D and 3D, 2 and 4 classes."""
    dimensions = draw(st.sampled_from([2, 3]))
    most = most if dimensions == 2 else most // 3
    extents = tuple(draw(st.integers(1, most)) for _ in range(dimensions))
    classes = draw(st.sampled_from([2, 4]))
    random = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    noise_KS = random.random((classes, *extents))
    smooth = draw(st.sampled_from([0.0, 0.7, 1.5]))
    noise_KS = ndimage.gaussian_filter(noise_KS, (0, *(smooth,) * dimensions))
    noise_KS -= noise_KS.min(tuple(range(1, dimensions + 1)), keepdims=True)
    noise_KS /= np.maximum(noise_KS.max(), 1e-3)
    if classes == 2:
        noise_KS[0] = 1 - noise_KS[1]
    levels = draw(st.sampled_from([5, 1000]))
    return (np.round(noise_KS * levels) / levels).astype(np.float32)


@st.composite
def separations(draw):
    threshold = draw(st.sampled_from([0.3, 0.41, 0.59]))  # near where noise percolates, too
    return Separation(
        threshold=threshold,
        seeds=draw(st.sampled_from([None, 0.62, 0.8])),
        minimum=draw(st.sampled_from([0, 2, 9])),
        fill=draw(st.sampled_from([0, 1, 6, 1000])),
    )


@settings(max_examples=150)
@given(probabilities(), separations())
def test_objects_are_those_of_the_definition_carried_out_step_by_step(probability, separation):
    instances, classes = label_objects(probability, separation)
    expected, expected_classes = label_simply(probability, separation)
    assert np.array_equal(instances, expected)
    assert classes.tolist() == expected_classes
    assert (instances.dtype, classes.dtype) == (np.uint32, np.uint8)


@settings(max_examples=150)
@given(probabilities(most=40), separations(), st.data())
def test_labelled_by_block_partition_and_numbers_are_those_of_the_whole(
    probability, separation, data
):
    whole, classes = label_objects(probability, separation)
    block = [data.draw(st.integers(1, extent + 2)) for extent in whole.shape]
    by_block, block_classes = label_in_blocks(probability, separation, block)
    assert np.array_equal(by_block, whole)
    assert np.array_equal(block_classes, classes)


@pytest.mark.parametrize("block", [(7, 9), (1, 1), (3, 100), (64, 64)])
@pytest.mark.parametrize("seeds", [None, 0.7])
def test_a_snake_through_all_blocks_is_one_object_and_its_gaps_another(block, seeds):
    snake = np.zeros((41, 43), np.float32)
    snake[::2] = 1
    snake[1::4, -1] = snake[3::4, 0] = 1
    probability = np.stack([1 - snake, snake])
    separation = Separation(seeds=seeds)
    instances, classes = label_in_blocks(probability, separation, block)
    assert classes.tolist() == [1]
    assert np.array_equal(instances, snake)
    gaps, classes = label_in_blocks(probability[::-1], separation, block)
    assert np.array_equal(gaps, label(snake == 0, connectivity=1))
    assert len(classes) == 20


def spiral(extent):
    """One pixel wide, from a corner inwards, turns one pixel apart."""
    path = np.zeros((extent, extent), np.float32)
    y, x, step = 0, -1, (0, 1)
    for length in [extent, *np.repeat(np.arange(extent - 1, 0, -2), 2)]:
        for _ in range(length):
            y, x = y + step[0], x + step[1]
            path[y, x] = 1
        step = (step[1], -step[0])
    return path


def test_a_spiral_is_one_object_and_so_is_what_lies_between():
    path = spiral(33)
    probability = np.stack([1 - path, path])
    for classes, expected in ((probability, path), (probability[::-1], 1 - path)):
        for block in [(5, 6), (1, 33), (33, 2)]:
            assert np.array_equal(label_in_blocks(classes, Separation(), block)[0], expected)
    filled = label_in_blocks(probability, Separation(fill=2000), (5, 6))[0]
    assert filled.all() != (path[:, 0] == 0).any()  # a hole only where it does not reach the rim


def test_noise_at_the_percolation_threshold_is_the_same_in_any_blocks():
    open_ = np.random.default_rng(3).random((300, 300), np.float32)
    probability = np.stack([open_, 1 - open_])  # sites are open with 0.593
    for separation in (Separation(0.407), Separation(0.407, fill=3, minimum=4)):
        whole, classes = label_objects(probability, separation)
        by_block, block_classes = label_in_blocks(probability, separation, (37, 64))
        assert np.array_equal(whole, by_block)
        assert np.array_equal(classes, block_classes)
        assert np.bincount(whole.ravel())[1:].max() > 5000


def test_neighbours_share_a_face_and_a_class():
    probability = np.zeros((3, 4, 4), np.float32)
    classes = np.array([[1, 1, 0, 0], [0, 0, 2, 2], [1, 0, 1, 1], [0, 1, 0, 2]])
    np.put_along_axis(probability, classes[np.newaxis], 1, 0)
    for block in [(4, 4), (2, 2), (1, 3), (3, 1)]:
        instances, found = label_in_blocks(probability, Separation(), block)
        assert instances.tolist() == [[1, 1, 0, 0], [0, 0, 2, 2], [3, 0, 4, 4], [0, 5, 0, 6]]
        assert found.tolist() == [1, 2, 1, 1, 1, 2]


def in_two_classes(mask):
    object_ = np.array(mask, np.float32)
    return np.stack([1 - object_, object_])


RING = [
    [0, 0, 0, 0, 0, 0],
    [1, 1, 1, 1, 1, 0],
    [1, 0, 0, 1, 0, 0],
    [1, 1, 1, 1, 1, 0],
]


@pytest.mark.parametrize("block", [(4, 6), (3, 3), (1, 1), (4, 2)])
def test_holes_of_at_most_so_many_pixels_are_filled(block):
    ring = in_two_classes(RING)
    filled = np.array(RING)
    filled[2, 1:3] = 1
    for fill, expected in ((0, RING), (1, RING), (2, filled), (100, filled)):
        assert np.array_equal(label_in_blocks(ring, Separation(fill=fill), block)[0], expected)


@pytest.mark.parametrize("block", [(9, 9), (2, 2), (9, 1), (4, 5)])
def test_what_lies_in_a_filled_hole_becomes_part_of_the_object_around_it(block):
    mask = np.zeros((9, 9), int)
    mask[1:8, 1:8] = 1
    mask[2:7, 2:7] = 0
    mask[4, 4] = 1
    apart = label_in_blocks(in_two_classes(mask), Separation(fill=23), block)[0]
    assert apart.max() == 2
    joined = label_in_blocks(in_two_classes(mask), Separation(fill=24), block)[0]
    assert np.array_equal(np.bincount(joined.ravel()), [81 - 49, 49])


@pytest.mark.parametrize("block", [(7, 7), (3, 3), (1, 2)])
def test_a_hole_between_classes_stays_open(block):
    classes = np.full((7, 7), 2)
    classes[2, 2] = classes[4, 2:5] = 0
    classes[5, 3] = 3
    probability = np.zeros((4, 7, 7), np.float32)
    np.put_along_axis(probability, classes[np.newaxis], 1, 0)
    instances, found = label_in_blocks(probability, Separation(fill=9), block)
    assert found.tolist() == [2, 3]
    assert (instances[4, 2:5] == 0).all()
    assert instances[2, 2] == 1


def test_objects_of_fewer_pixels_than_the_minimum_are_removed_and_leave_no_gap_in_the_numbers():
    mask = [[1, 0, 1, 1, 0, 1, 1, 1]]
    for minimum, expected in (
        (1, [1, 0, 2, 2, 0, 3, 3, 3]),
        (2, [0, 0, 1, 1, 0, 2, 2, 2]),
        (3, [0, 0, 0, 0, 0, 1, 1, 1]),
        (4, [0] * 8),
    ):
        for block in [(1, 8), (1, 3), (1, 1)]:
            instances, _ = label_in_blocks(in_two_classes(mask), Separation(minimum=minimum), block)
            assert instances.tolist() == [expected]


def discs(extents, centres, radius):
    place = np.indices(extents)
    height = np.zeros(extents, np.float32)
    for centre in centres:
        distance = np.sqrt(sum((p - c) ** 2 for p, c in zip(place, centre, strict=True)))
        height = np.maximum(height, 1 - distance / (2 * radius))
    return np.stack([1 - height, height]).astype(np.float32)


@pytest.mark.parametrize("block", [(30, 50), (8, 8), (30, 7), (1, 50)])
def test_seeds_divide_touching_objects_between_them(block):
    probability = discs((30, 50), [(15, 15), (15, 31)], 10)
    assert label_in_blocks(probability, Separation(), block)[0].max() == 1
    instances, classes = label_in_blocks(probability, Separation(seeds=0.8), block)
    assert classes.tolist() == [1, 1]
    assert np.array_equal(instances > 0, probability[1] > 0.5)
    assert set(np.unique(instances[:, :23])) == {0, 1}
    assert set(np.unique(instances[:, 24:])) == {0, 2}


def with_core(probability, core):
    return np.stack([probability[0], probability[1], core]).astype(np.float32)


@settings(max_examples=60)
@given(probabilities(most=30), st.data())
def test_with_a_core_seeds_and_flooding_go_by_it_in_any_blocks(probability, data):
    core = np.roll(probability[1], 1, axis=-1)  # of its own, and above 0 outside of objects
    maps = with_core(probability, core)
    separation = Separation(
        0.4, seeds=0.55, minimum=data.draw(st.sampled_from([0, 7])), maps="core"
    )
    whole, classes = label_objects(maps, separation)
    block = [data.draw(st.integers(1, extent + 2)) for extent in whole.shape]
    by_block, _ = label_in_blocks(maps, separation, block)
    assert np.array_equal(by_block, whole)
    # The same by the rules for two classes: seeds above all else where the core says so.
    inside = maps[1] > 0.4
    object_S = label(inside, connectivity=1)
    seed_S = label((core > 0.55) & inside, connectivity=1)
    expected = np.zeros(inside.shape, int)
    for found in regionprops(object_S):
        here = object_S[found.slice] == found.label
        seeds = np.ascontiguousarray(np.where(here, seed_S[found.slice], 0))
        part = here.astype(int)
        if len(np.unique(seeds[seeds > 0])) > 1:
            height = -core[found.slice]
            flooded = watershed(height, seeds, mask=here)
            part = join_simply(flooded, height, separation.minimum)
        if here.sum() >= separation.minimum:
            expected[found.slice][here] = (part + expected.max())[here]
    pairs = np.unique(np.stack([whole.ravel(), expected.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    assert len(classes) == whole.max()
    assert set(classes.tolist()) <= {1}


@given(probabilities(most=30), st.integers(2, 40))
def test_a_minimum_leaves_no_holes_where_parts_of_objects_were_too_small(probability, minimum):
    plain, _ = label_objects(probability, Separation(0.3, minimum=minimum))
    divided, _ = label_objects(probability, Separation(0.3, seeds=0.6, minimum=minimum))
    assert np.array_equal(divided > 0, plain > 0)
    counts = np.bincount(divided.ravel())[1:]
    assert (counts >= minimum).all()


@given(probabilities(most=30), st.integers(0, 1000))
def test_each_part_of_a_divided_object_has_one_seed_and_hangs_together(probability, fill):
    plain, _ = label_objects(probability, Separation(0.3, fill=fill))
    separation = Separation(0.3, seeds=0.6, fill=fill)
    instances, classes = label_objects(probability, separation)
    assert np.array_equal(instances > 0, plain > 0)
    assert label(instances, background=0, connectivity=1).max() == len(classes)
    class_S = predict_mask(probability, 0.3)
    seed_S = label(
        class_S * (np.take_along_axis(probability, class_S[None].astype(int), 0)[0] > 0.6),
        background=0,
        connectivity=1,
    )
    here = seed_S > 0
    pairs = np.unique(np.stack([instances[here], seed_S[here]]), axis=1)
    assert pairs.shape[1] == seed_S.max()  # no seed is in two objects
    wholes = plain[here]
    for whole in range(1, plain.max() + 1):
        seeds = len(np.unique(seed_S[here][wholes == whole]))
        assert len(np.unique(instances[plain == whole])) == max(seeds, 1)


@pytest.mark.parametrize("block", [(5, 9), (2, 3)])
def test_a_hole_that_is_surely_background_is_no_seed_of_what_it_becomes_part_of(block):
    probability = np.zeros((3, 5, 9), np.float32)
    probability[1] = 0.6
    probability[1, 2, 6] = 0.9
    probability[:, 2, 2] = (0.9, 0, 0)
    instances, classes = label_in_blocks(probability, Separation(seeds=0.8, fill=1), block)
    assert classes.tolist() == [1]
    assert instances.all()


@settings(max_examples=150)
@given(probabilities(), st.lists(st.integers(0, 5), min_size=6, max_size=6))
def test_how_an_object_is_divided_does_not_depend_on_what_else_is_in_the_image(probability, widths):
    separation = Separation(0.3, seeds=0.6)
    instances, _ = label_objects(probability, separation)
    margin = list(zip(widths[::2], widths[1::2], strict=True))[: instances.ndim]
    wide = [(0, 0), *[(a + 1, b + 1) for a, b in margin]]
    padded = np.pad(probability, wide)
    padded[0][(padded == 0).all(0)] = 1
    padded[:, *(0,) * instances.ndim] = 0
    padded[(1, *(0,) * instances.ndim)] = 1  # another object, and seed
    larger, _ = label_objects(padded, separation)
    core = tuple(slice(a, n - b) for (a, b), n in zip(wide[1:], larger.shape, strict=True))
    assert np.array_equal(np.where(larger[core] > 0, larger[core] - 1, 0), instances)


@pytest.mark.parametrize("extents", [(5, 6), (3, 4, 5), (1, 1), (1, 1, 1), (1, 9)])
def test_nothing_all_and_one_pixel(extents):
    separation = Separation(seeds=0.8, minimum=1, fill=3)
    block = (2,) * len(extents)
    for object_ in (False, True):
        probability = in_two_classes(np.full(extents, object_))
        instances, classes = label_in_blocks(probability, separation, block)
        assert (instances == object_).all()
        assert classes.tolist() == [1] * object_


def test_more_objects_than_16_bits_count_keep_their_numbers():
    mask = np.indices((400, 400)).sum(0) % 2 == 0
    instances, classes = label_in_blocks(in_two_classes(mask), Separation(), (128, 150))
    assert len(classes) == 80_000
    assert np.array_equal(instances[mask], np.arange(1, 80_001))


def test_probabilities_of_8_bits_are_255_p_and_of_16_are_taken_as_single():
    bytes_ = np.array([[[0, 127, 128, 200, 255]]], np.uint8)
    bytes_ = np.concatenate([255 - bytes_, bytes_])
    assert label_objects(bytes_, Separation(0.5))[0].tolist() == [[0, 0, 1, 1, 1]]
    assert label_objects(bytes_, Separation(0.9))[0].tolist() == [[0, 0, 0, 0, 1]]
    half = np.array([[[0, 0.5, 0.5005, 1]]], np.float16)
    half = np.concatenate([1 - half, half])
    assert label_objects(half, Separation(0.5))[0].tolist() == [[0, 0, 1, 1]]


@given(probabilities(), separations())
def test_8_bits_divide_as_their_fractions_do(probability, separation):
    bytes_ = np.round(probability * 255).astype(np.uint8)
    fractions = bytes_.astype(np.float32) / np.float32(255)
    instances, classes = label_objects(bytes_, separation)
    expected, expected_classes = label_objects(fractions, separation)
    assert np.array_equal(instances, expected)
    assert np.array_equal(classes, expected_classes)


@pytest.mark.parametrize("block", [(30, 50), (8, 20)])
def test_the_order_of_an_array_in_memory_does_not_matter(block):
    probability = discs((30, 50), [(15, 15), (15, 31)], 10)
    separation = Separation(seeds=0.8, fill=3)
    expected, _ = label_objects(probability, separation)
    instances = np.zeros((30, 50), np.uint32, order="F")
    label_objects_by_block(np.asfortranarray(probability), instances, separation, block)
    assert expected.max() == 2
    assert np.array_equal(instances, expected)


def test_zarr_arrays_in_and_out(tmp_path):
    probability = discs((40, 60), [(12, 12), (12, 28), (30, 40)], 10)
    separation = Separation(seeds=0.8, fill=10, minimum=5)
    store = zarr.open_group(tmp_path / "store.zarr", mode="w")
    given_ = store.create_array("probability", shape=(2, 40, 60), chunks=(2, 16, 16), dtype="f2")
    given_[:] = probability.astype(np.float16)
    out = store.create_array("instances", shape=(40, 60), chunks=(16, 16), dtype="u4")
    classes = label_objects_by_block(given_, out, separation, (16, 32))
    instances, whole_classes = label_objects(probability.astype(np.float16), separation)
    assert np.array_equal(out[:], instances)
    assert np.array_equal(classes, whole_classes)
    assert len(classes) == 3


class Watched:
    """An array that notes what is read and written."""

    def __init__(self, array):
        self.array, self.read, self.written = array, [], []
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index):
        part = self.array[index].copy()
        self.read.append(part.size)
        return part

    def __setitem__(self, index, pixels):
        self.array[index] = pixels
        self.written.append(self.array[index].size)


def test_no_more_than_a_block_is_read_and_two_classes_need_one():
    random = np.random.default_rng(0).random((2, 60, 70), np.float32)
    probability, instances = Watched(random), Watched(np.zeros((60, 70), np.uint32))
    heard = []
    label_objects_by_block(
        probability, instances, Separation(fill=4), (16, 20), lambda *at: heard.append(at)
    )
    assert max(probability.read) == max(instances.read) == max(instances.written) == 16 * 20
    assert sum(probability.read) == 60 * 70
    assert heard[-1] == (2 * 60 * 70, 2 * 60 * 70)
    assert heard == sorted(set(heard))


def test_to_divide_an_object_its_block_is_read_or_its_bounding_box():
    probability = Watched(discs((64, 64), [(14, 10), (14, 22), (44, 26), (44, 38)], 8))
    instances = Watched(np.zeros((64, 64), np.uint32))
    classes = label_objects_by_block(probability, instances, Separation(seeds=0.9), (32, 32))
    assert len(classes) == 4
    box = regionprops((instances.array[32:] > 0).astype(int))[0].area_bbox
    assert sorted(probability.read[4:]) == [box, 32 * 32]


def test_an_array_without_pixels_has_no_objects():
    instances, classes = label_objects(np.zeros((2, 0, 5), np.float32), Separation(seeds=0.9))
    assert instances.shape == (0, 5)
    assert len(classes) == 0


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"threshold": 1.5}, "threshold = 1.5 is not a probability; use a value from 0 to 1"),
        ({"threshold": math.nan}, "threshold = nan"),
        ({"seeds": -0.1}, "seeds = -0.1"),
        ({"minimum": -1}, "minimum = -1 is not a number of pixels; use 0 or more"),
        ({"fill": -3}, "fill = -3"),
    ],
)
def test_a_choice_out_of_range_is_refused(choice, words):
    with pytest.raises(InputError, match=words):
        Separation(**choice)


@pytest.mark.parametrize(
    ("probability", "instances", "block", "words"),
    [
        (np.zeros((2, 5), "f4"), np.zeros(5, "u4"), (5,), r"expected \(K, Y, X\)"),
        (np.zeros((1, 5, 5), "f4"), np.zeros((5, 5), "u4"), (5, 5), "of 1 classes"),
        (np.zeros((256, 5, 5), "f4"), np.zeros((5, 5), "u4"), (5, 5), "2 to 255"),
        (np.zeros((2, 5, 5), "u2"), np.zeros((5, 5), "u4"), (5, 5), "type uint16"),
        (np.zeros((2, 5, 5), "f4"), np.zeros((5, 6), "u4"), (5, 5), r"\(5, 6\) and type uint32"),
        (np.zeros((2, 5, 5), "f4"), np.zeros((5, 5), "u2"), (5, 5), "type uint16.*uint32"),
        (np.zeros((2, 5, 5), "f4"), np.zeros((5, 5), "u4"), (5, 0), "expected 2 extents"),
        (np.zeros((2, 5, 5), "f4"), np.zeros((5, 5), "u4"), (5, 5, 5), "expected 2 extents"),
    ],
)
def test_arrays_and_blocks_that_do_not_fit_are_refused(probability, instances, block, words):
    with pytest.raises(InputError, match=words):
        label_objects_by_block(probability, instances, Separation(), block)


def test_seeds_that_cannot_divide_are_refused_for_two_classes_only():
    separation = Separation(threshold=0.6, seeds=0.6)
    with pytest.raises(InputError, match=r"seeds = 0.6 would divide no object.*threshold, 0.6"):
        label_objects(np.zeros((2, 3, 3), np.float32), separation)
    label_objects(np.zeros((3, 3, 3), np.float32), separation)


def test_more_pieces_than_32_bits_number_are_refused(monkeypatch):
    monkeypatch.setattr("septum.prediction.pieces.MOST_NUMBERS", 7)
    mask = np.indices((4, 4)).sum(0) % 2 == 0
    with pytest.raises(InputError, match="more than 7 pieces"):
        label_in_blocks(in_two_classes(mask), Separation(), (2, 4))
