"""Joining torchrun's processes."""

from __future__ import annotations

import pytest
import torch

from pulmonet.errors import TrainingError
from pulmonet.training.distributed import joined


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
