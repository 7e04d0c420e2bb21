"""Made-up annotated microscopy: touching cells under fluorescence, tissue under an electron beam.

For demonstrations and tests where no annotated images are at hand. Grey values alone do not solve
either: touching cells show hardly a gap, and vesicles and mitochondria are as dark as membranes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from septum.errors import SaveError
from septum.images.files import Image, write_image

Box = tuple[slice, slice]


def write_example_data(
    folder: Path | str,
    kind: Literal["cells", "membranes"],
    count: int = 8,
    size: int = 256,
    seed: int = 0,
) -> None:
    """Write ``images/NN.png`` and ``labels/NN.png`` (from 00) of ``size`` by ``size`` pixels.

    Image NN depends on ``seed``, NN and ``size`` alone, not on ``count``. Raises SaveError.
    """
    folder = Path(folder)
    make = {"cells": make_cells, "membranes": make_membranes}[kind]
    for part in ("images", "labels"):
        try:
            (folder / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SaveError(f"{folder / part}: cannot be made: {error.strerror}") from error
    digits = max(2, len(str(count - 1)))
    for number in range(count):
        image, labels = make((size, size), np.random.default_rng([seed, number]))
        for part, array in (("images", image), ("labels", labels)):
            write_image(folder / part / f"{number:0{digits}d}.png", Image(array, "YX"))


def make_cells(
    shape_YX: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei in touching clusters: image (uint8) and object ids (uint16, 0 is background).

    Brightness differs from cell to cell, illumination is uneven, contacts between cells are
    blurred; photon and read-out noise.
    """
    labels, depth = _grow_cells(shape_YX, rng)
    brightness = np.concatenate([[0.0], rng.uniform(0.35, 1.0, labels.max())])
    chromatin = 1 + 0.16 * _smooth(shape_YX, 1.6, rng) + 0.10 * _smooth(shape_YX, 4.0, rng)
    light = brightness[labels] * chromatin * (0.72 + 0.28 * np.sqrt(depth))
    nearby = _blur(light, 9.0)  # light from above and below the focal plane
    light = _blur(light, rng.uniform(1.1, 1.7)) + 0.22 * nearby + 0.05
    light *= _illumination(shape_YX, rng)
    photons = rng.uniform(45, 90)
    seen = rng.poisson(np.maximum(light, 0) * photons) / photons
    seen += rng.normal(0, 0.02, shape_YX)
    return _to_uint8(seen * 170 + 12), labels


