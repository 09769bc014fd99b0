"""Histograms of the scores of positives and negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pulmonet.figures.by_label import draw_by_label
from pulmonet.figures.style import BLUE, INK, ORANGE, name_axes
from pulmonet.metrics.results import LabelResult, RunResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_histograms(result: RunResult) -> bytes:
    """Scores of positives above the axis and of negatives below, as shares of each."""
    top = _largest_share(result)
    ticks = {-top: f"{top:g}", -top / 2: f"{top / 2:g}", 0: "0", top / 2: f"{top / 2:g}"}
    ticks[top] = f"{top:g}"

    def draw(axes: Axes, entry: LabelResult) -> None:
        assert entry.histogram is not None
        edges = np.asarray(entry.histogram.edges)
        for counts, sign, colour, hatch, name in (
            (entry.histogram.positives, 1, ORANGE, "", "positive"),
            (entry.histogram.negatives, -1, BLUE, "////", "negative"),
        ):
            axes.bar(
                edges[:-1],
                sign * np.asarray(counts) / max(sum(counts), 1),
                width=np.diff(edges),
                align="edge",
                color=colour,
                edgecolor="white",
                linewidth=0.6,
                hatch=hatch,
                label=f"{name} ({sum(counts):,})",
            )
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_ylim(-1.3 * top, 1.3 * top)  # room for the legend
        axes.set_yticks(list(ticks), list(ticks.values()))
        axes.legend(fontsize=7.5, frameon=False, loc="upper right")
        name_axes(axes, "score", "share of rows")

    return draw_by_label(result, "Scores by reference standard", draw, square=False)


def _largest_share(result: RunResult) -> float:
    """The highest bar of all labels, rounded up to 0.2: one scale for all."""
    shares = [
        max(counts) / max(sum(counts), 1)
        for entry in result.labels.values()
        if entry.histogram is not None
        for counts in (entry.histogram.positives, entry.histogram.negatives)
    ]
    return float(np.ceil(max(shares) * 5 - 1e-9) / 5)
