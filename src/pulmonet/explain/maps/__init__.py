"""Heat maps: how the methods make them, and how they are laid on the X-ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pulmonet.arrays import Floats32


@dataclass(frozen=True)
class RawMaps:
    """What a method gives for a batch of images."""

    logits: Floats32  # (B, n_outputs) float32, of the unchanged images
    raw: Floats32  # (B, L, h, w) float32, signed: before ReLU, at the method's own resolution
