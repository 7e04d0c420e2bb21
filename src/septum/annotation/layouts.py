"""The layouts of annotated data that people have, and the pairs of files found in them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from septum.errors import AnnotationError, InputError
from septum.images.files import SUFFIXES, image_files, natural_key
from septum.images.zarr_store import is_zarr

IMAGE_FOLDERS = ("images", "image")
LABEL_FOLDERS = ("labels", "label", "masks", "mask", "annotations", "annotation")
LAYOUTS = (
    "a folder with images/ and labels/ (or masks/), a folder of NAME.tif with NAME_labels.tif or "
    "X-volume.tif with X-labels.tif, a Cell Tracking Challenge folder (02/ with 02_GT/SEG or "
    "02_ST/SEG), an OME-Zarr with labels/, a CSV of image,labels"
)
_LABEL_ENDING = re.compile(r"[-_. ](masks?|labels?|seg|segmentation|annotations?|gt)$", re.I)
_IMAGE_ENDING = re.compile(r"[-_. ](images?|img|volume|raw)$", re.I)
_TRUTH = re.compile(r"(\d+)_(GT|ST)")


class UnpairedError(AnnotationError):
    """Images without labels, or labels without images; ``matched``: the pairs that there are."""

    def __init__(self, message: str, matched: list[Pair]) -> None:
        super().__init__(message)
        self.matched = matched


@dataclass(frozen=True)
class Pair:
    """An image and its labels, each a file or an OME-Zarr; ``name`` is unique in a data set."""

    name: str
    image: Path
    labels: Path


def find_pairs(data: Path | str) -> list[Pair]:
    """Find the pairs of images and labels in one of the layouts known, in natural order.

    - A folder with ``images/`` and ``labels/`` (or ``masks/`` …; any case): file names are equal
      but for the type, or after an ending such as ``_mask`` or ``-labels`` is taken off.
    - One folder: ``NAME.tif`` beside ``NAME_labels.tif``; ``X-volume.tif`` beside ``X-labels.tif``,
      where a volume without labels is test data and left out.
    - Cell Tracking Challenge: a folder that holds ``02/`` and ``02_GT/SEG`` or ``02_ST/SEG``: gold
      truth if there is any, else silver; the path of one of these folders picks that truth.
      Frames without labels are left out.
    - OME-Zarr: ``NAME.zarr`` in place of a file of the two layouts above and of a table; or one
      store, or a folder of them, each with its labels as the one image in ``NAME.zarr/labels``.
    - A ``.csv`` with the columns image and labels, with or without a header; paths are relative
      to it.

    Raises InputError for a path that is missing, empty or in none of these layouts, and
    AnnotationError, with names and number, for images without labels or labels without images.
    """
    data = Path(data)
    if not data.exists():
        raise InputError(f"{data}: does not exist; expected {LAYOUTS}")
    if data.is_file():
        if data.suffix.lower() != ".csv":
            raise InputError(f"{data}: is a single file; expected {LAYOUTS}")
        return _from_csv(data)
    if not any(not item.name.startswith(".") for item in data.iterdir()):
        raise InputError(f"{data}: is an empty folder; expected {LAYOUTS}")
    if is_zarr(data):
        return [Pair(_stem(data), data, _labels_within(data))]
    folder = data.resolve()
    return _from_challenge(folder) or _from_two_folders(data) or _from_one_folder(data)


def _from_csv(path: Path) -> list[Pair]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    pairs: list[Pair] = []
    for number, row in enumerate(csv.reader(text.splitlines(), delimiter=delimiter), start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != 2:
            raise InputError(f"{path}, line {number}: {len(cells)} columns; expected image,labels")
        if not pairs and not any(map(_names_an_image, cells)):
            continue  # the header
        image, labels = (path.parent / cell for cell in cells)
        for file in (image, labels):
            if not file.is_file() and not is_zarr(file):
                raise InputError(f"{path}, line {number}: {file} does not exist")
        pairs.append(Pair(_stem(image), image, labels))
    if not pairs:
        raise InputError(f"{path}: names no pair; expected lines of image,labels")
    if len({pair.name for pair in pairs}) < len(pairs):
        pairs = [
            Pair(_relative(pair.image, path.parent), pair.image, pair.labels) for pair in pairs
        ]
    seen: set[str] = set()
    for pair in pairs:
        if pair.name in seen:
            raise AnnotationError(f"{path}: names {pair.image} twice; keep one of the lines")
        seen.add(pair.name)
    return _sorted(pairs)


def _names_an_image(cell: str) -> bool:
    parts = Path(cell).parts  # labels may lie within: X.zarr/labels/NAME
    return Path(cell).suffix.lower() in SUFFIXES or any(part.endswith(".zarr") for part in parts)


def _labels_within(store: Path) -> Path:
    """The one label image in ``labels`` of an OME-Zarr; AnnotationError for none or several."""
    folder = store / "labels"
    found = [item for item in sorted(folder.iterdir()) if is_zarr(item)] if folder.is_dir() else []
    if not found:
        raise AnnotationError(f"{store}: OME-Zarr without labels; expected {folder}/NAME")
    if len(found) > 1:
        names = ", ".join(item.name for item in found)
        raise AnnotationError(
            f"{folder}: {len(found)} label images ({names}); name the one to learn from in a CSV "
            "of image,labels"
        )
    return found[0]


def _images(folder: Path) -> list[Path]:
    """The image files and OME-Zarr directly in ``folder``, in natural order."""
    stores = [item for item in folder.glob("[!.]*.zarr") if is_zarr(item)]
    return sorted([*image_files(folder), *stores], key=lambda path: natural_key(path.name))


def _relative(file: Path, folder: Path) -> str:
    shorter = file.relative_to(folder) if file.is_relative_to(folder) else file
    return shorter.with_suffix("").as_posix()


def _from_challenge(data: Path) -> list[Pair]:
    folder = data.parent if data.name == "SEG" else data
    given = _TRUTH.fullmatch(folder.name)
    if given:
        return _sequence(folder.parent / given[1], folder) if (folder / "SEG").is_dir() else []
    siblings = folder.parent if folder.name.isdecimal() else folder
    found: dict[str, dict[str, Path]] = {}
    for item in siblings.iterdir():
        match = _TRUTH.fullmatch(item.name)
        if match and (item / "SEG").is_dir() and folder.name in (match[1], siblings.name):
            found.setdefault(match[1], {})[match[2]] = item
    pairs = []
    for number, truths in sorted(found.items()):
        gold = truths.get("GT")
        if gold is None or ("ST" in truths and not _frames(gold / "SEG", "man_seg")):
            gold = truths["ST"]
        sequence = _sequence(siblings / number, gold)
        prefix = f"{number}/" if len(found) > 1 else ""
        pairs += [Pair(prefix + pair.name, pair.image, pair.labels) for pair in sequence]
    return pairs


def _sequence(frames: Path, truth: Path) -> list[Pair]:
    images = _frames(frames, "t") if frames.is_dir() else {}
    labels = _frames(truth / "SEG", "man_seg")
    if not labels:
        raise AnnotationError(f"{truth / 'SEG'}: no labels; expected man_seg000.tif and so on")
    alone = [path for number, path in labels.items() if number not in images]
    if alone:
        raise AnnotationError(f"{_named(alone)} without an image; expected t000.tif … in {frames}")
    return [Pair(_stem(images[n]), images[n], labels[n]) for n in sorted(labels)]


def _frames(folder: Path, prefix: str) -> dict[int, Path]:
    pattern = re.compile(re.escape(prefix) + r"(\d+)")
    matches = ((pattern.fullmatch(path.stem), path) for path in image_files(folder))
    return {int(match[1]): path for match, path in matches if match}


def _from_two_folders(data: Path) -> list[Pair]:
    folders = [item for item in sorted(data.iterdir()) if item.is_dir()]
    image_folders = [item for item in folders if item.name.lower() in IMAGE_FOLDERS]
    label_folders = [item for item in folders if item.name.lower() in LABEL_FOLDERS]
    for several in (image_folders, label_folders):
        if len(several) > 1:
            raise InputError(
                f"{data}: has both {several[0].name}/ and {several[1].name}/; keep one, or name "
                "the pairs in a CSV"
            )
    if not image_folders and not label_folders:
        return []
    if not image_folders or not label_folders:
        missing, there = ("images", label_folders) if label_folders else ("labels", image_folders)
        raise InputError(f"{data}: has {there[0].name}/ but no {missing}/ folder; expected both")
    images, labels = _images(image_folders[0]), _images(label_folders[0])
    for folder, files in ((image_folders[0], images), (label_folders[0], labels)):
        if not files:
            raise InputError(f"{folder}: no image files; known: {' '.join(SUFFIXES)}")
    by_stem = _keyed(labels, _stem)
    if not any(_stem(image) in by_stem for image in images):
        return _match(_keyed(images, _image_key), _keyed(labels, _label_key))
    # Equal names win; an ending is only taken off what is left over.
    pairs = _keyed(images, _stem)
    rest = [file for stem, file in by_stem.items() if stem not in pairs]
    taken = {stem: file for stem, file in by_stem.items() if stem in pairs}
    for key, file in _keyed(rest, _label_key).items():
        taken[_stem(file) if key in taken else key] = file
    return _match(pairs, taken)


def _from_one_folder(data: Path) -> list[Pair]:
    files = _images(data)
    labels = [file for file in files if _LABEL_ENDING.search(_stem(file))]
    stores = [file for file in files if file.suffix == ".zarr" and file not in labels]
    if not labels and stores:
        return _sorted([Pair(_stem(file), file, _labels_within(file)) for file in stores])
    if not labels:
        held = f"{len(files)} image files but no labels" if files else "no image files"
        raise InputError(f"{data}: {held} in a layout known here; expected {LAYOUTS}")
    by_key = _keyed(labels, _label_key)
    images = [file for file in files if file not in labels]
    volumes = [file for file in images if re.search(r"[-_. ]volume$", _stem(file), re.I)]
    test_data = {file for file in volumes if _image_key(file) not in by_key}
    return _match(_keyed([f for f in images if f not in test_data], _image_key), by_key)


def _match(images: dict[str, Path], labels: dict[str, Path]) -> list[Pair]:
    without = [path for key, path in images.items() if key not in labels]
    alone = [path for key, path in labels.items() if key not in images]
    problems = []
    if without:
        problems.append(f"{_named(without)} without labels")
    if alone:
        problems.append(f"{_named(alone)} without an image")
    both = [key for key in images if key in labels]
    matched = _sorted([Pair(_stem(images[key]), images[key], labels[key]) for key in both])
    if problems:
        raise UnpairedError(
            f"{'; '.join(problems)}; expected equal names, or NAME and NAME_labels: add what is "
            "missing, move the rest elsewhere, or name the pairs in a CSV",
            matched,
        )
    return matched


def _keyed(files: Iterable[Path], key: object) -> dict[str, Path]:
    assert callable(key)
    found: dict[str, Path] = {}
    for file in files:
        name = key(file)
        if name in found:
            raise AnnotationError(f"{found[name]} and {file.name} have the same name; keep one")
        found[name] = file
    return found


def _stem(path: Path) -> str:
    return path.stem[:-4] if path.stem.lower().endswith(".ome") else path.stem


def _label_key(path: Path) -> str:
    return _LABEL_ENDING.sub("", _stem(path))


def _image_key(path: Path) -> str:
    return _IMAGE_ENDING.sub("", _stem(path))


def _named(files: list[Path]) -> str:
    shown = ", ".join(file.name for file in files[:5])
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    noun = "file" if len(files) == 1 else "files"
    return f"{files[0].parent}: {len(files)} {noun} ({shown}{more})"


def _sorted(pairs: list[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: natural_key(pair.name))
