"""Losses against torch's own, and the rules that make them fair: ignored pixels, small samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from septum.annotation.labels import IGNORE, UNDRAWN
from septum.loss.losses import segmentation_loss, soft_dice_loss, weighted_cross_entropy
from septum.recipe import Loss
from septum.training.samples import class_weights

KINDS = ["cross_entropy", "dice", "cross_entropy_dice"]


def case(classes=3, extents=(6, 7), samples=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, classes, *extents, generator=generator)
    labels = torch.randint(0, max(classes, 2), (samples, *extents), generator=generator)
    weights = torch.rand(samples, *extents, generator=generator) + 0.5
    return logits, labels.to(torch.uint8), weights


@pytest.mark.parametrize("extents", [(6, 7), (3, 4, 5)])
def test_unweighted_cross_entropy_is_torchs(extents):
    logits, labels, _ = case(extents=extents)
    expected = F.cross_entropy(logits, labels.long())
    torch.testing.assert_close(weighted_cross_entropy(logits, labels), expected)


def test_weights_multiply_each_pixel_and_the_mean_is_over_pixels():
    logits, labels, weights = case()
    expected = (F.cross_entropy(logits, labels.long(), reduction="none") * weights).mean()
    torch.testing.assert_close(weighted_cross_entropy(logits, labels, weights), expected)
    doubled = weighted_cross_entropy(logits, labels, 2 * weights)
    torch.testing.assert_close(doubled, 2 * expected)


def test_ignored_pixels_are_left_out_of_the_mean_like_torchs_ignore_index():
    logits, labels, _ = case(samples=1)
    labels[0, :3] = IGNORE
    expected = F.cross_entropy(logits, labels.long(), ignore_index=IGNORE)
    torch.testing.assert_close(weighted_cross_entropy(logits, labels), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_ignored_pixels_have_no_gradient_and_all_others_have(kind, classes):
    logits, labels, weights = case(classes)
    ignored = torch.zeros_like(labels, dtype=torch.bool)
    ignored[0, 2:4], ignored[1, :, 5] = True, True
    labels[ignored] = IGNORE
    logits.requires_grad_(True)
    segmentation_loss(logits, labels, weights, Loss(kind=kind)).backward()
    strength = logits.grad.abs().sum(1)
    assert (strength[ignored] == 0).all()
    assert (strength[~ignored] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_predicted_at_ignored_pixels_changes_nothing(kind):
    logits, labels, weights = case()
    labels[:, 1:3] = IGNORE
    before = segmentation_loss(logits, labels, weights, Loss(kind=kind))
    logits[:, :, 1:3] = 50 * torch.randn(2, 3, 2, 7)
    weights[:, 1:3] = 1000
    torch.testing.assert_close(segmentation_loss(logits, labels, weights, Loss(kind=kind)), before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [1, 3])
def test_a_sample_without_a_valid_pixel_has_loss_0_and_no_gradient(kind, classes):
    logits, labels, weights = case(classes, samples=1)
    labels[:] = IGNORE
    logits.requires_grad_(True)
    loss = segmentation_loss(logits, labels, weights, Loss(kind=kind))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-7)
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("classes", [1, 2])
def test_undrawn_pixels_are_background_of_their_weight_and_nothing_to_the_dice_loss(classes):
    logits, labels, weights = case(classes)
    undrawn, empty, unknown = labels.clone(), labels.clone(), labels.clone()
    undrawn[:, :3], empty[:, :3], unknown[:, :3] = UNDRAWN, 0, IGNORE
    torch.testing.assert_close(
        weighted_cross_entropy(logits, undrawn, weights),
        weighted_cross_entropy(logits, empty, weights),
    )
    torch.testing.assert_close(soft_dice_loss(logits, undrawn), soft_dice_loss(logits, unknown))


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_batch_is_the_mean_of_its_samples(kind):
    logits, labels, weights = case(samples=3)
    labels[0, :5] = IGNORE  # few valid pixels: the sample counts as much as any
    labels[2] = IGNORE
    section = Loss(kind=kind)
    whole = segmentation_loss(logits, labels, weights, section)
    parts = [
        segmentation_loss(logits[i : i + 1], labels[i : i + 1], weights[i : i + 1], section)
        for i in range(3)
    ]
    torch.testing.assert_close(whole, torch.stack(parts).mean())


def test_the_sigmoid_loss_of_z_is_the_softmax_loss_of_0_and_z():
    logits, labels, weights = case(1)
    labels[0, 0] = IGNORE
    pair = torch.cat([torch.zeros_like(logits), logits], dim=1)
    for kind in KINDS:
        one = segmentation_loss(logits, labels, weights, Loss(kind=kind))
        two = segmentation_loss(pair, labels, weights, Loss(kind=kind))
        torch.testing.assert_close(one, two)


def test_dice_is_0_for_a_perfect_and_near_1_for_an_inverted_prediction():
    labels = torch.zeros(1, 40, 40, dtype=torch.uint8)
    labels[:, 10:30, 5:35] = 1
    certain = 40.0 * (labels.float() * 2 - 1)[:, None]
    assert soft_dice_loss(certain, labels).item() == pytest.approx(0, abs=1e-5)
    assert soft_dice_loss(-certain, labels).item() > 0.99


def test_dice_is_that_of_counted_pixels():
    labels = torch.tensor([[[1, 1, 0, 0, 2, 2]]], dtype=torch.uint8)
    predicted = torch.tensor([[[1, 0, 0, 0, 2, 1]]])
    logits = 60.0 * F.one_hot(predicted, 3).movedim(-1, 1).float()
    dice = [(2 * 1 + 1) / (2 + 2 + 1), (2 * 1 + 1) / (1 + 2 + 1)]
    assert soft_dice_loss(logits, labels).item() == pytest.approx(1 - sum(dice) / 2, abs=1e-6)


def test_a_class_that_is_absent_and_not_predicted_costs_nothing():
    labels = torch.zeros(1, 5, 5, dtype=torch.uint8)
    logits = 60.0 * F.one_hot(labels.long(), 3).movedim(-1, 1).float()
    assert soft_dice_loss(logits, labels).item() == pytest.approx(0, abs=1e-6)


def test_the_sum_of_both_losses_is_their_sum():
    logits, labels, weights = case()
    total = segmentation_loss(logits, labels, weights, Loss(kind="cross_entropy_dice"))
    parts = [
        segmentation_loss(logits, labels, weights, Loss(kind=kind))
        for kind in ("cross_entropy", "dice")
    ]
    torch.testing.assert_close(total, sum(parts))


def test_huge_logits_give_a_finite_loss_and_gradient():
    for classes in (1, 2):
        logits, labels, weights = case(classes)
        logits = (logits * 1e4).requires_grad_(True)
        for kind in KINDS:
            logits.grad = None
            loss = segmentation_loss(logits, labels, weights, Loss(kind=kind))
            loss.backward()
            assert torch.isfinite(loss)
            assert torch.isfinite(logits.grad).all()


def test_balanced_weights_give_every_class_the_same_share_and_pixels_a_mean_of_1():
    rng = np.random.default_rng(0)
    maps = [rng.choice(4, (30, 30), p=[0.7, 0.2, 0.09, 0.01]).astype(np.uint8) for _ in range(3)]
    maps[0][:5] = IGNORE
    weights = class_weights(maps, 4, Loss(class_weight="balanced"))
    counts = np.bincount(np.concatenate([m.ravel() for m in maps]), minlength=256)[:4]
    shares = weights * counts
    np.testing.assert_allclose(shares, shares[0], rtol=1e-5)
    assert shares.sum() / counts.sum() == pytest.approx(1, rel=1e-5)


def test_an_absent_class_has_weight_1_and_leaves_the_balance_of_the_others():
    maps = [np.array([[0, 0, 0, 2]], np.uint8)]
    weights = class_weights(maps, 3, Loss(class_weight="balanced"))
    np.testing.assert_allclose(weights, [4 / 6, 1, 2])


def test_without_balancing_every_weight_is_1():
    maps = [np.array([[0, 0, 0, 1]], np.uint8)]
    assert class_weights(maps, 2, Loss(class_weight="none")).tolist() == [1, 1]
