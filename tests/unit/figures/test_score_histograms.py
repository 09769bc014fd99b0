"""Histograms of the scores."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pulmonet.figures.score_histograms import draw_histograms
from pulmonet.metrics.results import RunResult


def test_one_scale_fits_the_highest_bar_of_all_labels(
    make_result: Callable[..., RunResult], drawn: list[Figure]
) -> None:
    draw_histograms(make_result(("Edema", "Lung Opacity", "Pneumonia")))
    panels = [axes for axes in drawn[0].axes if axes.patches]
    assert len(panels) == 3
    bars = [bar for axes in panels for bar in axes.patches if isinstance(bar, Rectangle)]
    highest = max(abs(bar.get_height()) for bar in bars)
    ((low, *_, top),) = {tuple(axes.get_yticks()) for axes in panels}
    assert highest <= top < highest + 0.2
    assert low == -top
    assert sum(bar.get_height() for bar in bars if bar.get_height() > 0) - 3 < 1e-9
