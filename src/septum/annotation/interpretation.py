"""What the annotation of a whole data set means: named classes numbered, label values explained."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from septum.annotation.census import Labelled
from septum.annotation.drawn_labels import numbers_without, read_shapes
from septum.annotation.labels import MANY_VALUES, find_meaning, ignored_values
from septum.annotation.masks import as_bits, check_number, mask_names
from septum.annotation.meaning import DRAWN_IGNORED, Declared, LabelMeaning
from septum.annotation.pair import Drawing, Pair
from septum.annotation.palettes import check_palettes, refuse_palettes_beside_colours
from septum.annotation.refusals import refuse_ignored_outlines, refuse_regions_alone
from septum.errors import AnnotationError
from septum.images.files import natural_key
from septum.images.stored import open_image
from septum.recipe import Labels, Recipe

BACKGROUND = "background"


def name_values(pairs: Sequence[Pair], labels: Labels | LabelMeaning | None) -> list[Pair]:
    """The pairs, with the kind and the label values of what was drawn, the same for all of them.

    Outlines and masks of objects are objects, unless they have names of two classes at least, or
    ``labels.kind`` is classes. Classes are numbered from 1 in the order of ``labels.classes``,
    without it by name; one called background is what is not drawn, and 1 where that is ignored.
    Of overlapping classes each has a bit, in the same order, or that of the channels of a label
    image. No object and no class has the number of an ignored value. ``labels`` may be the meaning
    that a model was trained with. Raises AnnotationError: classes asked for of objects without
    names, names in ``labels.classes`` that do not occur anywhere, overlapping classes that are not
    drawn as masks, values of outlines to be ignored, regions of QuPath alone.
    """
    kind, wanted, unlabelled = _asked(labels)
    if kind == "overlapping":
        pairs = [_with_channels(pair) for pair in pairs]
    drawn = [pair.drawing for pair in pairs if pair.drawing is not None]
    if not drawn:
        return list(pairs)
    # 0 is what none of the masks holds, and -1 what was drawn as ignored: neither is in the files.
    ignore = tuple(value for value in _ignored(labels) if value not in (0, DRAWN_IGNORED))
    if ignore and isinstance(labels, Labels):
        refuse_ignored_outlines(pairs)
    refuse_regions_alone(pairs)
    pairs = [
        pair
        if pair.drawing is None
        else replace(pair, drawing=replace(pair.drawing, ignore=ignore))
        for pair in pairs
    ]
    masks = any(drawing.format == "masks of classes" for drawing in drawn)
    # ROIs have names of all sorts: they are classes only where that is said.
    named = [pair for pair in pairs if pair.drawing is not None]
    if kind == "auto":
        named = [pair for pair in named if pair.drawing and pair.drawing.format != "ImageJ"]
    names, unnamed = _names(named)
    if kind == "auto":
        kind = "classes" if masks or len(names) > 1 else "instances"
    if kind not in ("classes", "overlapping"):
        if masks:
            raise AnnotationError(
                f"{_first(pairs, 'masks of classes')}: is one of several masks of an image, one a "
                f"class, but labels.kind = '{kind}'; expected classes: leave labels.kind out, or "
                "keep the masks of the one class"
            )
        return list(pairs)
    if unnamed is not None:
        others = f", but others are of {_listed(names)}" if names else ""
        raise AnnotationError(
            f"{unnamed} has no class{others}; give it one, or if all are objects of one kind: "
            "--set labels.kind=instances"
        )
    if not isinstance(labels, LabelMeaning):
        for name in wanted:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                raise AnnotationError(
                    f"labels.classes: nothing drawn is of class '{name}': {hint}there are "
                    f"{_listed(names)}"
                )
    if kind == "overlapping":
        return _number_bits(pairs, names, wanted, labels)
    order = list(wanted) or sorted(names, key=lambda name: not _is_background(name))
    values, numbers = [], numbers_without(ignore)
    for name in order:
        undrawn = _is_background(name) and unlabelled == "background"
        values.append((name, 0 if undrawn else next(numbers)))
    return [
        pair
        if pair.drawing is None
        else replace(
            pair,
            drawing=replace(
                pair.drawing, kind="classes", values=tuple(values), ordered=bool(wanted)
            ),
        )
        for pair in pairs
    ]


def settle_labels(pairs: Sequence[Pair], recipe: Recipe) -> tuple[list[Pair], Recipe]:
    """The pairs, and the recipe that says what their labels are.

    Classes that have a mask or outlines each overlap where the head learns each on its own.
    """
    drawn = (pair.drawing.kind for pair in pairs if pair.drawing is not None)
    guessed = recipe.labels.kind == "auto" and recipe.network.head == "sigmoid"
    if not guessed or "classes" not in drawn:
        return list(pairs), recipe
    labels = recipe.labels.model_copy(update={"kind": "overlapping"})
    return name_values(pairs, labels), recipe.model_copy(update={"labels": labels})


def _with_channels(pair: Pair) -> Pair:
    """A label image whose channels are the masks of overlapping classes is a drawing of these."""
    known = None if pair.drawing is None else pair.drawing.format
    if known not in (None, "masks as channels"):
        return pair
    labels = open_image(pair.labels, labels=True)
    as_bits(labels, ())  # which says what is wrong with them
    names = mask_names(labels)
    return replace(pair, drawing=Drawing("masks as channels", (pair.labels,), names=names))


def _number_bits(
    pairs: Sequence[Pair],
    names: Sequence[str],
    wanted: Sequence[str],
    labels: Labels | LabelMeaning | None,
) -> list[Pair]:
    """The pairs, each class of what was drawn having a bit."""
    ignore = _ignored(labels)
    order = list(wanted) or [name for name in names if not _is_background(name)]
    numbered = []
    first = pairs[0]
    for pair in pairs:
        drawing = pair.drawing
        assert drawing is not None
        own = order
        if drawing.format == "masks as channels":
            assert first.drawing is not None
            own = list(drawing.names)
            if drawing.names != first.drawing.names:
                raise AnnotationError(
                    f"{pair.labels}: masks of {_listed(own)}, but {first.labels} has "
                    f"{_listed(first.drawing.names or order)}; expected the same, in the same "
                    "order, in all"
                )
        check_number(str(pair.labels), len(own))
        values = tuple((name, 1 << number) for number, name in enumerate(own))
        drawing = replace(drawing, kind="overlapping", values=values, ignore=ignore)
        numbered.append(replace(pair, drawing=drawing))
    return numbered


def declared_by(pairs: Sequence[Pair], section: Labels) -> Declared | None:
    """What the files of ``pairs``, from `name_values`, say of their label values; None: nothing.

    Raises AnnotationError where some images have label images and others not, and ``labels.kind``
    does not say what the values of the former are.
    """
    drawn = [pair for pair in pairs if pair.drawing is not None]
    if not drawn:
        return None
    first = drawn[0].drawing
    assert first is not None
    if len(drawn) < len(pairs) and (first.kind != "instances" or section.kind == "auto"):
        other = next(pair for pair in pairs if pair.drawing is None)
        raise AnnotationError(
            f"{drawn[0].labels} is {first.format}, but {other.labels} is a label image; expected "
            "one kind in all: if both are numbered objects, --set labels.kind=instances"
        )
    if first.kind == "instances":
        return Declared("instances")
    names = {value: name for name, value in first.values}
    return Declared(first.kind, tuple(sorted(({0: BACKGROUND} | names).items())))


def interpret(
    pairs: Sequence[Pair], labels: Iterable[tuple[str, Labelled]], section: Labels
) -> LabelMeaning:
    """What the label values of a data set mean: `find_meaning`, with what its files declare.

    ``pairs`` are from `find_pairs`, ``labels`` the name and label values of each of their parts.
    Raises AnnotationError as `find_meaning`, and where palettes show one number in several colours,
    or are beside colours.
    """
    meaning = find_meaning(labels, section, declared_by(pairs, section))
    files = [pair.labels for pair in pairs if pair.drawing is None]
    if meaning.kind not in ("instances", "overlapping"):
        check_palettes(files)
    all_but_one = meaning.kind == "binary" and isinstance(meaning.object, str)
    if section.kind not in ("instances", "overlapping") and not all_but_one:
        refuse_palettes_beside_colours(files)
    return meaning


def describe_meaning(meaning: LabelMeaning, section: Labels, pairs: Sequence[Pair] = ()) -> str:
    """`LabelMeaning.describe`, and what overrules it where it was guessed from the values."""
    doubt = doubt_of(meaning, section, pairs)
    return f"{meaning.describe()} ({doubt})" if doubt else meaning.describe()


def doubt_of(meaning: LabelMeaning, section: Labels, pairs: Sequence[Pair] = ()) -> str:
    """Where the kind of labels was guessed from their values: what overrules it; else "".

    Few objects an image look like classes, and classes in one piece each like objects; of more
    than 20 an image nobody doubts what they are, nor of what the files of ``pairs`` say themselves.
    """
    sure = (
        meaning.kind in ("binary", "overlapping") or meaning.objects > MANY_VALUES * meaning.images
    )
    if section.kind != "auto" or sure or any(pair.drawing is not None for pair in pairs):
        return ""
    other, what = (
        ("instances", "numbers of objects") if meaning.kind == "classes" else ("classes", "classes")
    )
    return f"a guess from the values; if they are {what}: --set labels.kind={other}"


def _asked(labels: Labels | LabelMeaning | None) -> tuple[str, tuple[str, ...], str]:
    """Kind, classes in order, and what is not drawn."""
    if labels is None:
        return "auto", (), "background"
    if isinstance(labels, Labels):
        return labels.kind, labels.classes, labels.unlabelled
    undrawn = "ignore" if labels.unlabelled_ignored or 0 in labels.ignore else "background"
    names = labels.class_names
    if undrawn == "background":
        names = names[1:]
    return labels.kind, names, undrawn


def _ignored(labels: Labels | LabelMeaning | None) -> tuple[int, ...]:
    if isinstance(labels, Labels):
        return ignored_values(labels)
    return () if labels is None else labels.ignore


def _names(pairs: Sequence[Pair]) -> tuple[list[str], str | None]:
    """The names of classes, sorted, and something drawn that has none."""
    names: set[str] = set()
    unnamed = None
    for pair in pairs:
        if pair.drawing is None:
            continue
        if pair.drawing.format in ("masks of classes", "masks as channels"):
            names |= set(pair.drawing.names)
        elif pair.drawing.format in ("GeoJSON", "COCO", "ImageJ"):
            for shape in read_shapes(pair.drawing):
                if shape.ignored:
                    continue
                if shape.name:
                    names.add(shape.name)
                elif unnamed is None:
                    unnamed = f"{pair.labels}: {shape.title}"
        elif unnamed is None:
            unnamed = str(pair.labels)
    return sorted(names, key=natural_key), unnamed


def _is_background(name: str) -> bool:
    return name.casefold() == BACKGROUND


def _first(pairs: Sequence[Pair], form: str) -> str:
    return next(str(p.labels) for p in pairs if p.drawing is not None and p.drawing.format == form)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
