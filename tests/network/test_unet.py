"""The network is the paper's: its figure, its initialisation, and the arithmetic of its extents."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from septum.geometry import unet_footprint
from septum.network.unet import UNet, fold_batch_norm
from septum.recipe import Network

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
FORMS = list(itertools.product((2, 3), ("valid", "same"), ("convolution", "linear")))


def section(**values):
    return Network(**({"width": 2, "depth": 2, "dropout": 0.0} | values))


def without_numbers(form):
    """A network that computes extents only."""
    with torch.device("meta"):
        return UNet(form, 1, 2)


def with_random_statistics(network, seed=0):
    """Batch normalisation as after training: no statistic or weight has its initial value."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            size = module.running_mean.shape
            module.running_mean.copy_(torch.randn(size, generator=generator))
            module.running_var.copy_(torch.rand(size, generator=generator) * 3 + 0.2)
            module.weight.data.copy_(torch.rand(size, generator=generator) + 0.5)
            module.bias.data.copy_(torch.randn(size, generator=generator))
    return network


@pytest.fixture(scope="module")
def paper():
    torch.manual_seed(7)
    return UNet(Network(), 1, 2)


def test_the_papers_network_has_31_030_658_parameters(paper):
    assert sum(parameter.numel() for parameter in paper.parameters()) == 31_030_658


def test_the_papers_network_has_23_convolutional_layers(paper):
    assert sum(isinstance(module, CONVOLUTIONS) for module in paper.modules()) == 23


def test_the_papers_network_makes_388_pixels_of_572():
    network = without_numbers(Network())
    assert network(torch.empty(1, 1, 572, 572, device="meta")).shape == (1, 2, 388, 388)


def incoming_nodes(layer):
    """Count the inputs that one output in the middle of a layer depends on."""
    layer = copy.deepcopy(layer).requires_grad_(False)
    image = torch.ones(1, layer.in_channels, 5, 5, requires_grad=True)
    output = layer(image)
    output[0, 0, output.shape[2] // 2, output.shape[3] // 2].backward()
    return int((image.grad != 0).sum())


def test_weights_have_the_standard_deviation_sqrt_2_over_n_and_biases_are_0(paper):
    for name, layer in paper.named_modules():
        if not isinstance(layer, CONVOLUTIONS):
            continue
        expected = math.sqrt(2 / incoming_nodes(layer))
        weight = layer.weight.detach()
        deviation, count = float(weight.std()), weight.numel()
        # The standard error of a standard deviation of n Gaussian numbers is σ / sqrt(2n).
        assert abs(deviation / expected - 1) < 5 / math.sqrt(2 * count), name
        assert abs(float(weight.mean())) < 5 * expected / math.sqrt(count), name
        assert torch.count_nonzero(layer.bias) == 0, name


@pytest.mark.parametrize("dimensions", [2, 3])
def test_up_convolutions_count_their_channels_alone_as_incoming(dimensions):
    torch.manual_seed(0)
    network = UNet(section(dimensions=dimensions, width=32, depth=1), 1, 2)
    weight = network.raise_[0].convolve.weight.detach()
    assert weight.shape[0] == 64
    error = 5 / math.sqrt(2 * weight.numel())
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / 64), rel=error)


def dropped_levels(network, image):
    """Levels whose features are not handed on as they were computed, and the share set to 0."""
    depth = network.section.depth
    computed, handed_on = {}, {}

    def keep(where, level, value):
        where[level] = value.clone()

    for level, module in enumerate(network.contract):
        module.register_forward_hook(lambda _m, _i, output, k=level: keep(computed, k, output))
    for level, module in enumerate([*(each[0] for each in network.expand), network.raise_[-1]]):
        module.register_forward_pre_hook(lambda _, inputs, k=level: keep(handed_on, k, inputs[0]))
    with torch.no_grad():
        network(image)
    shares = {}
    for level in range(depth + 1):
        before = computed[level]
        after = handed_on[level][:, : before.shape[1]]  # the skip is the first half
        if not torch.equal(before, after):
            shares[level] = float((after[before > 0] == 0).float().mean())
    return shares


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_dropout_strikes_the_two_deepest_levels_in_training_only(depth):
    torch.manual_seed(1)
    network = UNet(section(depth=depth, width=8, padding="same", dropout=0.5), 1, 2)
    image = torch.randn(1, 1, 64, 64)
    struck = dropped_levels(copy.deepcopy(network).train(), image)
    assert set(struck) == {depth - 1, depth}
    assert all(0.4 < share < 0.6 for share in struck.values())
    assert dropped_levels(copy.deepcopy(network).eval(), image) == {}


