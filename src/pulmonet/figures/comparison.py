"""model_comparison.png: all runs of an evaluation beside each other."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from pulmonet.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    dress,
    head,
    new_figure,
    png_of,
    whisker,
)
from pulmonet.metrics.results import Comparison, RunResult


def draw_model_comparison(results: Sequence[RunResult], comparisons: Sequence[Comparison]) -> bytes:
    """Macro AUROC of all runs with intervals and letters, and the AUROC of every label."""
    shown = [result for result in results if result.macro.auroc.value is not None]
    shown.sort(key=lambda result: -(result.macro.auroc.value or 0))
    scored = [label for one in shown for label, item in one.labels.items() if item.roc is not None]
    labels = list(dict.fromkeys(scored))
    several = len({(result.dataset, result.split) for result in shown}) > 1  # places of testing
    width = 4.4 + 1.35 * len(labels) + several
    figure = new_figure(width, 1.9 + 0.42 * len(shown) * (1 + several / 2))
    widths = [1.9] + [1.0] * len(labels)
    panels = figure.subplots(1, 1 + len(labels), sharey=True, width_ratios=widths, squeeze=False)[0]
    for axes in panels[2:]:
        axes.sharex(panels[1])  # one scale for all labels
    looks: dict[str, Any] = {"va": "center", "fontsize": 9, "fontweight": "bold", "color": INK}
    for place, result in enumerate(shown):
        auroc = result.macro.auroc
        is_other = several and result.testing() == "external"
        whisker(panels[0], auroc, place, ORANGE if is_other else BLUE, "D")
        end = auroc.high or auroc.value or 0, place
        panels[0].annotate(result.group_letters, end, (5, 0), textcoords="offset points", **looks)
        for axes, label in zip(panels[1:], labels, strict=True):
            if label in result.labels:
                colour = ORANGE if is_other else GREEN
                whisker(axes, result.labels[label].auroc, place, colour, "o")
    if not several:
        _draw_baseline(panels[0], shown)
    averaged = {result.macro.auroc_name() for result in shown}
    macro = averaged.pop() if len(averaged) == 1 else "macro AUROC"
    title = macro.replace("macro", "Macro").replace(" of ", "\nof ", 1)
    for axes, name in zip(panels, [title, *labels], strict=True):
        dress(axes, name)
        axes.margins(x=0.12)
    names, note = [one.run for one in shown], "95 % intervals, patients resampled"
    if several:
        names = [f"{r.run}\n{r.trained_on or '?'} → {r.dataset}, {r.split}" for r in shown]
        note += "; trained on → tested on, external testing in orange"
    panels[0].set_yticks(range(len(shown)), names, parse_math=False)
    panels[0].set_ylim(len(shown) - 0.4, -0.6)
    if comparisons:
        note += "; runs that share a letter are not significantly different"
    where = "" if several else f" on {shown[0].dataset}, split {shown[0].split}"
    synthetic = "SYNTHETIC. " if any(result.synthetic for result in shown) else ""
    head(figure, textwrap.fill(f"{synthetic}Comparison{where} ({note})", int(11 * width)))
    return png_of(figure)


def _draw_baseline(axes: Axes, shown: Sequence[RunResult]) -> None:
    """Where age, sex and view alone would stand."""
    bases = [result.baseline for result in shown if result.baseline is not None]
    if not bases or bases[0].macro.auroc.value is None:
        return
    value = bases[0].macro.auroc.value
    axes.axvline(value, color=GREY, linewidth=1.2, linestyle="--")
    looks: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7, "color": "#666666"}
    axes.annotate(bases[0].name(), (value, 0), (3, 3), ("data", "axes fraction"), **looks)
