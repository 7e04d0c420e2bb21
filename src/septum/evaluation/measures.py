"""The names of all measures, with a line about each. docs/measures.md says it at length."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from septum.errors import InputError

MASK = "mask_"
"""Before the name of a measure of the mask, where there are probabilities, too."""


@dataclass(frozen=True)
class Measure:
    """What a number means, in ``text``, and ``of_map``: at which threshold, of probabilities.

    ``best``: which values are good; "" where none is better. ``whole``: a count.
    """

    text: str
    best: Literal["low", "high", ""] = "high"
    of_map: str = ""
    whole: bool = False

    @property
    def definition(self) -> str:
        """Both in a line."""
        return f"{self.text}; {self.of_map}" if self.of_map else self.text


def _low(text: str, of_map: str = "") -> Measure:
    return Measure(text, "low", of_map)


def _count(text: str, best: Literal["low", ""] = "") -> Measure:
    return Measure(text, best, whole=True)


_HALF, _BEST = "of a map at probability 0.5", "of a map at its best threshold"

MEASURES: dict[str, Measure] = {
    "pixel_error": _low("share of wrong pixels", _HALF),
    "pixel_f_error": _low("1 − the best F-score of the pixels over all thresholds (ISBI 2012)"),
    "dice": Measure("Dice of the object's pixels, of classes their mean", of_map=_HALF),
    "iou": Measure("IoU (overlap / union) of the object, or mean of classes", of_map=_HALF),
    "precision": Measure("share of the predicted object's pixels that are object", of_map=_HALF),
    "recall": Measure("share of the true object's pixels that are predicted", of_map=_HALF),
    "map_average_precision": Measure("area under precision against recall of the pixels"),
    "boundary_f1": Measure("F1 of boundary pixels within 2 pixels of each other", of_map=_HALF),
    "rand_error": _low("1 − Rand F-score of connected components", _BEST),
    "rand_threshold": Measure("threshold at which rand_error is least", ""),
    "v_rand": Measure("Rand score of the foreground after border thinning", of_map=_BEST),
    "v_rand_threshold": Measure("threshold at which v_rand is largest", ""),
    "v_info": Measure("information score of the foreground after border thinning", of_map=_BEST),
    "v_info_threshold": Measure("threshold at which v_info is largest", ""),
    "warping_error": _low("share of pixels that no warping of the truth explains", _BEST),
    "warping_threshold": Measure("threshold at which warping_error is least", ""),
    "warping_mergers": _count("objects joined, at the warping error", "low"),
    "warping_splits": _count("objects divided, at the warping error", "low"),
    "warping_hole_additions": _count("holes made, at the warping error", "low"),
    "warping_hole_deletions": _count("holes gone, at the warping error", "low"),
    "warping_object_additions": _count("objects made, at the warping error", "low"),
    "warping_object_deletions": _count("objects gone, at the warping error", "low"),
    "seg": Measure(
        "mean IoU of true objects with the segment covering over half (Cell Tracking Challenge)"
    ),
    "det": Measure(
        "1 − cost of mending the detection / that of making it (Cell Tracking Challenge)"
    ),
    **{
        f"ap_{tau}": Measure(f"pairs with IoU ≥ 0.{tau} / (pairs + segments and objects without)")
        for tau in range(50, 100, 5)
    },
    "ap_mean": Measure("mean of ap_50 … ap_95"),
    "panoptic_quality": Measure(
        "sum of the pairs' IoU / (pairs + half of what has none), at IoU 0.5"
    ),
    "mean_matched_iou": Measure("mean IoU of the pairs with an IoU of at least 0.5"),
    "objects": _count("segments"),
    "true_objects": _count("objects drawn"),
    "adapted_rand_error": _low("1 − Rand F-score of the segments, background being one"),
    "vi_split": _low("variation of information, bits: how far objects are divided"),
    "vi_merge": _low("variation of information, bits: how far objects are joined"),
}

MAIN = (
    *("pixel_error", "dice", "rand_error", "v_rand", "warping_error", "mask_rand_error"),
    *("seg", "det", "ap_50", "panoptic_quality", "objects", "true_objects"),
)
"""What a table shows unless all are asked for."""


def measure(name: str) -> Measure:
    """What ``name`` means: a key of MEASURES, with MASK before it, or iou_K of class K."""
    if name in MEASURES:
        return MEASURES[name]
    if name.startswith(MASK):
        known = measure(name.removeprefix(MASK))
        return Measure(known.text, known.best, "of the mask as it is", known.whole)
    found = re.fullmatch(r"iou_(\d+)", name)
    if found is None:
        raise InputError(f"'{name}' is no measure; known: {', '.join(MEASURES)}")
    return Measure(f"IoU (intersection over union) of the pixels of class {found[1]}")


def main_measures(names: Iterable[str]) -> list[str]:
    """Of ``names`` those to look at first; of several classes, each class's IoU, too."""
    names = list(names)
    classes = [name for name in names if re.fullmatch(r"iou_\d+", name)]
    chosen = [name for name in MAIN if name in names]
    return [*chosen, "iou", *classes] if classes else chosen
