"""Training tiles made where they are used: the whole set lies on the device, nothing waits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from septum.annotation.labels import IGNORE
from septum.augment.batch import (
    deform_batch,
    pack_deformations,
    pack_grey_values,
    place_images,
    spline_bases,
    vary_grey_values_batch,
)
from septum.devices import channels_last
from septum.loss.border_weight import weight_radius
from septum.loss.border_weight_batch import LARGEST_RADIUS, border_weight_batch
from septum.loss.targets import encode_targets
from septum.training.images import TrainingImage
from septum.training.prefetch import Prefetched
from septum.training.samples import Batch, Batches, Sampler

LARGEST_SHARE = 0.25
"""Of the device's free memory: a larger set stays with the processor."""


def choose_tiles(sampler: Sampler, device: torch.device) -> Batches:
    """Where tiles are made: on a GPU that the whole set fits into, else by the processor.

    The processor makes them in line, in milliseconds; where it reads files or works for a GPU, in
    a thread beside the network.
    """
    if sampler.reads_files:
        return Prefetched(sampler)
    if device.type != "cuda":
        return sampler
    spacings = {image.spacing for image in _in_memory(sampler)}
    if weight_radius(sampler.loss.border_sigma) >= LARGEST_RADIUS or len(spacings) > 1:
        return Prefetched(sampler)  # such weights only the processor computes
    free, _ = torch.cuda.mem_get_info(device)
    if device_bytes(sampler) <= LARGEST_SHARE * free:
        return DeviceSampler(sampler, device)
    return Prefetched(sampler)


def device_bytes(sampler: Sampler) -> int:
    """What the set of ``sampler`` would take on a device: 4 C + 5 bytes a pixel."""
    return sum(i.classes_S.size * (4 * len(i.image_CS) + 5) for i in _in_memory(sampler))


def _in_memory(sampler: Sampler) -> list[TrainingImage]:
    images = [image for image in sampler.images if isinstance(image, TrainingImage)]
    assert len(images) == len(sampler.images)
    return images


class DeviceSampler:
    """The same tiles as ``sampler`` draws, but for rounding and the bits of noise, on ``device``.

    The random parameters are drawn by the processor and copied ahead of the work; resampling, grey
    values and border weights are computed on the device.
    """

    def __init__(self, sampler: Sampler, device: torch.device) -> None:
        self.sampler, self.device = sampler, device
        arrays = [(i.image_CS, i.classes_S, i.instances_S) for i in _in_memory(sampler)]
        self._images = place_images(arrays, device)
        axes = len(sampler.images[0].extents)
        self._tile = (sampler.training.tile,) * axes
        self._bases = spline_bases(sampler.draw(0, 0).deformation, self._tile, device)
        self._class_weights = torch.from_numpy(sampler.class_weight_table()).to(device)

    def batch(self, step: int, indices: Sequence[int], device: torch.device) -> Batch:
        """Tiles ``indices`` of the batch of ``step``; ``device`` is the one that they lie on."""
        assert device == self.device
        names, rows_BR, greys_BR = self.pack(step, indices)
        image_NCS, classes_NS, weights_NS = self.tiles(
            rows_BR.to(device, non_blocking=True), greys_BR.to(device, non_blocking=True)
        )
        return names, image_NCS, classes_NS, weights_NS

    def pack(self, step: int, indices: Sequence[int]) -> tuple[list[str], Tensor, Tensor]:
        """What is random about these tiles, for ``tiles``: still on the host."""
        drawn = [self.sampler.draw(step, index) for index in indices]
        numbers, pinned = [item.number for item in drawn], self.device.type == "cuda"
        rows_BR = pack_deformations(numbers, [item.deformation for item in drawn], pinned)
        greys_BR = pack_grey_values([item.grey_values for item in drawn], pinned)
        return [self.sampler.images[number].name for number in numbers], rows_BR, greys_BR

    def tiles(self, rows_BR: Tensor, greys_BR: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (N, C, S), classes (N, S) and weights (N, S) for packed parameters."""
        sampler = self.sampler
        axes, rim, target = len(self._tile), sampler.rim, sampler.target
        labelled = (target + 2 * rim,) * axes
        cubic = sampler.augment.interpolation == "cubic"
        image_NCS, classes_NS, instances_NS = deform_batch(
            self._images, rows_BR, self._bases, labelled, cubic
        )
        image_NCS = vary_grey_values_batch(image_NCS, greys_BR, sampler.augment)
        weights_NS = self._class_weights[classes_NS.long()]
        if sampler.loss.border_weight:
            border_NS = border_weight_batch(
                instances_NS,
                sampler.loss.border_weight,
                sampler.loss.border_sigma,
                _in_memory(sampler)[0].spacing,
            )
            weights_NS = weights_NS + border_NS.masked_fill(classes_NS == IGNORE, 0.0)
        spacing = _in_memory(sampler)[0].spacing
        classes_NS = encode_targets(classes_NS, instances_NS, sampler.head, spacing)
        inner = (slice(None), *(slice(rim, rim + target),) * axes)
        image_NCS = image_NCS.contiguous(memory_format=channels_last(axes))
        return image_NCS, classes_NS[inner], weights_NS[inner]
