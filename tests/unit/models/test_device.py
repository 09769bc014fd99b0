"""Devices by name, and which precision is taken: the table, row by row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pulmonet.errors import ConfigError, TrainingError
from pulmonet.models import device as device_module
from pulmonet.models.device import choose_device, choose_precision, device_name

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.mark.parametrize(
    ("amp", "device", "native", "expected"),
    [
        ("off", CPU, True, "fp32"),
        ("off", CUDA, True, "fp32"),
        ("auto", CPU, True, "bf16"),
        ("on", CPU, True, "bf16"),
        ("auto", CPU, False, "fp32"),
        ("auto", CUDA, True, "bf16"),
        ("on", CUDA, True, "bf16"),
        ("auto", CUDA, False, "fp16"),
        ("auto", MPS, False, "fp32"),
        ("on", MPS, False, "fp16"),
    ],
)
def test_table(
    monkeypatch: pytest.MonkeyPatch, amp: str, device: torch.device, native: bool, expected: str
) -> None:
    monkeypatch.setattr(device_module, "cpu_has_bf16", lambda: native)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: native)
    assert choose_precision(amp, device) == expected


def test_asking_for_what_the_cpu_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "cpu_has_bf16", lambda: False)
    with pytest.raises(TrainingError, match="--amp: this CPU has no native bf16"):
        choose_precision("on", CPU)


def test_the_cpu_is_called_as_the_system_calls_it() -> None:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    assert device_name(CPU) == (names[0] if names else "cpu")


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="no such kind"):
        choose_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="not on this machine"):
            choose_device("cuda:0")
