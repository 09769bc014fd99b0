"""Which device a network runs on."""

from __future__ import annotations

import torch
from torch import nn

from pulmonet.errors import ConfigError, TrainingError


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to `device` with channels-last weights, the fast layout on CPU and GPU."""
    moved: nn.Module = network.to(device).to(memory_format=torch.channels_last)
    return moved


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: not a device's name.
        TrainingError: this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            f"--device {name}: no such kind; use auto, cpu, cuda, cuda:N or mps"
        ) from None
    if device.type == "cpu":
        return device
    if device.type == "cuda" and torch.cuda.is_available():
        if (device.index or 0) < torch.cuda.device_count():
            return torch.device("cuda", device.index or 0)
    elif device.type == "mps" and torch.backends.mps.is_available():
        return device
    elif device.type not in {"cuda", "mps"}:
        raise ConfigError(f"--device {name}: not supported; use auto, cpu, cuda, cuda:N or mps")
    raise TrainingError(f"--device {name}: not on this machine; use --device auto or cpu")