def make_membranes(
    shape_YX: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Tissue in a thin section: image (uint8) and labels (uint8: 255 cell interior, 0 membrane).

    Membranes are about 3 pixels wide, some cut obliquely and hence faint; mitochondria, vesicles
    and microtubules distract.
    """
    from scipy import ndimage

    cells = _divide_tissue(shape_YX, rng)
    distance = ndimage.distance_transform_edt(~_edges(cells))
    width = 1.0 + 0.45 * np.clip(_smooth(shape_YX, 10.0, rng), 0, 2.4)
    labels = np.where(distance <= width, 0, 255).astype(np.uint8)

    plasma = rng.normal(0, 13, cells.max() + 1)[cells]
    grey = 160 + plasma + 8 * _smooth(shape_YX, 5.0, rng)
    grey -= 11 * np.exp(0.6 * _smooth(shape_YX, 1.4, rng))  # ribosomes: grains darker than plasma
    _draw_organelles(grey, cells, distance, rng)
    oblique = 0.5 + 0.5 * np.tanh(2.2 * _smooth(shape_YX, 16.0, rng) - 2.2)  # 0: cut straight
    contrast = 105 - 60 * oblique
    profile = np.exp(-0.5 * (distance / (width * (0.85 + 0.9 * oblique))) ** 2)
    grey -= contrast * profile
    grey = _blur(grey, 0.8) * (1 + 0.05 * _smooth(shape_YX, 60.0, rng))
    grey += rng.normal(0, 12, shape_YX) + 12 * _smooth(shape_YX, 0.8, rng)
    return _to_uint8(grey), labels


def _grow_cells(
    shape_YX: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Ids, and depth inside each cell (0 at its outline, 1 at its centre)."""
    radius = float(rng.uniform(10, 15))
    centres, radii = _place_clusters(shape_YX, radius, rng)
    wobble = 0.13 * _smooth(shape_YX, radius / 2.5, rng)
    nearest = np.full(shape_YX, np.inf)
    labels = np.zeros(shape_YX, np.uint16)
    for number, (centre, size) in enumerate(zip(centres, radii, strict=True), start=1):
        box, y, x = _around(centre, 1.7 * size, shape_YX)
        away = _elliptic(y, x, size, rng.uniform(0, np.pi), rng.uniform(1.0, 1.55))
        away = away + wobble[box] * (1 if number % 2 else -1)
        mine = (away < 1) & (away < nearest[box])
        nearest[box][mine] = away[mine]
        labels[box][mine] = number
    labels = _keep_whole(labels)
    return labels, np.where(labels > 0, np.clip(1 - nearest, 0, 1), 0)


def _place_clusters(
    shape_YX: tuple[int, int], radius: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    wanted = max(2, int(rng.uniform(0.38, 0.6) * shape_YX[0] * shape_YX[1] / (np.pi * radius**2)))
    centres, radii = np.empty((wanted, 2)), np.empty(wanted)
    placed = 0
    for _ in range(30 * wanted):
        size = radius * rng.uniform(0.75, 1.2)
        if placed and rng.random() < 0.8:  # beside one that is there: cells divide
            mother = rng.integers(placed)
            angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.78, 0.95)
            step = reach * (size + radii[mother])
            centre = centres[mother] + step * np.array([np.sin(angle), np.cos(angle)])
        else:
            centre = rng.uniform(0, shape_YX)
        if not (0 <= centre[0] < shape_YX[0] and 0 <= centre[1] < shape_YX[1]):
            continue
        apart = np.hypot(*(centres[:placed] - centre).T) if placed else np.array([np.inf])
        if (apart > 0.75 * (radii[:placed] + size)).all():
            centres[placed], radii[placed] = centre, size
            placed += 1
            if placed == wanted:
                break
    return centres[:placed], radii[:placed]


def _keep_whole(labels: np.ndarray) -> np.ndarray:
    """Drop fragments that another cell cut off, and number the rest 1, 2, … ."""
    from skimage.measure import label

    pieces = np.asarray(label(labels, background=0, connectivity=1))  # type: ignore[no-untyped-call]
    areas = np.bincount(pieces.ravel())
    owner = np.zeros(len(areas), np.int64)
    owner[pieces.ravel()] = labels.ravel()
    kept: dict[int, int] = {}
    for piece in np.argsort(areas[1:], kind="stable") + 1:  # the largest piece comes last and stays
        if areas[piece] >= 30:
            kept[int(owner[piece])] = int(piece)
    new = np.zeros(len(areas), np.uint16)
    new[sorted(kept.values())] = np.arange(1, len(kept) + 1)
    return np.asarray(new[pieces])


def _divide_tissue(shape_YX: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Cells without gaps: regions of near seeds in bent space; some own several seeds."""
    from scipy.spatial import cKDTree

    height, width = shape_YX
    pad = 30
    count = max(4, (height + 2 * pad) * (width + 2 * pad) // 420)
    seeds = rng.uniform((-pad, -pad), (height + pad, width + pad), (count, 2))
    # Mothers gather the seeds around them, so cells differ in size and need not be convex.
    mothers = seeds[: max(2, int(count * 0.3))]
    owner = cKDTree(mothers).query(seeds + rng.normal(0, 6, seeds.shape))[1]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y += 6.0 * _smooth(shape_YX, 13.0, rng) + 1.6 * _smooth(shape_YX, 4.5, rng)
    x += 6.0 * _smooth(shape_YX, 13.0, rng) + 1.6 * _smooth(shape_YX, 4.5, rng)
    nearest = cKDTree(seeds).query(np.stack([y, x], axis=-1).reshape(-1, 2))[1]
    return np.asarray(owner[nearest]).reshape(shape_YX)


def _edges(cells: np.ndarray) -> np.ndarray:
    edges = np.zeros(cells.shape, bool)
    edges[:-1] |= cells[:-1] != cells[1:]
    edges[:, :-1] |= cells[:, :-1] != cells[:, 1:]
    return edges


def _draw_organelles(
    grey: np.ndarray, cells: np.ndarray, distance: np.ndarray, rng: np.random.Generator
) -> None:
    """Draw mitochondria, vesicles and microtubules into ``grey``, clear of the membranes."""
    area = grey.size
    for _ in range(area // 1300):
        centre = rng.integers(0, grey.shape)
        room = float(distance[tuple(centre)])
        size = min(room - 1.0, rng.uniform(6, 13))
        if size < 6:
            continue
        box, y, x = _around(centre, 1.6 * size, grey.shape)
        tilt = rng.uniform(0, np.pi)
        away = _elliptic(y, x, size * 0.9, tilt, rng.uniform(1.0, 1.5))
        inside = (away < 1) & (cells[box] == cells[tuple(centre)]) & (distance[box] > 2.5)
        stripes = np.sin((y * np.cos(tilt) + x * np.sin(tilt)) * rng.uniform(1.0, 1.5))
        tone = -38 + 11 * stripes - 42 * np.exp(-0.5 * ((1 - away) * size / 1.3) ** 2)
        grey[box][inside] += tone[inside]
    for _ in range(area // 900):  # swarms of vesicles: small dark rings
        middle = rng.integers(0, grey.shape)
        for _ in range(rng.integers(1, 9)):
            centre = np.rint(middle + rng.normal(0, 7, 2)).astype(int)
            size = rng.uniform(1.6, 3.2)
            if (centre < 0).any() or (centre >= grey.shape).any():
                continue
            if distance[tuple(centre)] < size + 2.5:
                continue
            box, y, x = _around(centre, size + 3, grey.shape)
            ring = np.exp(-0.5 * ((np.hypot(y, x) - size) / 0.8) ** 2)
            grey[box] -= rng.uniform(25, 65) * ring
    for _ in range(area // 700):  # microtubules and granules: dots
        centre = rng.integers(0, grey.shape)
        if distance[tuple(centre)] < 4:
            continue
        box, y, x = _around(centre, 4, grey.shape)
        grey[box] -= rng.uniform(20, 75) * np.exp(-0.5 * (np.hypot(y, x) / 1.1) ** 2)


def _around(
    centre: np.ndarray, reach: float, shape_YX: tuple[int, ...]
) -> tuple[Box, np.ndarray, np.ndarray]:
    """The window of ``reach`` about a point, and its pixels' offsets from it in Y and in X."""
    spans = [
        (max(0, int(c - reach)), min(n, int(c + reach) + 2))
        for c, n in zip(centre, shape_YX, strict=True)
    ]
    y = np.arange(*spans[0])[:, np.newaxis] - centre[0]
    x = np.arange(*spans[1])[np.newaxis, :] - centre[1]
    return (slice(*spans[0]), slice(*spans[1])), y, x


def _elliptic(
    y: np.ndarray, x: np.ndarray, radius: float, angle: float, stretch: float
) -> np.ndarray:
    """Distance from the centre in units of an ellipse with the area of a circle of ``radius``."""
    along = (y * np.sin(angle) + x * np.cos(angle)) / stretch**0.5
    across = (y * np.cos(angle) - x * np.sin(angle)) * stretch**0.5
    return np.asarray(np.hypot(along, across) / radius)


def _illumination(shape_YX: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    y = np.linspace(-1, 1, shape_YX[0])[:, np.newaxis]
    x = np.linspace(-1, 1, shape_YX[1])[np.newaxis, :]
    y0, x0 = rng.uniform(-0.5, 0.5, 2)
    return np.asarray(1.05 - rng.uniform(0.15, 0.3) * ((y - y0) ** 2 + (x - x0) ** 2))


def _smooth(shape_YX: tuple[int, int], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Random values of mean 0 and deviation about 1 that vary over ``sigma`` pixels."""
    coarse = max(1, int(sigma / 2))  # noise this smooth needs no finer grid
    grid = tuple(-(-n // coarse) + 3 for n in shape_YX)
    width = sigma / coarse
    noise: np.ndarray = _blur(rng.standard_normal(grid), width) * (2 * np.pi**0.5 * width)
    if coarse == 1:
        return noise[: shape_YX[0], : shape_YX[1]]
    for axis, extent in enumerate(shape_YX):
        position = np.arange(extent) / coarse
        below = position.astype(int)
        part = (position - below).reshape((-1, 1) if axis == 0 else (1, -1))
        noise = noise.take(below, axis) * (1 - part) + noise.take(below + 1, axis) * part
    return noise


def _blur(values: np.ndarray, sigma: float) -> np.ndarray:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(values, sigma, mode="reflect"))


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
