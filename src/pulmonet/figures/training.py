"""Training curves."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pulmonet.arrays import Array
from pulmonet.figures import style


def draw_training_log(log: pd.DataFrame, title: str = "") -> bytes:
    """Losses, AUROC and average precision per epoch, the best epoch marked, as PNG.

    The log is training_log.csv, one row an epoch; NaN leaves a gap, a missing column its line.
    """
    n_names = sum(str(column).startswith("val_auc_") for column in log.columns) + 1
    figure, panels = style.print_grid(3, 0.3 + 0.13 * -(-n_names // 4), 1.9)
    loss_axes, auroc_axes, precision_axes = panels
    epochs = _column(log, "epoch", np.arange(1, len(log) + 1, dtype=np.float64))
    scores = _column(log, "val_macro_auroc", np.full(len(log), np.nan))
    best = None if np.isnan(scores).all() else float(epochs[int(np.nanargmax(scores))])

    losses = (("train_loss", "training"), ("val_loss", "validation"))
    for position, (column, name) in enumerate(losses):
        looks = style.line_style(position) | {"label": name, "linewidth": 1.4}
        _plot(loss_axes, epochs, log, column, **looks)
    _finish(loss_axes, "Loss", best, legend=2)
    names: dict[str, Any] = {}
    for axes, prefix, macro, name in (
        (auroc_axes, "val_auc_", "val_macro_auroc", "AUROC (validation)"),
        (precision_axes, "val_pr_", "val_macro_pr_auc", "Average precision (validation)"),
    ):
        labels = [str(column) for column in log.columns if str(column).startswith(prefix)]
        for position, column in enumerate(labels):
            # matplotlib renames lines that start with an underscore
            label = column.removeprefix(prefix)
            label = "\u200b" + label if label.startswith("_") else label
            looks = style.line_style(position) | {"label": label, "linewidth": 0.9}
            _plot(axes, epochs, log, column, **looks)
        _plot(axes, epochs, log, macro, label="macro", color=style.INK, linewidth=1.8)
        names |= {str(line.get_label()): line for line in axes.lines}
        _finish(axes, name, best)
    style.add_legend(figure, names.values(), names, loc="outside lower center", **style.LONG)
    if title:
        style.head(figure, title)
    return style.render(figure)


def _column(log: pd.DataFrame, name: str, default: Array) -> Array:
    return log[name].to_numpy(np.float64) if name in log.columns else default


def _plot(axes: Axes, epochs: Array, log: pd.DataFrame, column: str, **looks: Any) -> None:
    """One line, unless nothing of it is known; `looks` are matplotlib's."""
    values = _column(log, column, np.full(len(epochs), np.nan))
    if not np.isnan(values).all():
        # A single epoch is a point: without a marker nothing would be seen.
        marker = "o" if len(epochs) <= 12 else None
        axes.plot(epochs, values, marker=marker, markersize=3, **looks)


def _finish(axes: Axes, title: str, best_epoch: float | None, legend: int = 0) -> None:
    style.dress(axes, title, legend=legend)
    style.name_axes(axes, "epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    low, high = axes.get_ylim()
    if high - low < 0.05:  # a single epoch would otherwise be blown up to noise
        axes.set_ylim((low + high) / 2 - 0.025, (low + high) / 2 + 0.025)
    looks: dict[str, Any] = {"fontsize": style.SMALL, "color": "#666666"}
    if best_epoch is not None:
        axes.axvline(best_epoch, color="#999999", linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
        at: dict[str, Any] = {"textcoords": "offset points", "xycoords": ("data", "axes fraction")}
        side = "right" if 2 * best_epoch > sum(axes.get_xlim()) else "left"  # within the axes
        shift = -3 if side == "right" else 3
        axes.annotate("best", (best_epoch, 0.0), (shift, 3), ha=side, **at, **looks)
    if not axes.lines:
        axes.text(0.5, 0.5, "not in the log", transform=axes.transAxes, ha="center", **looks)
