"""Parts of the loop by themselves: looking at losses, being told to stop, memory."""

from __future__ import annotations

import resource
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pulmonet.config.load import parse_config
from pulmonet.errors import TrainingError
from pulmonet.training import loop
from pulmonet.training.checkpoint import Progress
from pulmonet.training.distributed import Processes, joined
from pulmonet.training.interruption import SignalWatch
from pulmonet.training.loop import Look, peak_memory_mb

CONFIG = parse_config({"runtime": {"nonfinite_limit": 3}})
DATA: Any = SimpleNamespace(paths=["a.png", "b.png"])


def look_with(progress: Progress, *, fp16: bool) -> Look:
    engine: Any = SimpleNamespace(scaler=object() if fp16 else None, device=torch.device("cpu"))
    return Look(engine, progress)


def take_step(look: Look, progress: Progress, loss: float, skipped: bool | None = None) -> None:
    progress.step += 1
    flag = None if skipped is None else torch.tensor(skipped)
    look.add(np.array([0, 1]), torch.tensor(loss), torch.tensor(4.0), flag)
    look.take(DATA, CONFIG)


def test_fp16_may_skip_as_many_steps_in_a_row_as_allowed() -> None:
    progress = Progress()
    look = look_with(progress, fp16=True)
    for _ in range(3):
        take_step(look, progress, 2.0, skipped=True)
    take_step(look, progress, 2.0, skipped=False)
    for _ in range(3):
        take_step(look, progress, float("inf"), skipped=True)
    assert (progress.n_skipped, progress.n_skipped_in_a_row) == (6, 3)
    assert (progress.loss_sum, progress.known_sum) == (8.0, 16)
    with pytest.raises(TrainingError, match=r"step 8: the gradient is not finite.*a\.png, b\.png"):
        take_step(look, progress, 2.0, skipped=True)


def test_skipped_steps_in_a_row_count_across_epochs_and_resuming() -> None:
    progress = Progress()
    for _ in range(3):  # a look lives for an epoch
        take_step(look_with(progress, fp16=True), progress, float("nan"), skipped=True)
    with pytest.raises(TrainingError, match="the loss is not finite"):
        take_step(look_with(progress, fp16=True), progress, float("nan"), skipped=True)


def test_without_fp16_the_first_non_finite_loss_ends_the_run() -> None:
    progress = Progress()
    with pytest.raises(TrainingError, match="epoch 1, step 1: the loss is not finite"):
        take_step(look_with(progress, fp16=False), progress, float("nan"))


def test_processes_ask_each_other_in_epochs_of_few_steps_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "any_process", lambda flag, _: flag)
    engine: Any = SimpleNamespace(processes=Processes(0, 0, 2))
    watch = SignalWatch()
    watch.received = 15
    asked = [loop._stop_requested(watch, engine, step, 7) for step in range(1, 8)]
    assert asked == [False] * 6 + [True]
    asked = [loop._stop_requested(watch, engine, step, 25) for step in range(1, 26)]
    assert [step for step, stop in enumerate(asked, 1) if stop] == [10, 20, 25]


@pytest.mark.parametrize(("platform", "bytes_a_unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_is_in_mebibytes_on_every_system(
    monkeypatch: pytest.MonkeyPatch, platform: str, bytes_a_unit: int
) -> None:
    usage = SimpleNamespace(ru_maxrss=512 * 2**20 // bytes_a_unit)
    monkeypatch.setattr(resource, "getrusage", lambda _: usage)
    monkeypatch.setattr(sys, "platform", platform)
    assert peak_memory_mb(torch.device("cpu")) == 512.0


def test_more_processes_than_gpus_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TORCHELASTIC_RUN_ID": "x",
        "RANK": "2",
        "LOCAL_RANK": "2",
        "WORLD_SIZE": "4",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(TrainingError, match=r"process 2 .* has no GPU, there are 2"),
        joined("cuda"),
    ):
        pass
