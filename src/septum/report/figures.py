"""The figures of a report as markup: data, curves, predictions, weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from septum.annotation.labels import UNDRAWN, LabelMeaning
from septum.recipe import Augment
from septum.report.charts import draw_errors, draw_losses, draw_rates
from septum.report.contents import Contents
from septum.report.markup import Panel, escape, figure, legend, paragraph
from septum.report.pictures import (
    INVENTED,
    MISSED,
    UNANNOTATED,
    WRONG_CLASS,
    Colour,
    Rgb,
    View,
    central_plane,
    class_colour,
    draw_labels,
    draw_probability,
    draw_values,
    encode_jpeg,
    encode_png,
    fade_rim,
    grey_range,
)
from septum.report.pictures import (
    draw_errors as paint_errors,
)
from septum.training.images import TrainingImage
from septum.training.samples import Sampler
from septum.training.validation import AnnotatedTarget, Targets
from septum.training.windows import glimpse

SHOWN = 3
"""Images in a figure at most."""


def show_data(contents: Contents) -> str:
    """Training images, their labels, and the tiles that training made of them first."""
    data, sampler = contents.data, contents.sampler
    if data is None or sampler is None:
        return ""
    first = [glimpse(data.training[place]) for place in sampler.order(0)[:SHOWN].tolist()]
    rows = []
    for turn, target in enumerate(Targets(first, data.meaning)):
        step, index = divmod(turn, contents.recipe.training.batch)
        sample = sampler.sample(step, index)
        view = View.of(sample.image_CS.shape)
        # The range of the unchanged image, so that changes of brightness can be seen.
        tones = grey_range(target.image_CS).normalized(data.intensity.of(target.image_CS))
        tile = tones.picture(sample.image_CS, view)
        inside = _framed(sample.classes_S, sample.image_CS.shape[1:])
        labelled = _labelled(tile, inside, None, data.meaning, view)
        share = sample.classes_S.shape[-1] / sample.image_CS.shape[-1]
        size = " × ".join(map(str, sample.image_CS.shape[1:]))
        panels = [
            *label_panels(target, data.meaning),
            _panel(tile, "after augmentation", size),
            _panel(fade_rim(labelled, share) if share < 1 else labelled, "its label"),
        ]
        rows.append((target.name, panels))
    caption = (
        f"{len(data.training)} images were trained on; these are the ones that the first steps "
        "drew. To the right, the very tiles that the network saw then, each "
        f"{_changes(contents.recipe.augment)}, differently at every step."
    )
    if sampler.footprint.shrink:
        caption += (
            " The network predicts the central part of a tile, from the whole of it: what "
            "it only looks at is faded."
        )
    if contents.recipe.network.dimensions == 3:
        caption += " Of volumes, the central plane is shown."
    return figure(rows, 4, escape(caption) + label_legend(data.meaning))


def show_curves(contents: Contents) -> str:
    """Losses and errors over epochs."""
    if not contents.history:
        return paragraph("Nothing has been logged yet.")
    best = contents.best
    panels = [
        Panel(
            draw_losses(contents.steps, contents.validations, best),
            "svg+xml",
            "Loss of training and validation, per epoch.",
        )
    ]
    if contents.validations:
        panels.append(
            Panel(
                draw_errors(contents.validations, best),
                "svg+xml",
                "Errors of each validation, at whole images.",
            )
        )
    caption = (
        "An epoch is one pass over all training images. A validation loss that rises while the "
        "training loss still falls means that the network begins to learn its images by heart: "
        "more annotated images, or more augmentation, then help. Validation images are not "
        "augmented, so their loss may well lie below that of training."
    )
    return f'<div class="charts">{figure([("", panels)], 2, escape(caption))}</div>'


def show_rates(contents: Contents) -> str:
    """The learning rate over steps."""
    if not contents.steps:
        return ""
    panel = Panel(draw_rates(contents.steps), "svg+xml", "Learning rate at each step.")
    return f'<div class="charts">{figure([("", [panel])], 1, "")}</div>'


def show_predictions(contents: Contents) -> str:
    """Image, label, probability, errors of validation images."""
    if not contents.examined or contents.model is None:
        return ""
    meaning = contents.model.meaning
    rows = []
    for item in contents.examined[:SHOWN]:
        view = View.of(item.target.image_CS.shape)
        class_KS = item.probability_KS[: meaning.class_count]
        probability = draw_probability(class_KS, view, _drawn_as(meaning))
        found = "probability" if meaning.class_count == 2 else "prediction"
        rows.append(
            (
                f"{item.target.name}: {100 * item.own['pixel_error']:.1f} % of pixels wrong",
                [
                    *label_panels(item.target, meaning),
                    _panel(probability, found),
                    _panel(errors_picture(item.target, item.mask_S, view), "errors"),
                ],
            )
        )
    if meaning.class_count == 2:
        words = (
            "Probability of being object: black 0, white 1. Errors are those of the mask, whose "
            f"pixels have a probability above the model's threshold, {contents.model.threshold:g}."
        )
    else:
        words = "Prediction: each class in its colour, the brighter the surer."
    shown, all_of_them = len(rows), len(contents.examined)
    words += f" The {shown} worst, by IoU, of the {all_of_them} predicted here, the worst first."
    if meaning.kind == "instances" and meaning.seams:
        words += " Where labelled objects touch, the network is to leave a seam between them."
    return figure(
        rows, 4, escape(words) + label_legend(meaning) + error_legend(meaning.class_count > 2)
    )


def show_weights(contents: Contents) -> str:
    """The weight of each pixel in the loss, of the training image with the largest."""
    loss, sampler = contents.recipe.loss, contents.sampler
    if not loss.border_weight or loss.kind == "dice":
        return paragraph(
            "This recipe gives no extra weight to the background between touching objects"
            + (" (loss.border_weight = 0)." if not loss.border_weight else " (Dice loss has none).")
        )
    if sampler is None:
        return ""
    image, weights_S = max(_weighed(sampler), key=lambda pair: float(pair[1].max()))
    target_S, highest = central_plane(weights_S), float(weights_S.max())
    view = View.of(target_S.shape)
    grey = grey_range(image.image_CS).picture(image.image_CS, view)
    scale = np.tile(np.linspace(0, 1, 256), (18, 1))
    bar = encode_png(draw_values(scale, 1.0, View(18, 256)))
    panels = [
        _panel(grey, "image"),
        _panel(draw_values(target_S, highest, view), "weight of each pixel"),
    ]
    ticks = Panel(bar, "png", f"black 0 … bright {highest:.1f}: what one wrong pixel counts")
    words = (
        f"Background between objects that nearly touch counts up to {loss.border_weight:g} more "
        f"than other pixels (σ = {loss.border_sigma:g} pixels), so that the network learns to keep "
        "them apart (Ronneberger et al. 2015, equation 2)."
    )
    return figure([(image.name, panels), ("", [ticks])], 3, escape(words))


def label_panels(target: AnnotatedTarget, meaning: LabelMeaning) -> list[Panel]:
    """The image, and its labels laid over it."""
    view = View.of(target.image_CS.shape)
    picture = grey_range(target.image_CS).picture(target.image_CS, view)
    labelled = _labelled(picture, target.classes_S, target.instances_S, meaning, view)
    size = " × ".join(map(str, target.image_CS.shape[1:]))
    return [_panel(picture, "image", size), _panel(labelled, "label")]


def draw_found(target: AnnotatedTarget, mask_S: np.ndarray, meaning: LabelMeaning) -> list[Panel]:
    """Image, label, the predicted classes laid over the image in the same way, and the errors."""
    view = View.of(target.image_CS.shape)
    picture = grey_range(target.image_CS).picture(target.image_CS, view)
    found = _labelled(picture, mask_S, None, meaning, view)
    return [
        *label_panels(target, meaning),
        _panel(found, "prediction"),
        _panel(errors_picture(target, mask_S, view), "errors"),
    ]


def errors_picture(target: AnnotatedTarget, mask_S: np.ndarray, view: View) -> Rgb:
    """Where the mask differs from what the network was to say."""
    picture = grey_range(target.image_CS).picture(target.image_CS, view)
    planes = (central_plane(mask_S), central_plane(target.classes_S))
    return paint_errors(picture, *(view.labels(plane) for plane in planes))


def label_legend(meaning: LabelMeaning) -> str:
    """What the colours of labels mean."""
    entries: list[tuple[Sequence[Colour], str]] = []
    if meaning.class_count > 2:
        entries = [
            ([class_colour(drawn)], f"class {number} ({meaning.class_words(number)})")
            for number, drawn in enumerate(_drawn_as(meaning))
            if number
        ]
    else:
        entries = [([class_colour(k) for k in (1, 2, 3)], "objects, each in a colour of its own")]
    if meaning.ignore or meaning.known_values or meaning.unlabelled_ignored:
        entries.append(([UNANNOTATED], "striped: not annotated"))
    return legend(entries)


def _drawn_as(meaning: LabelMeaning) -> Sequence[int]:
    """What a class map holds where a class is alone; its colour goes by that."""
    several = meaning.kind == "overlapping"
    return meaning.class_values if several else range(meaning.class_count)


def error_legend(several: bool) -> str:
    """What the colours of errors mean."""
    entries: list[tuple[Sequence[Colour], str]] = [
        ([MISSED], "missed: object in the label, not found"),
        ([INVENTED], "invented: found, but no object in the label"),
    ]
    if several:
        entries.append(([WRONG_CLASS], "found, but as another class"))
    return legend(entries)


def _labelled(
    picture: Rgb,
    classes_S: np.ndarray,
    instances_S: np.ndarray | None,
    meaning: LabelMeaning,
    view: View,
) -> Rgb:
    """Classes in their colours, or, of two classes, each object in one of its own."""
    classes_YX = central_plane(classes_S)
    ignored_YX = view.labels(classes_YX >= UNDRAWN)
    if meaning.class_count > 2:
        shown = np.where(classes_YX >= UNDRAWN, 0, classes_YX)
    elif instances_S is not None:
        shown = central_plane(instances_S)
    else:
        from scipy.ndimage import label

        shown = np.asarray(label((classes_YX != 0) & (classes_YX < UNDRAWN))[0])
    return draw_labels(picture, view.labels(shown), ignored_YX if ignored_YX.any() else None)


def _changes(section: Augment) -> str:
    """What augmentation does, in words."""
    grey = section.brightness or section.contrast or section.gamma
    done = [
        word
        for word, wanted in (
            ("cut out anywhere", section.shift),
            ("turned", section.rotation),
            ("mirrored or not", section.flip),
            ("bent", section.elastic_sigma),
            ("changed in brightness and contrast", grey),
            ("made noisy", section.noise),
        )
        if wanted
    ]
    return " and ".join([", ".join(done[:-1]), done[-1]] if len(done) > 1 else done) or "unchanged"


def _framed(classes_S: np.ndarray, extents: tuple[int, ...]) -> np.ndarray:
    """Classes of a tile's centre, with background around them up to the tile's extents."""
    rims = [(whole - part) // 2 for whole, part in zip(extents, classes_S.shape, strict=True)]
    framed = np.zeros(extents, classes_S.dtype)
    framed[tuple(slice(r, r + n) for r, n in zip(rims, classes_S.shape, strict=True))] = classes_S
    return framed


def _weighed(sampler: Sampler) -> list[tuple[TrainingImage, np.ndarray]]:
    images = [image.glimpse() for image in sampler.images[:SHOWN]]
    return [(image, sampler.weigh(image.classes_S, image.instances_S)) for image in images]


def _panel(picture: Rgb, caption: str, size: str = "") -> Panel:
    return Panel(encode_jpeg(picture), "jpeg", f"{caption}, {size}" if size else caption)
