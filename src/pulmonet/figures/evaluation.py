"""The figures of one run's evaluation: curves, scores and subgroups by label, worst cases."""

from collections.abc import Callable
from itertools import accumulate, cycle, product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pulmonet.arrays import Pixels
from pulmonet.data.images.square import shrink
from pulmonet.figures import style
from pulmonet.figures.comparison import draw_forest
from pulmonet.figures.curves import draw_curves
from pulmonet.metrics.estimate import Estimate, number
from pulmonet.metrics.label_result import Curve, LabelResult
from pulmonet.metrics.results import RunResult, SubgroupLabel, label_results
from pulmonet.words import count


def evaluation_figures(
    result: RunResult, read_image: Callable[[str], Pixels] | None = None
) -> dict[str, Figure]:
    """All figures of one run's result, by the start of their file's name.

    None where no label has both classes; no contact sheet without `read_image`, which gives the
    grey image of a path in the dataset.
    """
    if all(entry.roc is None for entry in result.labels.values()):
        return {}
    figures = {
        "roc": draw_curves([result], "roc"),
        "precision_recall": draw_curves([result], "precision_recall"),
        "reliability": _draw_by_label(result, "reliability", _draw_reliability, n_more=2),
        "score_histograms": draw_histograms(result),
        "decision": _draw_by_label(result, "decision", _draw_decision),
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
    result: RunResult, kind: str, draw: Callable[[Axes, LabelResult], str | None], n_more: int = 0
) -> Figure:
    """One panel for each label that has both classes; `draw` gives more lines of its caption."""
    scored = label_results([result], scored=True)
    figure, grid = style.print_grid(len(scored), 0.5 + 0.1 * n_more)
    for axes, (label, entry) in zip(grid, scored.items(), strict=True):
        caption = [f"AUROC {entry.auroc.text(2)}", entry.counted(), draw(axes, entry)]
        style.dress(axes, label, "\n".join(filter(None, caption)))
    return style.finish(figure, [result], kind)


def _draw_reliability(axes: Axes, entry: LabelResult) -> str:
    """Observed share of positives over score, raw and calibrated: bins and curve.

    The axes span what is there: a rare label's scores would else be a heap in a corner.
    """
    looks: dict[str, Any] = {"markersize": 3.5, "mfc": "white", "linewidth": 0, "elinewidth": 0.7}
    lines, across = [], []
    for measured, colour, marker, name in (
        (entry.calibration, style.BLUE, "o", "○"),
        (entry.calibrated, style.ORANGE, "s", "□"),
    ):
        if measured is None:
            continue
        rows = [
            (item.mean_score, item.observed, item.observed_low, item.observed_high)
            for item in measured.bins_by_n or measured.bins
            if item.observed is not None
        ]
        x, y, low, high = np.asarray(rows, float).reshape(-1, 4).T  # an unknown bound becomes NaN
        bars = np.clip(np.nan_to_num(np.stack([y - low, high - y])), 0, None)
        axes.errorbar(x, y, yerr=bars, color=colour, marker=marker, alpha=0.9, **looks)
        lines.append(f"{name} slope {number(measured.slope.value, 2)}")
        across += [*x]
        if measured.smooth is not None:
            lines[-1] += f", ICI {measured.smooth.ici:.2f}"
            style.curve(axes, measured.smooth.curve, color=colour)
            across += measured.smooth.curve.x
    ends = min(across, default=0), max(across, default=1)
    margin = 0.06 * (ends[1] - ends[0]) + 0.002
    axes.plot(ends, ends, **style.DOTTED)
    axes.set_xlim(ends[0] - margin, ends[1] + margin)
    axes.set_ylim(-0.02 * axes.get_ylim()[1], min(axes.get_ylim()[1], 1.02))
    return "\n".join(lines)


def _draw_decision(axes: Axes, entry: LabelResult) -> None:
    """Up to three times the prevalence, at least to 20 %: the range is on the axis."""
    found = entry.decision_curve
    if found is None:
        return
    cuts, prevalence = found.threshold_probability, found.prevalence
    axes.plot(cuts, found.treat_all, color=style.GREY, linewidth=1, linestyle="--")
    axes.axhline(0, **style.DOTTED)
    points = {"x": cuts, "y": found.net_benefit, "band_x": cuts if found.low else []}
    benefit = Curve.model_validate(points | {"band_low": found.low, "band_high": found.high})
    style.curve(axes, benefit, color=style.BLUE)
    axes.set_xlim(0.01, float(np.clip(3 * prevalence, 0.2, 0.99)))
    axes.set_ylim(-0.25 * prevalence, 1.1 * prevalence)


def draw_histograms(result: RunResult) -> Figure:
    """Scores of positives above the axis and of negatives below, as shares of each."""
    found = [entry.histogram for entry in result.labels.values() if entry.histogram is not None]
    both = [counts for one in found for counts in (one.positives, one.negatives)]
    shares = [max(counts) / max(sum(counts), 1) for counts in both]
    # the highest bar of all labels, rounded up to 0.2: one scale for all
    top = float(np.ceil(max(shares) * 5 - 1e-9) / 5)
    ticks = [-top, -top / 2, 0, top / 2, top]

    def draw(axes: Axes, entry: LabelResult) -> None:
        assert entry.histogram is not None
        edges = np.asarray(entry.histogram.edges)
        for counts, sign, colour, hatch in (
            (entry.histogram.positives, 1, style.ORANGE, ""),
            (entry.histogram.negatives, -1, style.BLUE, "////"),
        ):
            heights = sign * np.asarray(counts) / max(sum(counts), 1)
            looks: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white"}
            axes.bar(edges[:-1], heights, np.diff(edges), align="edge", linewidth=0.6, **looks)
        axes.axhline(0, color=style.INK, linewidth=0.8)
        filled = np.flatnonzero(np.add(entry.histogram.positives, entry.histogram.negatives))
        axes.set_xlim(edges[filled[0]] - 0.01, edges[filled[-1] + 1] + 0.01)
        axes.set_ylim(-1.05 * top, 1.05 * top)
        axes.set_yticks(ticks, [f"{abs(tick):g}" for tick in ticks])

    return _draw_by_label(result, "score_histograms", draw)


