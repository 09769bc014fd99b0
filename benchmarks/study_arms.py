"""The arms of `study.py`: name -> arguments of `pulmonet train`.

An arm that is no recipe is a single network of `quick` with what its name says changed.
"""

from __future__ import annotations


def single(*settings: str) -> list[str]:
    """One network of `quick` instead of its four, with assignments as of ``--set``."""
    words = ["--config", "quick"]
    for assignment in ("model.members=1", *settings):
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
    "single": single(),
    "strong": ["--config", "strong"],
    "strong-lite2": [
        *("--config", "strong", "--set", "model.members=2", "--set", "model.alternate=[]"),
    ],
    "four-at-192-px": ["--config", "quick", "--image-size", "192"],
    # the original's recipe on quick's network: seven epochs at its 224 px take as long as quick
    "original": [
        *("--config", "original", "--model", "timm:tf_efficientnet_lite0"),
        *("--weights", "imagenet", "--epochs", "7"),
    ],
    "no-auxiliary-labels": single("data.auxiliary_labels=[]"),
    "no-pos_weight": single("loss.pos_weight=none"),
    "pos_weight-at-most-5": single("loss.pos_weight_max=5"),
    "flips": single("augment.flip=0.5"),
    "random-crops": single("augment.geometry=original", "augment.crop_scale=[0.8, 1.0]"),
    "stronger-augmentation": single(*STRONGER),
    "lr-1e-4": single("optim.lr=1e-4"),
    "lr-6e-4": single("optim.lr=6e-4"),
    "batch-8": single("optim.batch_size=8", "optim.lr=2e-4"),
    "batch-32": single("optim.batch_size=32"),
    "192-px": single("data.image_size=192"),
    "EMA-0.98": single("optim.ema_decay=0.98"),
    "224-px-for-3-epochs": single("data.image_size=224", "optim.epochs=3"),
    "3-epochs": single("optim.epochs=3"),
    "fp32": single("runtime.amp=off"),
    "dropout-0.5": single("model.dropout=0.5"),
    "asymmetric-loss": single("loss.name=asymmetric", "loss.pos_weight=none"),
    "focal-loss": single("loss.name=focal", "loss.pos_weight=none"),
    "densenet121": from_scratch("densenet121"),
    "resnet50": from_scratch("resnet50"),
    "efficientnet_b0": from_scratch("efficientnet_b0"),
}
