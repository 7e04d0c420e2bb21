"""Ctrl-C is a wish the first time, and an order the second."""

from __future__ import annotations

import os
import signal

import pytest

from septum.training import interruption as interruption_module
from septum.training.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_the_handlers_come_back(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        assert not interruption.requested
        os.kill(os.getpid(), number)
        assert interruption.requested
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert "saving" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_interrupts_at_once_but_not_together_with_the_first(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), number)  # torchrun hands on what the terminal has sent already
        assert interruption.requested
        monkeypatch.setattr(interruption_module, "TOGETHER", -1.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_of_several_ranks_one_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    with Interruption(speaks=False) as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.requested
    assert not capsys.readouterr().err
