"""How numbers, times and names are written in a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pulmonet import words
from pulmonet.config.schema import ModelConfig, SelectConfig
from pulmonet.metrics.estimate import Estimate
from pulmonet.report.render.blocks import Cell

MODEL_NAMES = {
    "densenet121": "DenseNet-121",
    "resnet50": "ResNet-50",
    "efficientnet_b0": "EfficientNet-B0",
    **{f"timm:tf_efficientnet_lite{size}": f"EfficientNet-Lite{size}" for size in range(5)},
}
#: How an image became a square: put before its side.
FITTED = {
    "stretch": "stretched to",
    "pad": "padded to a square and resized to",
    "crop": "cut to the central square and resized to",
}
#: What a policy for blank or uncertain labels does, as a verb.
COUNTED = {"zeros": "count as negative", "ones": "count as positive", "ignore": "are left out"}
NOTHING = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """``12.5 %``; an en dash where there is none."""
    return NOTHING if share is None or math.isnan(share) else f"{100 * share:.{digits}f} %"


def share_of(part: int, whole: int) -> str:
    """``234 (18.0 %)``."""
    return f"{part:,} ({percent(part / whole)})" if whole else f"{part:,}"


def number(value: float | None, digits: int = 3) -> str:
    """``0.812``; an en dash where there is none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.{digits}f}".replace("-", "−")


def number_cell(value: float | None, digits: int = 3) -> Cell:
    """A number that sorts."""
    return Cell(number(value, digits), value if value is not None else None)


def count_cell(value: int | None) -> Cell:
    """A count that sorts."""
    return Cell(NOTHING if value is None else f"{value:,}", value)


def estimate_cell(estimate: Estimate | None, digits: int = 3) -> Cell:
    """An estimate with its interval, sorted by its value."""
    if estimate is None:
        return Cell(NOTHING)
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return Cell(number(estimate.value, digits), estimate.value)
    low, high = number(estimate.low, digits), number(estimate.high, digits)
    # "-0.10–-0.02" cannot be read: negative ends are joined by a word
    joined = f"{low}–{high}" if estimate.low >= 0 else f"{low} to {high}"
    return Cell(
        f"{number(estimate.value, digits)} ({joined})",
        estimate.value,
        interval=(estimate.low, estimate.high),
    )


def duration(seconds: float | None) -> str:
    """``4 min 12 s``; an en dash where it is not known."""
    return NOTHING if seconds is None or not math.isfinite(seconds) else words.duration(seconds)


def model_name(model: ModelConfig) -> str:
    """``DenseNet-121`` for ``densenet121``; others as they are, timm's without its mark.

    An ensemble with the number of its members: ``DenseNet-121 × 3``.
    """
    return model.summary(lambda name: MODEL_NAMES.get(name, name.removeprefix("timm:")))


def criterion(name: str) -> str:
    """``sensitivity=0.9`` as a reader writes it."""
    known = {"youden": "Youden's index", "f1": "F1"}
    return known.get(name, name.replace("=", " ≥ ").replace("ppv", "PPV"))


def checkpoint_kept(select: SelectConfig) -> str:
    """Which epoch became best_model.pth, and by what."""
    if select.checkpoint == "last":
        return "the last epoch"
    return f"the best epoch by macro AUROC on {select.on}"


def listing(words: Sequence[str]) -> str:
    """``a, b and c``."""
    if len(words) <= 1:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def setting(value: Any) -> str:
    """A config value as a reader expects it."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {setting(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(setting(item) for item in value) or "none"
    return str(value)


def short_digest(digest: str | None) -> str:
    """The first twelve digits of a digest."""
    return NOTHING if not digest else digest[:12]
