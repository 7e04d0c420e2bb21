"""Files that hold images, and files that hold what was drawn on them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from septum.annotation.imagej_rois import read_rois
from septum.annotation.json_files import annotator_of, json_kind, other_json
from septum.annotation.matching import image_names, is_named_after, stem
from septum.annotation.pair import Drawing, Pair
from septum.errors import AnnotationError
from septum.images.files import SUFFIXES, image_files, natural_key
from septum.images.zarr_store import is_zarr

OUTLINES = (".roi", ".zip", ".geojson", ".json")
_MASKS = " ".join((*SUFFIXES, ".zarr"))
NO_PICKLES = (
    "is Cellpose's own file, which can run programs when it is opened (a pickle) and is never read "
    "here; in Cellpose, File › Save masks as PNG/tif writes NAME_cp_masks, which is read"
)


def images_in(folder: Path) -> list[Path]:
    """The image files and OME-Zarr directly in ``folder``, in natural order."""
    stores = [item for item in folder.glob("[!.]*.zarr") if is_zarr(item)]
    return sorted([*image_files(folder), *stores], key=lambda path: natural_key(path.name))


def outlines_in(folder: Path, beside: Sequence[Path] | None = None) -> list[Path]:
    """The files of outlines directly in ``folder``, in natural order, COCO's JSON left out.

    ``beside``: images in the same folder, where other archives and JSON files may be, too; only
    those named as labels of an image are then taken for outlines whatever they hold. Raises
    AnnotationError for JSON of another kind.
    """
    found = []
    stems = frozenset(map(stem, beside or ()))
    keys = image_names(beside or ())
    for path in folder.iterdir():
        if path.name.startswith(".") or not path.is_file() or path.suffix.lower() not in OUTLINES:
            continue
        meant = beside is None or stem(path) in stems
        if path.suffix.lower() == ".zip" and not (
            meant or is_named_after(path, keys) or _holds_rois(path)
        ):
            continue
        if path.suffix.lower() == ".json":
            kind = json_kind(path) if meant or _is_json(path) else None
            if kind is None and meant:
                raise other_json(path)
            if kind != "GeoJSON":
                continue
        found.append(path)
    return sorted(found, key=lambda path: natural_key(path.name))


def coco_in(folder: Path) -> list[Path]:
    """The COCO files directly in ``folder``, in natural order."""
    return [
        path for path in _of_type(".json", folder) if _is_json(path) and json_kind(path) == "COCO"
    ]


def refuse_unread(folders: Sequence[Path]) -> None:
    """Raise AnnotationError for a file that may be the labels where none were found.

    That is JSON that is damaged, or neither COCO's nor GeoJSON, and a damaged .zip; where there are
    no images either, JSON may be anything.
    """
    images = any(images_in(folder) for folder in folders)
    for path in (path for folder in folders for path in _of_type(".json", folder)):
        if json_kind(path) is None and (images or annotator_of(path)):
            raise other_json(path)
    for path in (path for folder in folders for path in _of_type(".zip", folder)):
        if _entries(path) is None:
            read_rois(path)  # which says what is wrong with it


def holds_drawings(folder: Path) -> bool:
    """Whether COCO's JSON or outlines lie directly in ``folder``.

    The images beside them are images then, and no labels. Raises AnnotationError for damaged JSON.
    """
    files = [path for suffix in OUTLINES for path in _of_type(suffix, folder)]
    return any(map(_is_drawing, files))


def _is_drawing(path: Path) -> bool:
    if path.suffix.lower() == ".zip":
        return _entries(path) is None or _holds_rois(path)
    if path.suffix.lower() == ".json":
        return json_kind(path) is not None
    return True


def label_pair(image: Path, labels: Path) -> Pair:
    """An image with one file, store or folder of labels. Raises AnnotationError.

    A folder holds a mask, or a .roi, for each object; in an empty one nothing was drawn.
    """
    suffix = labels.suffix.lower()
    drawing = None
    if labels.is_dir() and not is_zarr(labels):
        return object_pair(image, labels)
    if suffix in (".roi", ".zip"):
        drawing = Drawing("ImageJ", (labels,))
    elif suffix in (".geojson", ".json"):
        if suffix == ".json" and json_kind(labels) == "COCO":
            drawing = Drawing("COCO", (labels,), image.name)
        else:
            drawing = Drawing("GeoJSON", (labels,))
    elif suffix == ".npy":
        raise AnnotationError(f"{labels}: {NO_PICKLES}")
    return Pair(stem(image), image, labels, drawing)


def object_pair(image: Path, folder: Path) -> Pair:
    """An image with a folder of masks or .roi files, one an object, or of one file of outlines.

    Only where nothing is in the folder, nothing was drawn. Raises AnnotationError for one that
    holds other files alone.
    """
    rois = sorted(folder.glob("[!.]*.[rR][oO][iI]"), key=lambda path: natural_key(path.name))
    files = (*images_in(folder), *rois)
    others = [] if files else sorted(folder.glob("[!.]*"), key=lambda path: natural_key(path.name))
    if len(others) == 1 and others[0].suffix.lower() in (".zip", ".geojson"):
        return label_pair(image, others[0])
    if others:
        raise AnnotationError(
            f"{others[0]}: is not read as labels of {image.name}; expected a mask ({_MASKS}) or a "
            f".roi for each object in {folder.name}/, or one .zip of ROIs: save them so, or empty "
            "the folder if there is no object"
        )
    if rois and len(rois) == len(files):
        return Pair(stem(image), image, folder, Drawing("ImageJ", files))
    return Pair(stem(image), image, folder, Drawing("masks of objects", files))


def class_pair(image: Path, files: dict[str, Path]) -> Pair:
    """An image with one mask a class; with a single one, that is its label image."""
    labels = next(iter(files.values()))
    if len(files) == 1:
        return label_pair(image, labels)
    drawing = Drawing("masks of classes", tuple(files.values()), names=tuple(files))
    for file in files.values():
        if file.suffix.lower() not in (*SUFFIXES, ".zarr"):
            raise AnnotationError(
                f"{file}: is one of several files of {image.name}, and no image; expected a mask "
                "for each class, or one file of outlines: keep one"
            )
    return Pair(stem(image), image, labels, drawing)


def _of_type(suffix: str, folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() == suffix)
    found = [path for path in files if path.is_file() and not path.name.startswith(".")]
    return sorted(found, key=lambda path: natural_key(path.name))


def _holds_rois(path: Path) -> bool:
    """Whether an archive has ROIs in it, or nothing: then there was no object to be drawn."""
    names = _entries(path)
    return names is not None and (not names or any(n.lower().endswith(".roi") for n in names))


def _entries(path: Path) -> list[str] | None:
    """The names in an archive; None if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError):
        return None


def _is_json(path: Path) -> bool:
    try:
        json_kind(path)
    except AnnotationError:
        return False
    return True
