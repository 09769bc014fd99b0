"""Which precision pays for which network on which device: a table with its evidence."""

from __future__ import annotations

from pathlib import Path

import torch

from pulmonet.errors import TrainingError

#: Networks that train faster in fp32 than in bf16 on CPUs with native bf16. Depthwise
#: convolutions have no fast bf16 kernel in oneDNN: a whole Lite0 run took 153 s in bf16 and
#: 132 s in fp32 on two Zen 4 cores. The others gain (images/s, forward + backward, 224 px,
#: fp32 NCHW -> bf16 channels_last, same machine): DenseNet-121 5.1 -> 12.3,
#: ResNet-50 3.8 -> 9.3, EfficientNet-B0 10.0 -> 12.5.
FP32_ON_CPU = ("timm:tf_efficientnet_lite", "timm:efficientnet_lite", "timm:mobilenet")


def choose_precision(amp: str, model_name: str, device: torch.device) -> str:
    """fp32, bf16 or fp16.

    Args:
        amp: ``off``, ``on`` or ``auto`` (takes what was measured to pay).
        model_name: of the network.
        device: where it trains.

    Raises:
        TrainingError: ``on`` where the device has no mixed precision worth the name.
    """
    if amp == "off":
        return "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "mps":
        return "fp16" if amp == "on" else "fp32"
    if amp == "on":
        if not cpu_has_bf16():
            raise TrainingError(
                "--amp: this CPU has no native bf16 (AVX512-BF16 or AMX), where mixed precision "
                "is slower than fp32; leave --amp out"
            )
        return "bf16"
    if cpu_has_bf16() and not model_name.startswith(FP32_ON_CPU):
        return "bf16"
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
