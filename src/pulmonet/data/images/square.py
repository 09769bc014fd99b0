"""How an image becomes a square, and where its pixels lie there."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pulmonet.choices import FITS
from pulmonet.errors import ConfigError


@dataclass(frozen=True)
class Placement:
    """The part of an image that its square covers, in pixels of the original.

    Attributes:
        x0: left edge; negative where `pad` adds a border.
        y0: top edge.
        x1: right edge; beyond the width where `pad` adds a border.
        y1: bottom edge.
    """

    x0: float
    y0: float
    x1: float
    y1: float


def placement(height: int, width: int, fit: str) -> Placement:
    """Which part of a (height, width) image its square covers under `fit`.

    Raises:
        ConfigError: an unknown fit.
    """
    if fit == "stretch":
        return Placement(0.0, 0.0, float(width), float(height))
    if fit not in FITS:
        raise ConfigError(f"fit '{fit}': unknown; choose from {', '.join(FITS)}")
    side = max(height, width) if fit == "pad" else min(height, width)
    x0, y0 = (width - side) // 2, (height - side) // 2
    return Placement(float(x0), float(y0), float(x0 + side), float(y0 + side))


def pack_side(image_size: int) -> int:
    """R for S: 256 up to 224 px, so that growing sizes share a pack; in proportion above."""
    return 256 if image_size <= 224 else -(-image_size * 256 // 224)


def fit_square(
    image: NDArray[np.uint8], side: int, fit: str, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """The (side, side) square of an (H, W) image, resized with the area filter.

    ``stretch`` squeezes the whole image, ``pad`` keeps its aspect on black, ``crop`` takes the
    central square. An image smaller than `side` is enlarged bilinearly.

    Args:
        image: (H, W).
        side: pixels.
        fit: stretch, pad or crop.
        out: (side, side) memory that may be used for the result.
    """
    if fit != "stretch":
        image = _cut_or_padded(image, fit)
    if image.shape == (side, side):
        return np.ascontiguousarray(image)
    smaller = side <= image.shape[0] and side <= image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side, side), out, interpolation=method), dtype=np.uint8)


def _cut_or_padded(image: NDArray[np.uint8], fit: str) -> NDArray[np.uint8]:
    height, width = image.shape
    box = placement(height, width, fit)
    left, top = int(box.x0), int(box.y0)
    if fit == "crop":
        return image[top : int(box.y1), left : int(box.x1)]
    square = np.zeros((int(box.y1 - box.y0), int(box.x1 - box.x0)), dtype=np.uint8)
    square[-top : -top + height, -left : -left + width] = image
    return square
