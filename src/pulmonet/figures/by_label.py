"""What the evaluation's figures share: one panel a label, a note in its corner, the title."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from pulmonet.figures.style import INK, dress, head, png_of
from pulmonet.metrics.results import LabelResult, RunResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_by_label(
    result: RunResult,
    title: str,
    draw: Callable[[Axes, LabelResult], None],
    *,
    square: bool = True,
) -> bytes:
    """A PNG with one panel for each label that has both classes; `square` ones span 0 to 1."""
    scored = {label: entry for label, entry in result.labels.items() if entry.roc is not None}
    n_columns = min(len(scored), 5 if len(scored) in {5, 9, 10, 13, 14} else 4)
    n_lines = -(-len(scored) // n_columns)
    figure = Figure(
        figsize=(2.75 * n_columns + 0.3, 2.85 * n_lines + 0.5), dpi=110, layout="constrained"
    )
    grid = figure.subplots(n_lines, n_columns, squeeze=False).ravel()
    for axes, (label, entry) in zip(grid, scored.items(), strict=False):
        draw(axes, entry)
        dress(axes, f"{label} *" if entry.few_positives else label)
        axes.set_xlim(-0.02, 1.02)
        if square:
            axes.set_ylim(-0.02, 1.02)
            axes.set_aspect("equal")
    for axes in grid[len(scored) :]:
        axes.axis("off")
    few = any(entry.few_positives for entry in scored.values())
    head_of_run(figure, result, title + ("  * fewer than 20 positive patients" if few else ""))
    return png_of(figure)


def head_of_run(figure: Figure, result: RunResult, text: str) -> None:
    """The title, with run, dataset and split below it."""
    synthetic = "SYNTHETIC. " if result.synthetic else ""
    head(figure, f"{synthetic}{text}\n{result.run} on {result.dataset}, split {result.split}")


def note(axes: Axes, text: str, corner: str) -> None:
    """Small text in a corner, such as ``lower right``."""
    vertical, horizontal = corner.split()
    axes.text(
        0.97 if horizontal == "right" else 0.03,
        0.04 if vertical == "lower" else 0.97,
        text,
        transform=axes.transAxes,
        fontsize=7.5,
        color=INK,
        ha=horizontal,
        va="bottom" if vertical == "lower" else "top",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.5},
    )
