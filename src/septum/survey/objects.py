"""Objects in labels: how many, how large, which touch, and how far the others are apart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from septum.annotation.colours import value_text
from septum.annotation.labels import IGNORE, LabelMeaning, to_target
from septum.annotation.meaning import DRAWN_IGNORED
from septum.annotation.targets import kept_apart
from septum.loss.border_weight import border_weight
from septum.survey.survey import Histogram, ObjectFacts, Spread

REACH = 20.0
"""Pixels: gaps up to this are measured."""
GAP_SIDE = {2: 1024, 3: 96}
"""Gaps are measured in the centre of an image or volume, of so many pixels along each axis."""
GAP_IMAGES = 64
"""And in so many images, evenly spread."""
SPECK = 0.005
"""A piece of a class smaller than this share of the object that a pixel is mostly in is none."""
PIECES = ("areas", "diameters", "bands", "kinds")
"""What `Drawn` has an entry of for each object."""
NARROW = 0.25
"""Share of a class' pixels that may lie in pieces narrower than it is said to be."""
THIN = 2.0
"""A disc (ball) has as much edge as its area needs; what has so many times as much is a thread, a
tree or a net, and as large as it is wide."""
BINS = 30
_SIGMA = REACH / math.sqrt(2 * math.log(1e6))


@dataclass(frozen=True, eq=False)
class Drawn:
    """The objects of one image. ``areas``: pixels of each; ``diameters``: see `diameters`;
    ``bands``: see `widths`; ``kinds``: the class of each; ``counts``: pixels of each class;
    ``ignored``: pixels by why they are.

    ``pairs``: pairs that touch, ``touching``: objects in one; of instance labels only. ``gaps``: of
    the objects looked at, the area and the distance to the next one, infinite beyond REACH, (n, 2);
    None: not looked at. ``numbered``: of instance labels; else pieces, of which some are specks.
    """

    areas: np.ndarray
    diameters: np.ndarray
    bands: np.ndarray
    kinds: np.ndarray
    counts: np.ndarray
    ignored: dict[str, int]
    pairs: int
    touching: int
    gaps: np.ndarray | None
    numbered: bool
    specks: int = 0


NOTHING = Drawn(
    np.zeros(0),
    np.zeros(0),
    np.zeros(0),
    np.zeros(0, np.uint8),
    np.zeros(2, np.int64),
    {},
    0,
    0,
    None,
    True,
)
"""Of labels that mean nothing."""


def measure_objects(
    labels_S: np.ndarray, meaning: LabelMeaning, name: str, gaps: bool = True
) -> Drawn:
    """Measure the objects of one label image; ``gaps`` says whether gaps too. Raises as
    `to_target`, for a value that ``meaning`` does not know.
    """
    classes_S, instances_S = to_target(labels_S, meaning, name)
    whole_S, pairs, touching = instances_S, 0, 0
    if meaning.kind == "instances":
        ignored_S = meaning.ignored(labels_S)
        whole_S = labels_S if ignored_S is None else np.where(ignored_S, 0, labels_S)
        pairs, touching = _touching(whole_S)
    if meaning.kind == "overlapping":  # bits: of objects is what is in any class
        classes_S = np.where(classes_S == IGNORE, IGNORE, classes_S != 0).astype(np.uint8)
    counts = np.bincount(classes_S.ravel(), minlength=256)
    areas, edges = _areas(whole_S)
    kinds = np.ones(len(areas) + 1, np.uint8)
    if meaning.kind == "classes":
        kinds[whole_S.ravel()] = classes_S.ravel()  # pieces are numbered without a gap
    return Drawn(
        areas,
        diameters(areas, edges, whole_S.ndim),
        widths(areas, edges, whole_S.ndim),
        kinds[1:],
        counts[: meaning.class_count],
        _ignored(labels_S, meaning, int(counts[IGNORE])),
        pairs,
        touching,
        _gaps(kept_apart(classes_S, instances_S, meaning)) if gaps else None,
        meaning.kind == "instances",
    )


