"""Tiles made on a device, ahead in a thread, or around objects are those that were drawn."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from septum.annotation.labels import IGNORE
from septum.geometry import Footprint, unet_footprint
from septum.recipe import Augment, Loss, Training
from septum.training.device_samples import DeviceSampler, device_bytes
from septum.training.images import TrainingImage, object_places
from septum.training.prefetch import Prefetched
from septum.training.samples import Batch, Sampler, class_weights

CPU = torch.device("cpu")
VARIED = Augment(elastic_sigma=4, brightness=0.2, contrast=0.2, gamma=0.2, elastic_span=64)


def scattered(
    seed: int, extents: tuple[int, ...], cells: int = 25, channels: int = 1
) -> TrainingImage:
    rng = np.random.default_rng(seed)
    instances_S = np.zeros(extents, np.int32)
    for number in range(1, cells + 1):
        corner = [int(rng.integers(extent - 6)) for extent in extents]
        instances_S[tuple(slice(c, c + 6) for c in corner)] = number
    image_CS = rng.normal(size=(channels, *extents)).astype(np.float32)
    classes_S = (instances_S > 0).astype(np.uint8)
    classes_S[..., :3] = IGNORE
    return TrainingImage(f"cell{seed}", image_CS, classes_S, instances_S)


def sampler(
    images: list[TrainingImage],
    footprint: Footprint,
    augment: Augment = VARIED,
    tile: int = 56,
    **training: float,
) -> Sampler:
    loss = Loss(border_weight=5, border_sigma=2, class_weight="balanced")
    weights_K = class_weights([image.classes_S for image in images], 2, loss)
    section = Training.model_validate({"steps": 1, "tile": tile, "batch": 3, **training})
    return Sampler(images, weights_K, footprint, augment, loss, section)


@pytest.mark.parametrize(
    ("padding", "extents", "tile", "cubic"),
    [
        ("same", (70, 60), 32, True),
        ("valid", (70, 60), 56, False),
        ("same", (20, 24, 22), 16, False),
    ],
)
def test_tiles_of_a_device_are_those_of_the_processor(
    padding: str, extents: tuple[int, ...], tile: int, cubic: bool
) -> None:
    images = [
        scattered(0, extents, channels=2),
        scattered(1, tuple(n + 9 for n in extents), channels=2),
    ]
    footprint = unet_footprint(2, "valid" if padding == "valid" else "same")
    augment = VARIED.model_copy(update={"interpolation": "cubic" if cubic else "linear"})
    expected = sampler(images, footprint, augment, tile)
    device = DeviceSampler(expected, CPU)
    for step in range(3):
        names, image_NCS, classes_NS, weights_NS = device.batch(step, [0, 2], CPU)
        wanted = expected.batch(step, [0, 2], CPU)
        assert names == wanted[0]
        spread = float(wanted[1].max() - wanted[1].min())
        torch.testing.assert_close(image_NCS, wanted[1], rtol=0, atol=1e-3 * spread)
        # A label changes only where a point lies between two pixels, to rounding.
        assert (classes_NS != wanted[2]).float().mean() < 1e-3
        assert ((weights_NS - wanted[3]).abs() > 1e-3).float().mean() < 1e-2
        assert weights_NS[classes_NS == IGNORE].abs().sum() == 0
        assert image_NCS.shape == wanted[1].shape
    assert device_bytes(expected) == sum(i.classes_S.size * 13 for i in images)


class Counting:
    """Batches that say when, and in which thread, they were made."""

    def __init__(self) -> None:
        self.made: list[tuple[int, tuple[int, ...]]] = []
        self.threads: set[str] = set()

    def batch(self, step: int, indices: Sequence[int], device: torch.device) -> Batch:
        self.made.append((step, tuple(indices)))
        self.threads.add(threading.current_thread().name)
        if step == 7:
            raise ValueError("the disk is gone")
        value = torch.full((1,), step * 10.0 + indices[0], device=device)
        return [f"{step}"], value, value, value


def test_the_next_step_is_made_ahead_and_every_batch_once() -> None:
    source = Counting()
    ahead = Prefetched(source)
    for step in range(3):
        for part in ([0, 1], [2]):
            names, value, *_ = ahead.batch(step, part, CPU)
            assert names == [str(step)]
            end = time.monotonic() + 60
            while (step + 1, tuple(part)) not in source.made:  # before anybody asks for it
                assert time.monotonic() < end
                time.sleep(0.001)
            assert value.item() == step * 10 + part[0]
    assert len(source.made) == len(set(source.made))
    assert threading.current_thread().name not in source.threads
    # After a jump, as of a resumed run, too.
    assert ahead.batch(5, [0, 1], CPU)[1].item() == 50
    ahead.batch(6, [0, 1], CPU)
    with pytest.raises(ValueError, match="the disk is gone"):
        ahead.batch(7, [0, 1], CPU)


def test_places_are_in_every_object_small_ones_too() -> None:
    instances_S = np.zeros((40, 50), np.int32)
    instances_S[2:30, 2:30], instances_S[35, 45], instances_S[35:38, 2:9] = 4, 9, 17
    classes_S = np.where(instances_S == 17, 2, (instances_S > 0) * 1).astype(np.uint8)
    classes_S[0] = IGNORE
    places = object_places(classes_S, instances_S)
    found = [[int(instances_S[tuple(p)]) for p in points] for points in places]
    assert [sorted(ids) for ids in found] == [[4, 9], [17]]
    assert object_places(np.zeros((5, 5), np.uint8), np.zeros((5, 5), np.int32)) == []
    # What is one object to the border weights, a nucleus in its cytoplasm, has a place in each.
    places = object_places(classes_S, (instances_S > 0).astype(np.int32))
    assert [[int(instances_S[tuple(p)]) for p in points] for points in places] == [[4, 9], [17]]


def test_a_rare_small_object_is_drawn_as_often_as_the_recipe_says() -> None:
    image = scattered(0, (400, 400), cells=0)
    image.instances_S[310:313, 80:83] = 1
    image.classes_S[310:313, 80:83] = 1
    seen = {}
    for share in (0.0, 0.5, 1.0):
        drawn = sampler([image], unet_footprint(1, "same"), tile=32, object_share=share)
        samples = [drawn.sample(step, 0) for step in range(200)]
        seen[share] = np.mean([(sample.classes_S == 1).any() for sample in samples])
    assert seen[0.0] < 0.05
    assert abs(seen[0.5] - 0.5) < 0.15
    assert seen[1.0] > 0.95


def test_tiles_around_objects_stay_in_the_range_of_all_tiles() -> None:
    image = scattered(3, (60, 50), cells=0)
    image.instances_S[0, 49] = image.classes_S[0, 49] = 1
    drawn = sampler([image], unet_footprint(1, "same"), tile=32, object_share=1)
    centres = np.array([drawn.draw(step, 0).deformation.centre for step in range(100)])
    assert (centres.min(0) >= 15.5 - 4).all()
    assert (centres.max(0) <= np.array([59, 49]) - 15.5 + 4).all()
    assert (centres == np.floor(centres) + 0.5).all()  # on the grid of pixels: an even tile


def test_images_without_objects_are_drawn_anywhere() -> None:
    image = scattered(0, (60, 50), cells=0)
    drawn = sampler([image], unet_footprint(1, "same"), tile=32, object_share=1)
    sample = drawn.sample(0, 0)
    assert set(np.unique(sample.classes_S)) <= {0, IGNORE}
    assert np.isfinite(sample.weights_S).all()
