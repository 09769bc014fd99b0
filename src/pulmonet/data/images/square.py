"""How an image becomes a square, and where its pixels lie there."""

from dataclasses import dataclass

import cv2
import numpy as np

from pulmonet.arrays import Pixels


@dataclass(frozen=True)
class Placement:
    """The part of an image that its square covers, in pixels of the original.

    With `pad` it may begin below 0 and end beyond the image.
    """

    x0: float
    y0: float
    x1: float
    y1: float


def placement(height: int, width: int, fit: str) -> Placement:
    """Which part of a (height, width) image its square covers under `fit`, a `choices.Fit`."""
    if fit == "stretch":
        return Placement(0.0, 0.0, float(width), float(height))
    side = max(height, width) if fit == "pad" else min(height, width)
    x0, y0 = (width - side) // 2, (height - side) // 2
    return Placement(float(x0), float(y0), float(x0 + side), float(y0 + side))


def pack_side(image_size: int) -> int:
    """R for S: 256 up to 224 px, so that growing sizes share a pack; in proportion above."""
    return 256 if image_size <= 224 else -(-image_size * 256 // 224)


def fit_square(image: Pixels, side: int, fit: str, out: Pixels | None = None) -> Pixels:
    """The (side, side) square of an (H, W) image, resized with the area filter.

    ``stretch`` squeezes the whole image, ``pad`` keeps its aspect on black, ``crop`` takes the
    central square. An image smaller than `side` is enlarged bilinearly. `out` is (side, side)
    memory that may be used for the result.
    """
    if fit != "stretch":
        height, width = image.shape
        box = placement(height, width, fit)
        left, top, right, bottom = int(box.x0), int(box.y0), int(box.x1), int(box.y1)
        if fit == "pad":
            square = np.zeros((bottom - top, right - left), dtype=np.uint8)
            square[-top : -top + height, -left : -left + width] = image
            image = square
        else:
            image = image[top:bottom, left:right]
    if image.shape == (side, side):
        return np.ascontiguousarray(image)
    smaller = side <= image.shape[0] and side <= image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side, side), out, interpolation=method), dtype=np.uint8)


def shrink(image: Pixels, side: int) -> Pixels:
    """An (H, W) or (H, W, 3) image with its longer side at most `side` pixels."""
    longest = max(image.shape[:2])
    if longest <= side:
        return image
    height, width = (max(1, round(length * side / longest)) for length in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
