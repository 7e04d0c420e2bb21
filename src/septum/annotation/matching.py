"""Which label file belongs to which image, by their names alone."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from septum.annotation.pair import Pair
from septum.errors import AnnotationError
from septum.images.files import SUFFIXES, natural_key

_LABEL_WORDS = "masks?|labels?|seg|segmentation|annotations?|gt|cp_masks?|rois?|roiset"
_LABEL_WORD = re.compile(_LABEL_WORDS, re.I)
_LABEL_ENDING = re.compile(rf"[-_. ]({_LABEL_WORDS})$", re.I)
_LABEL_BEGINNING = re.compile(rf"^({_LABEL_WORDS})[-_. ](?=.)", re.I)
_IMAGE_ENDING = re.compile(r"[-_. ](images?|img|volume|raw)$", re.I)
_IMAGE_BEGINNING = re.compile(r"^(images?|img|im|raw)[-_. ](?=.)", re.I)
_CHANNEL = re.compile(r"_\d{4}$")


class UnpairedError(AnnotationError):
    """Images without labels, or labels without images.

    ``files``: the image and label files that do match; ``matched``: the pairs made of them.
    """

    def __init__(self, message: str, files: dict[Path, Path]) -> None:
        super().__init__(message)
        self.files = files
        self.matched: list[Pair] = []


def stem(path: Path) -> str:
    """A file's name without its type, of which it may have two: ``a.ome.tif``, ``a.tif.geojson``.

    A folder's is its name, but for ``.zarr``.
    """
    if path.is_dir() and path.suffix != ".zarr":
        return path.name
    inner = Path(path.stem)
    twice = inner.suffix.lower() in (".ome", *SUFFIXES)
    return inner.stem if twice else path.stem


def label_key(path: Path) -> str:
    """What a label file's name shares with its image's: no ``_mask`` at its end."""
    return _LABEL_ENDING.sub("", stem(path))


def image_key(path: Path) -> str:
    """What an image's name shares with its labels': no ``-volume`` at its end."""
    return _IMAGE_ENDING.sub("", stem(path))


def is_label_name(path: Path) -> bool:
    """Whether a file beside images is one of labels by its name."""
    return bool(_LABEL_ENDING.search(stem(path)) or _LABEL_BEGINNING.search(stem(path)))


def image_names(images: Iterable[Path]) -> frozenset[str]:
    """All that labels of these images may be called, without the label's ending and beginning."""
    ways = (stem, image_key, _bare_image)
    return frozenset(name(image).casefold() for image in images for name in ways)


def is_named_after(labels: Path, names: frozenset[str]) -> bool:
    """Whether a label file's name is among those of `image_names`."""
    return any(name(labels).casefold() in names for name in (stem, label_key, _bare_label))


def has_letter(word: str) -> bool:
    """Whether a part of a name is more than a number."""
    return bool(re.search("[^\\W\\d_]", word))


def match_names(images: Sequence[Path], labels: Sequence[Path]) -> dict[Path, Path]:
    """The labels of each image; every file of both is in one pair.

    Equal names win, then those equal without an ending such as ``_mask`` or ``-volume``; if that
    leaves a file alone, also without a beginning such as ``label_`` and ``image_``; then without
    regard to case. Raises UnpairedError naming the files left alone, of the way that leaves the
    fewest, or AnnotationError for two of one name.
    """
    failed: list[AnnotationError] = []
    for fold in (_as_it_is, str.casefold):
        for image_name, label_name in ((image_key, label_key), (_bare_image, _bare_label)):
            try:
                return _match(images, labels, image_name, label_name, fold)
            except AnnotationError as error:
                failed.append(error)
    raise max(failed, key=lambda e: len(e.files) if isinstance(e, UnpairedError) else 0)


def match_nnunet(images: Sequence[Path], labels: Sequence[Path]) -> dict[Path, Path]:
    """The labels of each image NAME_0000 of nnU-Net, as `match_names` does.

    Raises AnnotationError for channels in files of their own, NAME_0001 …
    """
    plain: dict[Path, Path] = {}
    for image in images:
        name = image.with_name(_CHANNEL.sub("", stem(image)) + image.suffix)
        if name in plain:
            raise AnnotationError(
                f"{plain[name]} and {image.name}: channels of one image in files of their own; "
                "expected one file: save them as a TIFF with an axis C (Fiji: Image › Color › "
                "Merge Channels), or keep one channel"
            )
        plain[name] = image
    matched = match_names(list(plain), labels)
    return {plain[name]: file for name, file in matched.items()}


