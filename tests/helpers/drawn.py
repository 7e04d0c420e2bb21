"""A few drawn objects and a segmentation of them, with every measure known by hand."""

from __future__ import annotations

import numpy as np

A, B, C, D = 70_001, 5, 9, 12
"""Ids of the true objects; A and B touch. One is above 2^16."""
MERGING, LEFT, RIGHT, INVENTED = 1, 2, 3, 70_000
"""Ids of the segments: of A and B together, of the halves of C, and one where nothing is."""

BY_HAND = {
    # IoU 16 / 32 with A and with B; each half of C is not more than half of it; D is missed.
    "seg": (0.5 + 0.5 + 0 + 0) / 4,
    # 2 missed, 3 segments that cover nothing, 1 to be divided; 4 objects.
    "det": 1 - (10 * 2 + 3 + 5) / 40,
    # Two pairs of IoU 0.5, two segments and two objects without.
    "ap_50": 2 / 6,
    **{f"ap_{tau}": 0.0 for tau in range(55, 100, 5)},
    "ap_mean": 2 / 6 / 10,
    "panoptic_quality": (0.5 + 0.5) / (2 + 2 / 2 + 2 / 2),
    "mean_matched_iou": 0.5,
    "objects": 4.0,
    "true_objects": 4.0,
    # Ordered pairs of pixels: in both 5 pieces of 16; in the truth 3 of 16 and one of 32, as in
    # the segmentation, where the missed object is one with the background.
    "adapted_rand_error": 1 - 2 * 5 * 16 * 15 / (2 * (3 * 16 * 15 + 32 * 31)),
    "vi_split": 32 / 80,
    "vi_merge": 32 / 80,
}


def truth() -> np.ndarray:
    ids = np.zeros((12, 16), np.uint32)
    ids[1:5, 1:5], ids[1:5, 5:9], ids[1:5, 11:15] = A, B, D
    ids[7:11, 1:9] = C
    return ids


def segments() -> np.ndarray:
    ids = np.zeros((12, 16), np.uint32)
    ids[1:5, 1:9], ids[7:11, 11:15] = MERGING, INVENTED
    ids[7:11, 1:5], ids[7:11, 5:9] = LEFT, RIGHT
    return ids
