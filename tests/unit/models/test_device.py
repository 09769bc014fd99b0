"""Devices by name, and which precision is taken: the table, row by row."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch.torch_version import TorchVersion

from pulmonet.errors import ConfigError, TrainingError
from pulmonet.models import device as device_module
from pulmonet.models.device import choose_device, choose_precision, device_name, make_deterministic

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


def test_mixed_precision_on_mps_needs_a_torch_that_has_it_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for version, is_right in (("2.7.1", False), ("2.8.0", True), ("2.10.0", True)):
        monkeypatch.setattr(torch, "__version__", TorchVersion(version))
        if is_right:
            assert choose_precision("on", MPS) == "fp16"
        else:
            with pytest.raises(TrainingError, match=r"wrong on MPS before torch 2\.8"):
                choose_precision("on", MPS)


def test_deterministic_kernels_and_no_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.backends.cuda.matmul.allow_tf32 = True  # as NVIDIA's containers have it
    choose_device("cpu")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    try:
        make_deterministic()
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


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