def _ignored(labels_S: np.ndarray, meaning: LabelMeaning, pixels: int) -> dict[str, int]:
    """Of ``pixels``: those of each ignored value, those drawn as ignored, and all else."""
    if meaning.kind == "overlapping":
        return {"in a mask": pixels} if pixels else {}
    found = {
        "drawn so" if value == DRAWN_IGNORED else f"value {value_text(value)}": int(
            np.count_nonzero(labels_S == value)
        )
        for value in meaning.ignore
    }
    rest = pixels - sum(found.values())
    found["strays" if meaning.known_values else "not annotated"] = rest
    return {words: count for words, count in found.items() if count}


def join_objects(
    drawn: Sequence[Drawn], sizes: Sequence[tuple[float, ...] | None], axes: int
) -> ObjectFacts:
    """All images together; ``sizes``: the extents of a pixel of each in micrometres, if known."""
    areas = np.concatenate([np.zeros(0), *(item.areas for item in drawn)])
    wide = np.sort(np.concatenate([np.zeros(0), *(item.diameters for item in drawn)]))
    in_um = None
    if drawn and all(size is not None for size in sizes):
        pairs_um = zip(drawn, sizes, strict=True)
        in_um = Spread.of(
            np.concatenate([i.diameters * math.prod(s) ** (1 / axes) for i, s in pairs_um if s])
        )
    pairs = np.concatenate([np.zeros((0, 2)), *(i.gaps for i in drawn if i.gaps is not None)])
    gaps = pairs[:, 1]
    within = gaps[np.isfinite(gaps)]
    return ObjectFacts(
        count=len(areas),
        specks=sum(item.specks for item in drawn),
        area=Spread.of(areas),
        diameter=Spread.of(wide),
        diameter_um=in_um,
        touching_pairs=sum(item.pairs for item in drawn),
        touching=sum(item.touching for item in drawn) / max(len(areas), 1),
        gap=Spread.of(within),
        near=len(within) / max(len(gaps), 1),
        sizes=_histogram(wide),
        narrowest=_narrowest(drawn),
    )


def _narrowest(drawn: Sequence[Drawn]) -> float | None:
    """See `ObjectFacts`; None of one class, and where one has specks alone."""
    areas, bands, kinds = (
        np.concatenate([np.zeros(0), *(getattr(item, name) for item in drawn)])
        for name in ("areas", "bands", "kinds")
    )
    classes = np.flatnonzero(np.sum([item.counts[1:] for item in drawn], axis=0)) + 1
    if len(classes) < 2 or not np.isin(classes, kinds).all():
        return None
    found = []
    for kind in classes:
        own = np.flatnonzero(kinds == kind)
        own = own[np.argsort(bands[own])]
        narrow = np.searchsorted(np.cumsum(areas[own]), areas[own].sum() * NARROW)
        found.append(float(bands[own[narrow]]))
    return min(found)


def diameters(areas: np.ndarray, edges: np.ndarray, axes: int) -> np.ndarray:
    """Of the circle (ball) of that area (volume); of what is thin, its width (of a thread's).

    ``edges``: as of `widths`.
    """
    width = widths(areas, edges, axes)
    if axes == 3:
        round_ones, compact = np.cbrt(6 * areas / math.pi), width * 6 / 4
    else:
        round_ones, compact = 2 * np.sqrt(areas / math.pi), width * 4 / 2
    return np.asarray(np.where(round_ones > THIN * compact, np.maximum(width, 1), round_ones))


def widths(areas: np.ndarray, edges: np.ndarray, axes: int) -> np.ndarray:
    """Twice the area by the perimeter: how wide a band or ring is, and the radius of a disc. Of
    volumes four times the volume by the surface: how thick a thread is.

    ``edges``: pixel faces between each and what is around it. A disc has 4/π of its perimeter as
    faces, a ball 3/2 of its surface.
    """
    edges = np.maximum(edges, 1)  # fills the image
    return np.asarray(
        4 * areas / (edges * 2 / 3) if axes == 3 else 2 * areas / (edges * math.pi / 4)
    )


