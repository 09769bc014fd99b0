"""The report's picture of one image's heat maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pulmonet.figures.style import INK, X_RAY, png_of


def draw_heat_map_strip(
    xray: NDArray[np.uint8], overlays: Sequence[tuple[str, NDArray[np.uint8]]]
) -> bytes:
    """An X-ray and its overlays side by side, as PNG.

    Args:
        xray: (H, W) grey.
        overlays: (words, (H, W, 3) RGB) each; (H, W) grey where no map is drawn.
    """
    pictures = [("X-ray", xray), *overlays]
    height, width = xray.shape
    figure = Figure(
        figsize=(1.9 * len(pictures), 1.9 * height / width + 0.3), dpi=110, layout="constrained"
    )
    panels = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axes, (words, picture) in zip(panels, pictures, strict=True):
        axes.imshow(picture, **X_RAY)
        axes.set_title(words, fontsize=8.5, color=INK, parse_math=False)
        axes.set_axis_off()
    return png_of(figure)
