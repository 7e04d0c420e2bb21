"""A batch on a device holds the tiles that the processor would have made one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from septum.augment.batch import (
    deform_batch,
    pack_deformations,
    pack_grey_values,
    place_images,
    spline_bases,
    vary_grey_values_batch,
)
from septum.augment.deform import (
    Deformation,
    deform,
    displacement_field,
    identity,
    sample_deformation,
)
from septum.augment.intensity import GreyValues, vary_grey_values
from septum.recipe import Augment

CPU, META = torch.device("cpu"), torch.device("meta")
VARIED = Augment(contrast=0.5, brightness=0.5, gamma=0.5, noise=0.5)
PLANES = [(40, 50), (61, 33), (1, 7), (12, 9)]
VOLUMES = [(14, 20, 18), (1, 4, 2), (9, 30, 11)]


def annotate(extents, channels, seed):
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((channels, *extents)).astype(np.float32)
    classes = rng.integers(0, 4, extents).astype(np.uint8)
    return image, classes, rng.integers(-9, 1000, extents).astype(np.int32)


def annotate_all(shapes, channels=2):
    return [annotate(extents, channels, seed) for seed, extents in enumerate(shapes)]


def draw(images, numbers, tile, section, seed=0):
    rng = np.random.default_rng(seed)
    return [sample_deformation(images[i][1].shape, tile, tile, section, rng) for i in numbers]


def warp(images, numbers, drawn, tile, target=None, cubic=False, device=CPU):
    parts = deform_batch(
        place_images(images, device),
        pack_deformations(numbers, drawn).to(device),
        spline_bases(drawn[0], tile, device),
        target or tile,
        cubic,
    )
    return parts if device == META else tuple(part.numpy() for part in parts)


def between_two_pixels(deformation, tile, target):
    """Where the nearest pixel is decided by rounding, in the labelled part of the tile."""
    offsets = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in tile), indexing="ij")
    points = np.tensordot(deformation.matrix, np.stack(offsets), axes=1)
    points += np.reshape(deformation.centre, (-1, *(1,) * len(tile)))
    if deformation.displacement is not None:
        points += displacement_field(deformation, tile)
    middle = tuple(slice((n - k) // 2, (n + k) // 2) for n, k in zip(tile, target, strict=True))
    return (np.abs(points - np.floor(points) - 0.5) < 1e-4).any(0)[middle]


def assert_equal_to_each(images, numbers, drawn, tile, target, cubic):
    """Returns the share of label pixels that were not compared."""
    actual = warp(images, numbers, drawn, tile, target, cubic)
    unsure = []
    for b, (number, deformation) in enumerate(zip(numbers, drawn, strict=True)):
        expected = deform(*images[number], deformation, tile, target, cubic)
        extent = np.ptp(images[number][0])
        # White noise is the worst case: a map off by 1e-5 pixels is seen as as much of the range.
        np.testing.assert_allclose(actual[0][b], expected[0], atol=2e-5 * max(extent, 1))
        unsure.append(between_two_pixels(deformation, tile, target))
        for labels_B, labels in zip(actual[1:], expected[1:], strict=True):
            assert np.array_equal(labels_B[b][~unsure[b]], labels[~unsure[b]])
    return np.mean(unsure)


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize(("extents", "channels"), [((13, 18), 1), ((8, 9), 3), ((5, 6, 7), 2)])
def test_the_identity_copies_images_and_labels_bit_by_bit(extents, channels, cubic):
    images = annotate_all([extents] * 3, channels)
    copies = warp(images, [2, 0], [identity(extents)] * 2, extents, cubic=cubic)
    for b, number in enumerate([2, 0]):
        for copy, original in zip(copies, images[number], strict=True):
            assert np.array_equal(copy[b], original)


@given(
    st.integers(0, 10**6),
    st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 14)),
        min_size=2,
        max_size=3,
    ),
    st.booleans(),
)
def test_shifts_and_flips_alone_copy_the_same_pixels_as_one_by_one(seed, axes, cubic):
    *shapes, tile = zip(*axes, strict=True)
    images, numbers = annotate_all(shapes), [1, 0, 1]
    section = Augment(rotation=0, flip=True, elastic_sigma=0)
    drawn = draw(images, numbers, tile, section, seed)
    copies = warp(images, numbers, drawn, tile, cubic=cubic)
    for b, number in enumerate(numbers):
        expected = deform(*images[number], drawn[b], tile, tile, cubic)
        for copy, original in zip(copies, expected, strict=True):
            assert np.array_equal(copy[b], original)


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize(
    ("shapes", "tile", "target"),
    [
        (PLANES, (48, 40), (48, 40)),
        (PLANES, (64, 97), (20, 33)),
        (VOLUMES, (12, 16, 14), (12, 16, 14)),
        (VOLUMES, (6, 30, 28), (2, 8, 28)),
    ],
)
@pytest.mark.parametrize("section", [Augment(elastic_span=60), Augment(elastic_sigma=0)])
def test_tiles_of_images_of_any_extents_are_those_made_one_by_one(
    shapes, tile, target, section, cubic
):
    images, numbers = annotate_all(shapes), [*range(len(shapes)), 0, 0]
    drawn = draw(images, numbers, tile, section)
    assert assert_equal_to_each(images, numbers, drawn, tile, target, cubic) < 0.01


@given(
    st.integers(0, 10**6),
    st.lists(
        st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(0, 9), st.integers(0, 4)),
        min_size=2,
        max_size=3,
    ),
    st.integers(2, 5),
    st.booleans(),
)
def test_any_tile_of_any_image_is_the_one_made_alone(seed, axes, nodes, cubic):
    *shapes, targets, margins = zip(*axes, strict=True)
    target = tuple(kept + 1 for kept in targets)
    tile = tuple(kept + 2 * margin for kept, margin in zip(target, margins, strict=True))
    images, numbers = annotate_all(shapes, 1), [0, 1, 1]
    section = Augment(elastic_grid=nodes, elastic_sigma=5, elastic_span=30)
    drawn = draw(images, numbers, tile, section, seed)
    assert_equal_to_each(images, numbers, drawn, tile, target, cubic)


def test_a_tile_far_out_in_a_huge_image_is_as_exact_as_near_the_origin():
    ramp = np.tile(np.arange(300_000, dtype=np.float32) % 251, (1, 2, 1))
    images = [(ramp, ramp[0].astype(np.uint8), ramp[0].astype(np.int32))] * 2
    drawn = [Deformation((0.0, 299_000.3), np.eye(2), None, (1.0, 40.0))]
    expected = deform(*images[1], drawn[0], (1, 40), (1, 40))
    actual = warp(images, [1], drawn, (1, 40))
    np.testing.assert_allclose(actual[0][0], expected[0], atol=1e-4)
    assert np.array_equal(actual[2][0], expected[2])


def test_what_else_is_in_the_batch_changes_no_bit():
    images, numbers, tile = annotate_all(PLANES), [3, 0, 1], (33, 20)
    drawn = draw(images, numbers, tile, Augment())
    together = warp(images, numbers, drawn, tile)
    for b, number in enumerate(numbers):
        for alone, part in zip(warp(images, [number], [drawn[b]], tile), together, strict=True):
            assert np.array_equal(alone[0], part[b])


def test_deformations_of_different_grids_are_refused_in_one_batch():
    images = annotate_all(PLANES)
    bent = draw(images, [0], (9, 9), Augment()) + draw(images, [0], (9, 9), Augment(elastic_span=9))
    with pytest.raises(AssertionError):
        pack_deformations([0, 0], bent)
    with pytest.raises(AssertionError):
        pack_deformations([0, 0], [bent[0], identity((9, 9))])


def test_the_channels_of_a_pixel_lie_together_in_memory():
    images = annotate_all(PLANES, 3)
    placed, drawn = place_images(images, CPU), draw(images, [0, 1], (8, 9), Augment())
    bases = spline_bases(drawn[0], (8, 9), CPU)
    image_BCS, _, _ = deform_batch(placed, pack_deformations([0, 1], drawn), bases, (8, 9))
    assert placed.pixels_PC.is_contiguous()
    assert image_BCS.is_contiguous(memory_format=torch.channels_last)


GREY = [
    GreyValues(),
    GreyValues(contrast=1.4, brightness=-0.3),
    GreyValues(gamma=0.6),
    GreyValues(contrast=0.7, brightness=0.2, gamma=1.7),
]


@pytest.mark.parametrize("extents", [(20, 25), (6, 7, 8), (1, 1)])
def test_contrast_brightness_and_gamma_are_those_of_each_tile(extents):
    image_BCS = np.stack([annotate(extents, 2, seed)[0] for seed in range(4)])
    image_BCS[:, 1] *= 50
    given = torch.from_numpy(image_BCS.copy())
    actual = vary_grey_values_batch(given, pack_grey_values(GREY), VARIED).numpy()
    for image_CS, changed_CS, values in zip(image_BCS, actual, GREY, strict=True):
        expected = vary_grey_values(image_CS, values)
        scale = np.array([1, 50]).reshape(-1, *(1,) * len(extents))
        np.testing.assert_allclose(changed_CS / scale, expected / scale, atol=1e-5)
    assert np.array_equal(actual[0], image_BCS[0])  # the neutral values change no bit
    assert np.array_equal(given.numpy(), image_BCS)  # and the given images are not written to


@pytest.mark.parametrize("extents", [(20, 25), (6, 7, 8), (1, 1)])
def test_each_channel_varies_as_on_a_processor(extents):
    image_BCS = np.stack([annotate(extents, 3, seed)[0] for seed in range(2)])
    values = [
        GreyValues(contrast=1.2, channels=((1.2, 0.3), (0.8, -0.2), (1.0, 0.0))),
        GreyValues(channels=((0.9, 0.0), (1.1, 0.1), (0.7, -0.3))),
    ]
    varied = VARIED.model_copy(update={"channels": 0.3})
    rows = pack_grey_values(values)
    actual = vary_grey_values_batch(torch.from_numpy(image_BCS), rows, varied).numpy()
    for image_CS, changed_CS, item in zip(image_BCS, actual, values, strict=True):
        np.testing.assert_allclose(changed_CS, vary_grey_values(image_CS, item), atol=1e-5)
        assert np.abs(changed_CS - image_CS).max() > 0.01
    untouched = vary_grey_values_batch(torch.from_numpy(image_BCS[1:]), rows[1:], Augment()).numpy()
    assert np.array_equal(untouched[0], image_BCS[1])


def test_a_constant_channel_survives_every_change_without_nan():
    flat = torch.full((1, 2, 5, 5), -2.5)
    rows = pack_grey_values([GreyValues(gamma=0.5)])
    assert torch.equal(vary_grey_values_batch(flat, rows, VARIED), flat)


def test_what_the_recipe_turns_off_is_not_done():
    image = torch.from_numpy(annotate((9, 8), 1, 0)[0])[None]
    rows = pack_grey_values([GreyValues(1.5, 0.5, 2.0, 1.0, 3)])
    assert torch.equal(vary_grey_values_batch(image, rows, Augment()), image)


def noise_of(seeds, shape=(1, 200, 250), noise=1.0):
    rows = pack_grey_values([GreyValues(noise=noise, noise_seed=seed) for seed in seeds])
    return vary_grey_values_batch(torch.zeros((len(seeds), *shape)), rows, VARIED).numpy()


def test_noise_is_normal_with_the_standard_deviation_drawn():
    noise = noise_of([5, 2**62 + 1], noise=0.3)
    for part in noise / 0.3:
        assert stats.kstest(part.ravel(), "norm").pvalue > 0.01
        assert part.mean() == pytest.approx(0, abs=4 / np.sqrt(part.size))
        assert part.std() == pytest.approx(1, rel=4 / np.sqrt(2 * part.size))
        assert 4 < np.abs(part).max() < 6  # the tails are there


def test_noise_is_independent_from_pixel_to_pixel_channel_to_channel_and_seed_to_seed():
    noise = noise_of(range(8), (2, 128, 128)).reshape(16, -1)
    correlations = np.corrcoef(noise)
    bound = 5 / np.sqrt(noise.shape[1])
    assert np.abs(correlations - np.eye(16)).max() < bound
    spectrum = np.fft.rfft(noise, 2 * noise.shape[1])  # of all shifts at once, between all pairs
    for shift_by in range(16):
        products = np.fft.irfft(np.roll(spectrum, shift_by, axis=0) * spectrum.conj())
        if shift_by == 0:
            products[:, 0] = 0
        assert np.abs(products).max() / noise.shape[1] < 7 / np.sqrt(noise.shape[1])
    size = np.abs(noise)  # nor are the magnitudes of neighbours
    assert np.abs(np.corrcoef(size[:, 1:].ravel(), size[:, :-1].ravel())[0, 1]) < bound


def test_noise_depends_on_the_seed_alone_and_not_on_the_rest_of_the_batch():
    alone, together = noise_of([5]), noise_of([7, 5, 6])
    assert np.array_equal(together[1], alone[0])
    assert not np.array_equal(together[2], alone[0])


@pytest.mark.parametrize(("shapes", "tile"), [(PLANES, (12, 10)), (VOLUMES, (4, 6, 8))])
def test_it_computes_on_a_device_that_has_no_values_to_wait_for(shapes, tile):
    # On the meta device whatever would read a value back, or has a shape that depends on values,
    # raises: so it can be captured in a CUDA graph.
    images, numbers = annotate_all(shapes), [0, 1]
    drawn = draw(images, numbers, tile, Augment())
    image_BCS, classes_BS, instances_BS = warp(
        images, numbers, drawn, tile, cubic=True, device=META
    )
    rows = pack_grey_values(GREY[:2]).to(META)
    image_BCS = vary_grey_values_batch(image_BCS, rows, VARIED)
    assert image_BCS.shape == (2, 2, *tile)
    assert classes_BS.shape == instances_BS.shape == (2, *tile)
    assert {image_BCS.device, classes_BS.device, instances_BS.device} == {META}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_makes_the_same_tiles():
    images, numbers, tile, gpu = annotate_all(PLANES), [0, 3, 1], (64, 50), torch.device("cuda")
    drawn = draw(images, numbers, tile, Augment())
    made = []
    for device in (CPU, gpu):
        rows = pack_deformations(numbers, drawn, pinned=device == gpu).to(device)
        grey = pack_grey_values(GREY[1:], pinned=device == gpu).to(device)
        bases = spline_bases(drawn[0], tile, device)
        image_BCS, *labels = deform_batch(place_images(images, device), rows, bases, tile)
        made.append((vary_grey_values_batch(image_BCS, grey, VARIED).cpu(), *labels))
    np.testing.assert_allclose(made[1][0], made[0][0], atol=1e-3)
    for on_cpu, on_gpu in zip(made[0][1:], made[1][1:], strict=True):
        assert (on_gpu.cpu() == on_cpu).float().mean() > 0.999
