"""Pixels of classes that overlap: bit k − 1 of both maps is class k."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from septum.annotation.labels import IGNORE
from septum.errors import InputError
from septum.evaluation.pixels import Numbers, Table, count_classes, mean_of_objects


def count_bits(prediction_S: Numbers, truth_S: npt.NDArray[np.uint8], class_count: int) -> Table:
    """`count_classes` of all combinations of classes; what is IGNORE in the truth does not count.

    Raises InputError for classes that the truth has not.
    """
    valid_S = truth_S != IGNORE
    found_S = np.where(valid_S, prediction_S, 0).astype(np.int64)
    if int(found_S.max(initial=0)) >> (class_count - 1):
        raise InputError(f"the prediction has more masks than the truth, {class_count - 1}")
    return count_classes(found_S, truth_S, 1 << (class_count - 1), valid_S)


def scores_of_bits(table_TP: Table) -> dict[str, float]:
    """`scores_of_classes` of a table of `count_bits`; a pixel is wrong if any of its classes is."""
    total, bits = int(table_TP.sum()), np.arange(len(table_TP))
    dice_of, iou_of = {}, {}
    for k in range(1, len(table_TP).bit_length()):
        inside = (bits >> (k - 1) & 1).astype(bool)
        common = int(table_TP[np.ix_(inside, inside)].sum())
        both = int(table_TP[inside].sum() + table_TP[:, inside].sum())
        dice_of[k] = 2 * common / both if both else 1.0
        iou_of[k] = common / (both - common) if both else 1.0
    return {
        "pixel_error": (total - int(np.trace(table_TP))) / total if total else 0.0,
        "dice": mean_of_objects(dice_of),
        "iou": mean_of_objects(iou_of),
        **{f"iou_{k}": value for k, value in iou_of.items()},
    }
