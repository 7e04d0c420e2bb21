"""Measures in words, and as big numbers."""

from __future__ import annotations

import math
from typing import Any

from septum.report.markup import percent

NAMES = {
    "pixel_error": "pixel error",
    "pixel_f_error": "pixel F error",
    "dice": "Dice",
    "iou": "IoU",
    "rand_error": "Rand error",
    "object_error": "object error",
    "mask_pixel_error": "mask pixel error",
    "mask_rand_error": "mask Rand error",
    "loss": "loss",
}
MEASURES = {
    "pixel_error": "share of wrong pixels",
    "iou": "overlap of prediction and label, 1 is perfect",
    "rand_error": "objects wrongly merged or split, 0 is perfect",
    "object_error": "1 − mean average precision of objects, 0 is perfect",
    "loss": "what training makes small",
}


def score_numbers(scores: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The measures as big numbers that grow with the quality, each with its plain meaning."""
    shown = []
    if "object_error" in scores:
        shown.append(
            (
                percent(1 - scores["object_error"]),
                "objects found and outlined well",
                "Mean average precision at IoU 0.5 to 0.9 (where not all were drawn, of those and "
                "what is beside them), at the threshold that is best for these images.",
            )
        )
    if "pixel_error" in scores:
        shown.append(
            (
                percent(1 - scores["pixel_error"]),
                "of pixels right",
                f"Share of wrong pixels (pixel error): {scores['pixel_error']:.4f}.",
            )
        )
    if math.isfinite(scores.get("iou", math.nan)):
        shown.append(
            (
                percent(scores["iou"]),
                "overlap with what was drawn",
                "Pixels that prediction and label share, of those in either (IoU).",
            )
        )
    if "rand_error" in scores:
        shown.append(
            (
                percent(1 - scores["rand_error"]),
                "objects kept whole and apart",
                f"Rand error {scores['rand_error']:.4f}, at the threshold that is best for these "
                "images: pairs of pixels wrongly joined into one object, or wrongly parted.",
            )
        )
    return shown
