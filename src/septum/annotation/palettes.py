"""Palettes of label images: one number is to have one colour in all files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from septum.annotation.colours import COLOUR, one_number_a_pixel
from septum.errors import AnnotationError, InputError
from septum.images.files import file_kind
from septum.images.stored import load_image, open_image

Palette = npt.NDArray[np.uint8]
"""Colours of shape (entries, 3)."""


def check_palettes(files: Sequence[Path]) -> None:
    """Raise AnnotationError where a class number has another colour in another file.

    Programs that make a palette for each picture number the colours anew; the numbers, which are
    the labels, then mean something else in each file. Only PNG and TIFF have palettes; those whose
    palettes differ are read.
    """
    found = {file: read_palette(file) for file in dict.fromkeys(files)}
    palettes = {file: palette for file, palette in found.items() if palette is not None}
    if len({palette.tobytes() for palette in palettes.values()}) < 2:
        return
    first: dict[int, tuple[tuple[int, ...], Path]] = {}
    for file, palette in palettes.items():
        for value in _values(file).tolist():
            if not 0 <= value < len(palette):
                continue
            colour = tuple(palette[value].tolist())
            before, other = first.setdefault(value, (colour, file))
            if before != colour:
                raise AnnotationError(
                    f"{other} and {file}: number {value} of the palette is {_hex(before)} in one "
                    f"and {_hex(colour)} in the other, so that it may mean two things; save both "
                    "in colour (RGB): then the colours are the classes"
                )


def refuse_palettes_beside_colours(files: Sequence[Path]) -> None:
    """Raise AnnotationError where some files say their classes by number, and some by colour."""
    palettes = {file for file in dict.fromkeys(files) if read_palette(file) is not None}
    numbered = next((file for file in files if file in palettes and _values(file).any()), None)
    if numbered is None:
        return
    others = (file for file in dict.fromkeys(files) if file not in palettes and _is_coloured(file))
    coloured = next((file for file in others if (_values(file) >= COLOUR).any()), None)
    if coloured is not None:
        raise AnnotationError(
            f"{numbered} has a palette, whose numbers are the classes, but {coloured} has colours "
            "(RGB), so that each class would be two; expected one of these in all: save all in "
            "colour, or all with the same palette"
        )


def read_palette(file: Path) -> Palette | None:
    """The palette of a PNG or TIFF, from its header; None if it has none, or cannot be read."""
    if not file.is_file():
        return None
    try:
        return _read_palette(file)
    except Exception:  # a parser may raise anything; who reads the pixels names the file
        return None


def _read_palette(file: Path) -> Palette | None:
    if file_kind(file) == "TIFF":
        import tifffile

        with tifffile.TiffFile(file) as tif:
            page = tif.pages.first
            colours = page.colormap if page.photometric == tifffile.PHOTOMETRIC.PALETTE else None
        return None if colours is None else (np.asarray(colours).T >> 8).astype(np.uint8)
    if file_kind(file) != "PNG":
        return None
    import PIL.Image

    with PIL.Image.open(file, formats=["PNG"]) as picture:
        if picture.mode != "P" or picture.palette is None:
            return None
        return np.frombuffer(bytes(picture.palette.palette), np.uint8).reshape(-1, 3)


def _values(file: Path) -> npt.NDArray[np.integer]:
    """The label values of a file, each once; none of one that cannot be read."""
    try:
        image = load_image(file, labels=True)
        return np.unique(one_number_a_pixel(image, image).read().array)
    except InputError:
        return np.zeros(0, np.int64)


def _is_coloured(file: Path) -> bool:
    """Whether a file has channels, by its header."""
    try:
        return "C" in open_image(file, labels=True).axes
    except InputError:
        return False


def _hex(colour: tuple[int, ...]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)
