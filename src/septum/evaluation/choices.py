"""Which measures fit a prediction and its truth, and why; the image, scored by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from septum.annotation.masks import bits_of
from septum.errors import InputError
from septum.evaluation.components import components
from septum.evaluation.contingency import Ids
from septum.evaluation.pixels import Numbers
from septum.evaluation.planes import Plane
from septum.evaluation.scores import (
    Scores,
    score_classes,
    score_map,
    score_objects,
    score_overlapping,
)
from septum.evaluation.truth import Truth

ASK_INSTANCES = "if the labels are object ids: --set labels.kind=instances"


@dataclass(frozen=True, eq=False)
class Compared:
    """Both sides of an image that was scored.

    ``segments_S``: the numbered objects that were compared, if any. ``read_image``: its pixels
    (C, *S), if they are known.
    """

    plane: Plane
    truth: Truth
    segments_S: Ids | None = None
    read_image: Callable[[], np.ndarray] | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Scored:
    """An image, or a plane of a stack, that was scored.

    ``chosen``: which measures were, and why. ``compared``: what was, None if it is larger than
    memory. ``pixels``: how many there are.
    """

    name: str
    scores: Scores
    chosen: tuple[str, ...]
    pixels: int
    compared: Compared | None = None


def score_plane(plane: Plane, truth: Truth) -> tuple[Scores, tuple[str, ...], Ids | None]:
    """The measures that fit, the reasons, and the objects that were compared.

    - Two classes: probabilities and the mask are scored by `score_map`. With both, the measures of
      the mask, whose threshold is the model's own, are named mask_….
    - Classes that overlap: `score_overlapping`, of their masks, or of each above 0.5.
    - More classes: `score_classes`, of the mask or of each pixel's likeliest class.
    - Objects that are numbered on both sides: `score_objects`. Against numbered truth the connected
      components of a mask (of a map above 0.5) stand in for NAME.instances, and the other way round
      those of a binary truth.
    - Of truth in which not every object was drawn, only SEG: all else counts what is right and was
      not drawn as wrong.

    Raises InputError where channels, class ids or object ids are not those of the truth.
    """
    chosen = list(plane.remarks)
    if truth.overlapping:
        return _score_overlapping(plane, truth, chosen), tuple(chosen), None
    if truth.class_count > 2:
        return _score_classes(plane, truth, chosen), tuple(chosen), None
    mask_S, map_S = object_mask(plane, truth), object_map(plane)
    parts: list[Scores] = []
    if not truth.partial:
        parts = _score_pixels(mask_S, map_S, truth, chosen)
    segments_S: Ids | None = None
    if plane.instances is not None or truth.numbered:
        segments_S, origin = _segments(plane, mask_S, map_S, truth)
        parts.append(score_objects(segments_S, truth))
        if truth.partial:
            chosen.append(
                f"objects: seg, of {origin}; it alone, as not every object was drawn in the truth: "
                "det, ap_50 and what compares pixels would count those that were found as wrong "
                "(if all were drawn: --complete)"
            )
        else:
            who = "truth" if truth.numbered else "prediction"
            against = "" if truth.numbered else ", against the connected components of the truth"
            chosen.append(
                f"objects, as the {who} numbers them: seg, det, ap, panoptic_quality, Rand, vi of "
                f"{origin}{against}"
            )
    values = {name: value for part in parts for name, value in part.values.items()}
    curves = {name: curve for part in parts for name, curve in part.curves.items()}
    return Scores(values, curves, parts[-1].objects), tuple(chosen), segments_S


def _score_pixels(
    mask_S: Numbers | None, map_S: Numbers | None, truth: Truth, chosen: list[str]
) -> list[Scores]:
    """Of the probabilities, or of the mask, or of both."""
    planes_only = "" if truth.classes_S.ndim == 2 else "; no warping error, which is that of planes"
    parts = []
    if map_S is not None:
        parts.append(score_map(map_S, truth))
        chosen.append(
            "probabilities, two classes: pixel measures at 0.5, Rand, V_rand, V_info and warping "
            f"error at the best threshold of each image{planes_only}"
        )
    if mask_S is not None:
        of_mask = score_map(mask_S, truth)
        if map_S is None:
            chosen.append(
                f"mask, two classes: pixel measures, Rand, V_rand, V_info, warping{planes_only}"
            )
        else:
            of_mask = of_mask.of_mask()
            chosen.append("mask, beside them: the same at its own threshold, as mask_…")
        parts.append(of_mask)
    return parts


def _segments(
    plane: Plane, mask_S: Numbers | None, map_S: Numbers | None, truth: Truth
) -> tuple[Ids, str]:
    """The numbered objects, and what they are. Nothing hangs together across ignored pixels."""
    if plane.instances is not None:
        return plane.instances, "the numbered objects"
    if mask_S is not None:
        origin = "the mask's connected components (no NAME.instances given)"
        return components((mask_S != 0) & truth.known_S), origin
    assert map_S is not None
    origin = "the connected components above probability 0.5"
    return components((map_S > 0.5) & truth.known_S), origin


def _score_classes(plane: Plane, truth: Truth, chosen: list[str]) -> Scores:
    count, parts = truth.class_count, []
    likeliest_S = likeliest(plane, truth)
    if likeliest_S is not None:
        parts.append(Scores(score_classes(likeliest_S, truth.classes_S, count)))
        chosen.append(f"probabilities, {count} classes: pixel error, Dice, IoU of the likeliest")
    mask_S, remarks = class_numbers(plane, truth)
    if mask_S is not None:
        try:
            of_mask = Scores(score_classes(mask_S, truth.classes_S, count))
        except InputError as error:
            raise InputError(f"{error}; {ASK_INSTANCES}") from error
        parts.append(of_mask.of_mask() if parts else of_mask)
        chosen += remarks
        chosen.append(
            "mask, beside them: the same, as mask_…"
            if len(parts) > 1
            else f"mask, {count} classes: pixel error, Dice, IoU of each"
        )
    if plane.instances is not None:
        if not parts:
            raise InputError(
                f"numbered objects, but the truth has {count} classes; {ASK_INSTANCES}"
            )
        chosen.append(f"numbered objects left out: the truth has classes; {ASK_INSTANCES}")
    return Scores({name: value for part in parts for name, value in part.values.items()})


def _score_overlapping(plane: Plane, truth: Truth, chosen: list[str]) -> Scores:
    count, parts = truth.class_count, []
    bits_S = probable_bits(plane, truth)
    if bits_S is not None:
        parts.append(Scores(score_overlapping(bits_S, truth.classes_S, count)))
        chosen.append(f"probabilities, {count - 1} overlapping classes: IoU of each at 0.5")
    if plane.mask is not None:
        whole_S = np.asarray(plane.mask, np.uint8)
        of_mask = Scores(score_overlapping(whole_S, truth.classes_S, count))
        parts.append(of_mask.of_mask() if parts else of_mask)
        more = "beside them: the same, as mask_…" if len(parts) > 1 else "IoU of each class"
        chosen.append(f"masks, {more}")
    return Scores({name: value for part in parts for name, value in part.values.items()})


def probable_bits(plane: Plane, truth: Truth) -> npt.NDArray[np.uint8] | None:
    """The overlapping classes that are more probable than not, as bits. Raises InputError."""
    if plane.probability is None:
        return None
    channels, count = plane.probability.shape[0], truth.class_count
    if channels != count:
        raise InputError(
            f"{channels} channels of probabilities, but the truth has {count - 1} overlapping "
            "classes and the background"
        )
    return bits_of(plane.probability[1:] > 0.5)


def likeliest(plane: Plane, truth: Truth) -> npt.NDArray[np.uint8] | None:
    """The class with the largest probability. Raises InputError for another number of classes."""
    if plane.probability is None:
        return None
    channels = plane.probability.shape[0]
    if channels != truth.class_count:
        raise InputError(
            f"{channels} channels of probabilities, but the truth has {truth.class_count} classes; "
            f"{ASK_INSTANCES}"
        )
    return np.asarray(plane.probability.argmax(0), np.uint8)


def class_numbers(plane: Plane, truth: Truth) -> tuple[Numbers | None, tuple[str, ...]]:
    """The mask as class numbers, and a remark if it has the truth's label values instead.

    A mask that somebody drew has these, as 0, 128, 255. They are only taken for what they are where
    none of them could be the number of another class.
    """
    mask_S, values = plane.mask, truth.class_values
    if mask_S is None or not values or mask_S.max(initial=0) < truth.class_count:
        return mask_S, ()
    distinct = all(values[v] == v for v in values if 0 <= v < len(values))
    if not distinct or not np.isin(mask_S, values).all():
        return mask_S, ()
    remark = f"the mask holds label values, as the truth does: {', '.join(map(str, values))}"
    return np.searchsorted(values, mask_S).astype(np.uint8), (remark,)


def object_map(plane: Plane) -> Numbers | None:
    """The object's probability: the second channel of two, or the only one."""
    if plane.probability is None:
        return None
    channels = plane.probability.shape[0]
    if channels > 2:
        raise InputError(f"{channels} channels of probabilities, but the truth has 2 classes")
    return np.asarray(plane.probability[-1])


def object_mask(plane: Plane, truth: Truth) -> Numbers | None:
    """The mask; one of three classes, or numbered objects, must not pass for one of two."""
    if plane.mask is None:
        return None
    found = [int(value) for value in np.unique(plane.mask) if value != 0]
    if found not in ([], [1], [255]):
        shown = ", ".join(map(str, found[:5])) + (" …" if len(found) > 5 else "")
        held = "numbered objects" if truth.numbered else "two classes"
        raise InputError(
            f"the mask holds the values {shown} beside 0, but the truth has {held}; expected 0 and "
            "1, or 0 and 255: name numbered objects NAME.instances.tif, a map NAME.probability.tif"
        )
    return plane.mask
