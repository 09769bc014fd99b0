"""Being told to stop."""

from __future__ import annotations

import pytest

from pulmonet.training import interruption
from pulmonet.training.distributed import Processes
from pulmonet.training.interruption import SignalWatch, stop_requested


def test_processes_ask_each_other_in_epochs_of_few_steps_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interruption, "any_process", lambda flag, _: flag)
    two = Processes(0, 0, 2)
    watch = SignalWatch()
    watch.received = 15
    asked = [stop_requested(watch, two, step, 7) for step in range(1, 8)]
    assert asked == [False] * 6 + [True]
    asked = [stop_requested(watch, two, step, 25) for step in range(1, 26)]
    assert [step for step, stop in enumerate(asked, 1) if stop] == [10, 20, 25]
