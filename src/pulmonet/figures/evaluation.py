"""The figures of one run's evaluation: curves, scores and subgroups by label, worst cases."""

from collections.abc import Callable
from itertools import accumulate, cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from pulmonet.arrays import Pixels
from pulmonet.figures import style
from pulmonet.metrics.label_result import Curve, LabelResult
from pulmonet.metrics.results import RunResult
from pulmonet.words import count


def evaluation_figures(
    result: RunResult, read_image: Callable[[str], Pixels] | None = None
) -> dict[str, bytes]:
    """All figures of one run's result as PNG, by the start of their file's name.

    None where no label has both classes; no contact sheet without `read_image`, which gives the
    grey image of a path in the dataset.
    """
    if all(entry.roc is None for entry in result.labels.values()):
        return {}
    reliability = "Reliability (○ raw, □ calibrated; bins of equal mass, smooth curves, 95 %)"
    decision = "Net benefit (— model with 95 % interval, -- treat all, ·· treat none)"
    figures = {
        "roc": _draw_by_label(result, "ROC", _draw_roc),
        "precision_recall": _draw_by_label(result, "Precision and recall", _draw_precision_recall),
        "reliability": _draw_by_label(result, reliability, _draw_reliability),
        "score_histograms": draw_histograms(result),
        "decision": _draw_by_label(result, decision, _draw_decision, square=False),
    }
    if any(group.labels for group in result.subgroups):
        figures["subgroups"] = draw_subgroups(result)
    if any(entry.smooth for group in result.subgroups for entry in group.labels.values()):
        figures["calibration_subgroups"] = draw_calibration_of_subgroups(result)
    if result.flow:
        figures["flow"] = draw_flow(result)
    if read_image is not None:
        figures["worst_cases"] = draw_worst_cases(result, read_image)
    return figures


def _draw_by_label(
    result: RunResult, title: str, draw: Callable[[Axes, LabelResult], None], *, square: bool = True
) -> bytes:
    """A PNG with one panel for each label that has both classes; `square` ones span 0 to 1."""
    scored = {label: entry for label, entry in result.labels.items() if entry.roc is not None}
    n_columns = min(len(scored), 5 if len(scored) in {5, 9, 10, 13, 14} else 4)
    n_lines = -(-len(scored) // n_columns)
    figure = style.new_figure(2.75 * n_columns + 0.3, 2.85 * n_lines + 0.5)
    grid = figure.subplots(n_lines, n_columns, squeeze=False).ravel()
    for axes, (label, entry) in zip(grid, scored.items(), strict=False):
        style.dress(axes, f"{label} *" if entry.few_positives else label)
        axes.set_xlim(-0.02, 1.02)
        if square:
            axes.set_ylim(-0.02, 1.02)
            axes.set_aspect("equal")
        draw(axes, entry)
    for axes in grid[len(scored) :]:
        axes.axis("off")
    few = any(entry.few_positives for entry in scored.values())
    _head_of_run(figure, result, title + ("  * fewer than 20 positive patients" if few else ""))
    return style.png_of(figure)


def _head_of_run(figure: Figure, result: RunResult, text: str) -> None:
    """The title, with run, dataset and split below it."""
    synthetic = "SYNTHETIC. " if result.synthetic else ""
    style.head(figure, f"{synthetic}{text}\n{result.run} on {result.dataset}, split {result.split}")


def _note(axes: Axes, text: str, corner: str) -> None:
    """Small text in a corner, such as ``lower right``."""
    vertical, horizontal = corner.split()
    x = 0.97 if horizontal == "right" else 0.03
    y, va = (0.04, "bottom") if vertical == "lower" else (0.97, "top")
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.5}
    looks: dict[str, Any] = {"fontsize": 7.5, "color": style.INK, "ha": horizontal, "va": va}
    axes.text(x, y, text, transform=axes.transAxes, bbox=box, **looks)


def _draw_roc(axes: Axes, entry: LabelResult) -> None:
    assert entry.roc is not None
    axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=1, linestyle=":")
    _curve(axes, entry.roc, style.BLUE, "default")
    _note(axes, f"AUROC {entry.auroc.text()}", "lower right")
    style.name_axes(axes, "1 − specificity", "sensitivity")


