"""A row of the log: what is measured beside the scores."""

from __future__ import annotations

import resource
import sys
from types import SimpleNamespace

import pytest
import torch

from pulmonet.training.log import peak_memory_mb


@pytest.mark.parametrize(("platform", "bytes_a_unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_is_in_mebibytes_on_every_system(
    monkeypatch: pytest.MonkeyPatch, platform: str, bytes_a_unit: int
) -> None:
    usage = SimpleNamespace(ru_maxrss=512 * 2**20 // bytes_a_unit)
    monkeypatch.setattr(resource, "getrusage", lambda _: usage)
    monkeypatch.setattr(sys, "platform", platform)
    assert peak_memory_mb(torch.device("cpu")) == 512.0
