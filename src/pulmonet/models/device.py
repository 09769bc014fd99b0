"""Which device a network runs on, and in which precision training pays there."""

import os
import re
from pathlib import Path

import torch
from torch import nn

from pulmonet.errors import ConfigError, TrainingError
from pulmonet.files.system import keep_freed_memory


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to `device` with channels-last weights, the fast layout on CPU and GPU."""
    if device.type == "cpu":
        keep_freed_memory()
    moved: nn.Module = network.to(device).to(memory_format=torch.channels_last)
    return moved


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU; TF32 is off from then on.

    Raises:
        ConfigError: not a device's name.
        TrainingError: this machine has no such device.
    """
    torch.backends.cudnn.allow_tf32 = False  # torch's default for convolutions: 10 bits of 23
    torch.backends.cuda.matmul.allow_tf32 = False  # NVIDIA's containers turn it on
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        text = f"--device {name}: no such kind; use auto, cpu, cuda, cuda:N or mps"
        raise ConfigError(text) from None
    n_mps = int(torch.backends.mps.is_available())
    n_devices = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": n_mps}
    if device.type not in n_devices:
        raise ConfigError(f"--device {name}: not supported; use auto, cpu, cuda, cuda:N or mps")
    if (device.index or 0) >= n_devices[device.type]:
        raise TrainingError(f"--device {name}: not on this machine; use --device auto or cpu")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


#: Images/s of forward and backward at 224 px on two cores with native bf16, fp32 NCHW -> bf16
#: channels_last: DenseNet-121 5.1 -> 12.3, ResNet-50 3.8 -> 9.3, EfficientNet-B0 10.0 -> 12.5.
#: EfficientNet-Lite0 gains nothing by itself (12.6 -> 13.0), but 25.7 with `depthwise`.


def choose_precision(amp: str, device: torch.device) -> str:
    """fp32, bf16 or fp16 for ``runtime.amp``; ``auto`` takes what was measured to pay.

    Raises:
        TrainingError: ``on`` where the device has no mixed precision worth the name.
    """
    if amp == "off":
        return "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "mps":
        if amp == "on" and torch.__version__ < "2.8":
            what = "--amp: torch's GradScaler and fused AdamW are wrong on MPS before torch 2.8"
            raise TrainingError(f"{what}; update torch, or leave --amp out")
        return "fp16" if amp == "on" else "fp32"
    if cpu_has_bf16():
        return "bf16"
    if amp == "on":
        what = "--amp: this CPU has no native bf16 (AVX512-BF16 or AMX),"
        raise TrainingError(f"{what} where mixed precision is slower than fp32; leave --amp out")
    return "fp32"


def make_deterministic() -> None:
    """From now on torch takes deterministic kernels alone, and fails where there is none.

    https://pytorch.org/docs/stable/notes/randomness.html
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 natively (AVX512-BF16, AMX, or Arm's BF16)."""
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(_cpuinfo().split())


def device_name(device: torch.device) -> str:
    """The processor's or GPU's product name, for the provenance."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    found = re.search(r"^model name[^:]*:(.*)$", _cpuinfo(), re.MULTILINE)
    return found.group(1).strip() if found else device.type


def _cpuinfo() -> str:
    """What Linux knows of the processor; empty elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return ""
