"""Figures of an evaluation: one style, colour-blind safe, readable in print; no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from pulmonet.figures.training import PALETTE, png_of
from pulmonet.metrics.results import (
    CalibrationResult,
    Comparison,
    Curve,
    Estimate,
    LabelResult,
    RunResult,
    SubgroupLabel,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK = "#222222"
_GREY = "#8a8a8a"
_BLUE, _ORANGE = PALETTE[0], PALETTE[1]


def evaluation_figures(
    result: RunResult, read_image: Callable[[str], NDArray[np.uint8]] | None = None
) -> dict[str, bytes]:
    """All figures of one run's result, by the start of their file's name.

    Args:
        result: of `evaluate`.
        read_image: path in the dataset -> grey image; without it there is no contact sheet.

    Returns:
        name -> PNG; empty where no label has both classes.
    """
    scored = {label: entry for label, entry in result.labels.items() if entry.roc is not None}
    if not scored:
        return {}
    figures = {
        "roc": draw_roc(result),
        "precision_recall": draw_precision_recall(result),
        "reliability": draw_reliability(result),
        "score_histograms": draw_histograms(result),
    }
    if any(group.labels for group in result.subgroups):
        figures["subgroups"] = draw_subgroups(result)
    if read_image is not None:
        figures["worst_cases"] = draw_worst_cases(result, read_image)
    return figures


def draw_roc(result: RunResult) -> bytes:
    """ROC curves, one panel a label, with pointwise 95 % bootstrap bands."""

    def draw(axes: Axes, entry: LabelResult) -> None:
        assert entry.roc is not None
        axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle=":")
        _curve(axes, entry.roc, _BLUE, steps=False)
        _note(axes, f"AUROC {entry.auroc.text()}", "lower right")
        axes.set_xlabel("1 − specificity", fontsize=8.5, color=_INK)
        axes.set_ylabel("sensitivity", fontsize=8.5, color=_INK)

    return _per_label(result, "ROC", draw)


def draw_precision_recall(result: RunResult) -> bytes:
    """Precision over recall, one panel a label, with bands; the dotted line is the prevalence."""

    def draw(axes: Axes, entry: LabelResult) -> None:
        assert entry.precision_recall is not None
        axes.axhline(entry.prevalence or 0, color=_GREY, linewidth=1, linestyle=":")
        _curve(axes, entry.precision_recall, _ORANGE, steps=True)
        _note(axes, f"AP {entry.average_precision.text()}", "lower left")
        axes.set_xlabel("recall (sensitivity)", fontsize=8.5, color=_INK)
        axes.set_ylabel("precision (PPV)", fontsize=8.5, color=_INK)

    return _per_label(result, "Precision and recall", draw)


def draw_reliability(result: RunResult) -> bytes:
    """Observed share of positives over predicted score, raw and calibrated."""

    def draw(axes: Axes, entry: LabelResult) -> None:
        axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle=":")
        lines = []
        for measured, colour, marker, name in (
            (entry.calibration, _BLUE, "o", "raw"),
            (entry.calibrated, _ORANGE, "s", "calibrated"),
        ):
            if measured is not None:
                _reliability(axes, measured, colour, marker)
                slope = measured.slope.value
                lines.append(f"{name}: slope {'–' if slope is None else f'{slope:.2f}'}")
        _note(axes, "\n".join(lines), "upper left")
        axes.set_xlabel("score", fontsize=8.5, color=_INK)
        axes.set_ylabel("observed positive", fontsize=8.5, color=_INK)

    return _per_label(
        result, "Reliability (○ raw, □ calibrated; bins of equal mass, 95 % intervals)", draw
    )


def draw_histograms(result: RunResult) -> bytes:
    """Scores of positives above the axis and of negatives below, as shares of each."""

    top = _largest_share(result)
    half = f"{top / 2:g}"

    def draw(axes: Axes, entry: LabelResult) -> None:
        assert entry.histogram is not None
        edges = np.asarray(entry.histogram.edges)
        for counts, sign, colour, hatch, name in (
            (entry.histogram.positives, 1, _ORANGE, "", "positive"),
            (entry.histogram.negatives, -1, _BLUE, "////", "negative"),
        ):
            shares = sign * np.asarray(counts) / max(sum(counts), 1)
            axes.bar(
                edges[:-1],
                shares,
                width=np.diff(edges),
                align="edge",
                color=colour,
                edgecolor="white",
                linewidth=0.6,
                hatch=hatch,
                label=f"{name} ({sum(counts):,})",
            )
        axes.axhline(0, color=_INK, linewidth=0.8)
        axes.set_ylim(-1.3 * top, 1.3 * top)  # room for the legend
        ticks = [f"{top:g}", half, "0", half, f"{top:g}"]
        axes.set_yticks([-top, -top / 2, 0, top / 2, top], ticks)
        axes.legend(fontsize=7.5, frameon=False, loc="upper right")
        axes.set_xlabel("score", fontsize=8.5, color=_INK)
        axes.set_ylabel("share of rows", fontsize=8.5, color=_INK)

    return _per_label(result, "Scores by reference standard", draw, square=False)


def draw_subgroups(result: RunResult) -> bytes:
    """Forest plot: AUROC with interval per subgroup, one panel a label."""
    labels = [label for label, entry in result.labels.items() if entry.roc is not None]
    groups = result.subgroups
    height = 1.5 + 0.26 * (len(groups) + len({group.column for group in groups}))
    figure = Figure(figsize=(2.2 + 2.1 * len(labels), height), dpi=110, layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(labels), sharey=True))
    names, places = _places(result)
    for axes, label in zip(panels, labels, strict=True):
        overall = result.labels[label].auroc
        if overall.value is not None:
            axes.axvline(overall.value, color=_GREY, linewidth=1, linestyle=":")
        _whisker(axes, overall, 0, _INK, "D")
        for group, place in zip(groups, places, strict=True):
            entry = group.labels.get(label)
            if entry is None or entry.auroc is None or entry.auroc.value is None:
                axes.text(
                    0.02,
                    place,
                    _why_too_small(entry),
                    fontsize=6.5,
                    color=_GREY,
                    va="center",
                    transform=axes.get_yaxis_transform(),
                )
                continue
            _whisker(axes, entry.auroc, place, _BLUE, "o")
        _plain(axes, label)
        axes.set_xlabel("AUROC", fontsize=8.5, color=_INK)
        axes.set_xlim(*_auroc_limits(result))
    panels[0].set_yticks([0, *places], ["all", *names], parse_math=False)
    panels[0].set_ylim(max(places, default=0) + 0.7, -0.7)  # upwards, half a line beyond both ends
    _title(figure, result, "Subgroups (95 % intervals, patients resampled)")
    return png_of(figure)


def _why_too_small(entry: SubgroupLabel | None) -> str:
    """``too small: 8 positive patients``, from the reason in the result."""
    if entry is None or entry.reason is None:
        return "too small"
    return entry.reason.replace(" to score", "").partition(",")[0]


def draw_worst_cases(
    result: RunResult, read_image: Callable[[str], NDArray[np.uint8]], n_each: int = 4
) -> bytes:
    """Contact sheet of the confident errors: per label, false positives and false negatives."""
    labels = [label for label, entry in result.labels.items() if entry.worst_cases]
    n_columns = 2 * n_each
    height = 2.0 * max(len(labels), 1) + 0.7
    foot = 0.1 / height  # with h_pad, for the captions, which the layout leaves aside
    engine = ConstrainedLayoutEngine(
        w_pad=0.02, h_pad=0.16, wspace=0, hspace=0, rect=(0, foot, 1, 1 - foot)
    )
    figure = Figure(figsize=(1.5 * n_columns, height), dpi=110, layout=engine)
    grid = figure.subplots(max(len(labels), 1), n_columns, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for line, label in zip(grid, labels, strict=True):
        for offset, kind in ((0, "false positive"), (n_each, "false negative")):
            cases = [case for case in result.labels[label].worst_cases if case.kind == kind]
            for axes, case in zip(line[offset:], cases[:n_each], strict=False):
                _picture(axes, read_image, case.path)
                axes.set_title(
                    f"{label}: {case.score:.2f}",
                    fontsize=7,
                    color=_ORANGE if offset == 0 else _BLUE,
                    pad=2,
                    parse_math=False,
                )
                caption = axes.text(
                    0.5,
                    -0.02,
                    _in_two_lines(case.path),
                    transform=axes.transAxes,
                    fontsize=5.5,
                    color=_INK,
                    ha="center",
                    va="top",
                    parse_math=False,
                )
                caption.set_in_layout(False)
    _title(
        figure,
        result,
        "Scores that contradict the reference standard most: left absent, right present",
    )
    return png_of(figure)


def draw_model_comparison(
    results: Sequence[RunResult], comparisons: Sequence[Comparison] = ()
) -> bytes:
    """Macro AUROC of all runs with intervals and letters, and the AUROC of every label."""
    shown = [result for result in results if result.macro.auroc.value is not None]
    shown.sort(key=lambda result: -(result.macro.auroc.value or 0))
    labels = list(dict.fromkeys(label for result in shown for label in result.macro.labels))
    several = len({(result.dataset, result.split) for result in shown}) > 1
    figure = Figure(
        figsize=(4.4 + 1.35 * len(labels), 1.7 + 0.42 * len(shown)), dpi=110, layout="constrained"
    )
    widths = [1.9] + [1.0] * len(labels)
    panels = figure.subplots(1, 1 + len(labels), sharey=True, width_ratios=widths, squeeze=False)[0]
    for axes in panels[2:]:
        axes.sharex(panels[1])  # one scale for all labels
    places = list(range(len(shown)))
    names = [
        f"{result.run} ({result.dataset}, {result.split})" if several else result.run
        for result in shown
    ]
    for place, result in zip(places, shown, strict=True):
        _whisker(panels[0], result.macro.auroc, place, _BLUE, "D")
        edge = result.macro.auroc.high or result.macro.auroc.value or 0
        panels[0].annotate(
            result.group_letters,
            (edge, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight="bold",
            color=_INK,
        )
        for axes, label in zip(panels[1:], labels, strict=True):
            if label in result.labels and result.labels[label].auroc.value is not None:
                _whisker(axes, result.labels[label].auroc, place, PALETTE[2], "o")
    bases = [result.baseline for result in shown if result.baseline is not None]
    if bases and bases[0].macro.auroc.value is not None and not several:
        value = bases[0].macro.auroc.value
        panels[0].axvline(value, color=_GREY, linewidth=1.2, linestyle="--")
        panels[0].annotate(
            f"{', '.join(bases[0].features)} alone",
            (value, 0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=7,
            color="#666666",
        )
    for axes, name in zip(panels, ["Macro AUROC", *labels], strict=True):
        _plain(axes, name)
        axes.margins(x=0.12)
    panels[0].set_yticks(places, names, parse_math=False)
    panels[0].set_ylim(len(shown) - 0.4, -0.6)
    note = "95 % intervals, patients resampled"
    if comparisons:
        note += "; runs that share a letter are not distinguished"
    first = shown[0]
    where = "" if several else f" on {first.dataset}, split {first.split}"
    synthetic = "SYNTHETIC. " if any(result.synthetic for result in shown) else ""
    figure.suptitle(
        f"{synthetic}Comparison{where} ({note})", fontsize=9.5, color=_INK, parse_math=False
    )
    return png_of(figure)


# --- parts ----------------------------------------------------------------------------------


def _per_label(
    result: RunResult,
    title: str,
    draw: Callable[[Axes, LabelResult], None],
    *,
    square: bool = True,
) -> bytes:
    scored = {label: entry for label, entry in result.labels.items() if entry.roc is not None}
    n_columns = min(len(scored), 5 if len(scored) in {5, 9, 10, 13, 14} else 4)
    n_lines = -(-len(scored) // n_columns)
    figure = Figure(
        figsize=(2.75 * n_columns + 0.3, 2.85 * n_lines + 0.5), dpi=110, layout="constrained"
    )
    grid = figure.subplots(n_lines, n_columns, squeeze=False).ravel()
    for axes, (label, entry) in zip(grid, scored.items(), strict=False):
        draw(axes, entry)
        flag = " *" if entry.few_positives else ""
        _plain(axes, f"{label}{flag}")
        axes.set_xlim(-0.02, 1.02)
        if square:
            axes.set_ylim(-0.02, 1.02)
            axes.set_aspect("equal")
    for axes in grid[len(scored) :]:
        axes.axis("off")
    few = any(entry.few_positives for entry in scored.values())
    _title(figure, result, title + ("  * fewer than 20 positive patients" if few else ""))
    return png_of(figure)


def _curve(axes: Axes, curve: Curve, colour: str, *, steps: bool) -> None:
    axes.fill_between(
        curve.band_x, curve.band_low, curve.band_high, color=colour, alpha=0.18, linewidth=0
    )
    style = "steps-pre" if steps else "default"
    axes.plot(curve.x, curve.y, color=colour, linewidth=1.8, drawstyle=style)


def _reliability(axes: Axes, measured: CalibrationResult, colour: str, marker: str) -> None:
    bins = [item for item in measured.bins if item.observed is not None]
    x = [item.mean_score for item in bins]
    y = [item.observed for item in bins]
    low = [(item.observed or 0) - _or(item.observed_low, item.observed) for item in bins]
    high = [_or(item.observed_high, item.observed) - (item.observed or 0) for item in bins]
    axes.errorbar(
        np.asarray(x, float),
        np.asarray(y, float),
        yerr=np.clip(np.asarray([low, high]), 0, None),
        color=colour,
        marker=marker,
        markersize=4,
        markerfacecolor="white",
        linewidth=1.1,
        elinewidth=0.7,
        alpha=0.9,
    )


def _or(value: float | None, otherwise: float | None) -> float:
    return value if value is not None else (otherwise or 0.0)


def _whisker(axes: Axes, estimate: Estimate, place: float, colour: str, marker: str) -> None:
    if estimate.value is None:
        return
    low, high = _or(estimate.low, estimate.value), _or(estimate.high, estimate.value)
    axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot([estimate.value], [place], color=colour, marker=marker, markersize=5)


def _places(result: RunResult) -> tuple[list[str], list[float]]:
    names: list[str] = []
    places: list[float] = []
    place, column = 0.0, None
    for group in result.subgroups:
        place += 1.0 if group.column == column else 1.6
        column = group.column
        names.append(f"{group.column} {group.group} ({group.n_rows:,})")
        places.append(place)
    return names, places


def _largest_share(result: RunResult) -> float:
    """The highest bar of all labels, rounded up to 0.2: one scale for all."""
    shares = [
        max(counts) / max(sum(counts), 1)
        for entry in result.labels.values()
        if entry.histogram is not None
        for counts in (entry.histogram.positives, entry.histogram.negatives)
    ]
    return float(np.ceil(max(shares) * 5 - 1e-9) / 5)


def _auroc_limits(result: RunResult) -> tuple[float, float]:
    lows = [
        entry.auroc.low
        for group in result.subgroups
        for entry in group.labels.values()
        if entry.auroc is not None and entry.auroc.low is not None
    ]
    lows += [entry.auroc.low for entry in result.labels.values() if entry.auroc.low is not None]
    return max(min([*lows, 0.5]) - 0.03, 0.0), 1.02


def _picture(axes: Axes, read_image: Callable[[str], NDArray[np.uint8]], path: str) -> None:
    image = read_image(path)
    stride = max(1, max(image.shape) // 320)
    axes.imshow(image[::stride, ::stride], cmap="gray", vmin=0, vmax=255)


def _in_two_lines(path: str, n_characters: int = 34) -> str:
    """A path's end: folder above, file below, each cut from the left."""
    folder, _, name = path.rpartition("/")
    lines = [line for line in (folder, name) if line]
    return "\n".join(
        line if len(line) <= n_characters else "…" + line[-n_characters + 1 :] for line in lines
    )


def _note(axes: Axes, text: str, corner: str) -> None:
    vertical, horizontal = corner.split()
    axes.text(
        0.97 if horizontal == "right" else 0.03,
        0.04 if vertical == "lower" else 0.97,
        text,
        transform=axes.transAxes,
        fontsize=7.5,
        color=_INK,
        ha=horizontal,
        va="bottom" if vertical == "lower" else "top",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.5},
    )


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=9.5, color=_INK, loc="left", parse_math=False)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.grid(visible=True, color="#e2e2e2", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _title(figure: Figure, result: RunResult, text: str) -> None:
    synthetic = "SYNTHETIC. " if result.synthetic else ""
    figure.suptitle(
        f"{synthetic}{text}\n{result.run} on {result.dataset}, split {result.split}",
        fontsize=9.5,
        color=_INK,
        parse_math=False,
    )
