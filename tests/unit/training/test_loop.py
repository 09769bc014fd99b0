"""The loop: losses looked at now and then, what a non-finite one does, being told to stop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

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


class Reads(TorchDispatchMode):
    """Counts how often a value is read out of a tensor: a GPU is awaited each time."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("fp16", [False, True])
def test_a_look_reads_the_losses_of_many_steps_at_once(fp16: bool) -> None:
    values = np.random.default_rng(0).uniform(1, 900, 20).astype(np.float32)
    progress, one_by_one = Progress(), Progress()
    losses = losses_with(progress, fp16=fp16)
    single = losses_with(one_by_one, fp16=fp16)
    for number, value in enumerate(values):
        skipped = number % 7 == 3 if fp16 else None
        take_step(single, one_by_one, float(value), skipped)
        progress.step += 1
        flag = None if skipped is None else torch.tensor(skipped)
        losses.add(np.array([0]), torch.tensor(value), torch.tensor(4.0), flag)
    with Reads() as reads:
        float(torch.tensor(1.0))
        assert reads.n == 1, "this is how it is counted"
        losses.look()
    assert reads.n == 1
    assert progress == one_by_one
    assert progress.loss_sum == sum(float(value) for value in values)
    assert losses.last == float(values[-1]) / 4


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
