"""Masks of one thing each: a file for every object of an image, or for every class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from septum.annotation.colours import one_number_a_pixel
from septum.annotation.imagej_rois import read_rois
from septum.annotation.meaning import DRAWN_IGNORED, IGNORE
from septum.annotation.pair import Drawing
from septum.annotation.shapes import Shape, cut_out
from septum.errors import AnnotationError
from septum.images.stored import Box, StoredImage, load_image, open_image


def read_object_masks(
    files: tuple[Path, ...], extents: tuple[int, ...] | None, ignore: tuple[int, ...] = ()
) -> list[Shape]:
    """One object for each file: a mask, in which everything but 0 is the object, or a .roi.

    Behind them come areas of the values ``ignore``, of which nothing is known. Raises
    AnnotationError: a mask of another size than ``extents`` (Y, X) or with more than two values
    else; what `read_rois` raises.
    """
    shapes: list[Shape] = []
    unknown: list[Shape] = []
    for file in files:
        if file.suffix.lower() == ".roi":
            shapes += read_rois(file)
            continue
        image = load_image(file, labels=True)
        labels = one_number_a_pixel(image, image).read().array
        if labels.ndim != 2 or (extents is not None and labels.shape != extents):
            expected = " × ".join(map(str, extents or ("?", "?")))
            raise AnnotationError(
                f"{file}: a mask of {' × '.join(map(str, labels.shape))} pixels, but its image has "
                f"{expected}; expected the same size, and one plane: export it again"
            )
        drawn, ignored = _drawn(labels, file, ignore)
        if ignored.any():
            unknown.append(cut_out(file.name, ignored, ignored=True))
        if drawn.any() or not ignored.any():
            shapes.append(cut_out(file.name, drawn))
    return shapes + unknown


@dataclass(frozen=True)
class ClassMasks:
    """Label values of one mask a class, combined for the region that is read."""

    masks: tuple[tuple[str, int, StoredImage], ...]
    """Name, value and mask of each class, from the lowest to the topmost."""
    drawing: Drawing

    @classmethod
    def open(cls, drawing: Drawing, plain: StoredImage) -> ClassMasks:
        """The masks of an image, of which ``plain`` has the axes but C and their extents.

        Raises AnnotationError for a mask of another size.
        """
        files, masks = dict(zip(drawing.names, drawing.files, strict=True)), []
        for name, value in drawing.values:
            file = files.get(name)
            if file is None:  # a class of a model that these masks do not have
                continue
            mask = one_number_a_pixel(open_image(file, labels=True), plain)
            if mask.shape != plain.shape:
                raise AnnotationError(
                    f"{plain.source} has {' × '.join(map(str, plain.shape))} pixels (axes "
                    f"{plain.axes}), but {file} has {' × '.join(map(str, mask.shape))}; expected "
                    "the same size: export the mask again, or crop"
                )
            masks.append((name, value, mask))
        return cls(tuple(masks), drawing)

    def read(self, box: Box) -> npt.NDArray[np.integer]:
        """Label values within ``box``, bits of overlapping classes.

        A pixel that has an ignored value in any mask is ignored. Raises OverlapError where classes
        overlap, if the user did not say that they may.
        """
        if self.drawing.kind == "overlapping":
            return self._read_bits(box)
        labels = np.zeros([part.stop - part.start for part in box], np.int32)
        unknown = np.zeros(labels.shape, bool)
        before: dict[int, str] = {}
        for name, value, mask in self.masks:
            assert mask.source is not None
            drawn, ignored = _drawn(mask.read(box).array, mask.source, self.drawing.ignore)
            unknown |= ignored
            both = labels[drawn]
            if not self.drawing.ordered and both.any():
                twice = both[both != 0]
                raise overlap_error(str(mask.source), twice.size, before[int(twice[0])], name)
            labels[drawn] = value
            before[value] = name
        labels[unknown] = DRAWN_IGNORED
        return labels

    def _read_bits(self, box: Box) -> npt.NDArray[np.integer]:
        bits = np.zeros([part.stop - part.start for part in box], np.uint8)
        for _, value, mask in self.masks:
            assert mask.source is not None
            drawn, ignored = _drawn(mask.read(box).array, mask.source, self.drawing.ignore)
            bits[drawn] |= np.uint8(value)
            bits[ignored] = IGNORE
        return bits


class OverlapError(AnnotationError):
    """Pixels are of two classes, and nobody said that they may."""


def overlap_error(what: str, pixels: int, first: str, second: str) -> OverlapError:
    """The error for pixels of two classes."""
    return OverlapError(
        f"{what}: {pixels} pixels are of both {first} and {second}; say which is above, naming all "
        f'classes from the lowest to the topmost: --set \'labels.classes=["{first}", "{second}"]\''
        ", or learn each on its own: --set labels.kind=overlapping --set network.head=sigmoid"
    )


def _drawn(
    labels: np.ndarray, file: Path, ignore: tuple[int, ...]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which pixels are of the one value that is not 0, and which of an ignored one."""
    ignored = np.isin(labels, ignore)
    drawn = (labels != 0) & ~ignored
    values = labels[drawn]
    if values.size and (values != values[0]).any():
        others = int(np.count_nonzero(values != values[0]))
        raise AnnotationError(
            f"{file}: is one of several masks of an image, but holds more than 0 and one other "
            f"value ({values[0]:g}, and {others} other pixels); expected a mask without smoothed "
            "edges: threshold it, or if these are numbered objects keep this file alone"
        )
    return np.asarray(drawn), ignored