def _draw_precision_recall(axes: Axes, entry: LabelResult) -> None:
    """The dotted line is the prevalence."""
    assert entry.precision_recall is not None
    axes.axhline(entry.prevalence or 0, color=style.GREY, linewidth=1, linestyle=":")
    _curve(axes, entry.precision_recall, style.ORANGE, "steps-pre")
    _note(axes, f"AP {entry.average_precision.text()}", "lower left")
    style.name_axes(axes, "recall (sensitivity)", "precision (PPV)")


def _curve(axes: Axes, curve: Curve, colour: str, drawstyle: str, name: str = "") -> None:
    """With its pointwise 95 % bootstrap band."""
    band = curve.band_x, curve.band_low, curve.band_high
    axes.fill_between(*band, color=colour, alpha=0.18, linewidth=0)
    axes.plot(curve.x, curve.y, color=colour, linewidth=1.8, drawstyle=drawstyle, label=name)


def _draw_reliability(axes: Axes, entry: LabelResult) -> None:
    """Observed share of positives over predicted score, raw and calibrated: bins and curve."""
    axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=1, linestyle=":")
    looks: dict[str, Any] = {"markersize": 4, "mfc": "white", "linewidth": 0, "elinewidth": 0.7}
    lines = []
    for measured, colour, marker, name in (
        (entry.calibration, style.BLUE, "o", "raw"),
        (entry.calibrated, style.ORANGE, "s", "calibrated"),
    ):
        if measured is None:
            continue
        rows = [
            (item.mean_score, item.observed, item.observed_low, item.observed_high)
            for item in measured.bins
            if item.observed is not None
        ]
        x, y, low, high = np.asarray(rows, float).reshape(-1, 4).T  # an unknown bound becomes NaN
        reach = np.clip(np.nan_to_num(np.stack([y - low, high - y])), 0, None)
        axes.errorbar(x, y, yerr=reach, color=colour, marker=marker, alpha=0.9, **looks)
        slope = measured.slope.value
        lines.append(f"{name}: slope {'–' if slope is None else f'{slope:.2f}'}")
        if measured.smooth is not None:
            lines[-1] += f", ICI {measured.smooth.ici:.3f}"
            _curve(axes, measured.smooth.curve, colour, "default")
    _note(axes, "\n".join(lines), "upper left")
    style.name_axes(axes, "score", "observed positive")


def _draw_decision(axes: Axes, entry: LabelResult) -> None:
    """Up to three times the prevalence, at least to 20 %: the range is on the axis."""
    found = entry.decision_curve
    if found is None:
        return
    cuts, prevalence = found.threshold_probability, found.prevalence
    axes.plot(cuts, found.treat_all, color=style.GREY, linewidth=1.2, linestyle="--")
    axes.axhline(0, color=style.GREY, linewidth=1.2, linestyle=":")
    points = {"x": cuts, "y": found.net_benefit, "band_x": cuts if found.low else []}
    curve = Curve.model_validate(points | {"band_low": found.low, "band_high": found.high})
    _curve(axes, curve, style.BLUE, "default")
    axes.set_xlim(0.01, float(np.clip(3 * prevalence, 0.2, 0.99)))
    axes.set_ylim(-0.25 * prevalence, 1.1 * prevalence)
    _note(axes, f"prevalence {prevalence:.1%}", "upper right")
    style.name_axes(axes, "threshold probability", "net benefit")


