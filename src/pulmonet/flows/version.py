"""`pulmonet --version --verbose`."""

from __future__ import annotations

import platform
from importlib import metadata

import pulmonet


def describe_installation() -> str:
    """Versions of what decides results, and the device that ``auto`` would take."""
    import torch

    from pulmonet.models.device import choose_device, device_name

    device = choose_device("auto")
    names = ("torch", "torchvision", "numpy", "pandas", "scikit-learn", "opencv-python-headless")
    lines = [f"pulmonet {pulmonet.__version__}", f"python {platform.python_version()}"]
    lines += [f"{name} {metadata.version(name)}" for name in names]
    lines.append(f"device {device} ({device_name(device)}, {torch.get_num_threads()} CPU threads)")
    return "\n".join(lines)
