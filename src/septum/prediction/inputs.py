"""The images of one command: looked at before the first is predicted, and what is left out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from septum.annotation.colours import as_grey
from septum.annotation.matching import image_key, is_label_name, label_key, stem
from septum.errors import InputError
from septum.images.files import expand_inputs
from septum.images.stored import StoredImage, load_image, open_image
from septum.model import Model
from septum.prediction.outputs import Output

READ_AHEAD = 32 << 20
"""Bytes of an image in colour up to which it is read at once to see whether it is grey."""

RESULT = re.compile(r"(?P<name>.+)\.(mask|probability|instances)")
"""The stem of a file that `septum predict` writes."""


class LeftOut:
    """Images that cannot be predicted: the first ends the command, unless ``keep_going``.

    Then they are left out, and `tell` names them at the end.
    """

    def __init__(self, keep_going: bool, images: int = 1) -> None:
        self.keep_going, self.images = keep_going, images
        self.errors: list[InputError] = []

    @contextmanager
    def noting(self, source: Path) -> Iterator[None]:
        """What is wrong with ``source`` is raised or kept, with its name before it."""
        try:
            yield
        except InputError as error:
            named = str(source) in str(error)
            error = error if named else type(error)(f"{source}: {error}")
            if not self.keep_going:
                if self.images > 1 and "--keep-going" not in str(error):
                    error = type(error)(f"{error}; --keep-going leaves it out")
                raise error from None
            self.errors.append(error)

    def tell(self) -> None:
        """Raise InputError if any were left out."""
        if self.errors:
            count = "1 image was" if len(self.errors) == 1 else f"{len(self.errors)} images were"
            raise InputError(f"{count} left out: {'; '.join(map(str, self.errors))}")


def find_images(given: Sequence[Path]) -> list[Path]:
    """The files of `expand_inputs`; in a folder, results and labels (``a_mask.tif`` beside
    ``a.tif``) of images that are in it do not count.
    """
    found = []
    for path in given:
        files = expand_inputs([path])
        if path.is_dir() and files != [path]:
            files = _without_labels(files)
            stems = {file.stem for file in files}
            files = [
                file
                for file in files
                if (match := RESULT.fullmatch(file.stem)) is None or match["name"] not in stems
            ]
        found += files
    return list(dict.fromkeys(found))


def _without_labels(files: Sequence[Path]) -> list[Path]:
    images = {name for f in files if not is_label_name(f) for name in (stem(f), image_key(f))}
    return [f for f in files if not (is_label_name(f) and label_key(f) in images)]


def check_images(outputs: Sequence[Output], model: Model, left_out: LeftOut) -> list[Output]:
    """Those of ``outputs`` whose images the model takes, as far as their headers tell.

    Raises InputError or ImageFileError for the first of the others, unless they are ``left_out``.
    """
    every = LeftOut(keep_going=True)
    usable = []
    for output in outputs:
        with every.noting(output.source):
            image = open_image(output.source)
            check_header(image, model)
            taken = as_asked(image, model)
            if taken is not image and math.prod(image.shape) * image.dtype.itemsize <= READ_AHEAD:
                as_asked(load_image(output.source), model).read()  # are its channels equal?
            usable.append(output)
    if every.errors and not left_out.keep_going:
        first = every.errors[0]
        more = len(every.errors) - 1
        others = f"; {more} more cannot be used either" if more else ""
        images = "1 image" if len(usable) == 1 else f"{len(usable)} images"
        hint = f"; --keep-going predicts the other {images}" if usable else ""
        raise type(first)(f"{first}{others}{hint}")
    left_out.errors += every.errors
    return usable


def as_asked(image: StoredImage, model: Model) -> StoredImage:
    """The one channel that a model takes, of a grey image that was saved in colour.

    As in training. Reading a region in which the channels differ raises AnnotationError.
    """
    if not _may_be_grey(image, model):
        return image
    problem = (
        f"image has 3 channels (axes {image.axes}), which differ; this model was trained on 1; "
        "convert it to grey values"
    )
    return as_grey(image, problem)


def _may_be_grey(image: StoredImage, model: Model) -> bool:
    return model.channels == 1 and image.channels == 3


def check_header(image: StoredImage, model: Model) -> None:
    """Raise InputError or ImageFileError unless channels and axes are those of the model."""
    dimensions = model.recipe.network.dimensions
    planes = image.stacks(dimensions)  # refuses a plane where volumes are needed
    if image.channels == model.channels or _may_be_grey(image, model):
        return
    hint = ""
    split = [(axis, image.shape[image.axes.index(axis)]) for axis in "ZT" if axis in image.axes]
    for axis, extent in split:
        if image.channels == 1 and extent == model.channels and len(planes) == extent:
            hint = (
                f"; its axis {axis} has {extent} planes: if those are its channels, save it with "
                "axes CYX"
            )
    raise InputError(
        f"image has {image.channels} channel{'s' * (image.channels != 1)} (axes {image.axes}); "
        f"this model was trained on {model.channels}{hint}"
    )
