"""Which precision is taken: the table, row by row."""

from __future__ import annotations

import pytest
import torch

from pulmonet.errors import TrainingError
from pulmonet.training import precision
from pulmonet.training.precision import choose_precision, device_name

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.mark.parametrize(
    ("amp", "model", "device", "native", "expected"),
    [
        ("off", "densenet121", CPU, True, "fp32"),
        ("off", "densenet121", CUDA, True, "fp32"),
        ("auto", "densenet121", CPU, True, "bf16"),
        ("auto", "resnet50", CPU, True, "bf16"),
        ("auto", "efficientnet_b0", CPU, True, "bf16"),
        ("auto", "timm:tf_efficientnet_lite0", CPU, True, "fp32"),
        ("on", "timm:tf_efficientnet_lite0", CPU, True, "bf16"),
        ("auto", "densenet121", CPU, False, "fp32"),
        ("auto", "densenet121", CUDA, True, "bf16"),
        ("on", "densenet121", CUDA, True, "bf16"),
        ("auto", "densenet121", CUDA, False, "fp16"),
        ("auto", "densenet121", MPS, False, "fp32"),
        ("on", "densenet121", MPS, False, "fp16"),
    ],
)
def test_table(
    monkeypatch: pytest.MonkeyPatch,
    amp: str,
    model: str,
    device: torch.device,
    native: bool,
    expected: str,
) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: native)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: native)
    assert choose_precision(amp, model, device) == expected


def test_asking_for_what_the_cpu_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    with pytest.raises(TrainingError, match="--amp: this CPU has no native bf16"):
        choose_precision("on", "densenet121", CPU)


def test_the_device_has_a_name() -> None:
    assert device_name(CPU)
