"""Schedules of the learning rate, and the running mean of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from septum.recipe import Training
from septum.training.optimization import learning_rate, tiles_of_statistics, update_average


def test_constant_stays() -> None:
    section = Training(steps=100, learning_rate=0.3)
    assert {learning_rate(step, 100, 7, section) for step in range(100)} == {0.3}


def test_step_decay_is_a_tenth_every_thirty_epochs() -> None:
    section = Training(steps=1000, learning_rate=0.01, schedule="step")
    rates = [learning_rate(step, 1000, 5, section) for step in range(1000)]  # 5 steps an epoch
    for epoch in range(200):
        expected = 0.01 * 0.1 ** (epoch // 30)
        assert rates[5 * epoch : 5 * epoch + 5] == pytest.approx([expected] * 5)


def test_cosine_begins_at_the_rate_has_half_of_it_midway_and_ends_near_nothing() -> None:
    section = Training(steps=1000, learning_rate=0.02, schedule="cosine")
    rates = [learning_rate(step, 1000, 5, section) for step in range(1000)]
    assert rates[0] == 0.02
    assert rates[500] == pytest.approx(0.01)
    assert 0 < rates[-1] < 0.02 * 1e-5
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up_rises_in_equal_steps_to_the_schedule(schedule: str) -> None:
    section = Training(steps=50, learning_rate=0.1, schedule=schedule, warmup_steps=10)
    cold = Training(steps=50, learning_rate=0.1, schedule=schedule)
    for step in range(50):
        share = min((step + 1) / 10, 1)
        expected = learning_rate(step, 50, 5, cold) * share
        assert learning_rate(step, 50, 5, section) == pytest.approx(expected)


def test_the_average_follows_the_weights_by_its_decay_and_keeps_its_statistics() -> None:
    network, average = nn.BatchNorm2d(1), nn.BatchNorm2d(1)
    with torch.no_grad():
        network.weight.fill_(3.0)
        average.weight.fill_(1.0)
    network.running_mean.fill_(7.0)
    update_average(average, network, step=10_000, decay=0.9)
    assert average.weight.item() == pytest.approx(0.9 * 1 + 0.1 * 3)
    assert average.running_mean.item() == 0  # those of the network are of other weights
    assert network.weight.item() == 3


def test_the_average_forgets_where_it_began_in_the_first_steps() -> None:
    network, average = nn.BatchNorm2d(1), nn.BatchNorm2d(1)
    with torch.no_grad():
        average.weight.fill_(1000.0)
    for step in range(60):
        update_average(average, network, step, decay=0.999)
    # With the decay of 0.999 from the start it would still be at 942.
    assert average.weight.item() < 2


@pytest.mark.parametrize(
    ("batch", "micro", "every", "steps", "sizes"),
    [(2, 0, 1000, 32, {2}), (2, 1, 1000, 32, {1}), (2, 0, 40, 6, {2}), (5, 2, 1000, 13, {2, 1})],
)
def test_statistics_are_of_64_tiles_or_a_small_share_of_the_steps(
    batch: int, micro: int, every: int, steps: int, sizes: set[int]
) -> None:
    wanted = tiles_of_statistics(Training(steps=1, batch=batch, micro_batch=micro), every)
    assert {step for step, _ in wanted} == set(range(steps))
    assert {len(part) for _, part in wanted} == sizes
    first = [index for step, part in wanted if step == 0 for index in part]
    assert first == list(range(batch))
