"""What a network's last layer is asked for, and the maps that are made of what it says.

A head is chosen by `network.head`; what it has to tell apart is in the labels. Shapes: N (batch),
K (output channels), M (maps), S (the spatial axes, YX or ZYX).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from septum.annotation.meaning import LabelMeaning
from septum.errors import RecipeError

HeadKind = Literal["softmax", "sigmoid", "border", "distance"]
Maps = Literal["classes", "overlapping", "core"]
"""What the maps of a prediction are; the first is always the background.

``classes``: a probability each, which sum to 1. ``overlapping``: a probability each, independent of
the others; the background is none of them, 1 − the largest. ``core``: background and object, and
the core of objects, from 0 to 1: what they are told apart by where they touch.
"""

CORE_NAME = "core of objects"
"""Of the map that is no class, in the files of a prediction."""
UNCERTAINTY_NAME = "uncertainty"
"""Of another, the last: how far the networks of a model that is several disagree."""
OF_OBJECTS = ("border", "distance")
"""Heads that learn of numbered objects more than where they are."""


def count_classes(names: tuple[str, ...] | None, count: int) -> int:
    """How many of ``count`` maps in a file are of classes; the last may say that they are not."""
    told = list(names or ())
    for name in (UNCERTAINTY_NAME, CORE_NAME):
        if told and told[-1] == name:
            told.pop()
            count -= 1
    return count


def output_channels(head: HeadKind, classes: int) -> int:
    """Channels of a network that tells ``classes``, background included."""
    if head in OF_OBJECTS:
        assert classes == 2
        return 3 if head == "border" else 2
    return classes - 1 if head == "sigmoid" else classes


def check_head(head: HeadKind, meaning: LabelMeaning) -> None:
    """Raise RecipeError, with what would do, if a head cannot learn such labels."""
    if meaning.kind == "overlapping":
        if head != "sigmoid":
            raise RecipeError(
                f"network.head = '{head}' is for classes that exclude each other, and the labels "
                "overlap; use --set network.head=sigmoid"
            )
    elif meaning.class_count != 2 and head != "softmax":
        told = "one output for two classes" if head == "sigmoid" else "background and objects"
        raise RecipeError(
            f"network.head = '{head}' has {told}, the labels have {meaning.class_count} classes; "
            "use --set network.head=softmax"
        )


def maps_of(head: HeadKind, meaning: LabelMeaning) -> Maps:
    """What the maps of a network with this head are, trained on such labels."""
    if head in OF_OBJECTS:
        return "core"
    return "overlapping" if meaning.kind == "overlapping" else "classes"


def finisher(head: HeadKind) -> Callable[[Tensor], Tensor]:
    """What makes maps (N, M, S) of scores (N, K, S)."""
    finishers = {
        "softmax": softmax_probabilities,
        "sigmoid": sigmoid_probabilities,
        "border": border_maps,
        "distance": distance_maps,
    }
    return finishers[head]


def softmax_probabilities(score_NKS: Tensor) -> Tensor:
    """Of classes that exclude each other, one score for each.

    By ``exp``, as torch's own softmax and sigmoid give the pixels at the end of a thread's share
    another last bit; what a pixel gets is not to depend on how many threads there are.
    """
    odds_NKS = (score_NKS - score_NKS.amax(1, keepdim=True)).exp_()
    return odds_NKS.div_(odds_NKS.sum(1, keepdim=True))


def sigmoid_probabilities(score_NKS: Tensor) -> Tensor:
    """Of the background, which is none of the others, and of each class; by ``exp``, as above."""
    largest_N1S = score_NKS.amax(1, keepdim=True)
    return torch.cat([largest_N1S, -score_NKS], dim=1).exp_().add_(1).reciprocal_()


def border_maps(score_NKS: Tensor) -> Tensor:
    """Background, object and core, from the scores of background, interior and border."""
    probability_NKS = softmax_probabilities(score_NKS)
    background_N1S, interior_N1S = probability_NKS[:, :1], probability_NKS[:, 1:2]
    return torch.cat([background_N1S, 1 - background_N1S, interior_N1S], dim=1)


def distance_maps(score_NKS: Tensor) -> Tensor:
    """Background, object and core, from the scores of the object and of its distance map."""
    core_N1S = (-score_NKS[:, 1:]).exp_().add_(1).reciprocal_()
    return torch.cat([sigmoid_probabilities(score_NKS[:, :1]), core_N1S], dim=1)


def scores_of(
    map_MS: Float[np.ndarray, "m *s"], head: HeadKind, least: float = 1e-9
) -> Float32[np.ndarray, "k *s"]:
    """Scores that give these maps, but for a constant: what a loss is calculated of.

    Probabilities below ``least``, and above 1 − ``least``, are taken for these.
    """
    if head == "border":
        background_S, object_S, interior_S = map_MS
        map_MS = np.stack([background_S, interior_S, object_S - interior_S])
    likely_MS = np.log(np.maximum(map_MS, least))
    if head in ("softmax", "border"):
        return np.asarray(likely_MS, np.float32)
    told_KS = slice(1, None)
    unlikely_KS = np.log(np.maximum(1 - map_MS[told_KS].astype(np.float64), least))
    return np.asarray(likely_MS[told_KS] - unlikely_KS, np.float32)
