"""The arms of `study.py`: name -> arguments of `pulmonet train`.

The ingredients were screened beside the `quick` of 25 November 2026 (160 pixels, five epochs, a
small jitter): those arms are one network of it with what their name says changed.
"""

from __future__ import annotations

LITE0, LITE1, LITE2 = (f"timm:tf_efficientnet_lite{number}" for number in range(3))


def of(network: str, members: int, *settings: str) -> list[str]:
    """Networks of one kind by the settings of `quick`, with assignments as of ``--set``."""
    words = ["--config", "quick", "--model", network]
    for assignment in (f"model.members={members}", *settings):
        words += ["--set", assignment]
    return words


def single(*settings: str) -> list[str]:
    """One Lite0, the network of `quick` until 29 November 2026."""
    return of(LITE0, 1, *settings)


EARLIER = (
    *("data.image_size=160", "optim.epochs=5"),
    *("augment.rotation_degrees=7", "augment.scale=0.1", "augment.shift=0.05"),
    *("augment.brightness=0", "augment.contrast=0"),
)
STRONGER = (
    *("augment.rotation_degrees=15", "augment.scale=0.2", "augment.shift=0.1"),
    *("augment.brightness=0.1", "augment.contrast=0.3"),
)
STRONGEST = (
    *("augment.rotation_degrees=20", "augment.scale=0.3", "augment.shift=0.15"),
    *("augment.brightness=0.2", "augment.contrast=0.5"),
)


def earlier(*settings: str) -> list[str]:
    """One network of the earliest `quick`, with assignments as of ``--set``."""
    return single(*EARLIER, *settings)


#: `strong` until 29 November 2026.
FIVE = of(LITE0, 5, f'model.alternate=["{LITE0}", "{LITE0}", "{LITE2}", "{LITE1}"]')


def from_scratch(
    model: str, size: int = 128, growth: str = "[[96, 3]]", epochs: int = 4
) -> list[str]:
    """Random weights, small sizes first: by default 96 px for three epochs, 128 px for one."""
    return [
        *("--model", model, "--weights", "none"),
        *("--image-size", str(size), "--epochs", str(epochs)),
        *("--set", f"optim.growth={growth}", "--lr", "1e-3", "--batch-size", "16"),
        *("--set", "optim.name=adamw", "--set", "optim.schedule=one-cycle"),
        *("--set", "optim.weight_decay=0.01", "--set", "loss.pos_weight=balanced"),
        *("--set", 'data.auxiliary_labels=["all"]'),
    ]


ARMS: dict[str, list[str]] = {
    "quick": ["--config", "quick"],
    "strong": ["--config", "strong"],
    "quick-growing": ["--config", "quick", "--set", "optim.growth=[[128, 2], [160, 2]]"],
    "one-lite0": single(),
    "one-lite1": of(LITE1, 1),
    "two-lite0": of(LITE0, 2),
    "three-lite0": of(LITE0, 3),
    "three-lite1": of(LITE1, 3),
    "five-networks": FIVE,
    "frozen": single("model.freeze=encoder", "optim.epochs=20", "optim.lr=1e-3"),
    # children's X-rays, pneumonia or normal, as quick and cheaper: one network, 128 px, one epoch
    "kermany-quick": ["--config", "quick", "--labels", "Pneumonia"],
    "kermany-single": [
        *single("data.image_size=128", "optim.epochs=1"),
        *("--labels", "Pneumonia"),
    ],
    "kermany-three-epochs": [
        *single("data.image_size=128", "optim.epochs=3"),
        *("--labels", "Pneumonia"),
    ],
    # with a second collection (`--more`), whose Pneumonia is learned as an auxiliary label
    "quick-more": ["--config", "quick"],
    "strong-more": ["--config", "strong"],
    "one-lite0-more": single(),
    "one-lite0-more-five-labels": single("data.auxiliary_labels=[]"),
    "one-lite0-more-evenly": single("data.balance=collections"),
    "one-lite1-more": of(LITE1, 1),
    "three-lite0-more": of(LITE0, 3),
    "three-lite1-more": of(LITE1, 3),
    "five-networks-more": FIVE,
    # the original's recipe on quick's network: seven epochs at its 224 px, as long as two-lite0
    "original": [
        *("--config", "original", "--model", LITE0),
        *("--weights", "imagenet", "--epochs", "7"),
    ],
    "earlier-quick": of(LITE0, 4, *EARLIER),
    "earlier-four-at-192-px": of(LITE0, 4, *EARLIER, "data.image_size=192"),
    "earlier-single": earlier(),
    "earlier-strong": [
        *("--config", "strong", "--set", f"model.name={LITE2}", "--set", "model.members=4"),
        *("--set", f'model.alternate=["{LITE2}", "{LITE0}", "{LITE0}"]'),
    ],
    "two-lite2": [
        *("--config", "strong", "--set", f"model.name={LITE2}", "--set", "model.members=2"),
        *("--set", "model.alternate=[]"),
    ],
    "two-at-160-px": of(LITE0, 2, "data.image_size=160"),
    "two-at-160-px-strongest": of(LITE0, 2, "data.image_size=160", "optim.epochs=8", *STRONGEST),
    "no-auxiliary-labels": earlier("data.auxiliary_labels=[]"),
    "no-pos_weight": earlier("loss.pos_weight=none"),
    "pos_weight-at-most-5": earlier("loss.pos_weight_max=5"),
    "flips": earlier("augment.flip=0.5"),
    "random-crops": earlier("augment.geometry=original", "augment.crop_scale=[0.8, 1.0]"),
    "stronger-augmentation": earlier(*STRONGER),
    "lr-1e-4": earlier("optim.lr=1e-4"),
    "lr-6e-4": earlier("optim.lr=6e-4"),
    "batch-8": earlier("optim.batch_size=8", "optim.lr=2e-4"),
    "batch-32": earlier("optim.batch_size=32"),
    "192-px": earlier("data.image_size=192"),
    "constant-lr-1e-4": earlier("optim.schedule=constant", "optim.lr=1e-4"),
    "EMA-0.98": earlier("optim.ema_decay=0.98"),
    "224-px-for-3-epochs": earlier("data.image_size=224", "optim.epochs=3"),
    "3-epochs": earlier("optim.epochs=3"),
    "fp32": earlier("runtime.amp=off"),
    "dropout-0.5": earlier("model.dropout=0.5"),
    "asymmetric-loss": earlier("loss.name=asymmetric", "loss.pos_weight=none"),
    "focal-loss": earlier("loss.name=focal", "loss.pos_weight=none"),
    "densenet121-original": [
        *("--config", "original", "--model", "densenet121"),
        *("--weights", "none", "--epochs", "3"),
    ],
    "densenet121-growing-to-224-px": from_scratch(
        "densenet121", size=224, growth="[[96, 6], [160, 2]]", epochs=9
    ),
    "densenet121": from_scratch("densenet121"),
    "resnet50": from_scratch("resnet50"),
    "efficientnet_b0": from_scratch("efficientnet_b0"),
}
