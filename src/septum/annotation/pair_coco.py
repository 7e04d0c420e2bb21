"""Pairs of a COCO file, which names the images and may lie beside their folder."""

from __future__ import annotations

from pathlib import Path

from septum.annotation.coco import open_coco
from septum.annotation.folder_names import IMAGE_FOLDERS, LABEL_FOLDERS, folders_named
from septum.annotation.matching import in_order, named, stem
from septum.annotation.pair import Drawing, Pair
from septum.annotation.pair_files import coco_in, images_in
from septum.errors import AnnotationError
from septum.images.zarr_store import is_zarr


def pairs_of_coco(data: Path) -> list[Pair]:
    """Pairs of a COCO file, or of the one in a folder or its ``annotations/``; else none.

    Images are sought by file_name beside the file, in the folder above, and in images/ of both.
    Raises AnnotationError: several files, images that are not there, not in the file, or twice,
    crowds alone.
    """
    files = [data]
    if data.is_dir():
        files = [
            file
            for folder in (data, *folders_named(data, LABEL_FOLDERS))
            for file in coco_in(folder)
        ]
    if not files:
        return []
    if len(files) > 1:
        raise AnnotationError(
            f"{named(files)} are all COCO files; name the one to learn from: septum train "
            f"{files[0]}"
        )
    file = open_coco(files[0])
    drawn = [item for items in file.annotations.values() for item in items]
    if drawn and all(item.get("iscrowd") for item in drawn):
        raise AnnotationError(
            f"{files[0]}: all of its {len(drawn)} annotations are crowds (iscrowd 1), areas that "
            'are ignored; expected objects: write "iscrowd": 0 instead (CVAT and Datumaro write 1 '
            "for everything drawn with a brush)"
        )
    above = [files[0].parent, files[0].parent.parent]
    folders = [
        place for folder in above for place in (folder, *folders_named(folder, IMAGE_FOLDERS))
    ]
    pairs, missing = [], []
    for key in file.sizes:
        paths = [folder / name for name in (key, Path(key).name) for folder in folders]
        image = next((path for path in paths if path.is_file() or is_zarr(path)), None)
        if image is None:
            missing.append(key)
        else:
            pairs.append(Pair(stem(image), image, files[0], Drawing("COCO", (files[0],), key)))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise AnnotationError(
            f"{files[0]}: names the image {missing[0]}{more}, which is not in "
            f"{', '.join(f'{folder}/' for folder in folders)}; put the images there, or take them "
            "out of the file"
        )
    by_file: dict[Path, Pair] = {}
    for pair in pairs:
        other = by_file.setdefault(pair.image.resolve(), pair)
        if other is not pair and pair.drawing and other.drawing:
            raise AnnotationError(
                f"{files[0]}: names both {other.drawing.key} and {pair.drawing.key}, for which "
                f"there is one file, {pair.image}; expected a file for each: put the images into "
                "the folders that it names"
            )
    if data.is_dir():
        taken = {pair.image for pair in pairs}
        beside = [path for f in {pair.image.parent for pair in pairs} for path in images_in(f)]
        alone = [path for path in beside if path not in taken]
        if alone:
            raise AnnotationError(
                f"{named(alone)} without annotation: {files[0]} does not name them; add them to "
                "its images (without annotations where there is no object), or move them elsewhere"
            )
    if len({pair.name for pair in pairs}) < len(pairs):
        keys = [pair.drawing.key for pair in pairs if pair.drawing is not None]
        pairs = [
            Pair(str(Path(key).with_suffix("")), pair.image, pair.labels, pair.drawing)
            for pair, key in zip(pairs, keys, strict=True)
        ]
    return in_order(pairs)
