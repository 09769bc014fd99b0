"""How every figure looks: palette, ink, axes, legends; and its PNG. No window, no global state."""

import warnings
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pulmonet.metrics.estimate import Estimate

#: Okabe and Ito's palette: told apart with every kind of colour vision.
#: https://jfly.uni-koeln.de/color/
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
BLUE, ORANGE, GREEN = PALETTE[:3]
INK = "#222222"
GREY = "#8a8a8a"
#: How X-rays are shown.
X_RAY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
_DASHES = ("-", "--", ":", "-.")


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches, its parts kept apart."""
    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def png_of(figure: Figure) -> bytes:
    """The figure as PNG; equal figures give equal bytes (no date, no version inside)."""
    canvas: Any = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes; that is no user's mistake.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        canvas.draw()
    pixels = cv2.cvtColor(np.asarray(canvas.buffer_rgba()), cv2.COLOR_RGBA2BGR)
    # level 6: a third of the bytes of OpenCV's own level, which is for speed
    done, buffer = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    assert done, "cv2 encodes any uint8 image as PNG"
    return bytes(buffer.tobytes())


def line_style(position: int) -> dict[str, Any]:
    """Colour and dash of the line at `position`; 28 lines before one repeats."""
    return {
        "color": PALETTE[position % len(PALETTE)],
        "linestyle": _DASHES[position // len(PALETTE) % len(_DASHES)],
    }


def head(figure: Figure, text: str, size: float = 9.5) -> None:
    """The title of a whole figure; dollar signs and the like stay text, here as everywhere."""
    figure.suptitle(text, fontsize=size, color=INK, parse_math=False)


def dress(
    axes: Axes,
    title: str,
    *,
    size: float = 9.5,
    tick_size: float = 8.0,
    grid: tuple[str, float] = ("#e2e2e2", 0.6),
) -> None:
    """Axes with a title at the left, a pale grid (colour, width) and two of four spines."""
    axes.set_title(title, fontsize=size, color=INK, loc="left", parse_math=False)
    axes.tick_params(labelsize=tick_size, colors=INK)
    axes.grid(visible=True, color=grid[0], linewidth=grid[1])
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def name_axes(axes: Axes, x: str, y: str, size: float = 8.5) -> None:
    """What the two axes measure."""
    axes.set_xlabel(x, fontsize=size, color=INK)
    axes.set_ylabel(y, fontsize=size, color=INK)


def whisker(axes: Axes, estimate: Estimate, place: float, colour: str, marker: str) -> None:
    """An estimate and its interval on the line at `place`; nothing where there is none."""
    value = estimate.value
    if value is None:
        return
    ends = [value if end is None else end for end in (estimate.low, estimate.high)]
    axes.plot(ends, [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot([value], [place], color=colour, marker=marker, markersize=5)
