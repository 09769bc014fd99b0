"""Masks of whole X-rays in the small forms they are published in, drawn only when asked for.

CheXlocalize's 643 masks of its validation set would fill 4 GB as pixels; as runs and contours
they fill a few megabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pulmonet.data.images.header import MAX_PIXELS


@dataclass(frozen=True)
class RunLengths:
    """A mask as runs, column by column, outside and inside in turns, outside first.

    Attributes:
        height: pixels.
        width: pixels.
        runs: (K,) lengths; their sum is height x width.
    """

    height: int
    width: int
    runs: NDArray[np.int64]

    def any(self) -> bool:
        """Whether a pixel lies inside."""
        return bool(self.runs[1::2].any())

    def pixels(self) -> NDArray[np.bool_]:
        """(H, W) mask."""
        inside = np.arange(len(self.runs)) % 2 == 1
        return np.repeat(inside, self.runs).reshape(self.width, self.height).T


@dataclass(frozen=True)
class Contours:
    """A mask as closed lines; what lies on or inside one of them belongs to it.

    Attributes:
        height: pixels.
        width: pixels.
        lines: each (K, 2): x and y in pixels.
    """

    height: int
    width: int
    lines: Sequence[NDArray[np.float64]]

    def any(self) -> bool:
        """Whether there is a line at all."""
        return len(self.lines) > 0

    def pixels(self) -> NDArray[np.bool_]:
        """(H, W) mask, drawn as CheXlocalize's own ``annotation_to_segmentation.py`` does."""
        canvas = Image.new("1", (self.width, self.height))
        pen = ImageDraw.Draw(canvas)
        for line in self.lines:
            pen.polygon([(float(x), float(y)) for x, y in line], outline=1, fill=1)
        return np.asarray(canvas, dtype=np.bool_)


Mask = RunLengths | Contours


def check_size(height: int, width: int) -> None:
    """Refuse sizes that no image has.

    Raises:
        ValueError: not positive, or more pixels than an image may have.
    """
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"a mask of {height} x {width} pixels")
