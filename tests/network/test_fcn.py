"""FCN-8s is the published net, and sees as far as its footprint says and no further."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from septum.network.fcn import FCN8s
from septum.recipe import Network

VGG_16 = 138_357_544 - (4096 * 1000 + 1000)
"""Parameters of VGG-16 as published, less its last layer, the 1000 classes of ImageNet."""


def small(classes=2, channels=1, **values):
    torch.manual_seed(0)
    section = Network(**({"architecture": "fcn-8s", "width": 2} | values))
    return FCN8s(section, channels, classes)


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_published_net_has_the_parameters_of_vgg_16_and_three_score_layers():
    with torch.device("meta"):
        network = FCN8s(Network(architecture="fcn-8s"), 3, 21)
    scores = sum(21 * channels + 21 for channels in (256, 512, 4096))
    assert parameters(network) == VGG_16 + scores


@pytest.mark.parametrize(("width", "channels", "classes"), [(1, 1, 2), (2, 3, 2), (3, 4, 5)])
def test_all_channels_scale_with_the_width(width, channels, classes):
    expected, before = 0, channels
    for count, after in zip((2, 2, 3, 3, 3), (1, 2, 4, 8, 8), strict=True):
        for _ in range(count):
            expected += 9 * before * after * width + after * width
            before = after * width
    expected += 49 * before * 64 * width + 64 * width + (64 * width) ** 2 + 64 * width
    expected += sum(classes * part * width + classes for part in (4, 8, 64))
    assert parameters(small(classes, channels, width=width)) == expected


def test_scores_are_those_of_the_three_depths_raised_and_summed():
    """Written out by hand, with pooling and interpolation by other means than the network's."""

    def pool(features):
        blocks = features.unflatten(2, (-1, 2)).unflatten(4, (-1, 2))
        return blocks.amax((3, 5))

    def raise_(scores, factor):
        for axis in (2, 3):
            extent = scores.shape[axis]
            places = (torch.arange(factor * extent, dtype=torch.double) + 0.5) / factor - 0.5
            places = places.clamp(0, extent - 1)
            first = places.floor().long().clamp(max=max(extent - 2, 0))
            part = (places - first).reshape(-1, *(1,) * (3 - axis))
            after = (first + 1).clamp(max=extent - 1)
            scores = scores.index_select(axis, first) * (1 - part) + part * scores.index_select(
                axis, after
            )
        return scores

    network = small(3, 2).double().eval().requires_grad_(False)
    image = torch.randn(2, 2, 64, 96, dtype=torch.double)
    features, kept = image, []
    for block in network.blocks:
        features = pool(block(features))
        kept.append(features)
    features = F.relu(network.fc7(F.relu(network.fc6(features))))
    pool3, pool4, pool5 = network.score
    scores = raise_(pool5(features), 2) + pool4(kept[3])
    expected = raise_(raise_(scores, 2) + pool3(kept[2]), 8)
    assert expected.std() > 1e-3
    torch.testing.assert_close(network(image), expected)
    for number in range(3):  # each of the three counts
        other = copy.deepcopy(network)
        other.score[number].weight.add_(0.1)
        assert (other(image) - expected).abs().max() > 1e-3


def transparent(monkeypatch):
    """Without dead ends: weights are 1, so that every ReLU is open, and pooling takes means."""
    monkeypatch.setattr(F, "max_pool2d", F.avg_pool2d)
    network = small(width=1).double().eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.fill_(float(parameter.ndim > 1))
    return network


def test_a_block_of_output_pixels_sees_218_pixels_beyond_itself(monkeypatch):
    assert {small(width=width).footprint.context for width in (1, 2, 3)} == {218}
    network = transparent(monkeypatch)
    first = 7 * 32
    image = torch.ones(1, 1, 15 * 32, 15 * 32, dtype=torch.double, requires_grad=True)
    network(image)[0, 0, first : first + 32, first : first + 32].sum().backward()
    for axis in (0, 1):
        seen = image.grad[0, 0].sum(1 - axis).nonzero()
        assert (int(seen[0]), int(seen[-1])) == (first - 218, first + 31 + 218)


@pytest.mark.parametrize("side", [-1, 1])
def test_what_lies_beyond_the_context_changes_no_bit_and_what_lies_at_it_does(monkeypatch, side):
    first, last = 7 * 32, 7 * 32 + 31
    edge = first - 218 if side < 0 else last + 218
    block = (slice(None), slice(None), slice(first, last + 1), slice(first, last + 1))
    random = small().double().eval().requires_grad_(False)
    image = torch.randn(1, 1, 15 * 32, 15 * 32, dtype=torch.double)
    beyond = image.clone()
    where = slice(0, edge) if side < 0 else slice(edge + 1, None)
    beyond[:, :, where] += 100
    beyond[:, :, :, where] += 100
    assert torch.equal(random(beyond)[block], random(image)[block])
    assert not torch.equal(random(beyond), random(image))

    open_ = transparent(monkeypatch)
    image = torch.ones(1, 1, 15 * 32, 15 * 32, dtype=torch.double)
    at = image.clone()
    at[:, :, edge] += 1e6
    assert not torch.equal(open_(at)[block], open_(image)[block])


def test_dropout_strikes_fc6_and_fc7_by_the_seed_of_each_sample():
    network = small(width=4, dropout=0.5).train().requires_grad_(False)
    layers = {"fc6": (network.fc6, network.fc7), "fc7": (network.fc7, network.score[2])}
    computed, handed_on = {}, {}
    for name, (layer, after) in layers.items():
        layer.register_forward_hook(lambda _m, _i, found, k=name: computed.update({k: found}))
        after.register_forward_pre_hook(lambda _, given, k=name: handed_on.update({k: given[0]}))
    image = torch.randn(1, 1, 64, 64).expand(3, 1, 64, 64)
    network.dropout.seeds = [5, 9, 5]
    scores = network(image)
    assert torch.equal(scores[0], scores[2])
    assert not torch.equal(scores[0], scores[1])
    for name, found in computed.items():
        struck = float((handed_on[name][found > 0] == 0).float().mean())
        assert 0.4 < struck < 0.6, name
    network.eval()(image)
    assert all(torch.equal(handed_on[name], F.relu(computed[name])) for name in layers)


def test_scores_stay_in_single_precision_where_the_rest_is_bfloat16():
    network = small(width=4).eval().requires_grad_(False).bfloat16()
    network.score.float()
    scores = network(torch.randn(1, 1, 64, 64).bfloat16())
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())


def test_a_sigmoid_head_scores_the_object_alone():
    network = small(head="sigmoid").eval()
    assert {layer.out_channels for layer in network.score} == {1}
    assert network(torch.randn(1, 1, 32, 64)).shape == (1, 1, 32, 64)
