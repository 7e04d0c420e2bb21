"""The statistics of batch normalisation that weights have which were never trained with."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from septum.devices import Ranks
from septum.network.batch_norm import measure_batch_norm


def two_layers() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4),
    )


def batches(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [
        torch.randn(2, 2, 6, 7, generator=generator) * (number + 1) + number
        for number in range(count)
    ]


def test_statistics_are_the_means_over_batches_of_what_each_layer_sees() -> None:
    network, given = two_layers(), batches(5)
    network[1].running_mean.fill_(40.0)  # of other weights: must not count
    measure_batch_norm(network, given, 5, Ranks())

    seen = [network[0](batch) for batch in given]
    first = torch.stack([maps.mean((0, 2, 3)) for maps in seen])
    spread = torch.stack([maps.var((0, 2, 3), unbiased=True) for maps in seen])
    torch.testing.assert_close(network[1].running_mean, first.mean(0))
    torch.testing.assert_close(network[1].running_var, spread.mean(0))

    # The second layer sees each batch normalised by its own statistics, and nothing dropped.
    deeper = []
    for maps in seen:
        normal = nn.functional.batch_norm(
            maps, None, None, network[1].weight, network[1].bias, training=True
        )
        deeper.append(network[4](normal.relu()).mean((0, 2, 3)))
    torch.testing.assert_close(network[5].running_mean, torch.stack(deeper).mean(0))


def test_a_layer_trains_on_as_before_and_is_left_in_evaluation() -> None:
    network = two_layers().eval()
    network[1].momentum = 0.3
    before = {name: value.clone() for name, value in network.named_parameters()}
    measure_batch_norm(network, batches(3), 3, Ranks())
    assert network[1].momentum == 0.3
    assert network[5].momentum == 0.1
    assert not any(module.training for module in network.modules())
    for name, value in network.named_parameters():
        assert torch.equal(value, before[name])
        assert value.grad is None


class Together(Ranks):
    """Two ranks in two threads of one process."""

    barrier = threading.Barrier(2)
    given: ClassVar[dict[int, torch.Tensor]] = {}

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        self.given[self.rank] = tensor.clone()
        self.barrier.wait()
        total = self.given[0] + self.given[1]
        self.barrier.wait()
        return total


@pytest.mark.parametrize("first", [1, 2])
def test_ranks_that_divide_the_batches_find_the_same(first: int) -> None:
    alone, given = two_layers().eval(), batches(3)
    measure_batch_norm(alone, given, 3, Ranks())
    found: dict[int, Any] = {}

    def run(rank: int, network: nn.Module, mine: list[torch.Tensor]) -> None:
        measure_batch_norm(network, mine, 3, Together(rank, 2))
        found[rank] = network.state_dict()

    # Made one after the other: threads would draw from the one generator that both have seeded.
    threads = [
        threading.Thread(target=run, args=(rank, two_layers().eval(), mine))
        for rank, mine in enumerate([given[:first], given[first:]])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, value in alone.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(found[0][name], value)
            assert torch.equal(found[0][name], found[1][name])


def test_a_network_without_batch_normalisation_is_not_run() -> None:
    def refused() -> Any:
        raise AssertionError("drawn for nothing")
        yield

    measure_batch_norm(nn.Sequential(nn.Conv2d(1, 1, 1)), refused(), 3, Ranks())
