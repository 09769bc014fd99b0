"""Figures as PNG bytes, through matplotlib's object API: no window, no global state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Okabe and Ito's palette: told apart with every kind of colour vision.
#: https://jfly.uni-koeln.de/color/
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
_DASHES = ("-", "--", ":", "-.")
_INK = "#222222"


def png_of(figure: Figure) -> bytes:
    """The figure as PNG; equal figures give equal bytes (no date, no version inside)."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes; that is no user's mistake.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def line_style(position: int) -> dict[str, Any]:
    """Colour and dash of the line at `position`; 28 lines before one repeats."""
    return {
        "color": PALETTE[position % len(PALETTE)],
        "linestyle": _DASHES[position // len(PALETTE) % len(_DASHES)],
    }


def draw_curves(log: pd.DataFrame, title: str = "") -> bytes:
    """Training curves: losses, AUROC and average precision per epoch, the best epoch marked.

    Args:
        log: training_log.csv, one row an epoch; NaN leaves a gap, a missing column its line.
        title: stands above the panels, e.g. the run's name.

    Returns:
        PNG bytes, about 1,400 pixels wide.
    """
    figure = Figure(figsize=(12.6, 4.4), dpi=110, layout="constrained")
    loss_axes, auroc_axes, precision_axes = figure.subplots(1, 3)
    epochs = _column(log, "epoch", np.arange(1, len(log) + 1, dtype=np.float64))
    best = _best_epoch(log, epochs)

    for position, (column, name) in enumerate(
        (("train_loss", "training"), ("val_loss", "validation"))
    ):
        _plot(loss_axes, epochs, log, column, label=name, linewidth=2.0, **line_style(position))
    _dress(loss_axes, "Loss", best)

    for axes, prefix, macro, name in (
        (auroc_axes, "val_auc_", "val_macro_auroc", "AUROC (validation)"),
        (precision_axes, "val_pr_", "val_macro_pr_auc", "Average precision (validation)"),
    ):
        labels = [str(column) for column in log.columns if str(column).startswith(prefix)]
        for position, column in enumerate(labels):
            label = _visible(column.removeprefix(prefix))
            _plot(axes, epochs, log, column, label=label, linewidth=1.1, **line_style(position))
        _plot(axes, epochs, log, macro, label="macro", color=_INK, linewidth=2.6)
        _dress(axes, name, best)
    if title:
        figure.suptitle(title, fontsize=12, color=_INK, parse_math=False)
    return png_of(figure)


def _column(log: pd.DataFrame, name: str, default: NDArray[np.float64]) -> NDArray[np.float64]:
    return log[name].to_numpy(np.float64) if name in log.columns else default


def _best_epoch(log: pd.DataFrame, epochs: NDArray[np.float64]) -> float | None:
    scores = _column(log, "val_macro_auroc", np.full(len(log), np.nan))
    return None if np.isnan(scores).all() else float(epochs[int(np.nanargmax(scores))])


def _plot(
    axes: Axes, epochs: NDArray[np.float64], log: pd.DataFrame, column: str, **style: Any
) -> None:
    """One line; `style` is matplotlib's, its label made visible."""
    values = _column(log, column, np.full(len(epochs), np.nan))
    if np.isnan(values).all():
        return
    # A single epoch is a point: without a marker nothing would be seen.
    marker = "o" if len(epochs) <= 12 else None
    axes.plot(epochs, values, marker=marker, markersize=3.5, **style)


def _visible(name: str) -> str:
    """matplotlib hides legend entries that start with an underscore."""
    return name if not name.startswith("_") else "\u200b" + name


def _dress(axes: Axes, title: str, best_epoch: float | None) -> None:
    axes.set_title(title, fontsize=10.5, color=_INK, loc="left")
    axes.set_xlabel("epoch", fontsize=9, color=_INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=8.5, colors=_INK)
    axes.grid(visible=True, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    low, high = axes.get_ylim()
    if high - low < 0.05:  # a single epoch would otherwise be blown up to noise
        axes.set_ylim((low + high) / 2 - 0.025, (low + high) / 2 + 0.025)
    if best_epoch is not None:
        axes.axvline(best_epoch, color="#999999", linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
        axes.annotate(
            "best",
            (best_epoch, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -9),
            textcoords="offset points",
            fontsize=8,
            color="#666666",
        )
    add_legend(axes)


def add_legend(axes: Axes, names: Sequence[str] | None = None) -> None:
    """A small legend below the axes; dollar signs and the like stay text."""
    handles, found = axes.get_legend_handles_labels()
    if not handles:
        axes.text(
            0.5, 0.5, "not in the log", transform=axes.transAxes, ha="center", color="#888888"
        )
        return
    legend = axes.legend(
        handles,
        list(names or found),
        fontsize=7.5,
        frameon=False,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=1 if len(handles) == 1 else 2 if len(handles) <= 8 else 3,
        labelcolor=_INK,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def draw_heat_map_strip(
    xray: NDArray[np.uint8], overlays: Sequence[tuple[str, NDArray[np.uint8]]]
) -> bytes:
    """An X-ray and its overlays side by side.

    Args:
        xray: (H, W) grey.
        overlays: (words, (H, W, 3) RGB) each; (H, W) grey where no map is drawn.

    Returns:
        PNG bytes.
    """
    n_columns = 1 + len(overlays)
    height, width = xray.shape
    figure = Figure(
        figsize=(1.9 * n_columns, 1.9 * height / width + 0.3), dpi=110, layout="constrained"
    )
    pictures = [("X-ray", xray), *overlays]
    for axes, (words, picture) in zip(
        figure.subplots(1, n_columns, squeeze=False)[0], pictures, strict=True
    ):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(words, fontsize=8.5, color=_INK, parse_math=False)
        axes.set_axis_off()
    return png_of(figure)