def draw_histograms(result: RunResult) -> bytes:
    """Scores of positives above the axis and of negatives below, as shares of each."""
    shares = [
        max(counts) / max(sum(counts), 1)
        for entry in result.labels.values()
        if entry.histogram is not None
        for counts in (entry.histogram.positives, entry.histogram.negatives)
    ]
    # the highest bar of all labels, rounded up to 0.2: one scale for all
    top = float(np.ceil(max(shares) * 5 - 1e-9) / 5)
    ticks = [-top, -top / 2, 0, top / 2, top]

    def draw(axes: Axes, entry: LabelResult) -> None:
        assert entry.histogram is not None
        edges = np.asarray(entry.histogram.edges)
        for counts, sign, colour, hatch, name in (
            (entry.histogram.positives, 1, style.ORANGE, "", "positive"),
            (entry.histogram.negatives, -1, style.BLUE, "////", "negative"),
        ):
            heights = sign * np.asarray(counts) / max(sum(counts), 1)
            looks: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white"}
            looks |= {"align": "edge", "linewidth": 0.6, "label": f"{name} ({sum(counts):,})"}
            axes.bar(edges[:-1], heights, np.diff(edges), **looks)
        axes.axhline(0, color=style.INK, linewidth=0.8)
        axes.set_ylim(-1.3 * top, 1.3 * top)  # room for the legend
        axes.set_yticks(ticks, [f"{abs(tick):g}" for tick in ticks])
        axes.legend(fontsize=7.5, frameon=False, loc="upper right")
        style.name_axes(axes, "score", "fraction of rows")

    return _draw_by_label(result, "Scores by reference standard", draw, square=False)


def draw_subgroups(result: RunResult) -> bytes:
    """Forest plot: AUROC with interval per subgroup, one panel a label."""
    scored = {label: entry for label, entry in result.labels.items() if entry.roc is not None}
    groups = result.subgroups
    columns = [group.column for group in groups]
    height = 1.5 + 0.26 * (len(groups) + len(set(columns)))
    figure = style.new_figure(2.2 + 2.1 * len(scored), height)
    panels = np.atleast_1d(figure.subplots(1, len(scored), sharey=True))
    # downwards; a gap before every column's first
    steps = [1.0 if a == b else 1.6 for a, b in zip(columns, [None, *columns], strict=False)]
    places = list(accumulate(steps))
    shown = [entry.auroc for group in groups for entry in group.labels.values()]
    shown += [entry.auroc for entry in result.labels.values()]
    lows = [found.low for found in shown if found is not None and found.low is not None]
    for axes, (label, overall) in zip(panels, scored.items(), strict=True):
        if overall.auroc.value is not None:
            axes.axvline(overall.auroc.value, color=style.GREY, linewidth=1, linestyle=":")
        style.whisker(axes, overall.auroc, 0, style.INK, "D")
        for group, place in zip(groups, places, strict=True):
            entry = group.labels.get(label)
            if entry is not None and entry.auroc is not None and entry.auroc.value is not None:
                style.whisker(axes, entry.auroc, place, style.BLUE, "o")
                continue
            at = axes.get_yaxis_transform()
            reason = "too small" if entry is None else entry.reason or "too small"
            words = reason.replace(" to score", "").partition(",")[0]
            axes.text(0.02, place, words, fontsize=6.5, color=style.GREY, va="center", transform=at)
        style.dress(axes, label)
        axes.set_xlabel("AUROC", fontsize=8.5, color=style.INK)
        axes.set_xlim(max(min([*lows, 0.5]) - 0.03, 0.0), 1.02)
    names = [f"{group.column} {group.group} ({group.n_rows:,})" for group in groups]
    panels[0].set_yticks([0, *places], ["all", *names], parse_math=False)
    panels[0].set_ylim(max(places, default=0) + 0.7, -0.7)  # upwards, half a line beyond both ends
    _head_of_run(figure, result, "Subgroups (95 % intervals, patients resampled)")
    return style.png_of(figure)


def draw_calibration_of_subgroups(result: RunResult) -> bytes:
    """Smooth curves of calibrated scores: a line of panels for a column, a curve for a group."""
    shown = [
        (group.column, label)
        for group in result.subgroups
        for label, entry in group.labels.items()
        if entry.smooth is not None
    ]
    columns, labels = (list(dict.fromkeys(names)) for names in zip(*shown, strict=True))
    figure = style.new_figure(2.75 * len(labels) + 0.3, 2.85 * len(columns) + 0.5)
    grid = figure.subplots(len(columns), len(labels), squeeze=False)
    for line, column in zip(grid, columns, strict=True):
        groups = [group for group in result.subgroups if group.column == column]
        for axes, label in zip(line, labels, strict=True):
            axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=1, linestyle=":")
            for group, colour in zip(groups, cycle(style.PALETTE), strict=False):
                entry = group.labels.get(label)
                if entry is not None and entry.smooth is not None:
                    _curve(axes, entry.smooth.curve, colour, "default", group.group)
            style.dress(axes, f"{label}, {column}")
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
            if axes.get_legend_handles_labels()[0]:
                for text in axes.legend(fontsize=7.5, frameon=False, loc="upper left").get_texts():
                    text.set_parse_math(False)
            style.name_axes(axes, "calibrated score", "observed positive")
    _head_of_run(figure, result, "Calibration of subgroups (smooth curves, pointwise 95 % bands)")
    return style.png_of(figure)