def without_specks(drawn: Sequence[Drawn]) -> list[Drawn]:
    """The same without slips of the pen: pieces below the share SPECK of the area that half of all
    object pixels are in, or in a larger one. Numbered objects all stay.
    """
    ordered = np.sort(np.concatenate([np.zeros(0), *(item.areas for item in drawn)]))
    if not len(ordered) or all(item.numbered for item in drawn):
        return list(drawn)
    least = SPECK * ordered[np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)]
    kept = []
    for item in drawn:
        large = item.areas >= least
        gaps = None if item.gaps is None else item.gaps[item.gaps[:, 0] >= least]
        sizes = {name: getattr(item, name)[large] for name in PIECES}
        specks = len(large) - int(large.sum())
        kept.append(dataclasses.replace(item, **sizes, gaps=gaps, specks=specks))
    return kept


def _areas(ids_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of each object, and its pixel faces to what is around it in the image."""
    if ids_S.min() < 0 or ids_S.max() >= max(1 << 16, 2 * ids_S.size):
        ranks_S = np.unique(ids_S, return_inverse=True)[1]
        ids_S = np.where(ids_S == 0, 0, ranks_S.reshape(ids_S.shape) + 1)
    counts = np.bincount(ids_S.ravel())
    edges = np.zeros(len(counts))
    for axis in range(ids_S.ndim):
        ids = np.moveaxis(ids_S, axis, 0)
        one, other = ids[:-1], ids[1:]
        meet = one != other
        for side in (one, other):
            edges += np.bincount(side[meet], minlength=len(counts))
    there = counts > 0
    there[0] = False
    return counts[there].astype(np.float64), edges[there]


def _touching(ids_S: np.ndarray) -> tuple[int, int]:
    """Pairs of objects that are face neighbours, and objects in such a pair."""
    met = []
    for axis in range(ids_S.ndim):
        ids = np.moveaxis(ids_S, axis, 0)
        one, other = ids[:-1], ids[1:]
        meet = (one != other) & (one != 0) & (other != 0)
        met.append(np.sort(np.stack([one[meet], other[meet]], axis=1).astype(np.int64), axis=1))
    pairs = np.unique(np.concatenate(met), axis=0)
    return len(pairs), len(np.unique(pairs))


def _gaps(instances_S: np.ndarray) -> np.ndarray:
    """Of each object its area, and its distance to the nearest other; inf beyond REACH; (n, 2).

    It is the smallest sum d1 + d2 on the background beside the object, which the border weight
    tells.
    """
    side = GAP_SIDE[instances_S.ndim]
    starts = [max(0, (n - side) // 2) for n in instances_S.shape]
    middle = tuple(slice(start, start + side) for start in starts)
    ids_S = np.ascontiguousarray(instances_S[middle])
    if ids_S.max() >= max(1 << 16, 2 * ids_S.size):
        ids_S = np.unique(ids_S, return_inverse=True)[1].reshape(ids_S.shape)
    weight_S = border_weight(ids_S, 1.0, _SIGMA)
    areas = np.bincount(ids_S.ravel())
    # The greatest weight beside an object is of the smallest sum.
    greatest = np.zeros(len(areas), np.float32)
    for axis in range(ids_S.ndim):
        ids, weights = np.moveaxis(ids_S, axis, 0), np.moveaxis(weight_S, axis, 0)
        for owner, beside in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            near = (weights[beside] > 0) & (ids[owner] != 0)
            np.maximum.at(greatest, ids[owner][near], weights[beside][near])
    with np.errstate(divide="ignore"):
        sums = _SIGMA * np.sqrt(-2 * np.log(greatest, dtype=np.float64))
    there = areas > 0
    there[0] = False
    found: np.ndarray = np.stack([areas, sums], axis=1)[there]
    return found


def _histogram(diameters: np.ndarray) -> Histogram | None:
    if not len(diameters):
        return None
    low, high = float(diameters[0]), float(diameters[-1])
    edges = np.geomspace(low, max(high, 1.05 * low), BINS + 1)
    edges[0], edges[-1] = low, max(high, edges[-1])
    counts, _ = np.histogram(diameters, edges)
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))