def match_classes(images: Sequence[Path], labels: Sequence[Path]) -> dict[Path, dict[str, Path]]:
    """The labels of each image by what follows its name: ``a_nucleus``, ``a_cytoplasm``.

    Empty if that is not how all labels are named. Raises AnnotationError for an image that lacks
    one of the files that others have, two files of one name, or of names that differ by a number.
    """
    by_stem = {stem(image).casefold(): image for image in images}
    found: dict[Path, dict[str, Path]] = {image: {} for image in images}
    spelling: dict[str, str] = {}
    for file in labels:
        image, word = _longest(stem(file), by_stem)
        word = _LABEL_ENDING.sub("", word)
        if image is None or not has_letter(word) or _LABEL_WORD.fullmatch(word):
            return {}
        name = spelling.setdefault(word.casefold(), word)
        if name in found[image]:
            raise _same_name(found[image][name], file)
        found[image][name] = file
    names = sorted(spelling.values(), key=natural_key)
    for image, files in found.items():
        _refuse_numbered(image, files)
    for image, files in found.items():
        missing = [name for name in names if name not in files]
        if missing and files:
            raise AnnotationError(
                f"{image}: has a mask of {next(iter(files))}, but none of {missing[0]}; expected "
                f"{stem(image)}_{missing[0]} in {next(iter(files.values())).parent}: where there "
                "is none of a class, its mask is all 0"
            )
    without = [image for image, files in found.items() if not files]
    if without:
        raise AnnotationError(f"{named(without)} without labels; {_REMEDY}")
    return {image: {name: files[name] for name in names} for image, files in found.items()}


def named(files: Sequence[Path]) -> str:
    """Files of one folder in words, the first five by name."""
    shown = ", ".join(file.name for file in files[:5])
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    noun = "file" if len(files) == 1 else "files"
    return f"{files[0].parent}: {len(files)} {noun} ({shown}{more})"


def in_order(pairs: Iterable[Pair]) -> list[Pair]:
    """Pairs by their names, 2 before 10."""
    return sorted(pairs, key=lambda pair: natural_key(pair.name))


_REMEDY = (
    "expected equal names, or NAME and NAME_labels: add what is missing, move the rest elsewhere, "
    "or name the pairs in a CSV"
)
_Name = Callable[[Path], str]


def _match(
    images: Sequence[Path],
    labels: Sequence[Path],
    image_name: _Name,
    label_name: _Name,
    fold: Callable[[str], str],
) -> dict[Path, Path]:
    by_stem = _keyed(labels, lambda file: fold(stem(file)))
    pairs = _keyed(images, lambda file: fold(stem(file)))
    if not by_stem.keys() & pairs.keys():
        pairs = _keyed(images, lambda file: fold(image_name(file)))
        return _join(pairs, _keyed(labels, lambda file: fold(label_name(file))))
    # Equal names win; an ending is only taken off what is left over.
    rest = [file for key, file in by_stem.items() if key not in pairs]
    taken = {key: file for key, file in by_stem.items() if key in pairs}
    for key, file in _keyed(rest, lambda file: fold(label_name(file))).items():
        taken[fold(stem(file)) if key in taken else key] = file
    return _join(pairs, taken)


def _join(images: dict[str, Path], labels: dict[str, Path]) -> dict[Path, Path]:
    without = {key: path for key, path in images.items() if key not in labels}
    alone = {key: path for key, path in labels.items() if key not in images}
    problems = []
    if without:
        problems.append(f"{named(list(without.values()))} without labels")
    if alone:
        problems.append(f"{named(list(alone.values()))} without an image")
    if problems:
        near = _double(images, labels, alone) or _nearest(without, alone)
        both = {images[key]: labels[key] for key in images if key in labels}
        raise UnpairedError(f"{'; '.join(problems)}; {near}{_REMEDY}", both)
    return {images[key]: labels[key] for key in images}


def _double(images: dict[str, Path], labels: dict[str, Path], alone: dict[str, Path]) -> str:
    for file in alone.values():
        key = label_key(file)
        if key in labels and key in images:
            both = f"{labels[key].name} and {file.name}"
            return f"{both} are both named as labels of {images[key].name}: keep one; "
    return ""


def _nearest(without: dict[str, Path], alone: dict[str, Path]) -> str:
    for key, image in without.items():
        near = difflib.get_close_matches(key, alone, n=1, cutoff=0.8)
        if near:
            return f"is {alone[near[0]].name} of {image.name}? "
    return ""


def _keyed(files: Iterable[Path], key: _Name) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in files:
        name = key(file)
        if name in found:
            raise _same_name(found[name], file)
        found[name] = file
    return found


def _same_name(first: Path, second: Path) -> AnnotationError:
    return AnnotationError(f"{first} and {second.name} have the same name; keep one")


def _refuse_numbered(image: Path, files: dict[str, Path]) -> None:
    """Refuse ``a_cell1`` beside ``a_cell2``: rather objects than classes."""
    seen: dict[str, str] = {}
    for word, file in files.items():
        before = seen.setdefault(re.sub(r"\d+", "#", word.casefold()), word)
        if before != word:
            raise AnnotationError(
                f"{files[before]} and {file.name}: names differ by a number; one file an object? "
                f"Put them into labels/{stem(image)}/, and {image.name} into images/; if they are "
                f"classes, put them into labels/{before}/ and labels/{word}/"
            )


def _longest(name: str, by_stem: dict[str, Path]) -> tuple[Path | None, str]:
    """The image with the longest name that ``name`` begins with, and what follows it."""
    for end in range(len(name) - 1, 0, -1):
        if name[end] in "-_. " and name[:end].casefold() in by_stem:
            return by_stem[name[:end].casefold()], name[end + 1 :]
    return None, ""


def _bare_image(path: Path) -> str:
    return _IMAGE_BEGINNING.sub("", image_key(path))


def _bare_label(path: Path) -> str:
    return _LABEL_BEGINNING.sub("", label_key(path))


def _as_it_is(name: str) -> str:
    return name
