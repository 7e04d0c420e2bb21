"""What was drawn: found, and made into what a prediction is compared with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from septum.annotation.interpretation import name_values
from septum.annotation.labels import IGNORE, LabelMeaning, to_target
from septum.annotation.pair_files import holds_drawings
from septum.annotation.pairs import Annotated, Pair, find_pairs
from septum.errors import InputError
from septum.evaluation.contingency import Ids
from septum.evaluation.pixels import Bools
from septum.evaluation.predictions import name_of
from septum.images.files import image_files, natural_key
from septum.images.zarr_store import is_zarr
from septum.recipe import Labels

_SEG = re.compile(r"man_seg_?(?P<frame>\d+)(_(?P<plane>\d+))?")
_SILVER = re.compile(r"\d+_ST")


@dataclass(frozen=True, eq=False)
class Truth:
    """What was drawn in one image. Arrays are of its spatial shape S.

    ``classes_S``: class ids; 255 is ignored. ``instances_S``: object ids, 0 is none; of binary
    labels and classes the connected components, by faces. ``parted_S``: objects, with a seam where
    two of them touch. ``known_S``: what is not of the ignored value. ``looked_at_S``: where it is
    known what is there; of partly drawn truth the objects, and what is beside them, as `to_target`
    has it. ``numbered``: the labels are object ids. ``partial``: not every object was drawn; the
    background is then in ``known_S``, as it is none of the objects drawn, and ignored in
    ``classes_S``, as it may be others.
    ``class_values``: the label value of each class, of classes. ``overlapping``: classes are bits
    of ``classes_S``, class k bit k − 1.
    """

    classes_S: npt.NDArray[np.uint8]
    instances_S: Ids
    parted_S: Bools
    known_S: Bools
    looked_at_S: Bools
    class_count: int = 2
    numbered: bool = False
    partial: bool = False
    class_values: tuple[int, ...] = ()
    overlapping: bool = False

    @property
    def valid(self) -> Bools:
        """Pixels that count, where pixels are compared."""
        return np.asarray(self.classes_S != IGNORE)

    @property
    def foreground(self) -> Bools:
        """Pixels of objects, of two classes."""
        return np.asarray((self.classes_S != IGNORE) & (self.classes_S != 0))


def make_truth(labels_S: np.ndarray, meaning: LabelMeaning, name: str = "labels") -> Truth:
    """Labels as drawn, as what their values mean. Raises AnnotationError as `to_target`.

    As `to_target` makes them for training, but for one thing: touching objects keep the pixels
    where they touch, which are only taken from them to be learnt. Scores are against what was
    drawn.
    """
    classes_S, instances_S = to_target(labels_S, replace(meaning, seams=True), name)
    parted_S, looked_at_S = instances_S != 0, classes_S != IGNORE
    ignored_S = meaning.ignored(labels_S)
    known_S = np.ones(labels_S.shape, bool) if ignored_S is None else ~ignored_S
    if meaning.kind == "instances":
        instances_S = np.where(known_S, labels_S, 0)
        valid_S = known_S & (instances_S != 0) if meaning.unlabelled_ignored else known_S
        classes_S = np.where(valid_S, instances_S != 0, IGNORE).astype(np.uint8)
    return Truth(
        classes_S,
        instances_S,
        parted_S,
        known_S,
        looked_at_S,
        meaning.class_count,
        numbered=meaning.kind == "instances",
        partial=meaning.unlabelled_ignored,
        class_values=meaning.class_values if meaning.kind == "classes" else (),
        overlapping=meaning.kind == "overlapping",
    )


def truth_maps(part: Annotated, meaning: LabelMeaning) -> tuple[npt.NDArray[np.uint8], Ids]:
    """Class map (255 is ignored) and object ids of `make_truth`. Raises AnnotationError."""
    truth = make_truth(part.labels_S, meaning, str(part.label_path))
    return truth.classes_S, truth.instances_S


def find_truth(path: Path, labels: Labels | LabelMeaning | None = None) -> list[Pair]:
    """Label files, with their images where `path` is a data set, in natural order.

    `path` is a data set in one of the layouts of `find_pairs`, one label file (or stack, or
    OME-Zarr label image), or a folder of label files. Without images a label file stands as its
    own; so do the single planes of volumes that the Cell Tracking Challenge has annotated,
    man_seg_FRAME_PLANE.tif. ``labels`` is as of `find_pairs`. Raises InputError.
    """
    return name_values(_find_truth(path, labels), labels)


def _find_truth(path: Path, labels: Labels | LabelMeaning | None) -> list[Pair]:
    if path.is_file() and path.suffix.lower() not in (".csv", ".json"):
        return [_alone(path)]
    files = _label_files(path)
    if not files:
        files = [file for file in _label_files(path / "SEG") if frame_of(file)[1] is not None]
    if any(frame_of(file)[1] is not None for file in files):
        return [_alone(file) for file in files]
    try:
        return find_pairs(path, labels)
    except InputError as error:
        if is_zarr(path) and not (path / "labels").is_dir():
            return [_alone(path)]
        if not files or holds_drawings(path):
            alone = "; or labels alone: a file, or a folder of label files"
            raise InputError(f"{error}{alone * (path.is_dir() and not files)}") from error
    return [_alone(file) for file in files]


def is_challenge(truths: Sequence[Pair]) -> bool:
    """Whether all label files are named as those of the Cell Tracking Challenge, man_seg…"""
    return all(_SEG.fullmatch(pair.labels.stem) for pair in truths)


def is_gold(truths: Sequence[Pair]) -> bool:
    """Whether this is the challenge's gold truth, in which not every object need be drawn.

    Its silver truth, of computers, has all of them.
    """
    silver = (part for pair in truths for part in pair.labels.resolve().parts[-3:-1])
    return is_challenge(truths) and not any(map(_SILVER.fullmatch, silver))


def frame_of(labels: Path) -> tuple[int, int | None]:
    """Frame, and plane where only that one was annotated, in the name of a challenge's file.

    Of another name: (-1, None).
    """
    match = _SEG.fullmatch(labels.stem)
    if match is None:
        return -1, None
    return int(match["frame"]), None if match["plane"] is None else int(match["plane"])


def _label_files(folder: Path) -> list[Path]:
    if not folder.is_dir() or is_zarr(folder):
        return []
    stores = [item for item in folder.glob("[!.]*.zarr") if is_zarr(item)]
    return sorted([*image_files(folder), *stores], key=lambda path: natural_key(path.name))


def _alone(labels: Path) -> Pair:
    return Pair(name_of(labels), labels, labels)
