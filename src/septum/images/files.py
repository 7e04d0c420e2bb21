"""Image files: found, read and written. TIFF (plain, Big, ImageJ, OME), PNG, JPEG and BMP."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from septum.atomic_file import replace_file
from septum.errors import ImageFileError, InputError, SaveError
from septum.images.image import Image
from septum.images.tiff import RGB, drop_alpha, read_tiff, write_tiff
from septum.images.zarr_store import is_zarr

__all__ = [
    "PICTURE_SUFFIXES",
    "SUFFIXES",
    "Image",
    "check_finite",
    "expand_inputs",
    "image_files",
    "natural_key",
    "read_image",
    "write_image",
]

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
"""Files that can only be decoded as a whole."""
SUFFIXES = (*TIFF_SUFFIXES, *PICTURE_SUFFIXES)


def read_image(path: Path | str, labels: bool = False) -> Image:
    """Read an image file; its type, not its range, is kept: 12 bits come as uint16.

    Colour becomes three channels (axes CYX, names red, green, blue); an alpha channel is dropped
    where it is opaque, and refused where it is not. A palette of a PNG or BMP is applied, unless
    ``labels`` says that the indices themselves are meant. A page axis that the file does not
    declare is Z. Raises ImageFileError: missing, a folder, empty, damaged, cut short, not of the
    type that its name says, complex numbers, more axes than TCZYX, NaN or infinite pixels.
    """
    path = Path(path)
    check_readable(path)
    with decoding(path, file_kind(path)):
        image = read_tiff(path) if file_kind(path) == "TIFF" else _read_picture(path, labels)
    check_finite(image)
    return image


@contextmanager
def decoding(path: Path, kind: str) -> Iterator[None]:
    """Whatever is raised while a file of this kind is decoded becomes one line that names it."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a decoder may raise anything on damaged data
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageFileError(
            f"{path}: cannot be read as {kind} ({reason}); it is damaged, cut short, or "
            "of another type than its name says"
        ) from error


def check_finite(image: Image) -> None:
    """Raise ImageFileError, with their number, where pixels are NaN or infinite."""
    if image.array.dtype.kind != "f":
        return
    bad = image.array.size - int(np.count_nonzero(np.isfinite(image.array)))
    if bad:
        raise ImageFileError(
            f"{image.source or 'image'}: {bad} of {image.array.size} pixels are NaN or infinite; "
            "expected finite values: replace them, for instance by 0"
        )


