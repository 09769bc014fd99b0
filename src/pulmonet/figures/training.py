"""Training curves."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pulmonet.arrays import Array
from pulmonet.figures.style import INK, dress, head, line_style, new_figure, png_of


def draw_curves(log: pd.DataFrame, title: str = "") -> bytes:
    """Losses, AUROC and average precision per epoch, the best epoch marked, as PNG.

    The log is training_log.csv, one row an epoch; NaN leaves a gap, a missing column its line.
    """
    figure = new_figure(12.6, 4.4)
    loss_axes, auroc_axes, precision_axes = figure.subplots(1, 3)
    epochs = _column(log, "epoch", np.arange(1, len(log) + 1, dtype=np.float64))
    scores = _column(log, "val_macro_auroc", np.full(len(log), np.nan))
    best = None if np.isnan(scores).all() else float(epochs[int(np.nanargmax(scores))])

    losses = (("train_loss", "training"), ("val_loss", "validation"))
    for position, (column, name) in enumerate(losses):
        _plot(loss_axes, epochs, log, column, label=name, linewidth=2.0, **line_style(position))
    _finish(loss_axes, "Loss", best)

    for axes, prefix, macro, name in (
        (auroc_axes, "val_auc_", "val_macro_auroc", "AUROC (validation)"),
        (precision_axes, "val_pr_", "val_macro_pr_auc", "Average precision (validation)"),
    ):
        labels = [str(column) for column in log.columns if str(column).startswith(prefix)]
        for position, column in enumerate(labels):
            # matplotlib hides legend entries that start with an underscore
            label = column.removeprefix(prefix)
            label = "\u200b" + label if label.startswith("_") else label
            _plot(axes, epochs, log, column, label=label, linewidth=1.1, **line_style(position))
        _plot(axes, epochs, log, macro, label="macro", color=INK, linewidth=2.6)
        _finish(axes, name, best)
    if title:
        head(figure, title, 12)
    return png_of(figure)


def _column(log: pd.DataFrame, name: str, default: Array) -> Array:
    return log[name].to_numpy(np.float64) if name in log.columns else default


def _plot(axes: Axes, epochs: Array, log: pd.DataFrame, column: str, **style: Any) -> None:
    """One line, unless nothing of it is known; `style` is matplotlib's."""
    values = _column(log, column, np.full(len(epochs), np.nan))
    if not np.isnan(values).all():
        # A single epoch is a point: without a marker nothing would be seen.
        marker = "o" if len(epochs) <= 12 else None
        axes.plot(epochs, values, marker=marker, markersize=3.5, **style)


def _finish(axes: Axes, title: str, best_epoch: float | None) -> None:
    dress(axes, title, size=10.5, tick_size=8.5, grid=("#dddddd", 0.7))
    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    low, high = axes.get_ylim()
    if high - low < 0.05:  # a single epoch would otherwise be blown up to noise
        axes.set_ylim((low + high) / 2 - 0.025, (low + high) / 2 + 0.025)
    if best_epoch is not None:
        axes.axvline(best_epoch, color="#999999", linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
        looks: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "color": "#666666"}
        axes.annotate("best", (best_epoch, 1.0), (3, -9), ("data", "axes fraction"), **looks)
    _add_legend(axes)


def _add_legend(axes: Axes) -> None:
    """A small legend below the axes, or that there is nothing to show."""
    handles, names = axes.get_legend_handles_labels()
    if not handles:
        axes.text(0.5, 0.5, "not in the log", transform=axes.transAxes, ha="center", color="#888")
        return
    n_columns = 1 if len(handles) == 1 else 2 if len(handles) <= 8 else 3
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}
    looks: dict[str, Any] = {"fontsize": 7.5, "frameon": False, "labelcolor": INK}
    legend = axes.legend(handles, names, ncols=n_columns, **below, **looks)
    for text in legend.get_texts():
        text.set_parse_math(False)
