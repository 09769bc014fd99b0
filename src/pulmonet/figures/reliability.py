"""Reliability diagrams: observed share of positives over the score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pulmonet.figures.by_label import draw_by_label, note
from pulmonet.figures.style import BLUE, GREY, ORANGE, name_axes
from pulmonet.metrics.results import CalibrationResult, LabelResult, RunResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_reliability(result: RunResult) -> bytes:
    """Observed share of positives over predicted score, raw and calibrated."""

    def draw(axes: Axes, entry: LabelResult) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        lines = []
        for measured, colour, marker, name in (
            (entry.calibration, BLUE, "o", "raw"),
            (entry.calibrated, ORANGE, "s", "calibrated"),
        ):
            if measured is not None:
                _bins(axes, measured, colour, marker)
                slope = measured.slope.value
                lines.append(f"{name}: slope {'–' if slope is None else f'{slope:.2f}'}")
        note(axes, "\n".join(lines), "upper left")
        name_axes(axes, "score", "observed positive")

    return draw_by_label(
        result, "Reliability (○ raw, □ calibrated; bins of equal mass, 95 % intervals)", draw
    )


def _bins(axes: Axes, measured: CalibrationResult, colour: str, marker: str) -> None:
    rows = [
        (item.mean_score, item.observed, item.observed_low, item.observed_high)
        for item in measured.bins
        if item.observed is not None
    ]
    x, y, low, high = np.asarray(rows, float).reshape(-1, 4).T  # an unknown bound becomes NaN
    reach = np.nan_to_num(np.stack([y - low, high - y]))
    axes.errorbar(
        x,
        y,
        yerr=np.clip(reach, 0, None),
        color=colour,
        marker=marker,
        markersize=4,
        markerfacecolor="white",
        linewidth=1.1,
        elinewidth=0.7,
        alpha=0.9,
    )