def draw_subgroups(result: RunResult) -> Figure:
    """Forest plot: AUROC with interval per subgroup, one panel a label."""
    groups = result.subgroups
    columns = [group.column for group in groups]
    # a gap before every column's first
    steps = [1.0 if a == b else 1.6 for a, b in zip(columns, [None, *columns], strict=False)]
    panels = {}
    for label, entry in label_results([result], scored=True).items():
        cells = [_cell(group.labels.get(label)) for group in groups]
        caption = f"AUROC {entry.auroc.text(2)}\n{entry.counted()}"
        panels[label] = caption, entry.auroc.value, [entry.auroc, *cells]
    names = [f"{group.column} {group.group} ({group.n_rows:,})" for group in groups]
    rows = zip(accumulate(steps), names, cycle([style.BLUE]), strict=False)
    figure, _ = draw_forest(panels, [(0, "all", style.INK), *rows])
    return style.finish(figure, [result], "subgroups")


def _cell(entry: SubgroupLabel | None) -> Estimate | str:
    """The AUROC of a label in a group, or why there is none: ``8 positive patients``."""
    if entry is not None and entry.auroc is not None and entry.auroc.value is not None:
        return entry.auroc
    reason = "too small" if entry is None else entry.reason or "too small"
    return reason.removeprefix("too small to score: ").partition(",")[0]


def draw_calibration_of_subgroups(result: RunResult) -> Figure:
    """Smooth curves of calibrated scores: a panel for a label and column, a curve for a group."""
    panels: dict[tuple[str, str], dict[str, SubgroupLabel]] = {}
    for label, group in product(result.labels, result.subgroups):
        if label in group.labels and group.labels[label].smooth:
            panels.setdefault((label, group.column), {})[group.group] = group.labels[label]
    figure, grid = style.print_grid(len(panels), 0.3 + 0.13 * max(map(len, panels.values())))
    colours = dict(zip((group.group for group in result.subgroups), cycle(style.PALETTE)))
    for axes, ((label, column), groups) in zip(grid, panels.items(), strict=True):
        for name, entry in groups.items():
            words = f"{name}: {entry.positives:,} of {entry.n:,} positive"
            if entry.smooth is not None:
                style.curve(axes, entry.smooth.curve, color=colours[name], label=words)
        ends = axes.get_xlim()
        axes.plot(ends, ends, **style.DOTTED)
        axes.set(xlim=ends, ylim=(-0.02, min(axes.get_ylim()[1], 1.02)))
        style.dress(axes, f"{label}, {column}", legend=1)
    return style.finish(figure, [result], "calibration_subgroups")


def draw_flow(result: RunResult) -> Figure:
    """Boxes from the source to the rows scored, then what is known of each label."""
    lines = []
    for label, entry in result.labels.items():
        missing = [f"{n:,} {kind}" for kind, n in result.missing.get(label, {}).items() if n]
        lines.append(", ".join([f"{label}: {entry.counted()}", *missing]))
    n_steps = len(result.flow)
    height = 0.75 * n_steps + 0.8 + 0.15 * len(lines)
    figure = style.new_figure(style.TWO_COLUMNS, height, style.PRINT)
    axes = figure.subplots()
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(n_steps - 0.3 + 0.2 * len(lines), -0.5))
    looks: dict[str, Any] = {"fontsize": style.NORMAL, "color": style.INK, "parse_math": False}
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
    return style.finish(figure, [result], "flow")


def draw_worst_cases(
    result: RunResult, read_image: Callable[[str], Pixels], n_each: int = 4
) -> Figure:
    """Contact sheet of confident errors: per label, false positives and false negatives.

    No name of an image or patient: its number is its place in `worst_cases` of the evaluation.
    """
    found = {label: entry.contradictions() for label, entry in result.labels.items()}
    labels = [label for label, cases in found.items() if cases]
    n_columns = 2 * n_each
    figure, grid = style.print_grid(n_columns * max(len(labels), 1), 0.3, n_columns=n_columns)
    for axes in grid:
        axes.axis("off")
    kinds = ((0, "false positive", style.ORANGE), (n_each, "false negative", style.BLUE))
    lines = np.asarray(grid, dtype=object).reshape(-1, n_columns)
    for line, label in zip(lines, labels, strict=False):
        line[0].set_title(f"{label}\n", fontsize=style.SMALL, loc="left", pad=2, parse_math=False)
        for first, kind, colour in kinds:
            cases = [item for item in found[label].items() if item[1].kind == kind]
            for axes, (place, case) in zip(line[first:], cases[:n_each], strict=False):
                image = shrink(read_image(case.path), int(0.9 * style.PRINT))
                style.show(axes, image, f"{place}: {case.score:.2f}", colour)
    none = [label for label in result.labels if label not in labels]
    points = (point for entry in result.labels.values() for point in entry.operating_points[:1])
    criteria = dict.fromkeys(point.criterion for point in points)
    notes = f"Threshold: {', '.join(criteria)}. " * bool(criteria)
    notes += f"None of {', '.join(none)}." * bool(none)
    return style.finish(figure, [result], "worst_cases", notes)
