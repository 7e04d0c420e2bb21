"""Tiles are the source image seen through the map that was drawn, and labels stay on the image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from septum.augment.deform import (
    Deformation,
    deform,
    displacement_field,
    identity,
    moved,
    sample_deformation,
    source_window,
    spline_basis,
)
from septum.recipe import Augment


def draw(extents, tile, section, rng, target=None):
    return sample_deformation(extents, tile, target or tile, section, rng)


def random_image(extents, channels=1, seed=0):
    return np.random.default_rng(seed).standard_normal((channels, *extents)).astype(np.float32)


def random_labels(extents, seed=1):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 4, extents).astype(np.uint8)
    return classes, rng.integers(0, 1000, extents).astype(np.int32)


def warp(image, deformation, tile, labels=None, target=None, cubic=False):
    classes, instances = labels or random_labels(image.shape[1:])
    return deform(image, classes, instances, deformation, tile, target or tile, cubic)


def source_points(deformation, tile):
    """The map written out: for each pixel of the tile its point in the image (D, tile)."""
    offsets = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in tile), indexing="ij")
    points = np.tensordot(deformation.matrix, np.stack(offsets), axes=1)
    points += np.reshape(deformation.centre, (-1, *(1,) * len(tile)))
    if deformation.displacement is not None:
        points += displacement_field(deformation, tile)
    return points


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize(("extents", "channels"), [((13, 18), 1), ((8, 9), 3), ((5, 6, 7), 2)])
def test_the_identity_copies_image_and_labels_bit_by_bit(extents, channels, cubic):
    image, labels = random_image(extents, channels), random_labels(extents)
    copies = warp(image, identity(extents), extents, labels, cubic=cubic)
    assert np.array_equal(copies[0], image)
    assert np.array_equal(copies[1], labels[0])
    assert np.array_equal(copies[2], labels[1])


@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 14)), min_size=2, max_size=3),
    st.booleans(),
)
def test_shifts_and_flips_alone_copy_pixels_of_the_mirrored_image(seed, axes, cubic):
    extents, tile = zip(*axes, strict=True)
    image, labels = random_image(extents, 2), random_labels(extents)
    section = Augment(rotation=0, flip=True, elastic_sigma=0)
    drawn = draw(extents, tile, section, np.random.default_rng(seed))
    image_T, classes_T, instances_T = warp(image, drawn, tile, labels, cubic=cubic)

    reach = 40
    pad = [(reach, reach)] * len(tile)
    places = np.rint(source_points(drawn, tile)).astype(int)
    assert np.allclose(places, source_points(drawn, tile), atol=1e-9)
    index = tuple(places + reach)
    assert np.array_equal(image_T, np.pad(image, [(0, 0), *pad], mode="reflect")[:, *index])
    assert np.array_equal(classes_T, np.pad(labels[0], pad, mode="reflect")[index])
    assert np.array_equal(instances_T, np.pad(labels[1], pad, mode="reflect")[index])


def test_every_combination_of_mirror_images_occurs():
    rng = np.random.default_rng(0)
    section = Augment(rotation=0, elastic_sigma=0)
    drawn = [draw((4, 3), (5, 5), section, rng) for _ in range(60)]
    signs = {tuple(np.sign(np.diag(item.matrix))) for item in drawn}
    assert signs == {(a, b) for a in (-1.0, 1.0) for b in (-1.0, 1.0)}


@pytest.mark.parametrize(
    ("extent", "kept"), [(30, 8), (30, 17), (16, 16), (9, 16), (1, 9), (24, 23)]
)
def test_shifts_leave_an_eighth_of_the_labelled_part_outside_and_no_more(extent, kept):
    rng = np.random.default_rng(0)
    section = Augment(rotation=0, flip=False, elastic_sigma=0)
    drawn = [draw((extent, 5), (kept + 6, 5), section, rng, (kept, 5)) for _ in range(800)]
    starts = {item.centre[0] - (kept - 1) / 2 for item in drawn}
    outside = kept // 8
    ends = sorted([-outside, extent + outside - kept])  # the other way round in a small image
    assert starts == set(range(ends[0], ends[1] + 1))


def test_angles_fill_the_range_that_the_recipe_allows():
    rng = np.random.default_rng(0)
    section = Augment(rotation=30, flip=False, elastic_sigma=0)
    angles = [
        math.degrees(math.atan2(*draw((9, 9), (9, 9), section, rng).matrix[1::-1, 0]))
        for _ in range(400)
    ]
    assert -30 <= min(angles) < -28
    assert 28 < max(angles) <= 30


DRAWN = [
    (
        extents,
        tile,
        draw(extents, tile, Augment(elastic_sigma=4, elastic_span=40), np.random.default_rng(5)),
    )
    for extents, tile in [((60, 70), (48, 40)), ((12, 17), (64, 50)), ((14, 20, 18), (12, 16, 14))]
]


@pytest.mark.parametrize(("extents", "tile", "drawn"), DRAWN)
def test_linear_resampling_agrees_with_scipy(extents, tile, drawn):
    image = random_image(extents, 2)
    actual = warp(image, drawn, tile)[0]
    points = source_points(drawn, tile)
    for channel in range(2):
        expected = ndimage.map_coordinates(image[channel], points, order=1, mode="mirror")
        np.testing.assert_allclose(actual[channel], expected, atol=1e-4)


@pytest.mark.parametrize(("extents", "tile", "drawn"), DRAWN)
def test_labels_are_those_of_the_nearest_pixel(extents, tile, drawn):
    labels = random_labels(extents)
    _, classes_T, instances_T = warp(random_image(extents), drawn, tile, labels)
    points = source_points(drawn, tile)
    sure = (np.abs(points - np.floor(points) - 0.5) > 1e-4).all(0)  # not between two pixels
    assert sure.mean() > 0.99
    for actual, source in ((classes_T, labels[0]), (instances_T, labels[1])):
        expected = ndimage.map_coordinates(source, points, order=0, mode="mirror")
        assert np.array_equal(actual[sure], expected[sure])


@pytest.mark.parametrize(("tile", "target"), [((20, 16), (8, 10)), ((10, 8, 6), (4, 8, 2))])
def test_labels_of_the_target_are_the_centre_of_the_labels_of_the_tile(tile, target):
    extents = (15, 18, 9)[: len(tile)]
    drawn = draw(extents, tile, Augment(elastic_sigma=3), np.random.default_rng(2))
    image, labels = random_image(extents), random_labels(extents)
    whole = warp(image, drawn, tile, labels)
    part = warp(image, drawn, tile, labels, target)
    middle = tuple(slice((n - k) // 2, (n + k) // 2) for n, k in zip(tile, target, strict=True))
    assert np.array_equal(part[0], whole[0])
    assert np.array_equal(part[1], whole[1][middle])
    assert np.array_equal(part[2], whole[2][middle])


@pytest.mark.parametrize("axes", [2, 3])
def test_displacements_of_the_nodes_have_a_standard_deviation_of_10_pixels(axes):
    rng = np.random.default_rng(0)
    drawn = [draw((99,) * axes, (99,) * axes, Augment(), rng).displacement for _ in range(400)]
    values = np.stack(drawn)
    assert values.shape[1:] == (axes, *(3,) * axes)
    assert values.std() == pytest.approx(10, rel=5 / math.sqrt(2 * values.size))
    assert abs(values.mean()) < 5 * 10 / math.sqrt(values.size)
    pairs = np.corrcoef(values.reshape(400, -1), rowvar=False)
    assert np.abs(pairs - np.eye(len(pairs))).max() < 5 / math.sqrt(400)  # independent


def test_the_field_equals_the_displacement_at_the_nodes():
    rng = np.random.default_rng(0)
    nodes = rng.normal(0, 10, (2, 3, 3))
    field = displacement_field(Deformation((0, 0), np.eye(2), nodes, (65.0, 33.0)), (65, 33))
    np.testing.assert_allclose(field[:, ::32, ::16], nodes, atol=1e-4)


def test_the_field_is_scipys_cubic_spline_through_the_nodes():
    rng = np.random.default_rng(1)
    nodes = rng.normal(0, 10, (2, 4, 4))
    tile, span = (50, 41), (80.0, 41.0)
    field = displacement_field(Deformation((0, 0), np.eye(2), nodes, span), tile)
    places = [
        ((np.arange(n) - (n - 1) / 2) / (s - 1) + 0.5) * 3 for n, s in zip(tile, span, strict=True)
    ]
    points = np.stack(np.meshgrid(*places, indexing="ij"))
    for axis in range(2):
        expected = ndimage.map_coordinates(nodes[axis], points, order=3, mode="mirror")
        np.testing.assert_allclose(field[axis], expected, atol=1e-4)


def test_the_field_has_no_kink_at_the_nodes():
    # Across a line of nodes the first difference of a merely continuous field would jump by
    # σ / 100 pixels a pixel; that of the spline changes no more than anywhere else.
    rng = np.random.default_rng(2)
    drawn = Deformation((0, 0), np.eye(2), rng.normal(0, 10, (2, 5, 5)), (401.0, 401.0))
    second = np.abs(np.diff(displacement_field(drawn, (401, 401)).astype(float), n=2, axis=1))
    rows = second.max(axis=(0, 2))
    at_nodes = rows[np.r_[98:101, 198:201, 298:301]].max()
    assert rows.max() < 0.02
    assert at_nodes <= np.median(rows) * 5
    # The second derivative is continuous too.
    assert np.abs(np.diff(rows)).max() < rows.max() / 10


def test_a_small_tile_bends_no_more_than_a_large_one():
    section = Augment(elastic_span=512)
    spans = [draw((99, 99), (n, n), section, np.random.default_rng(0)).span for n in (64, 512, 700)]
    assert spans == [(512.0, 512.0), (512.0, 512.0), (700.0, 700.0)]


def test_an_axis_of_one_pixel_has_a_basis_that_sums_to_1():
    for extent, nodes, span in [(1, 3, 1.0), (1, 3, 512.0), (100, 3, 100.0), (7, 5, 512.0)]:
        basis = spline_basis(extent, nodes, span)
        np.testing.assert_allclose(basis.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("cubic", [False, True])
def test_image_and_labels_stay_together_under_rotation_and_bending(cubic):
    y, x = np.mgrid[:90, :80]
    classes = (((y - 40) ** 2 / 600 + (x - 36) ** 2 / 300 < 1) | ((x + y) % 40 < 14)).astype(
        np.uint8
    )
    image = classes[None].astype(np.float32)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        drawn = draw(classes.shape, (120, 100), Augment(elastic_span=120), rng)
        image_T, classes_T, _ = deform(
            image, classes, classes.astype(np.int32), drawn, (120, 100), (120, 100), cubic
        )
        seen = image_T[0] > 0.5
        inside = ndimage.binary_erosion(classes_T == 1, np.ones((3, 3)))
        outside = ndimage.binary_erosion(classes_T == 0, np.ones((3, 3)))
        assert seen[inside].all()
        assert not seen[outside].any()
        assert inside.any()
        assert outside.any()


def test_the_same_seed_gives_the_same_tile_and_another_seed_another():
    image = random_image((40, 50))
    tiles = [
        warp(
            image,
            draw((40, 50), (32, 32), Augment(), np.random.default_rng(s)),
            (32, 32),
        )
        for s in (3, 3, 4)
    ]
    for first, second, third in zip(*tiles, strict=True):
        assert np.array_equal(first, second)
        assert not np.array_equal(first, third)


@pytest.mark.parametrize("extents", [(1, 1), (1, 7), (3, 2), (1, 4, 2)])
def test_an_image_much_smaller_than_the_tile_is_mirrored_as_often_as_needed(extents):
    tile = (48,) * 2 if len(extents) == 2 else (16,) * 3
    drawn = draw(extents, tile, Augment(elastic_span=48), np.random.default_rng(1))
    image = random_image(extents)
    points = source_points(drawn, tile)
    padded = np.pad(image[0], [(90, 90)] * len(extents), mode="reflect")
    expected = ndimage.map_coordinates(padded, points + 90, order=1)
    np.testing.assert_allclose(warp(image, drawn, tile)[0][0], expected, atol=1e-4)


def test_cubic_resampling_reproduces_a_quadratic_and_linear_resampling_does_not():
    y, x = np.mgrid[:60, :60].astype(np.float64) / 10

    def quadratic(y, x):
        return 0.3 * y * y - 0.7 * x * x + 1.1 * x * y + 2 * y - x + 5

    image = quadratic(y, x)[None].astype(np.float32)
    angle = 0.4
    matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = Deformation((29.3, 30.8), matrix, None, (30.0, 30.0))
    expected = quadratic(*(source_points(turned, (30, 30)) / 10))
    np.testing.assert_allclose(warp(image, turned, (30, 30), cubic=True)[0][0], expected, atol=2e-5)
    assert np.abs(warp(image, turned, (30, 30))[0][0] - expected).max() > 5e-4


def test_cubic_resampling_of_a_volume_reproduces_a_quadratic():
    z, y, x = np.mgrid[:20, :20, :20].astype(np.float64) / 10

    def quadratic(z, y, x):
        return z * z - 0.4 * y * y + 0.6 * x * x + z * x - 2 * y * x + z + 1

    image = quadratic(z, y, x)[None].astype(np.float32)
    moved = Deformation((9.3, 9.9, 10.1), np.eye(3), None, (6.0, 6.0, 6.0))
    expected = quadratic(*(source_points(moved, (6, 6, 6)) / 10))
    np.testing.assert_allclose(warp(image, moved, (6, 6, 6), cubic=True)[0][0], expected, atol=2e-5)


def test_without_shift_the_tile_is_the_images_middle():
    image, labels = random_image((21, 30)), random_labels((21, 30))
    section = Augment(shift=False, rotation=0, flip=False, elastic_sigma=0)
    drawn = draw((21, 30), (11, 10), section, np.random.default_rng(0))
    assert np.array_equal(warp(image, drawn, (11, 10), labels)[0], image[:, 5:16, 10:20])


def test_a_tile_far_out_in_a_huge_image_is_as_exact_as_near_the_origin():
    image = np.zeros((1, 1, 300_000), np.float32)
    image[0, 0] = np.arange(300_000) % 251
    far = Deformation((0.0, 299_000.3), np.eye(2), None, (1.0, 40.0))
    expected = np.interp(299_000.3 + np.arange(40) - 19.5, np.arange(300_000), image[0, 0])
    tile = warp(image, far, (1, 40))[0][0, 0]
    np.testing.assert_allclose(tile, expected, atol=1e-4)


@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 20)), min_size=2, max_size=3),
    st.booleans(),
    st.sampled_from([0.0, 3.0, 20.0]),
)
def test_the_window_of_a_tile_gives_the_tile_of_the_whole_image(seed, axes, cubic, sigma):
    extents, tile = zip(*axes, strict=True)
    section = Augment(elastic_sigma=sigma, elastic_span=24)
    drawn = draw(extents, tile, section, np.random.default_rng(seed))
    window = source_window(drawn, tile, extents)
    image, labels = random_image(extents), random_labels(extents)
    whole = warp(image, drawn, tile, labels, cubic=cubic)
    part = tuple(array[window] for array in labels)
    crop = warp(image[:, *window], moved(drawn, window), tile, part, cubic=cubic)
    for one, other in zip(whole, crop, strict=True):
        assert np.array_equal(one, other)


def test_the_window_of_a_tile_in_a_huge_image_is_little_larger_than_the_tile():
    section = Augment(elastic_sigma=10, elastic_span=512)
    extents, tile = (10**5, 10**5), (200, 200)
    for seed in range(20):
        drawn = draw(extents, tile, section, np.random.default_rng(seed))
        for part in source_window(drawn, tile, extents):
            assert 0 <= part.start < part.stop <= 10**5
            assert part.stop - part.start < 200 * 1.5 + 160
