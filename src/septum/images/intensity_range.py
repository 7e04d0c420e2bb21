"""Grey values brought to a common range: one that the model stores, or each image's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from septum.errors import ImageFileError
from septum.geometry import ArrayPixels, Pixels
from septum.images.own_range import OwnRange, sample_greys
from septum.recipe import Intensity

SAMPLES_PER_IMAGE = 200_000
"""Percentiles of real-valued images look at this many evenly spread pixels an image at most."""


@dataclass(frozen=True)
class IntensityRange:
    """``(image - offset) / scale``, one offset and one scale a channel; scales are above 0.

    With ``own`` each image has a range of its own, which `of` gives; offset and scale are then the
    means of those of the training images.
    """

    offset: tuple[float, ...]
    scale: tuple[float, ...]
    own: OwnRange | None = None

    def __post_init__(self) -> None:
        if not len(self.offset) == len(self.scale) >= 1:
            raise ValueError(f"offsets {self.offset} and scales {self.scale} are not paired")
        if not all(0 < scale < float("inf") for scale in self.scale):
            raise ValueError(f"scales {self.scale} are not above 0")

    def of(self, image: Pixels | np.ndarray) -> IntensityRange:
        """The range of an image, to be applied to it or its parts: its own, or this one."""
        return ranges_of((self,), image)[0]

    def apply(self, image_CS: np.ndarray) -> np.ndarray:
        """The image, channels first, in the common range as float32.

        Raises ImageFileError if it has not as many channels as the range was fitted on.
        """
        assert self.own is None, "of which image is this to be the range?"
        if image_CS.shape[0] != len(self.offset):
            raise ImageFileError(
                f"an image of {image_CS.shape[0]} channels cannot be used where images of "
                f"{len(self.offset)} channels were trained on; convert it first"
            )
        column = (-1, *(1,) * (image_CS.ndim - 1))
        wide = np.float64 if image_CS.dtype.itemsize > 2 else np.float32  # float32 is exact to 2^24
        offset = np.asarray(self.offset, wide).reshape(column)
        scale = np.asarray(self.scale, wide).reshape(column)
        shifted: np.ndarray = np.subtract(image_CS, offset, dtype=wide)
        np.divide(shifted, scale, out=shifted)
        return shifted.astype(np.float32, copy=False)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON; ``from_dict`` gives back an equal object."""
        values: dict[str, Any] = {"offset": list(self.offset), "scale": list(self.scale)}
        return values if self.own is None else {**values, "own": self.own.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> IntensityRange:
        """The range that ``to_dict`` wrote."""
        own = OwnRange.from_dict(values["own"]) if values.get("own") else None
        return cls(tuple(map(float, values["offset"])), tuple(map(float, values["scale"])), own)


def ranges_of(
    intensities: Sequence[IntensityRange], image: Pixels | np.ndarray
) -> tuple[IntensityRange, ...]:
    """The ranges of one image, which is looked at once, and only if one of them asks for it.

    ``image``: (C, *S), or what reads it by region; raises what reading raises.
    """
    if all(intensity.own is None for intensity in intensities):
        return tuple(intensities)
    greys = sample_greys(ArrayPixels(image) if isinstance(image, np.ndarray) else image)
    return tuple(
        intensity if intensity.own is None else IntensityRange(*intensity.own.range_of(greys))
        for intensity in intensities
    )


def fit_intensity_range(images_CS: Iterable[np.ndarray], section: Intensity) -> IntensityRange:
    """Fit offset and scale of each channel on all pixels of all images, each read once.

    ``zscore``: mean and standard deviation. ``percentile``: the low percentile goes to 0, the high
    one to 1; exact for integers of up to 16 bits, on evenly spread pixels for other types.
    ``none``: the values stay. A channel that is constant gets scale 1. With ``scope="image"`` each
    image has its own, of a scale no smaller than the smallest of these images. Raises
    ImageFileError if there is no image or the numbers of channels differ.
    """
    if section.scope == "image" and section.method != "none":
        return _fit_own(images_CS, section)
    if section.method == "zscore":
        return _fold(images_CS, _Moments)
    if section.method == "percentile":
        ends = (section.low_percentile, section.high_percentile)
        return _fold(images_CS, lambda: _Percentiles(*ends))
    return _fold(images_CS, _Unchanged)


def _fit_own(images_CS: Iterable[np.ndarray], section: Intensity) -> IntensityRange:
    assert section.method != "none"
    ends = (section.low_percentile, section.high_percentile)
    free = OwnRange(section.method, *ends, (), ())
    found = []
    for image_CS in _alike(images_CS):
        greys = sample_greys(ArrayPixels(image_CS))
        found.append((*free.measure(greys), greys.noise_C))
    if not found:
        raise ImageFileError("no image to fit the intensity range on; expected at least one")
    offsets, scales, noises = (np.array(each) for each in zip(*found, strict=True))
    least = _smallest(scales)
    contrast = _smallest(np.divide(scales, noises, out=np.zeros_like(scales), where=noises > 0))
    own = OwnRange(section.method, *ends, tuple(least.tolist()), tuple(contrast.tolist()))
    means = np.where(scales > 0, scales, least).mean(0)
    return IntensityRange(tuple(offsets.mean(0).tolist()), tuple(means.tolist()), own)


def _smallest(values_NC: np.ndarray) -> np.ndarray:
    """Of each channel, of those above 0; 1 where there is none."""
    found_C = np.where(values_NC > 0, values_NC, np.inf).min(0)
    return np.where(np.isfinite(found_C), found_C, 1.0)


def _alike(images_CS: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The images, if they have the same number of channels."""
    channels = None
    for number, image_CS in enumerate(images_CS):
        channels = channels or len(image_CS)
        if len(image_CS) != channels:
            raise ImageFileError(
                f"image {number + 1} has {len(image_CS)} channels, those before it "
                f"{channels}; expected the same number in all images"
            )
        yield image_CS


class _Unchanged:
    def add(self, values: np.ndarray) -> None:
        pass

    def result(self) -> tuple[float, float]:
        return 0.0, 1.0


class _Moments:
    """Mean and variance of batches, joined by the formula of Chan, Golub and LeVeque (1979)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, values: np.ndarray) -> None:
        mean = float(values.mean(dtype=np.float64))
        centred = values.astype(np.float64).ravel() - mean
        squares, count = float(centred @ centred), self.count + values.size
        step = mean - self.mean
        self.squares += squares + step * step * self.count * values.size / count
        self.mean += step * values.size / count
        self.count = count

    def result(self) -> tuple[float, float]:
        deviation = (self.squares / self.count) ** 0.5
        negligible = 1e-9 * max(abs(self.mean), 1e-30)  # rounding of a constant, not a texture
        return self.mean, deviation if deviation > negligible else 1.0


class _Percentiles:
    """Counts of small integers, or values of evenly spread pixels, and their percentiles."""

    def __init__(self, low: float, high: float) -> None:
        self.ends = (low, high)
        self.counts: dict[int, int] = {}
        self.samples: list[np.ndarray] = []

    def add(self, values: np.ndarray) -> None:
        if values.dtype.kind in "bui" and values.dtype.itemsize <= 2:
            lowest = int(values.min())
            counts = np.bincount((values.astype(np.int32) - lowest).ravel())
            for index in np.flatnonzero(counts).tolist():
                key = index + lowest
                self.counts[key] = self.counts.get(key, 0) + int(counts[index])
        else:
            step = -(-values.size // SAMPLES_PER_IMAGE)
            self.samples.append(values.ravel()[::step].astype(np.float64))

    def result(self) -> tuple[float, float]:
        if self.samples:
            values = np.array(list(self.counts), np.float64)
            # Both kinds of files in one data set: counted values join at the same density.
            repeats = np.array(list(self.counts.values()), np.int64)
            thinned = np.ceil(repeats / max(1.0, repeats.sum() / SAMPLES_PER_IMAGE)).astype(int)
            pool = np.concatenate([*self.samples, np.repeat(values, thinned)])
            low, high = (float(v) for v in np.percentile(pool, self.ends))
        else:
            low, high = (_percentile(self.counts, end) for end in self.ends)
        return low, high - low if high > low else 1.0


def _percentile(counts: dict[int, int], percent: float) -> float:
    """As np.percentile of all values, from how often each occurs."""
    values = np.array(sorted(counts))
    ends = np.cumsum([counts[int(value)] for value in values])
    rank = (int(ends[-1]) - 1) * percent / 100
    below = values[np.searchsorted(ends, int(rank), side="right")]
    above = values[np.searchsorted(ends, min(int(rank) + 1, int(ends[-1]) - 1), side="right")]
    return float(below + (above - below) * (rank - int(rank)))


def _fold(
    images_CS: Iterable[np.ndarray], start: Callable[[], _Unchanged | _Moments | _Percentiles]
) -> IntensityRange:
    channels: list[_Unchanged | _Moments | _Percentiles] = []
    for number, image_CS in enumerate(_alike(images_CS)):
        if number == 0:
            channels = [start() for _ in range(image_CS.shape[0])]
        for channel, values in zip(channels, image_CS, strict=True):
            channel.add(values)
    if not channels:
        raise ImageFileError("no image to fit the intensity range on; expected at least one")
    fitted = [channel.result() for channel in channels]
    return IntensityRange(tuple(f[0] for f in fitted), tuple(f[1] for f in fitted))
