"""The targets that a network learns, made of label values by what these mean."""

from __future__ import annotations

import numpy as np

from septum.annotation.colours import value_text
from septum.annotation.meaning import IGNORE, LabelMeaning
from septum.errors import AnnotationError

BESIDE, LEAST_BESIDE = 0.5, 2.0
"""How far beside a drawn object is background: in its radius, and pixels at least (decision 29)."""


def to_target(
    labels_S: np.ndarray, meaning: LabelMeaning, name: str = "labels", undrawn: int = IGNORE
) -> tuple[np.ndarray, np.ndarray]:
    """Class map (uint8: 0, 1, …, IGNORE) and instance map (int32: 0 is none), in 2D or 3D.

    Instances are, for instance labels, their ids, of which every pixel with a face neighbour of
    another id has become background in both maps: the separation border that the network is to
    learn (Ronneberger et al. 2015, section 3, by morphological operations); not so if the meaning
    is without ``seams``. For binary labels and classes they are the pieces, by face neighbours, of
    each class but 0. Of overlapping classes the class map holds bits, bit k − 1 for class k, and
    the instances are the pieces of what is in any. ``undrawn``: what the class map holds where
    nobody has drawn, of numbered objects of which not all are. Raises AnnotationError with the
    value and its number for a value that ``meaning`` does not know.
    """
    ignored = meaning.ignored(labels_S)
    if meaning.kind == "overlapping":
        bits_S = labels_S.astype(np.uint8)
        return bits_S, pieces(((bits_S != 0) & (bits_S != IGNORE)).astype(np.uint8))
    if meaning.kind == "instances":
        instances_S = labels_S.astype(np.int32)
        if ignored is not None:
            instances_S[ignored] = 0
        if meaning.seams:
            instances_S[_touching(instances_S)] = 0
        classes_S = (instances_S != 0).astype(np.uint8)
        if meaning.unlabelled_ignored:
            classes_S[(labels_S == 0) & ~_surroundings(instances_S)] = undrawn
    else:
        if meaning.kind == "binary":
            classes_S = _is_object(labels_S, meaning).astype(np.uint8)
        else:
            classes_S = _class_numbers(labels_S, meaning, ignored, name)
        if ignored is not None:
            classes_S[ignored] = 0
        instances_S = pieces(classes_S)
    if ignored is not None:
        classes_S[ignored] = IGNORE
    return classes_S, instances_S


def kept_apart(classes_S: np.ndarray, instances_S: np.ndarray, meaning: LabelMeaning) -> np.ndarray:
    """The instances of `to_target` that have walls between them, which border weights are for.

    Of several classes these are the pieces of what is not class 0: a nucleus is in one piece with
    its cytoplasm, so that background beside thin cytoplasm is no wall between the two.
    """
    if meaning.kind != "classes":
        return instances_S
    return pieces(((classes_S != 0) & (classes_S != IGNORE)).astype(np.uint8))


def _touching(instances_S: np.ndarray) -> np.ndarray:
    """Pixels with a face neighbour of another object."""
    touching = np.zeros(instances_S.shape, bool)
    for axis in range(instances_S.ndim):
        ids, marks = np.moveaxis(instances_S, axis, 0), np.moveaxis(touching, axis, 0)
        meet = (ids[:-1] != ids[1:]) & (ids[:-1] != 0) & (ids[1:] != 0)
        marks[:-1] |= meet
        marks[1:] |= meet
    return touching


def _surroundings(instances_S: np.ndarray) -> np.ndarray:
    """Pixels of objects, and within ``BESIDE`` of the radius of the nearest one, that of a circle
    (ball) of its area.

    Who draws an object sees where it ends: what is beside it is no part of it, and mostly of none.
    Farther away an undrawn neighbour may be, which this would teach to be background.
    """
    from scipy.ndimage import distance_transform_edt

    ids, numbers_S, areas = np.unique(instances_S, return_inverse=True, return_counts=True)
    if not ids.any():
        return np.zeros(instances_S.shape, bool)
    if instances_S.ndim == 2:
        radii = np.sqrt(areas / np.pi)
    else:
        radii = np.cbrt(areas * (3 / (4 * np.pi)))
    distance_S, nearest_AS = distance_transform_edt(instances_S == 0, return_indices=True)
    numbers_S = numbers_S.reshape(instances_S.shape)
    reaches = np.maximum(BESIDE * radii, LEAST_BESIDE)
    return np.asarray(distance_S <= reaches[numbers_S[tuple(nearest_AS)]])


def _is_object(labels_S: np.ndarray, meaning: LabelMeaning) -> np.ndarray:
    if meaning.object == "nonzero":
        return np.asarray(labels_S != 0)
    return np.asarray(labels_S == (0 if meaning.object == "zero" else meaning.object))


def _class_numbers(
    labels_S: np.ndarray, meaning: LabelMeaning, ignored: np.ndarray | None, name: str
) -> np.ndarray:
    values = np.asarray(meaning.class_values)
    numbers = np.searchsorted(values, labels_S).clip(max=len(values) - 1)
    unknown = values[numbers] != labels_S
    if ignored is not None:
        unknown &= ~ignored
    if unknown.any():
        value = labels_S[unknown][0]
        known = ", ".join(value_text(int(number)) for number in values[:10])
        raise AnnotationError(
            f"{name}: value {value_text(int(value))} at "
            f"{np.count_nonzero(labels_S[unknown] == value)} pixels is none of the classes "
            f"{known}; mend the mask or set labels.ignore={value_text(int(value))}"
        )
    return numbers.astype(np.uint8)


def pieces(classes_S: np.ndarray) -> np.ndarray:
    """The pieces, by face neighbours, of each value but 0: int32, numbered from 1."""
    if classes_S.max() <= 1:
        from scipy.ndimage import label  # by faces; several times faster, for two values only

        return np.asarray(label(classes_S)[0], np.int32)
    from skimage.measure import label as label_values

    found = label_values(classes_S, background=0, connectivity=1)  # type: ignore[no-untyped-call]
    return np.asarray(found, np.int32)
