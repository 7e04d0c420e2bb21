"""What became of each object: found, missed, invented, merged, split; to be drawn and counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from septum.evaluation.contingency import Contingency, Counts


@dataclass(frozen=True, eq=False)
class Mistakes:
    """Ids of true objects (found, missed, joined, divided) and of segments (the others).

    A segment covers a true object if it has more than half of its pixels, as in SEG and DET; it is
    a part of one if more than half of its own pixels are there.

    ``found``: covered by a segment that covers no other, and whole. ``missed``: covered by none,
    and not in parts either. ``joined``: covered by a segment that covers others, too. ``divided``:
    of two or more parts; an object can be joined and divided. ``right``: segments that cover one
    object. ``merging``: two or more. ``parts``: of divided objects. ``invented``: they cover none
    and are no parts; in a truth in which not every object was drawn, ``partial``, they are
    ``unjudged``.
    """

    found: Counts
    missed: Counts
    joined: Counts
    divided: Counts
    right: Counts
    merging: Counts
    parts: Counts
    invented: Counts
    unjudged: Counts
    partial: bool

    def in_words(self) -> str:
        """How many there are of each."""
        words = [
            f"{len(self.found)} found",
            f"{len(self.missed)} missed",
            f"{len(self.unjudged)} not judged"
            if self.partial
            else f"{len(self.invented)} invented",
            f"{len(self.joined)} merged",
            f"{len(self.divided)} split",
        ]
        return ", ".join(words)


def find_mistakes(table: Contingency, partial: bool = False) -> Mistakes:
    """Judge the objects of a table. ``partial``: not every object was drawn."""
    overlaps = table.overlaps()
    truth_ids, segment_ids = table.truth_areas()[0], table.segment_areas()[0]
    truths, segments = len(truth_ids), len(segment_ids)
    truth_P, segment_P = overlaps.truth_P, overlaps.segment_P
    covers_P = 2 * overlaps.count_P > overlaps.truth_T[truth_P]
    inside_P = 2 * overlaps.count_P > overlaps.segment_S[segment_P]

    covered_S = np.bincount(segment_P[covers_P], minlength=segments)
    merging_S = covered_S >= 2
    joined_T = np.zeros(truths, bool)
    joined_T[truth_P[covers_P & merging_S[segment_P]]] = True
    divided_T = np.bincount(truth_P[inside_P], minlength=truths) >= 2
    covered_T = np.bincount(truth_P[covers_P], minlength=truths) > 0
    parts_S = np.zeros(segments, bool)
    parts_S[segment_P[inside_P & divided_T[truth_P]]] = True
    lone_S = (covered_S == 0) & ~parts_S
    none = segment_ids[:0]
    return Mistakes(
        found=truth_ids[covered_T & ~joined_T & ~divided_T],
        missed=truth_ids[~covered_T & ~divided_T],
        joined=truth_ids[joined_T],
        divided=truth_ids[divided_T],
        right=segment_ids[(covered_S == 1) & ~parts_S],
        merging=segment_ids[merging_S],
        parts=segment_ids[parts_S],
        invented=none if partial else segment_ids[lone_S],
        unjudged=segment_ids[lone_S] if partial else none,
        partial=partial,
    )
