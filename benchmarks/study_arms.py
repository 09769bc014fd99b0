"""The arms of `study.py`: name -> arguments of `pulmonet train`.

An arm that is no recipe is `quick` with what its name says changed.
"""

from __future__ import annotations


def quick(*settings: str) -> list[str]:
    """`quick`, with assignments as of ``--set``."""
    words = ["--config", "quick"]
    for assignment in settings:
        words += ["--set", assignment]
    return words


def from_scratch(model: str) -> list[str]:
    """Random weights, small sizes first: 96 px for three epochs, 128 px for one."""
    return [
        *("--model", model, "--weights", "none", "--image-size", "128", "--epochs", "4"),
        *("--set", "optim.growth=[[96, 3]]", "--lr", "1e-3", "--batch-size", "16"),
        *("--set", "optim.name=adamw", "--set", "optim.schedule=one-cycle"),
        *("--set", "optim.weight_decay=0.01", "--set", "loss.pos_weight=balanced"),
        *("--set", 'data.auxiliary_labels=["all"]'),
    ]


STRONGER = (
    *("augment.rotation_degrees=15", "augment.scale=0.2", "augment.shift=0.1"),
    *("augment.brightness=0.1", "augment.contrast=0.3"),
)

ARMS: dict[str, list[str]] = {
    "quick": ["--config", "quick"],
    "strong": ["--config", "strong"],
    # the original's recipe on quick's network: three epochs at its 224 px take longer than quick
    "original": [
        *("--config", "original", "--model", "timm:tf_efficientnet_lite0"),
        *("--weights", "imagenet", "--epochs", "3"),
    ],
    "no-auxiliary-labels": quick("data.auxiliary_labels=[]"),
    "no-pos_weight": quick("loss.pos_weight=none"),
    "pos_weight-at-most-5": quick("loss.pos_weight_max=5"),
    "flips": quick("augment.flip=0.5"),
    "random-crops": quick("augment.geometry=original", "augment.crop_scale=[0.8, 1.0]"),
    "stronger-augmentation": quick(*STRONGER),
    "lr-1e-4": quick("optim.lr=1e-4"),
    "lr-6e-4": quick("optim.lr=6e-4"),
    "batch-8": quick("optim.batch_size=8", "optim.lr=2e-4"),
    "EMA-0.98": quick("optim.ema_decay=0.98"),
    "224-px-for-3-epochs": quick("data.image_size=224", "optim.epochs=3"),
    "3-epochs": quick("optim.epochs=3"),
    "fp32": quick("runtime.amp=off"),
    "soup": quick("optim.soup=3"),
    "dropout-0.5": quick("model.dropout=0.5"),
    "asymmetric-loss": quick("loss.name=asymmetric", "loss.pos_weight=none"),
    "focal-loss": quick("loss.name=focal", "loss.pos_weight=none"),
    "densenet121": from_scratch("densenet121"),
    "resnet50": from_scratch("resnet50"),
    "efficientnet_b0": from_scratch("efficientnet_b0"),
}