def test_the_sigmoid_head_has_one_channel_and_the_softmax_head_one_a_class():
    image = torch.empty(1, 3, 64, 64, device="meta")
    with torch.device("meta"):
        assert UNet(section(head="sigmoid"), 3, 2)(image).shape[1] == 1
        assert UNet(section(head="softmax"), 3, 5)(image).shape[1] == 5


@pytest.mark.parametrize(("dimensions", "padding", "up"), FORMS)
def test_folded_batch_norm_equals_evaluation_mode(dimensions, padding, up):
    torch.manual_seed(2)
    form = section(
        dimensions=dimensions, padding=padding, up=up, normalization="batch", width=4, depth=1
    )
    network = with_random_statistics(UNet(form, 2, 3)).eval()
    image = torch.randn(2, 2, *(network.footprint.minimum + 2 * axis for axis in range(dimensions)))
    with torch.no_grad():
        expected = network(image)
        folded = fold_batch_norm(copy.deepcopy(network))
        actual = folded(image)
    kinds = {type(module) for module in folded.modules()}
    assert not kinds & {nn.BatchNorm2d, nn.BatchNorm3d}
    assert expected.std() > 0.01
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dimensions", "padding", "up"), FORMS)
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_output_extents_are_those_of_the_footprint_and_poolings_see_even_extents(
    dimensions, padding, up, depth
):
    network = without_numbers(
        section(dimensions=dimensions, padding=padding, up=up, depth=depth, width=1)
    )
    footprint = network.footprint
    pooled = []
    for level in list(network.contract)[:-1]:
        level.register_forward_hook(lambda _m, _i, output: pooled.extend(output.shape[2:]))
    extents = [footprint.minimum + step * footprint.stride for step in (0, 1, 3)][:dimensions]
    output = network(torch.empty(1, 1, *extents, device="meta"))
    assert list(output.shape[2:]) == [footprint.output_extent(extent) for extent in extents]
    assert pooled
    assert all(extent % 2 == 0 for extent in pooled)


@pytest.mark.parametrize("up", ["convolution", "linear"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_nothing_smaller_than_the_smallest_legal_extent_passes_the_unpadded_network(up, depth):
    network = without_numbers(section(padding="valid", up=up, depth=depth, width=1))
    too_small = network.footprint.minimum - network.footprint.stride
    with pytest.raises((RuntimeError, AssertionError)):  # noqa: PT012
        output = network(torch.empty(1, 1, too_small, too_small, device="meta"))
        assert min(output.shape) > 0


@given(
    depth=st.integers(1, 3),
    padding=st.sampled_from(["valid", "same"]),
    up=st.sampled_from(["convolution", "linear"]),
    extent=st.integers(1, 200),
)
def test_every_extent_that_the_footprint_allows_passes_and_pools_evenly(depth, padding, up, extent):
    footprint = unet_footprint(depth, padding, up)
    legal = footprint.legal_at_least(extent)
    assert extent <= legal
    network = without_numbers(section(padding=padding, up=up, depth=depth, width=1))
    output = network(torch.empty(1, 1, legal, legal, device="meta"))
    assert output.shape[2:] == (legal - footprint.shrink,) * 2
    if legal - footprint.stride >= footprint.minimum:
        assert legal - footprint.stride < extent


def test_a_network_can_be_exported_and_the_export_computes_the_same():
    torch.manual_seed(3)
    network = with_random_statistics(UNet(section(normalization="batch"), 1, 2)).eval()
    image = torch.randn(1, 1, network.footprint.minimum, network.footprint.minimum)
    exported = torch.export.export(network, (image,)).module()
    torch.testing.assert_close(exported(image), network(image))


def test_a_state_dict_carries_everything_that_the_result_depends_on():
    torch.manual_seed(4)
    network = with_random_statistics(UNet(section(normalization="batch"), 1, 2)).eval()
    other = UNet(section(normalization="batch"), 1, 2).eval()
    image = torch.randn(1, 1, 60, 60)
    assert not torch.equal(other(image), network(image))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(image), network(image))
