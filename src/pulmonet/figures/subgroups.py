"""The forest plot of subgroups."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from pulmonet.figures.by_label import head_of_run
from pulmonet.figures.style import BLUE, GREY, INK, dress, png_of, whisker
from pulmonet.metrics.results import RunResult, SubgroupLabel


def draw_subgroups(result: RunResult) -> bytes:
    """Forest plot: AUROC with interval per subgroup, one panel a label."""
    labels = [label for label, entry in result.labels.items() if entry.roc is not None]
    groups = result.subgroups
    height = 1.5 + 0.26 * (len(groups) + len({group.column for group in groups}))
    figure = Figure(figsize=(2.2 + 2.1 * len(labels), height), dpi=110, layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(labels), sharey=True))
    places = _places(result)
    for axes, label in zip(panels, labels, strict=True):
        overall = result.labels[label].auroc
        if overall.value is not None:
            axes.axvline(overall.value, color=GREY, linewidth=1, linestyle=":")
        whisker(axes, overall, 0, INK, "D")
        for group, place in zip(groups, places, strict=True):
            entry = group.labels.get(label)
            if entry is not None and entry.auroc is not None and entry.auroc.value is not None:
                whisker(axes, entry.auroc, place, BLUE, "o")
                continue
            axes.text(
                0.02,
                place,
                _why_too_small(entry),
                fontsize=6.5,
                color=GREY,
                va="center",
                transform=axes.get_yaxis_transform(),
            )
        dress(axes, label)
        axes.set_xlabel("AUROC", fontsize=8.5, color=INK)
        axes.set_xlim(_lower_limit(result), 1.02)
    names = [f"{group.column} {group.group} ({group.n_rows:,})" for group in groups]
    panels[0].set_yticks([0, *places], ["all", *names], parse_math=False)
    panels[0].set_ylim(max(places, default=0) + 0.7, -0.7)  # upwards, half a line beyond both ends
    head_of_run(figure, result, "Subgroups (95 % intervals, patients resampled)")
    return png_of(figure)


def _why_too_small(entry: SubgroupLabel | None) -> str:
    """``too small: 8 positive patients``, from the reason in the result."""
    if entry is None or entry.reason is None:
        return "too small"
    return entry.reason.replace(" to score", "").partition(",")[0]


def _places(result: RunResult) -> list[float]:
    """Of each group, downwards; a gap before every column's first."""
    places: list[float] = []
    place, column = 0.0, None
    for group in result.subgroups:
        place += 1.0 if group.column == column else 1.6
        column = group.column
        places.append(place)
    return places


def _lower_limit(result: RunResult) -> float:
    estimates = [entry.auroc for group in result.subgroups for entry in group.labels.values()]
    estimates += [entry.auroc for entry in result.labels.values()]
    lows = [found.low for found in estimates if found is not None and found.low is not None]
    return max(min([*lows, 0.5]) - 0.03, 0.0)
