"""Targets of heads that learn where objects end: against all pairs of pixels, one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from septum.annotation.labels import IGNORE, UNDRAWN, LabelMeaning, to_target
from septum.loss.losses import segmentation_loss, weighted_cross_entropy
from septum.loss.targets import BORDER, LEVELS, REACH, edge_distance, encode_image
from septum.recipe import Loss, build_recipe


def all_pairs(ids_S, reach, spacing):
    """Distance to the nearest pixel of another number, each pair of pixels measured."""
    places = np.indices(ids_S.shape).reshape(ids_S.ndim, -1).T * np.asarray(spacing)
    ids = ids_S.ravel()
    found = np.full(len(ids), float(reach))
    for place, (point, number) in enumerate(zip(places, ids, strict=True)):
        others = places[ids != number]
        if len(others):
            found[place] = min(reach, np.sqrt(((others - point) ** 2).sum(1)).min())
    return found.reshape(ids_S.shape)


@settings(max_examples=60)
@given(
    st.integers(0, 1 << 30),
    st.sampled_from([(9, 13), (1, 20), (5, 6, 4)]),
    st.sampled_from([2, 3.5, 8]),
    st.booleans(),
)
def test_distances_to_the_edge_are_those_of_all_pairs(seed, extents, reach, thick):
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 3, [-(-extent // 4) for extent in extents])
    ids = np.kron(coarse, np.ones([4] * len(extents), int))[tuple(map(slice, extents))]
    spacing = (2.5, *[1.0] * (len(extents) - 1)) if thick else (1.0,) * len(extents)
    found = edge_distance(torch.from_numpy(ids)[None], reach, spacing)[0].numpy()
    np.testing.assert_allclose(found, all_pairs(ids, reach, spacing), rtol=1e-6)


def touching():
    """Two squares of 7 pixels that touch, one of a single pixel, and an ignored column."""
    instances = np.zeros((11, 24), np.int32)
    instances[2:9, 2:9], instances[2:9, 9:16], instances[5, 18] = 4, 7, 9
    classes = (instances > 0).astype(np.uint8)
    classes[:, 21] = IGNORE
    return classes, instances


def test_three_classes_are_background_interior_and_two_pixels_of_border():
    classes, instances = touching()
    told = encode_image(classes, instances, "border")
    expected = (instances > 0).astype(np.uint8) * 2
    expected[4:7, 4:7] = expected[4:7, 11:14] = 1
    expected[:, 21] = IGNORE
    assert np.array_equal(told, expected)


def test_a_distance_map_rises_from_every_edge_where_objects_touch_too():
    classes, instances = touching()
    told = encode_image(classes, instances, "distance")
    steps = [round(LEVELS / REACH * d) for d in (1, 2, 3, 4, 3, 2, 1)]
    assert told[5, 2:16].tolist() == steps + steps
    assert told[5, 18] == steps[0]
    assert (told[:, 21] == IGNORE).all()
    assert (told[(instances == 0) & (classes != IGNORE)] == 0).all()
    deep = encode_image(
        np.ones((40, 40), np.uint8), np.pad(np.ones((38, 38), np.int32), 1), "distance"
    )
    assert deep.max() == LEVELS
    assert (deep[1 + REACH : -1 - REACH, 1 + REACH : -1 - REACH] == LEVELS).all()


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_other_heads_learn_the_classes_as_they_are(head):
    classes, instances = touching()
    assert encode_image(classes, instances, head) is classes


@pytest.mark.parametrize("head", ["border", "distance"])
def test_what_nobody_drew_and_what_is_unknown_stay_so(head):
    ids = np.zeros((12, 12), np.int32)
    ids[2:8, 2:8] = 1
    classes = (ids > 0).astype(np.uint8)
    classes[10], classes[11] = UNDRAWN, IGNORE
    told = encode_image(classes, ids, head)
    assert (told[10] == UNDRAWN).all()
    assert (told[11] == IGNORE).all()
    assert told[:10].max() < UNDRAWN


def test_objects_keep_the_pixels_where_they_touch_unless_a_seam_is_learnt():
    labels = touching()[1]
    for seams in (True, False):
        classes, instances = to_target(labels, LabelMeaning("instances", (0, 1), seams=seams))
        assert (instances[5, 8] == 0) == seams
        assert np.array_equal(classes == 1, instances > 0)
    assert np.array_equal(instances, labels)


def overlapping_case(classes=3):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, classes, 5, 6, generator=generator, requires_grad=True)
    bits = torch.randint(0, 1 << classes, (2, 5, 6), generator=generator).to(torch.uint8)
    bits[0, 1], bits[1, :, 2] = IGNORE, IGNORE
    return logits, bits, torch.rand(2, 5, 6, generator=generator) + 0.5


@pytest.mark.parametrize("kind", ["cross_entropy", "dice", "cross_entropy_dice"])
def test_the_gradient_of_each_overlapping_class_is_that_of_a_binary_loss_of_its_own(kind):
    logits, bits, weights = overlapping_case()
    segmentation_loss(logits, bits, weights, Loss(kind=kind), "sigmoid").backward()
    for number in range(3):
        alone = logits.detach()[:, number : number + 1].requires_grad_(True)
        truth = torch.where(bits == IGNORE, bits, bits >> number & 1)
        entropy = Loss(kind="cross_entropy"), 1.0
        dice = Loss(kind="dice"), 1 / 3  # the mean over classes
        for section, share in {"cross_entropy": [entropy], "dice": [dice]}.get(
            kind, [entropy, dice]
        ):
            (share * segmentation_loss(alone, truth, weights, section, "sigmoid")).backward()
        torch.testing.assert_close(logits.grad[:, number : number + 1], alone.grad)


def test_the_loss_of_overlapping_classes_is_torchs_summed_over_them():
    logits, bits, weights = overlapping_case()
    valid = bits != IGNORE
    truth = torch.stack([bits >> k & 1 for k in range(3)], 1).float()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1)
    expected = [(entropy * weights)[n][valid[n]].sum() / valid[n].sum() for n in range(2)]
    found = weighted_cross_entropy(logits, bits, weights, "sigmoid")
    torch.testing.assert_close(found, torch.stack(expected).mean())


def test_a_distance_map_is_learnt_best_by_what_it_is():
    told = torch.tensor([[[0, 32, 127, LEVELS, IGNORE]]], dtype=torch.uint8)
    share = (told.float() / LEVELS).clamp(1e-4, 1 - 1e-4)
    at_best = torch.stack([torch.where(told > 0, 9.0, -9.0), share.logit()], 1).requires_grad_(True)
    weighted_cross_entropy(at_best, told, None, "distance").backward()
    assert at_best.grad[..., :4].abs().max() < 1e-3
    assert (at_best.grad[..., 4] == 0).all()
    far = at_best.detach() + torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    assert weighted_cross_entropy(far, told, None, "distance") > weighted_cross_entropy(
        at_best, told, None, "distance"
    )


def test_dice_of_a_distance_head_is_that_of_the_object_and_never_alone():
    logits, _, weights = overlapping_case(2)
    told = (torch.rand(2, 5, 6) * 254).to(torch.uint8)
    both = segmentation_loss(logits, told, weights, Loss(kind="dice"), "distance")
    alone = segmentation_loss(logits[:, :1], (told > 0).to(torch.uint8), weights, Loss(kind="dice"))
    torch.testing.assert_close(both, alone)
    with pytest.raises(Exception, match=r"--set loss\.kind=cross_entropy"):
        build_recipe({"network": {"head": "distance"}, "loss": {"kind": "dice"}})


def test_the_border_is_as_wide_as_it_says():
    ids = np.zeros((1, 30), np.int32)
    ids[0, 5:25] = 1
    told = encode_image((ids > 0).astype(np.uint8), ids, "border")
    assert (told[0, 5:25] == 2).sum() == 2 * BORDER
