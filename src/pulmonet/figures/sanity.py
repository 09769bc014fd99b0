"""The figure of the sanity checks: correlation by depth, and deletion and insertion curves."""

import numpy as np
from matplotlib.axes import Axes

from pulmonet.explain.results import RoadCurve, Sanity
from pulmonet.figures import style


def draw_sanity(result: Sanity, method: str, is_synthetic: bool = False) -> bytes:
    """PNG with the cascade on the left and, where measured, the ROAD curves on the right."""
    figure, axes = style.print_grid(2 if result.road else 1, 0.4, 1.9)
    figure.set_figwidth(style.TWO_COLUMNS if result.road else style.ONE_COLUMN)
    _draw_cascade(axes[0], result)
    if result.road is not None:
        _draw_road(axes[1], result.road)
    text = f"{'SYNTHETIC. ' * is_synthetic}{method}: sanity check {result.outcome()}."
    style.head(figure, f"{text} Band: 95 % of the mean, n = {result.n_images} images.")
    return style.render(figure)


def _draw_cascade(axes: Axes, result: Sanity) -> None:
    names = ["none", *(stage.stage for stage in result.stages)]
    found = [stage.estimate() for stage in result.stages]
    numbers = [(1.0, 1.0, 1.0), *((one.value, one.low, one.high) for one in found)]
    mean, low, high = np.asarray(numbers, float).T  # null becomes NaN, a gap
    positions = range(len(names))
    axes.fill_between(positions, low, high, color=style.BLUE, alpha=0.18, linewidth=0)
    axes.plot(positions, mean, marker="o", markersize=3, color=style.BLUE)
    name = f"must end below {result.threshold:g}"
    axes.axhline(result.threshold, color=style.GREY, linestyle="--", linewidth=1.2, label=name)
    axes.set_ylim(-0.03, 1.03)
    style.dress(axes, "Rank correlation", "mean, with the trained maps", legend=1)
    style.name_axes(axes, "weights randomised down to")
    axes.set_xticks(positions, names, rotation=60, ha="right", fontsize=style.SMALL)


def _draw_road(axes: Axes, road: RoadCurve) -> None:
    shares = [100 * share for share in road.removed]
    curves = {"lowest": road.least_relevant_first, "highest": road.most_relevant_first}
    for position, (name, scores) in enumerate(curves.items()):
        looks = style.line_style(position) | {"marker": "o", "markersize": 3}
        axes.plot(shares, scores, label=f"{name} of the map first", **looks)
    axes.set_ylim(-0.03, 1.03)
    style.dress(axes, f"ROAD, gain {road.gain:+.3f}", f"mean score, {road.n} images", legend=1)
    style.name_axes(axes, "pixels removed, %")
