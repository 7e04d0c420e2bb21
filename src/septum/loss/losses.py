"""Pixel-wise losses on logits. Shapes: N (batch), K (output channels), S (spatial axes).

Every loss is a mean over the samples of a batch of each sample's own mean over its valid pixels.
So the loss of a batch is the mean of the losses of its parts, whichever way it is split over
devices, and a sample with few annotated pixels counts as much as any other.
"""

from __future__ import annotations

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn import functional as F

from septum.annotation.labels import IGNORE, UNDRAWN
from septum.loss.targets import LEVELS
from septum.network.heads import HeadKind
from septum.recipe import Loss


def segmentation_loss(
    logits_NKS: Float32[Tensor, "n k *s"],
    classes_NS: UInt8[Tensor, "n *s"],
    weights_NS: Float32[Tensor, "n *s"] | None,
    section: Loss,
    head: HeadKind = "softmax",
) -> Float32[Tensor, ""]:
    """The recipe's loss, of what `septum.loss.targets` makes of class maps for ``head``.

    One channel, and each channel of the heads ``sigmoid`` and ``distance``, has a binary cross
    entropy of its own, of which the sum is taken: its gradient is that of as many networks.

    ``weights_NS`` multiplies the cross entropy of each pixel (None: 1 everywhere). Pixels of
    class ``IGNORE`` have weight 0: they enter neither the sum nor the mean, and carry no
    gradient. A sample without any valid pixel has loss 0. Pixels ``UNDRAWN`` are background, of
    the weight that they are given; to the Dice loss, which has no weights, they are IGNORE.
    """
    loss = logits_NKS.new_zeros(())
    if section.kind in ("cross_entropy", "cross_entropy_dice"):
        loss = loss + weighted_cross_entropy(logits_NKS, classes_NS, weights_NS, head)
    if section.kind in ("dice", "cross_entropy_dice"):
        loss = loss + soft_dice_loss(logits_NKS, classes_NS, head)
    return loss


def weighted_cross_entropy(
    logits_NKS: Float32[Tensor, "n k *s"],
    classes_NS: UInt8[Tensor, "n *s"],
    weights_NS: Float32[Tensor, "n *s"] | None = None,
    head: HeadKind = "softmax",
) -> Float32[Tensor, ""]:
    """−Σ w(x) log p_class(x) / number of valid pixels (Ronneberger et al. 2015, equation 1).

    Divided by the count of valid pixels, not by the sum of weights: a heavier border makes the
    loss larger there and leaves it as it was elsewhere.
    """
    valid_NS = classes_NS != IGNORE
    target_NS = classes_NS.masked_fill(classes_NS >= UNDRAWN, 0)
    if _is_binary(logits_NKS, head):
        truth_NKS = _channel_targets(target_NS, logits_NKS.shape[1], head)
        entropy_NS = F.binary_cross_entropy_with_logits(
            logits_NKS, truth_NKS.to(logits_NKS.dtype), reduction="none"
        ).sum(1)
    else:
        entropy_NS = F.cross_entropy(logits_NKS, target_NS.long(), reduction="none")
    if weights_NS is not None:
        entropy_NS = entropy_NS * weights_NS
    entropy_NS = entropy_NS.masked_fill(~valid_NS, 0.0)
    counts = valid_NS.flatten(1).sum(1).clamp(min=1)
    return (entropy_NS.flatten(1).sum(1) / counts).mean()


def soft_dice_loss(
    logits_NKS: Float32[Tensor, "n k *s"],
    classes_NS: UInt8[Tensor, "n *s"],
    head: HeadKind = "softmax",
) -> Float32[Tensor, ""]:
    """1 − mean over the classes above 0 of (2 Σ p·t + 1) / (Σ p + Σ t + 1) (Milletari 2016).

    The 1 keeps a class that neither is there nor is predicted at loss 0. Range 0 … 1. A map of
    distances is no class and is left out.
    """
    valid_NS = classes_NS < UNDRAWN
    target_NS = classes_NS.masked_fill(~valid_NS, 0)
    if _is_binary(logits_NKS, head):
        classes = 1 if head == "distance" else logits_NKS.shape[1]
        probability_NKS = logits_NKS[:, :classes].sigmoid()
        truth_NKS = _channel_targets(target_NS, logits_NKS.shape[1], head)[:, :classes]
    else:
        probability_NKS = logits_NKS.softmax(1)[:, 1:]
        truth_NKS = F.one_hot(target_NS.long(), logits_NKS.shape[1]).movedim(-1, 1)[:, 1:]
    valid_N1S = valid_NS[:, None]
    probability = (probability_NKS * valid_N1S).flatten(2)
    truth = (truth_NKS * valid_N1S).flatten(2).to(probability.dtype)
    overlap = 2 * (probability * truth).sum(2) + 1
    total = probability.sum(2) + truth.sum(2) + 1
    return (1 - overlap / total).mean()


def _is_binary(logits_NKS: Tensor, head: HeadKind) -> bool:
    """Whether each channel is told by itself."""
    return logits_NKS.shape[1] == 1 or head in ("sigmoid", "distance")


def _channel_targets(target_NS: Tensor, outputs: int, head: HeadKind) -> Tensor:
    """What each channel is to be (N, K, S), in [0, 1]: its bit, or object and distance map."""
    if head == "distance":
        return torch.stack([(target_NS > 0).float(), target_NS / LEVELS], dim=1)
    bits = torch.arange(outputs, dtype=torch.uint8, device=target_NS.device)
    return (target_NS[:, None] >> bits.view(-1, *[1] * (target_NS.ndim - 1))) & 1
