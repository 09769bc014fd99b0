"""Which precision pays for which network on which device: a table with its evidence."""

from __future__ import annotations

from pathlib import Path

import torch

from pulmonet.errors import TrainingError

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
        return "fp16" if amp == "on" else "fp32"
    if cpu_has_bf16():
        return "bf16"
    if amp == "on":
        raise TrainingError(
            "--amp: this CPU has no native bf16 (AVX512-BF16 or AMX), where mixed precision "
            "is slower than fp32; leave --amp out"
        )
    return "fp32"


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 natively (AVX512-BF16, AMX, or Arm's BF16)."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:
        return False
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def device_name(device: torch.device) -> str:
    """The processor's or GPU's product name, for the provenance."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return device.type
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else device.type
