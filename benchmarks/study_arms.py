"""The arms of `study.py`: name -> arguments of `pulmonet train`."""

from __future__ import annotations

LITE0 = [
    *("--model", "timm:tf_efficientnet_lite0", "--weights", "imagenet", "--image-size", "160"),
    *("--set", "optim.name=adamw", "--set", "optim.schedule=one-cycle"),
    *("--set", "optim.weight_decay=0.01", "--set", "loss.pos_weight=balanced", "--epochs", "5"),
]


def lite0(lr: str = "3e-4", *extra: str) -> list[str]:
    words = [*LITE0, "--lr", lr]
    for assignment in extra:
        words += ["--set", assignment]
    return words


ARMS: dict[str, list[str]] = {
    "lr1e-3": lite0("1e-3"),
    "lr3e-4": lite0("3e-4"),
    "lr1e-4": lite0("1e-4"),
    "lr3e-4-b16": lite0("3e-4", "optim.batch_size=16"),
    "lr5e-4-b16": lite0("5e-4", "optim.batch_size=16"),
}
