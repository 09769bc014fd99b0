"""Line charts as SVG: geometry here, colours in the page's style sheet (light and dark)."""

from itertools import pairwise
from typing import Any

from matplotlib.ticker import MaxNLocator

from pulmonet.report.render.blocks import Chart, Series

#: Series before colour and dash repeat: 7 colours, 4 dashes.
N_COLOURS = 7
N_DASHES = 4
#: Room around the lines; the left one grows with the longest number at the axis.
LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 10.0, 40.0
WIDTH_OF_A_DIGIT = 8.0


def draw_chart(chart: Chart) -> dict[str, Any]:
    """A chart laid out for the template, in SVG units: size, frame, ticks, a path per series."""
    width, height = 340.0, 326.0 if chart.frame else 250.0
    if chart.frame:
        x_range, y_range = chart.frame[:2], chart.frame[2:]
    else:
        x_range = _range([x for series in chart.series for x in series.x], 0.0)
        y_range = _range([y for line in chart.series for y in line.y if y is not None], 0.06)
    equal = max(x_range[0], y_range[0]), min(x_range[1], y_range[1])
    y_ticks = ticks(*y_range)
    left = max(LEFT, 10.0 + WIDTH_OF_A_DIGIT * max((len(text) for _, text in y_ticks), default=0))

    def place_x(x: float) -> float:
        return left + (x - x_range[0]) / (x_range[1] - x_range[0]) * (width - left - RIGHT)

    def place_y(y: float) -> float:
        share = (y - y_range[0]) / (y_range[1] - y_range[0])
        return height - BOTTOM - share * (height - TOP - BOTTOM)

    whole = chart.x_name == "epoch"
    n_strong = sum(series.strong for series in chart.series)

    def line(position: int, series: Series) -> dict[str, Any]:
        both = zip(series.x, series.y, strict=True)
        points = [(place_x(x), None if y is None else place_y(y)) for x, y in both]
        few = [(x, y, y, y) for x, y in points if y is not None] if len(points) <= 12 else []
        circles = [(place_x(x), *map(place_y, ends)) for x, *ends in series.points]
        upper = [f"{place_x(x):.1f} {place_y(high):.1f}" for x, _, high in series.band]
        lower = [f"{place_x(x):.1f} {place_y(low):.1f}" for x, low, _ in reversed(series.band)]
        colour = position - n_strong
        plain = f"line c{colour % N_COLOURS} d{colour // N_COLOURS % N_DASHES}"
        return {
            "name": series.name,
            "path": _path(points, steps=chart.level is not None),
            "band": f"M{'L'.join(upper + lower)}Z" if len(upper) > 1 else "",
            "style": "line strong" if series.strong else plain,
            "dots": circles or (few if whole else []),
            "x": [round(x, 4) for x in series.x],
            "y": [None if y is None else round(y, 4) for y in series.y],
        }

    return {
        "width": width,
        "height": height,
        "left": left,
        "right": width - RIGHT,
        "top": TOP,
        "bottom": height - BOTTOM,
        "x_ticks": [(place_x(x), text) for x, text in ticks(*x_range, whole=whole)],
        "y_ticks": [(place_y(y), text) for y, text in y_ticks],
        "lines": [line(position, series) for position, series in enumerate(chart.series)],
        "mark": None if chart.mark_x is None else place_x(chart.mark_x),
        "diagonal": [(place_x(at), place_y(at)) for at in equal] if chart.frame else [],
        "level": None if chart.level is None else place_y(chart.level),
        "x_range": x_range,
        "whole": whole,
    }


def ticks(low: float, high: float, *, whole: bool = False) -> list[tuple[float, str]]:
    """A few round numbers inside a range, with their text."""
    locator = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=whole, min_n_ticks=1)
    found = [float(x) for x in locator.tick_values(low, high) if low - 1e-9 <= x <= high + 1e-9]
    digits = max((len(f"{x:.9g}".partition(".")[2]) for x in found), default=0)
    return [(x, f"{x:.{digits}f}") for x in found]


def _range(values: list[float], margin: float) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if high - low < 1e-6:
        return low - 0.5, high + 0.5
    return low - margin * (high - low), high + margin * (high - low)


def _path(points: list[tuple[float, float | None]], *, steps: bool) -> str:
    """An SVG path, in `steps` that end at the points; a gap where a value is missing."""
    between = "V{1:.1f}H{0:.1f}" if steps else "L{0:.1f} {1:.1f}"
    return "".join(
        ("M{0:.1f} {1:.1f}" if before is None else between).format(x, y)
        for (_, before), (x, y) in pairwise([(0.0, None), *points])
        if y is not None
    )
