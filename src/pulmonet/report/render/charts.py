"""Line charts as SVG: geometry here, colours in the page's style sheet (light and dark)."""

import math
from itertools import pairwise
from typing import Any

from pulmonet.report.render.blocks import Chart, Series

#: Series before colour and dash repeat: 7 colours, 4 dashes.
N_COLOURS = 7
N_DASHES = 4
#: Room around the lines; the left one grows with the longest number at the axis.
LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 10.0, 40.0
WIDTH_OF_A_DIGIT = 8.0


def draw_chart(chart: Chart) -> dict[str, Any]:
    """A chart laid out for the template, in SVG units: size, frame, ticks, a path per series."""
    width, height = (420.0, 400.0) if chart.square else (420.0, 290.0)
    x_range = y_range = (0.0, 1.0)
    if not chart.square:
        x_range = _range([x for series in chart.series for x in series.x], 0.0)
        y_range = _range([y for line in chart.series for y in line.y if y is not None], 0.06)
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
        few = len(points) <= 12 and whole
        upper = [f"{place_x(x):.1f} {place_y(high):.1f}" for x, _, high in series.band]
        lower = [f"{place_x(x):.1f} {place_y(low):.1f}" for x, low, _ in reversed(series.band)]
        colour = position - n_strong
        plain = f"line c{colour % N_COLOURS} d{colour // N_COLOURS % N_DASHES}"
        return {
            "name": series.name,
            "path": _path(points),
            "band": f"M{'L'.join(upper + lower)}Z" if len(upper) > 1 else "",
            "style": "line strong" if series.strong else plain,
            "dots": [(x, y) for x, y in points if y is not None and few],
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
        "x_range": x_range,
        "y_range": y_range,
    }


def ticks(low: float, high: float, *, whole: bool = False) -> list[tuple[float, str]]:
    """Four to seven round numbers inside a range, with their text."""
    span = high - low
    step = 10.0 ** math.floor(math.log10(span / 4))
    for factor in (1, 2, 2.5, 5, 10):
        if span / (step * factor) <= 6:
            step *= factor
            break
    if whole:
        step = max(1.0, math.ceil(step))
    digits = 0 if whole else max(0, -math.floor(math.log10(step) + 1e-9))
    if not whole and round(step, digits) != round(step, 10):
        digits += 1
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [(n * step, f"{n * step:.{digits}f}") for n in range(first, last + 1)]


def _range(values: list[float], margin: float) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if high - low < 1e-6:
        return low - 0.5, high + 0.5
    return low - margin * (high - low), high + margin * (high - low)


def _path(points: list[tuple[float, float | None]]) -> str:
    """An SVG path; a gap where a value is missing."""
    return "".join(
        f"{'M' if before is None else 'L'}{x:.1f} {y:.1f}"
        for (_, before), (x, y) in pairwise([(0.0, None), *points])
        if y is not None
    )