def draw_flow(result: RunResult) -> bytes:
    """Boxes from the source to the rows scored, then what is known of each label."""
    lines = []
    for label, entry in result.labels.items():
        missing = [f"{n:,} {kind}" for kind, n in result.missing.get(label, {}).items() if n]
        known = f"{label}: {entry.n:,} known, {entry.positives:,} positive"
        lines.append(", ".join([known, *missing]))
    n_steps = len(result.flow)
    figure = style.new_figure(7, n_steps + 0.8 + 0.2 * len(lines))
    axes = figure.subplots()
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(n_steps - 0.3 + 0.2 * len(lines), -0.5))
    looks: dict[str, Any] = {"fontsize": 9, "color": style.INK, "parse_math": False}
    box = {"facecolor": "white", "edgecolor": style.BLUE, "boxstyle": "round,pad=0.5"}
    arrow = {"arrowstyle": "->", "color": style.GREY}
    for place, step in enumerate(result.flow):
        whose = "" if step.n_patients is None else f" of {count(step.n_patients, 'patient')}"
        words = f"{step.name}\n{count(step.n_rows, 'image')}{whose}"
        axes.text(0.35, place, words, ha="center", va="center", bbox=box, **looks)
        axes.annotate("", (0.35, place + 0.68), (0.35, place + 0.28), arrowprops=arrow)
        if place and (fewer := result.flow[place - 1].n_rows - step.n_rows):
            axes.text(0.38, place - 0.5, f"{fewer:,} left out", va="center", **looks)
    axes.text(0.35, n_steps - 0.2, "\n".join(lines), ha="center", va="top", bbox=box, **looks)
    _head_of_run(figure, result, "From the source to the table")
    return style.png_of(figure)


def draw_worst_cases(
    result: RunResult, read_image: Callable[[str], Pixels], n_each: int = 4
) -> bytes:
    """Contact sheet of the confident errors: per label, false positives and false negatives."""
    labels = [label for label, entry in result.labels.items() if entry.worst_cases]
    height = 2.0 * max(len(labels), 1) + 0.7
    looks: dict[str, Any] = {"fontsize": 5.5, "color": style.INK, "ha": "center", "va": "top"}
    looks["parse_math"] = False
    foot = 0.1 / height  # with h_pad, for the captions, which the layout leaves aside
    engine = ConstrainedLayoutEngine(
        w_pad=0.02, h_pad=0.16, wspace=0, hspace=0, rect=(0, foot, 1, 1 - foot)
    )
    figure = Figure(figsize=(3.0 * n_each, height), dpi=110, layout=engine)
    grid = figure.subplots(max(len(labels), 1), 2 * n_each, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for line, label in zip(grid, labels, strict=True):
        for panels, kind, colour in (
            (line[:n_each], "false positive", style.ORANGE),
            (line[n_each:], "false negative", style.BLUE),
        ):
            cases = [case for case in result.labels[label].worst_cases if case.kind == kind]
            for axes, case in zip(panels, cases, strict=False):
                image = read_image(case.path)
                stride = max(1, max(image.shape) // 320)
                axes.imshow(image[::stride, ::stride], **style.X_RAY)
                title = f"{label}: {case.score:.2f}"
                axes.set_title(title, fontsize=7, color=colour, pad=2, parse_math=False)
                # folder above, file below, each cut from the left
                parts = [part for part in case.path.rpartition("/")[::2] if part]
                ends = [part if len(part) <= 34 else "…" + part[-33:] for part in parts]
                caption = axes.text(0.5, -0.02, "\n".join(ends), transform=axes.transAxes, **looks)
                caption.set_in_layout(False)
    words = "Scores that contradict the reference standard most: left absent, right present"
    _head_of_run(figure, result, words)
    return style.png_of(figure)
