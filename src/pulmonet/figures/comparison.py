"""Runs beside each other: intervals and letters, trained on and tested on."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pulmonet.figures import style
from pulmonet.figures.curves import draw_curves
from pulmonet.labels import file_name_of
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.results import Comparison, Evaluation, RunResult, label_results

#: Caption, where a dotted line is, and what stands on each line.
_Column = tuple[str, float | None, Sequence[Estimate | str | None]]


def comparison_figures(found: Evaluation) -> dict[str, Figure]:
    """Figures of several runs, or of one on several datasets, by their file's name.

    None where no run has a macro AUROC.
    """
    shown = [one for one in found.runs if one.macro.auroc.value is not None]
    shown.sort(key=lambda result: -(result.macro.auroc.value or 0))
    figures = {"model_comparison": draw_model_comparison(shown, found.comparisons)} if shown else {}
    places = groupby(sorted(shown, key=_place), _place)
    for where, some in ((where, list(some)) for where, some in places):
        if len(some) > 1:
            end = "_".join(map(file_name_of, where))
            figures[f"roc_{end}"] = draw_curves(some, "roc")
            figures[f"precision_recall_{end}"] = draw_curves(some, "precision_recall")
    if len({*map(_place, shown)}) > 1:
        figures["trained_tested"] = draw_trained_tested(shown)
    return figures


def _place(result: RunResult) -> tuple[str, str]:
    return result.dataset, result.split


def draw_forest(
    columns: Mapping[str, _Column], lines: Sequence[tuple[float, str, str]]
) -> tuple[Figure, list[Axes]]:
    """A panel a column: caption, a dotted line, and on each line an interval, or words.

    A line is its place, counted downwards, its name and its colour.
    """
    places, names, colours = zip(*lines, strict=True)
    n_columns = min(len(columns), 3 if len(columns) < 10 else 4)
    height = 0.4 + 0.17 * max(places)
    figure, panels = style.print_grid(len(columns), 0.45, height, n_columns, sharey=True)
    looks: dict[str, Any] = {"va": "center", "bbox": {"fc": "white", "ec": "none", "pad": 1}}
    looks |= {"fontsize": style.SMALL, "color": "#666666"}
    for axes, (title, (caption, line, cells)) in zip(panels, columns.items(), strict=True):
        style.dress(axes, title, caption)
        for place, cell, colour in zip(places, cells, colours, strict=True):
            if isinstance(cell, Estimate) and cell.value is not None:
                ends = [cell.value if end is None else end for end in (cell.low, cell.high)]
                axes.plot(ends, [place, place], color=colour, linewidth=1.3)
                axes.plot([cell.value], [place], color=colour, marker="o", markersize=4)
            elif isinstance(cell, str):
                axes.text(0.02, place, cell, transform=axes.get_yaxis_transform(), **looks)
        if line is not None:
            axes.axvline(line, **style.DOTTED)
    low = min(axes.dataLim.x0 for axes in panels)
    shown = ["\n".join(map(style.shorten, name.split("\n"))) for name in names]
    for axes in panels:
        axes.set_xlim(max(min(low, 0.5) - 0.03, 0), 1.02)
        axes.set_yticks(places, shown, parse_math=False)
    panels[0].set_ylim(max(places) + 0.7, -0.7)  # downwards
    return figure, panels


def draw_model_comparison(shown: Sequence[RunResult], comparisons: Sequence[Comparison]) -> Figure:
    """Macro AUROC of all runs with intervals and letters, and the AUROC of every label."""
    several = len({*map(_place, shown)}) > 1  # places of testing
    averaged = {result.macro.counted() for result in shown}
    counted = f"mean of {averaged.pop()}" if len(averaged) == 1 else "means of their labels"
    columns: dict[str, _Column]
    columns = {"macro AUROC": (counted, 0.5, [one.macro.auroc for one in shown])}
    for label, entry in label_results(shown, scored=True).items():
        cells = [one.labels[label].auroc if label in one.labels else None for one in shown]
        columns[label] = "" if several else entry.counted(), 0.5, cells
    names, notes = [one.run for one in shown], ""
    if several:
        names = [f"{r.run}\n{r.trained_on or '?'} →\n{r.dataset}, {r.split}" for r in shown]
        notes = "Trained on → tested on, external testing in orange."
    places = [place * (1 + 1.3 * several) for place in range(len(shown))]
    is_other = [several and one.testing() == "external" for one in shown]
    colours = [style.ORANGE if other else style.BLUE for other in is_other]
    figure, panels = draw_forest(columns, list(zip(places, names, colours, strict=True)))
    looks: dict[str, Any] = {"va": "center", "fontsize": style.NORMAL, "fontweight": "bold"}
    beside = panels[0].get_yaxis_transform()  # where no line is
    for place, result in zip(places, shown, strict=True):
        panels[0].text(1.02, place, result.group_letters, transform=beside, **looks)
    for base in [] if several else list(filter(None, (one.baseline for one in shown)))[:1]:
        if base.macro.auroc.value is not None:
            panels[0].axvline(base.macro.auroc.value, **style.DOTTED | {"linestyle": "--"})
            notes = f"Dashed: {base.name()}."
    notes += " Runs that share a letter are not significantly different." * bool(comparisons)
    return style.finish(figure, shown, "model_comparison", notes)


def draw_trained_tested(shown: Sequence[RunResult]) -> Figure:
    """A line a run and a column a dataset: macro AUROC, and whether the run has seen the like."""
    runs = list(dict.fromkeys((one.run, one.trained_on or "?") for one in shown))
    places = list(dict.fromkeys(map(_place, shown)))
    values = np.full((len(runs), len(places)), np.nan)
    figure = style.new_figure(style.TWO_COLUMNS, 1.0 + 0.7 * len(runs), style.PRINT)
    axes = figure.subplots()
    looks: dict[str, Any] = {"fontsize": style.SMALL, "color": style.INK, "parse_math": False}
    for one in shown:
        line, column = runs.index((one.run, one.trained_on or "?")), places.index(_place(one))
        values[line, column] = value = one.macro.auroc.value or np.nan
        facts = f"{one.macro.counted()}\n{one.n_rows:,} rows, {one.testing()}"
        words = f"{one.macro.auroc.text(2)}\n{facts}"
        looks["color"] = "white" if value > 0.75 else style.INK
        axes.text(column, line, words, ha="center", va="center", **looks)
    looks["color"] = style.INK
    axes.imshow(values, cmap="Blues", vmin=0.5, vmax=1, aspect="auto")
    axes.set_xticks(range(len(places)), ["\n".join(place) for place in places], **looks)
    names = [f"{style.shorten(run)}\n({style.shorten(of)})" for run, of in runs]
    axes.set_yticks(range(len(runs)), names, **looks)
    return style.finish(figure, shown, "trained_tested")
