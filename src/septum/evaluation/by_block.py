"""An image that is larger than memory, scored block by block, by what is a sum over pixels.

Pixels of a map at 0.5 or of a mask, classes, and, of objects that are numbered on both sides, all
that is made of the pixels that two of them share. Thresholds, Rand, V_rand, V_info, boundaries and
warping need the whole image, as do connected components.
"""

from __future__ import annotations

from collections.abc import Callable

from septum.errors import InputError
from septum.evaluation.choices import (
    class_numbers,
    likeliest,
    object_map,
    object_mask,
    probable_bits,
)
from septum.evaluation.contingency import Contingency, contingency, join
from septum.evaluation.large import boxes
from septum.evaluation.overlapping import count_bits, scores_of_bits
from septum.evaluation.pixels import (
    PixelCounts,
    Table,
    count_classes,
    count_pixels,
    scores_of_classes,
)
from septum.evaluation.planes import StoredPlane, show
from septum.evaluation.scores import Scores, score_table
from septum.evaluation.truth import Truth
from septum.images.stored import Box

WHOLE = "Rand, V_rand, V_info, boundary_f1, warping error and what is best of all thresholds"


def score_by_block(
    stored: StoredPlane, read_truth: Callable[[Box], Truth]
) -> tuple[Scores, tuple[str, ...]]:
    """The measures of `score_plane` that are sums over blocks, and which these are.

    ``read_truth`` gives the truth within a box; objects that are connected components are those of
    the box, and are not used. Each block is read once; what is held besides is the table of objects
    that share pixels. Raises InputError as `score_plane`, and where no measure is left.
    """
    classes: dict[str, Table] = {}
    pixels: dict[str, PixelCounts] = {}
    tables: list[Contingency] = []
    remarks: dict[str, None] = {}
    truth = None
    for box in boxes(stored.extents):
        plane, truth = stored.read(box), read_truth(box)
        remarks |= dict.fromkeys(plane.remarks)
        if truth.overlapping:
            for what, bits_S in (("map", probable_bits(plane, truth)), ("mask", plane.mask)):
                if bits_S is not None:
                    table = count_bits(bits_S, truth.classes_S, truth.class_count)
                    classes[what] = classes[what] + table if what in classes else table
            continue
        if truth.class_count > 2:
            for what, ids_S, said in (
                ("map", likeliest(plane, truth), ()),
                ("mask", *class_numbers(plane, truth)),
            ):
                remarks |= dict.fromkeys(said)
                if ids_S is not None:
                    table = count_classes(ids_S, truth.classes_S, truth.class_count, truth.valid)
                    classes[what] = classes[what] + table if what in classes else table
            continue
        mask_S, map_S = object_mask(plane, truth), object_map(plane)
        for what, found_S in (("map", None if map_S is None else map_S > 0.5), ("mask", mask_S)):
            if found_S is not None and not truth.partial:
                counts = count_pixels(found_S, truth.foreground, truth.valid)
                pixels[what] = pixels[what] + counts if what in pixels else counts
        if plane.instances is not None and truth.numbered:
            tables.append(contingency(plane.instances, truth.instances_S, truth.known_S))
    assert truth is not None, "an image has pixels"
    of_classes = scores_of_bits if truth.overlapping else scores_of_classes
    parts = {what: Scores(of_classes(table)) for what, table in classes.items()}
    parts |= {what: Scores(counts.scores()) for what, counts in pixels.items()}
    if len(parts) == 2:
        parts["mask"] = parts["mask"].of_mask()
    if tables:
        parts["objects"] = score_table(join(tables), truth.partial)
    if not parts:
        raise InputError(
            "larger than memory, of which only numbered objects can be scored by block: predict "
            "with --instances, or evaluate on a machine with more memory"
        )
    values = {name: value for part in parts.values() for name, value in part.values.items()}
    objects = parts["objects"].objects if tables else None
    return Scores(values, {}, objects), (*remarks, _describe(stored, parts, truth))


def _describe(stored: StoredPlane, parts: dict[str, Scores], truth: Truth) -> str:
    """Which measures there are, and which there are not."""
    halved = truth.class_count == 2 or truth.overlapping
    names = {
        "map": "pixels of the probabilities" + (" at 0.5" if halved else ""),
        "mask": "pixels of the mask",
        "objects": "the numbered objects",
    }
    left = [WHOLE] if "map" in parts or "mask" in parts else []
    if "objects" not in parts and (stored.instances is not None or truth.numbered):
        left.append("objects, as they are not numbered on both sides (predict with --instances)")
    left = [] if truth.class_count > 2 or truth.overlapping else left
    return (
        f"larger than memory ({show(stored.extents)}), scored block by block: "
        + " and ".join(names[what] for what in parts)
        + (f"; left out, as they need the whole image: {'; '.join(left)}" if left else "")
    )
