"""ROC and precision-recall curves with their bootstrap bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pulmonet.figures.by_label import draw_by_label, note
from pulmonet.figures.style import BLUE, GREY, ORANGE, name_axes
from pulmonet.metrics.results import Curve, LabelResult, RunResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_roc(result: RunResult) -> bytes:
    """ROC curves, one panel a label, with pointwise 95 % bootstrap bands."""

    def draw(axes: Axes, entry: LabelResult) -> None:
        assert entry.roc is not None
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        _curve(axes, entry.roc, BLUE, "default")
        note(axes, f"AUROC {entry.auroc.text()}", "lower right")
        name_axes(axes, "1 − specificity", "sensitivity")

    return draw_by_label(result, "ROC", draw)


def draw_precision_recall(result: RunResult) -> bytes:
    """Precision over recall, one panel a label, with bands; the dotted line is the prevalence."""

    def draw(axes: Axes, entry: LabelResult) -> None:
        assert entry.precision_recall is not None
        axes.axhline(entry.prevalence or 0, color=GREY, linewidth=1, linestyle=":")
        _curve(axes, entry.precision_recall, ORANGE, "steps-pre")
        note(axes, f"AP {entry.average_precision.text()}", "lower left")
        name_axes(axes, "recall (sensitivity)", "precision (PPV)")

    return draw_by_label(result, "Precision and recall", draw)


def _curve(axes: Axes, curve: Curve, colour: str, drawstyle: str) -> None:
    axes.fill_between(
        curve.band_x, curve.band_low, curve.band_high, color=colour, alpha=0.18, linewidth=0
    )
    axes.plot(curve.x, curve.y, color=colour, linewidth=1.8, drawstyle=drawstyle)
