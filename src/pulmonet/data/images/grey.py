"""Values of any depth and colour as 8-bit grey."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Flags, Pixels


def to_grey(image: NDArray[Any]) -> Pixels:
    """(H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA of any depth as (H, W) uint8."""
    if image.ndim == 3:
        colours = image[..., :3] if image.shape[2] >= 3 else image[..., 0]
        if colours.ndim == 3 and colours.dtype not in (np.uint8, np.uint16, np.float32):
            colours = colours.astype(np.float32)
        image = cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY) if colours.ndim == 3 else colours
    return image if image.dtype == np.uint8 else to_8_bits(image)


def to_8_bits(values: NDArray[Any], used: Flags | None = None) -> Pixels:
    """Scale (H, W) values of any depth to 0-255 over the range that the image uses.

    From its smallest to its largest value; where a few extreme pixels (markers, borders) hold
    more than half of that range, from the 0.1th to the 99.9th percentile. `used`, (H, W), says
    which pixels count, e.g. no padding; all where None.
    """
    counted = values if used is None or not used.any() else values[used]
    counted = counted[np.isfinite(counted)] if counted.dtype.kind == "f" else counted
    if not counted.size:
        return np.zeros(values.shape, np.uint8)
    low, high = float(counted.min()), float(counted.max())
    inner_low, inner_high = np.percentile(counted, (0.1, 99.9))
    if 0 < inner_high - inner_low < (high - low) / 2:
        low, high = float(inner_low), float(inner_high)
    scaled = (np.asarray(values, np.float32) - low) * (255.0 / max(high - low, 1e-12))
    return np.asarray(np.clip(np.nan_to_num(scaled), 0, 255) + 0.5, np.float32).astype(np.uint8)