def write_image(path: Path | str, image: Image) -> None:
    """Write ``.tif``/``.tiff`` (OME-TIFF; any type, all axes) or ``.png`` (uint8, uint16; grey
    or RGB, which keeps no pixel size), as a whole or not at all.

    Raises SaveError; then what stood at ``path`` is untouched.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".tif", ".tiff", ".png"):
        raise SaveError(f"{path}: cannot write '{suffix}' files; use .tif or .png")
    if suffix == ".png":
        _check_png(path, image)
    with replace_file(path) as temporary:
        if suffix == ".png":
            import imagecodecs

            array = image.array.astype(np.uint8) if image.array.dtype == bool else image.array
            if "C" in image.axes:
                array = np.moveaxis(array, 0, -1)
            temporary.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(array)))
        else:
            write_tiff(temporary, image, target=path)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sorting key by which t2 comes before t10."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p)


def image_files(folder: Path | str) -> list[Path]:
    """The image files directly in ``folder``, in natural order, hidden ones left out."""
    return sorted(
        (
            path
            for path in Path(folder).iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
        ),
        key=lambda path: natural_key(path.name),
    )


def expand_inputs(paths: Iterable[Path | str]) -> list[Path]:
    """Files, folders and glob patterns as one list of image files, each once, in the order given.

    A folder stands for the image files directly in it, but an OME-Zarr image is one. Raises
    InputError naming a path that does not exist or a pattern or folder that holds no image,
    ImageFileError for an unknown type.
    """
    found: dict[Path, None] = {}
    for given in paths:
        path = Path(given)
        if path.is_dir() and is_zarr(path):
            files = [path]
        elif path.is_dir():
            files = image_files(path)
            if not files:
                inner = (item for item in sorted(path.iterdir()) if item.is_dir())
                within = [item for item in inner if os.access(item, os.R_OK) and image_files(item)]
                hint = f"did you mean {within[0]}? " if within else ""
                raise InputError(f"{path}: no image files in this folder; {hint}known: {_known()}")
        elif path.exists():
            if path.suffix.lower() not in SUFFIXES:
                raise ImageFileError(_unknown_type(path))
            files = [path]
        elif glob.has_magic(str(given)):
            matches = (Path(match) for match in glob.glob(str(given), recursive=True))
            files = [
                m
                for m in matches
                if (m.suffix.lower() in SUFFIXES and m.is_file()) or (m.is_dir() and is_zarr(m))
            ]
            files.sort(key=lambda file: natural_key(str(file)))
            if not files:
                raise InputError(f"{given}: no image file matches this pattern; known: {_known()}")
        else:
            raise InputError(f"{path}: does not exist; expected an image file, folder or pattern")
        found.update(dict.fromkeys(files))
    return list(found)


def check_readable(path: Path) -> None:
    """Raise ImageFileError unless this is a file, not empty, whose name has a known ending."""
    try:
        if path.is_dir():
            raise ImageFileError(f"{path}: is a folder; expected an image file")
        if not path.exists():
            raise ImageFileError(f"{path}: does not exist; expected an image file")
        if path.suffix.lower() not in SUFFIXES:
            raise ImageFileError(_unknown_type(path))
        with path.open("rb") as file:
            if not file.read(1):
                raise ImageFileError(f"{path}: is empty; copy it again from its origin")
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be opened: {error.strerror or error}") from error


def _unknown_type(path: Path) -> str:
    return f"{path}: '{path.suffix}' files are not read here; known: {_known()}; convert it to TIFF"


def _known() -> str:
    return f"{' '.join(SUFFIXES)}, and OME-Zarr folders"


def file_kind(path: Path) -> str:
    """TIFF, PNG, JPEG, BMP, or else OME-Zarr, by the name."""
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        return "TIFF"
    kinds = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP"}
    return kinds.get(suffix, "OME-Zarr")


def _read_picture(path: Path, labels: bool) -> Image:
    import PIL.Image
    import PIL.ImageOps

    with PIL.Image.open(path, formats=[file_kind(path)]) as picture:
        if picture.format == "PNG" and picture.mode not in ("P", "1"):
            array = _decode_png(path, labels)  # Pillow would cut 16-bit colour down to 8
        else:
            array = _unpack(picture, labels)
            if picture.format == "JPEG":  # as every viewer shows it
                array = np.asarray(PIL.ImageOps.exif_transpose(picture))
    if array.ndim == 2:
        return Image(array, "YX", source=path)
    image_CYX = np.moveaxis(array, -1, 0)
    if image_CYX.shape[0] in (2, 4) and file_kind(path) in ("PNG", "BMP"):
        image_CYX = drop_alpha(path, image_CYX)
    if image_CYX.shape[0] == 1:
        return Image(np.ascontiguousarray(image_CYX[0]), "YX", source=path)
    names = RGB if image_CYX.shape[0] == 3 else None
    return Image(np.ascontiguousarray(image_CYX), "CYX", channel_names=names, source=path)


def _decode_png(path: Path, labels: bool) -> np.ndarray:
    import imagecodecs

    content = path.read_bytes()
    array = np.asarray(imagecodecs.png_decode(content))
    bits, colour = content[24], content[25]  # of the header, which always comes first
    if labels and colour == 0 and bits in (2, 4):  # the decoder stretched them to 0 … 255
        array = array // (255 // (2**bits - 1))
    return array


def _unpack(picture: Any, labels: bool) -> np.ndarray:
    """A palette's indices for labels, its colours for images; everything else as it is."""
    if picture.mode == "P" and not labels:
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    return np.asarray(picture)


def _check_png(path: Path, image: Image) -> None:
    plain = image.axes == "YX" or (image.axes == "CYX" and image.channels == 3)
    if not plain or image.array.dtype not in (np.uint8, np.uint16, bool):
        raise SaveError(
            f"{path}: PNG holds 8- or 16-bit grey or RGB images, not {image.array.dtype} with axes "
            f"{image.axes} of shape {image.array.shape}; use .tif"
        )
