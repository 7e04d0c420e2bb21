"""The layouts of annotated data that people have, and the pairs of files found in them."""

from __future__ import annotations

from pathlib import Path

from septum.annotation.challenge import pairs_of_challenge
from septum.annotation.folders import (
    labels_within,
    pairs_of_image_folders,
    pairs_of_one_folder,
    pairs_of_two_folders,
)
from septum.annotation.interpretation import name_values
from septum.annotation.matching import UnpairedError, stem
from septum.annotation.meaning import LabelMeaning
from septum.annotation.pair import Pair
from septum.annotation.pair_coco import pairs_of_coco
from septum.annotation.pair_tables import pairs_of_table
from septum.errors import InputError
from septum.images.zarr_store import is_zarr
from septum.recipe import Labels

__all__ = ["LAYOUTS", "Pair", "UnpairedError", "find_pairs"]

LAYOUTS = (
    "a folder with images/ and labels/ (or masks/), a folder of NAME.tif with NAME_labels.tif or "
    "X-volume.tif with X-labels.tif, a Cell Tracking Challenge folder (02/ with 02_GT/SEG or "
    "02_ST/SEG), folders ID/ with ID/images and ID/masks, COCO JSON, an OME-Zarr with labels/, a "
    "CSV of image,labels (docs/annotations.md)"
)


def find_pairs(data: Path | str, labels: Labels | LabelMeaning | None = None) -> list[Pair]:
    """Find the pairs of images and labels in one of the layouts known, in natural order.

    - A folder with ``images/`` and ``labels/`` (or ``masks/`` …; any case): file names are equal
      but for the type, or after an ending such as ``_mask`` or ``-labels`` is taken off, or a
      beginning such as ``label_``, or without regard to case. In ``labels/``: label images,
      outlines (.roi, .zip, .geojson), several masks an image, NAME_CLASS, or folders, one for each
      class, or for each image with a mask for each object.
    - One folder: ``NAME.tif`` beside ``NAME_labels.tif``, ``NAME.zip`` and so on, or beside
      ``NAME_CLASS.tif`` of several classes; ``X-volume.tif`` beside ``X-labels.tif``, where a
      volume without labels is test data and left out.
    - Folders ``ID/`` with one image in ``ID/images`` and a mask an object in ``ID/masks``.
    - Cell Tracking Challenge: a folder that holds ``02/`` and ``02_GT/SEG`` or ``02_ST/SEG``: gold
      truth if there is any, else silver; the path of one of these folders picks that truth.
      Frames without labels are left out.
    - A COCO file, or a folder with one, in it or in its ``annotations/``.
    - OME-Zarr: ``NAME.zarr`` in place of a file of the two layouts above and of a table; or one
      store, or a folder of them, each with its labels as the one image in ``NAME.zarr/labels``.
    - A ``.csv`` with the columns image and labels, with or without a header; paths are relative
      to it.

    ``labels`` says what names and numbers are to mean; without it they are as `name_values` finds
    them. Raises InputError for a path that is missing, empty or in none of these layouts, and
    UnpairedError, with names and number, for images without labels or labels without images.
    """
    data = Path(data)
    if not data.exists():
        raise InputError(f"{data}: does not exist; expected {LAYOUTS}")
    if not data.is_dir() and data.suffix.lower() not in (".csv", ".json"):
        raise InputError(f"{data}: is a single file; expected {LAYOUTS}")
    if data.is_dir() and not any(not item.name.startswith(".") for item in data.iterdir()):
        raise InputError(f"{data}: is an empty folder; expected {LAYOUTS}")
    try:
        return name_values(_find(data), labels)
    except UnpairedError as error:
        error.matched = name_values(error.matched, labels)
        raise


def _find(data: Path) -> list[Pair]:
    if data.suffix.lower() == ".csv" and data.is_file():
        return pairs_of_table(data)
    if data.is_file():
        return pairs_of_coco(data)
    if is_zarr(data):
        return [Pair(stem(data), data, labels_within(data))]
    return (
        pairs_of_challenge(data.resolve())
        or pairs_of_coco(data)
        or pairs_of_two_folders(data)
        or pairs_of_image_folders(data)
        or pairs_of_one_folder(data, LAYOUTS)
    )
