"""Random grey values: contrast, brightness, gamma, noise. Of the image only, never of labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from septum.recipe import Augment


@dataclass(frozen=True)
class GreyValues:
    """``contrast`` and ``gamma`` multiply and bend, ``brightness`` and ``noise`` are in units of
    the normalised image (its standard deviation is about 1); ``noise_seed`` draws the noise.
    ``channels``: for each channel a factor, and what is added in standard deviations of the channel
    in the tile; empty: none.
    """

    contrast: float = 1.0
    brightness: float = 0.0
    gamma: float = 1.0
    noise: float = 0.0
    noise_seed: int = 0
    channels: tuple[tuple[float, float], ...] = ()


def sample_grey_values(section: Augment, rng: np.random.Generator, channels: int = 1) -> GreyValues:
    """Draw the parameters for one tile of so many channels, within the ranges of the section."""
    bend = -np.log1p(-section.gamma)
    common = GreyValues(
        contrast=float(rng.uniform(1 - section.contrast, 1 + section.contrast)),
        brightness=float(rng.uniform(-section.brightness, section.brightness)),
        gamma=float(np.exp(rng.uniform(-bend, bend))),
        noise=float(rng.uniform(0.0, section.noise)),
        noise_seed=int(rng.integers(2**63)),
    )
    if channels == 1 or not section.channels:
        return common
    drawn = rng.uniform(-section.channels, section.channels, (channels, 2))
    return replace(common, channels=tuple((1 + float(a), float(b)) for a, b in drawn))


def vary_grey_values(
    image_CS: Float32[np.ndarray, "c *s"], values: GreyValues
) -> Float32[np.ndarray, "c *s"]:
    """Return contrast · gamma(image) + brightness, each channel varied, + noise; the neutral values
    return it unchanged.

    Gamma acts on each channel's range within the tile, so its darkest and brightest pixel stay
    what they are; a constant channel is left alone.
    """
    if values.gamma != 1.0:
        spatial = tuple(range(1, image_CS.ndim))
        low = image_CS.min(axis=spatial, keepdims=True)
        extent = image_CS.max(axis=spatial, keepdims=True) - low
        extent[extent == 0] = 1
        image_CS = image_CS - low
        image_CS /= extent
        np.power(image_CS, np.float32(values.gamma), out=image_CS)
        # Back to the range, contrast and brightness: one factor, one sum.
        image_CS *= extent * np.float32(values.contrast)
        image_CS += low * np.float32(values.contrast) + np.float32(values.brightness)
    elif values.contrast != 1.0 or values.brightness != 0.0:
        image_CS = image_CS * np.float32(values.contrast)
        image_CS += np.float32(values.brightness)
    if values.channels:
        shape = (len(image_CS), *(1,) * (image_CS.ndim - 1))
        times, more = np.array(values.channels, np.float32).T
        deviation = image_CS.std(axis=tuple(range(1, image_CS.ndim)))
        image_CS = image_CS * times.reshape(shape)
        image_CS += (more * deviation).reshape(shape)
    if values.noise:
        rng = np.random.Generator(np.random.SFC64(values.noise_seed))
        noise = rng.standard_normal(image_CS.shape, dtype=np.float32)
        image_CS = image_CS + np.float32(values.noise) * noise
    return image_CS
