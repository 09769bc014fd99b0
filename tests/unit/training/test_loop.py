"""The loop: losses looked at now and then, what a non-finite one does, being told to stop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pulmonet.config.load import parse_config
from pulmonet.errors import TrainingError
from pulmonet.training import loop
from pulmonet.training.checkpoint import Progress
from pulmonet.training.distributed import Processes
from pulmonet.training.loop import LossesSeen, SignalWatch, stop_requested

CONFIG = parse_config({"runtime": {"nonfinite_limit": 3}})


def losses_with(progress: Progress, *, fp16: bool) -> LossesSeen:
    scaler = object() if fp16 else None
    engine: Any = SimpleNamespace(config=CONFIG, scaler=scaler)
    return LossesSeen(engine, progress, ["a.png", "b.png"])


def take_step(
    losses: LossesSeen, progress: Progress, loss: float, skipped: bool | None = None
) -> None:
    progress.step += 1
    flag = None if skipped is None else torch.tensor(skipped)
    losses.add(np.array([0, 1]), torch.tensor(loss), torch.tensor(4.0), flag)
    losses.look()


def test_fp16_may_skip_as_many_steps_in_a_row_as_allowed() -> None:
    progress = Progress()
    losses = losses_with(progress, fp16=True)
    for _ in range(3):
        take_step(losses, progress, 2.0, skipped=True)
    take_step(losses, progress, 2.0, skipped=False)
    for _ in range(3):
        take_step(losses, progress, float("inf"), skipped=True)
    assert (progress.n_skipped, progress.n_skipped_in_a_row) == (6, 3)
    assert (progress.loss_sum, progress.known_sum) == (8.0, 16)
    with pytest.raises(TrainingError, match=r"step 8: the gradient is not finite.*a\.png, b\.png"):
        take_step(losses, progress, 2.0, skipped=True)


def test_skipped_steps_in_a_row_count_across_epochs_and_resuming() -> None:
    progress = Progress()
    for _ in range(3):  # a look lives for an epoch
        take_step(losses_with(progress, fp16=True), progress, float("nan"), skipped=True)
    with pytest.raises(TrainingError, match="the loss is not finite"):
        take_step(losses_with(progress, fp16=True), progress, float("nan"), skipped=True)


def test_without_fp16_the_first_non_finite_loss_ends_the_run() -> None:
    progress = Progress()
    with pytest.raises(TrainingError, match="epoch 1, step 1: the loss is not finite"):
        take_step(losses_with(progress, fp16=False), progress, float("nan"))


def test_processes_ask_each_other_in_epochs_of_few_steps_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "largest_of_processes", lambda number, _: number)
    two = Processes(0, 0, 2)
    watch = SignalWatch()
    watch.received = 15
    asked = [stop_requested(watch, two, step, 7) for step in range(1, 8)]
    assert asked == [False] * 6 + [True]
    asked = [stop_requested(watch, two, step, 25) for step in range(1, 26)]
    assert [step for step, stop in enumerate(asked, 1) if stop] == [10, 20, 25]
