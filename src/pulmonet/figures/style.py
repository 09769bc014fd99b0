"""How every figure looks: sizes for print, palette, ink, axes; and its file. No global state."""

import io
import textwrap
import tomllib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Template
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from pulmonet.arrays import Pixels
from pulmonet.choices import FigureFormat
from pulmonet.metrics.label_result import Curve
from pulmonet.metrics.results import RunResult

#: Widths of one and of two columns of a journal, inches (89 and 183 mm), and text, points.
ONE_COLUMN, TWO_COLUMNS = 3.5, 7.2
SMALL, NORMAL = 7.0, 8.0
#: Dots an inch: of figures for print, and of sheets for the screen.
PRINT, SCREEN = 300, 110
#: Okabe and Ito's palette: told apart with every kind of colour vision.
#: https://jfly.uni-koeln.de/color/
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
BLUE, ORANGE, GREEN = PALETTE[:3]
INK, GREY = "#222222", "#8a8a8a"
_DASHES = ("-", "--", ":", "-.")
_STYLE = tomllib.loads(Path(__file__).with_name("style.toml").read_text(encoding="utf-8"))
X_RAY: dict[str, Any] = _STYLE["x_ray"]
DOTTED: dict[str, Any] = _STYLE["dotted"]
LONG: dict[str, Any] = _STYLE["long"]
_HEAD = Template(Path(__file__).with_name("head.txt.j2").read_text(encoding="utf-8"))


def new_figure(width: float, height: float, dpi: int = SCREEN) -> Figure:
    """A figure of so many inches, its parts kept apart."""
    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def print_grid(
    n_panels: int, above: float, height: float = 0.0, n_columns: int = 0, **how: Any
) -> tuple[Figure, list[Axes]]:
    """A figure for print, one or two columns wide, and its panels line by line.

    `above` each are so many inches of words; the panel has its `height`, or is a square.
    """
    n_columns = n_columns or (3 if n_panels in {3, 5, 6, 9} else min(n_panels, 4))
    width = ONE_COLUMN if n_columns < 3 else TWO_COLUMNS
    n_lines = -(-n_panels // n_columns)
    figure = new_figure(width, 0.6 + (above + (height or width / n_columns)) * n_lines, PRINT)
    grid = figure.subplots(n_lines, n_columns, squeeze=False, **how).ravel()
    for number, axes in enumerate(grid):
        axes.set_box_aspect(None if height else 1)
        axes.set_axis_on() if number < n_panels else axes.set_axis_off()
    return figure, list(grid[:n_panels])


def render(figure: Figure, kind: FigureFormat = "png") -> bytes:
    """The figure as a file; equal figures give equal bytes (no date, no version inside).

    A dollar in a name is no formula, and what is no UTF-8 of a file's name is a question mark.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(text.get_text().encode("utf-8", "replace").decode())
    canvas: Any = FigureCanvasAgg(figure)
    files = _STYLE["files"]
    file = io.BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context(files["settings"]):
        # A label that the font lacks is drawn as boxes, a crowd closely: no user's mistake.
        warnings.filterwarnings("ignore", message="Glyph .* missing|constrained_layout not")
        if kind != "png":
            figure.savefig(file, format=kind, metadata=dict.fromkeys(files["without"][kind]))
            return file.getvalue()
        canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    pixels.save(file, "png", compress_level=6, dpi=(figure.dpi, figure.dpi))
    return file.getvalue()


def line_style(position: int) -> dict[str, Any]:
    """Colour and dash of the line at `position`; 28 lines before one repeats."""
    dash = _DASHES[position // len(PALETTE) % len(_DASHES)]
    return {"color": PALETTE[position % len(PALETTE)], "linestyle": dash}


def shorten(name: str) -> str:
    """A name that leaves room for its panel, cut in its middle."""
    return name if len(name) <= 30 else f"{name[:14]}…{name[-15:]}"


def head(figure: Figure, text: str) -> None:
    """The words above a figure, wrapped to it; dollar signs stay text, here as everywhere."""
    width = int(figure.get_figwidth() * 72 / (0.54 * NORMAL))
    lines = [line for part in text.split("\n") for line in textwrap.wrap(part.strip(), width)]
    figure.set_figheight(figure.get_figheight() + 1.3 * NORMAL / 72 * max(len(lines) - 2, 0))
    looks: dict[str, Any] = {"color": INK, "parse_math": False, "x": 0.01, "ha": "left"}
    figure.suptitle("\n".join(lines), fontsize=NORMAL, **looks)


def dress(axes: Axes, title: str, caption: str = "", *, legend: int = 0) -> None:
    """Axes with a title at the left, a pale grid and two of four spines.

    The `caption` stands between title and axes, where no line runs behind it, and so does the
    `legend` of the lines that are drawn by now, in so many columns.
    """
    names = axes.get_legend_handles_labels()[1] if legend else []
    n_names = -(-len(names) // max(legend, 1))
    n_lines = (caption.count("\n") + 1 if caption else 0) + n_names
    looks: dict[str, Any] = {"color": INK, "parse_math": False}
    above = 4 + 1.3 * SMALL * n_lines
    axes.set_title(textwrap.fill(title, 20), fontsize=NORMAL, loc="left", pad=above, **looks)
    looks |= {"textcoords": "offset points", "fontsize": SMALL, "linespacing": 1.1}
    at = (0, 3 + 1.3 * SMALL * n_names)
    axes.annotate(caption, (0, 1), at, "axes fraction", va="bottom", **looks)
    if names:
        add_legend(axes, loc="lower left", bbox_to_anchor=(0, 1), ncols=legend)
    axes.tick_params(labelsize=SMALL, colors=INK, length=2.5)
    axes.grid(visible=True, color="#e2e2e2", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def add_legend(owner: Any, *lines_and_names: Any, **where: Any) -> None:
    """Of axes or a figure, small and close; `where` is matplotlib's."""
    for text in owner.legend(*lines_and_names, **_STYLE["legend"] | where).get_texts():
        text.set_parse_math(False)


def name_axes(axes: Axes, x: str, y: str = "") -> None:
    """What the two axes measure; of panels side by side the first says it of y."""
    place = axes.get_subplotspec()
    axes.set_xlabel(x, fontsize=SMALL, color=INK)
    axes.set_ylabel(y if place is None or place.is_first_col() else "", fontsize=SMALL, color=INK)


def show(axes: Axes, image: Pixels, words: str = "", colour: str = INK) -> None:
    """An image, grey (H, W) or RGB, without axes, and words above it."""
    axes.imshow(image, **X_RAY)
    axes.set_axis_off()
    axes.set_title(words, fontsize=SMALL, color=colour, pad=2, parse_math=False)


def curve(axes: Axes, found: Curve, *, band: bool = True, **looks: Any) -> None:
    """With its pointwise 95 % band; `looks` are matplotlib's."""
    if band:
        ends = found.band_x, found.band_low, found.band_high
        axes.fill_between(*ends, color=looks["color"], alpha=0.18, linewidth=0)
    axes.plot(found.x, found.y, linewidth=1.4, **looks)


def finish(figure: Figure, results: Sequence[RunResult], kind: str, notes: str = "") -> Figure:
    """With the words of its `kind`: axes; what is shown of whom on which rows, notes, intervals."""
    words = _STYLE["words"][kind]
    for axes in figure.axes:
        name_axes(axes, *words.get("axes", ("", "")))
    is_rare = any(" *" in text.get_text() for axes in figure.axes for text in axes.texts)
    head(figure, _HEAD.render(results=results, words=words, notes=notes, is_rare=is_rare))
    return figure
