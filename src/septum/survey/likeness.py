"""Which images are the same, nearly the same, or neighbours in a stack."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from septum.survey.survey import Duplicates, Series

SIDE = 16
"""A fingerprint has so many fields along each axis."""
ALIKE = 0.985
"""Correlation of fingerprints of near-duplicates: a copy in other brightness, size or file type.
Different images of the real sets stay below 0.97 (docs/decisions/0020)."""
FLAT_ALIKE = 0.9
"""And without the shading that images of one microscope share, which may be most of what there is
in a field of small objects."""
NEIGHBOURS, NEARER = 0.4, 0.1
"""Numbered files are frames where the median correlation of neighbours is above the first, and by
the second above that of files half the row apart."""
UPPER, COMPARED = 0.75, 300
"""And above this quantile of the correlations of files that are no neighbours, of so many files at
most: among few images a row may be alike by chance."""
BLOCK = 2048
"""Fingerprints that are compared with all others at once."""


def digest(image_CS: np.ndarray) -> str:
    """The same for the same pixels of the same shape and type; "" of a constant image, as slices
    beyond the ends of a specimen are.
    """
    if image_CS.min() == image_CS.max():
        return ""
    described = hashlib.sha256(repr((image_CS.shape, image_CS.dtype.str)).encode())
    described.update(np.ascontiguousarray(image_CS).data)
    return described.hexdigest()


def fingerprint(image_CS: np.ndarray) -> np.ndarray | None:
    """SIDE² grey values of a coarse picture, of mean 0 and length 1, so that their product is a
    correlation: the same whatever the brightness and contrast. float32; None of an image that is
    constant or smaller than that.
    """
    plane = image_CS.mean(axis=0, dtype=np.float32)
    while plane.ndim > 2:
        plane = plane[len(plane) // 2]
    if min(plane.shape) < SIDE:
        return None
    for axis in (0, 1):
        edges = np.linspace(0, plane.shape[axis], SIDE + 1).astype(int)
        sums = np.add.reduceat(plane, edges[:-1], axis=axis)
        plane = sums / np.expand_dims(np.diff(edges), 1 - axis).astype(np.float32)
    fields = plane.ravel() - plane.mean()
    # One bright spot would be all that is compared.
    limit = 3 * float(np.abs(fields).mean())
    fields = np.clip(fields, -limit, limit)
    fields -= fields.mean()
    length = float(np.linalg.norm(fields))
    if length <= 1e-4 * max(abs(float(plane.mean())), 1e-30) * SIDE:
        return None
    return np.asarray(fields / length, np.float32)


def find_duplicates(
    names: Sequence[str],
    digests: Sequence[str],
    fingerprints: Sequence[np.ndarray | None],
    series: Iterable[Series],
) -> tuple[Duplicates, ...]:
    """Groups of images that are the same or nearly, in the order of the names.

    Neighbours in a series are expected to be alike: only where they are the same it is said.
    """
    groups: dict[str, list[int]] = {}
    for index, value in enumerate(digests):
        groups.setdefault(value or f"constant {index}", []).append(index)
    same = [Duplicates(tuple(names[i] for i in group), True) for group in groups.values()
            if len(group) > 1]  # fmt: skip
    firsts = [group[0] for group in groups.values() if fingerprints[group[0]] is not None]
    row_of = {name: number for number, row in enumerate(series) for name in row.names}
    near: dict[int, int] = {index: index for index in firsts}

    def root(index: int) -> int:
        while near[index] != index:
            index = near[index]
        return index

    rows_FS = [row for i in firsts if (row := fingerprints[i]) is not None]
    matrix = np.stack(rows_FS) if rows_FS else np.zeros((0, SIDE * SIDE))
    flat = _without_shading(matrix)
    for start in range(0, len(firsts), BLOCK):
        block = slice(start, start + BLOCK)
        alike_FF = (matrix[block] @ matrix.T >= ALIKE) & (flat[block] @ flat.T >= FLAT_ALIKE)
        for one, other in np.argwhere(alike_FF).tolist():
            first, second = firsts[start + one], firsts[other]
            rows = [row_of.get(names[i], -1 - i) for i in (first, second)]
            if first < second and rows[0] != rows[1]:
                near[root(second)] = root(first)
    joined: dict[int, list[int]] = {}
    for index in firsts:
        joined.setdefault(root(index), []).append(index)
    alike = [
        Duplicates(tuple(names[i] for i in group), False)
        for group in joined.values()
        if len(group) > 1
    ]
    place = {name: index for index, name in enumerate(names)}
    return tuple(sorted([*same, *alike], key=lambda group: [place[name] for name in group.names]))


def _without_shading(prints_FN: np.ndarray) -> np.ndarray:
    """Fingerprints without the quadratic surface that fits each best, of length 1."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    surface, _ = np.linalg.qr(
        np.stack([term.ravel() for term in (x * 0 + 1, x, y, x * x, x * y, y * y)], axis=1)
    )
    flat_FN = prints_FN - (prints_FN @ surface) @ surface.T
    lengths = np.linalg.norm(flat_FN, axis=1, keepdims=True)
    return np.asarray(flat_FN / np.maximum(lengths, 1e-6), np.float32)


def find_series(
    names: Sequence[str], files: Sequence[str], fingerprints: Sequence[np.ndarray | None]
) -> tuple[Series, ...]:
    """Planes of a stack; and numbered files, where most look much like the next."""
    rows: dict[tuple[str, bool], list[int]] = {}
    for index, (name, file) in enumerate(zip(names, files, strict=True)):
        place = name.rpartition("[")[2] if name.endswith("]") else ""
        if ":" in place:  # windows of a large image are no neighbours
            continue
        stack = bool(place)
        numbered = re.sub(r"\d+(?=\D*$)", "#", Path(file).name)
        if stack or numbered != Path(file).name:
            rows.setdefault(
                (file, True) if stack else (str(Path(file).with_name(numbered)), False), []
            ).append(index)
    found = []
    for (key, stack), members in rows.items():
        if len(members) < 3 and not (stack and len(members) > 1):
            continue
        alike = _median(itertools.pairwise(members), fingerprints)
        half = len(members) // 2
        apart = _median(zip(members[:-half], members[half:], strict=True), fingerprints)
        near = alike >= NEIGHBOURS and alike >= apart + NEARER
        if stack or (near and alike >= _upper([fingerprints[i] for i in members])):
            found.append(Series(key, tuple(names[i] for i in members), alike))
    return tuple(found)


def _upper(row: Sequence[np.ndarray | None]) -> float:
    """The quantile UPPER of the correlations of those in a row that are no neighbours."""
    known = [each for each in row if each is not None]
    step = -(-len(known) // COMPARED)
    prints = np.stack(known[::step])
    first, second = np.triu_indices(len(prints), 2)
    return float(np.quantile((prints @ prints.T)[first, second], UPPER)) if len(first) else -1.0


def _median(pairs: Iterable[tuple[int, int]], fingerprints: Sequence[np.ndarray | None]) -> float:
    """Of the correlations of these pairs; 0 where none has fingerprints."""
    products = [
        float(one @ other)
        for i, j in pairs
        if (one := fingerprints[i]) is not None and (other := fingerprints[j]) is not None
    ]
    return float(np.median(products)) if products else 0.0
