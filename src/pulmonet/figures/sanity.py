"""The figure of the sanity checks: correlation by depth, and deletion and insertion curves."""

import numpy as np
from matplotlib.axes import Axes

from pulmonet.explain.results import RoadCurve, Sanity
from pulmonet.figures.style import new_figure, png_of


def draw_sanity(result: Sanity, method: str) -> bytes:
    """PNG with the cascade on the left and, where measured, the ROAD curves on the right."""
    n_panels = 1 if result.road is None else 2
    figure = new_figure(5.6 * n_panels, 4.4)
    axes = figure.subplots(1, n_panels, squeeze=False)[0]
    _draw_cascade(axes[0], result)
    if result.road is not None:
        _draw_road(axes[1], result.road)
    figure.suptitle(f"{method}: sanity check {result.outcome()}", fontsize=11)
    return png_of(figure)


def _draw_cascade(axes: Axes, result: Sanity) -> None:
    names = ["none", *(stage.stage for stage in result.stages)]
    numbers = [(1.0, 1.0, 1.0), *((stage.low, stage.mean, stage.high) for stage in result.stages)]
    low, mean, high = np.asarray(numbers, float).T  # null becomes NaN, a gap
    positions = range(len(names))
    axes.fill_between(positions, low, high, alpha=0.2, label="10th to 90th percentile")
    axes.plot(positions, mean, marker="o", label="mean")
    axes.axhline(result.threshold, color="0.4", linestyle="--", label="must end below")
    axes.set_xticks(positions, names, rotation=60, ha="right", fontsize=7)
    axes.set_xlabel("weights randomised from the classifier down to", fontsize=9)
    axes.set_ylabel("absolute rank correlation with trained maps", fontsize=9)
    axes.set_ylim(-0.03, 1.03)
    axes.legend(fontsize=7)


def _draw_road(axes: Axes, road: RoadCurve) -> None:
    shares = [100 * share for share in road.removed]
    axes.plot(shares, road.least_relevant_first, marker="o", label="lowest of the map first")
    axes.plot(shares, road.most_relevant_first, marker="o", label="highest of the map first")
    axes.set_xlabel("pixels removed, %", fontsize=9)
    axes.set_ylabel("mean score of the label", fontsize=9)
    axes.set_ylim(-0.03, 1.03)
    axes.set_title(f"ROAD, gain {road.gain:+.3f} ({road.n} images)", fontsize=9)
    # below the axes: the curves may run anywhere within them
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
