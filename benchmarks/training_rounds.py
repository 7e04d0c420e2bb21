"""Time contestants in turn, so that whatever slows the machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Contestant:
    """Something to be timed; ``rounds`` caps the rounds that it takes part in."""

    call: Callable[[], Any]
    rounds: int = 1000


def build_all(
    builders: Mapping[str, Callable[[], Callable[[], Any]]],
) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Those that can be built, and for those whose package is not there, what is missing."""
    built, missing = {}, {}
    for name, build in builders.items():
        try:
            built[name] = Contestant(build())
        except ImportError as error:
            missing[name] = str(error)
    return built, missing


def time_in_turn(
    contestants: Mapping[str, Contestant], rounds: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Seconds a call, for each name: rounds A, B, C, A, B, C, … after one call each to warm up.

    In a round a contestant is called until ``seconds`` have passed, at least once; the round's
    number is the mean over these calls. A contestant of one round is not warmed up.
    """
    for contestant in contestants.values():
        if contestant.rounds > 1:
            contestant.call()
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, contestant in contestants.items():
            if number < contestant.rounds:
                measured[name].append(_seconds_a_call(contestant.call, seconds))
    return {name: summarize(values) for name, values in measured.items()}


def _seconds_a_call(call: Callable[[], Any], seconds: float) -> float:
    calls, start = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - start < seconds:
        call()
        calls += 1
    return (time.perf_counter() - start) / calls


def summarize(values: list[float]) -> dict[str, float]:
    """Median, minimum and number of the rounds."""
    return {"median": statistics.median(values), "minimum": min(values), "rounds": len(values)}
