"""The contact sheet of an evaluation's confident errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from pulmonet.figures.by_label import head_of_run
from pulmonet.figures.style import BLUE, INK, ORANGE, X_RAY, png_of
from pulmonet.metrics.results import RunResult


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
            colour = ORANGE if offset == 0 else BLUE
            cases = [case for case in result.labels[label].worst_cases if case.kind == kind]
            for axes, case in zip(line[offset:], cases[:n_each], strict=False):
                image = read_image(case.path)
                stride = max(1, max(image.shape) // 320)
                axes.imshow(image[::stride, ::stride], **X_RAY)
                title = f"{label}: {case.score:.2f}"
                axes.set_title(title, fontsize=7, color=colour, pad=2, parse_math=False)
                caption = axes.text(
                    0.5,
                    -0.02,
                    _in_two_lines(case.path),
                    transform=axes.transAxes,
                    fontsize=5.5,
                    color=INK,
                    ha="center",
                    va="top",
                    parse_math=False,
                )
                caption.set_in_layout(False)
    words = "Scores that contradict the reference standard most: left absent, right present"
    head_of_run(figure, result, words)
    return png_of(figure)


def _in_two_lines(path: str, n_characters: int = 34) -> str:
    """A path's end: folder above, file below, each cut from the left."""
    folder, _, name = path.rpartition("/")
    lines = [line for line in (folder, name) if line]
    return "\n".join(
        line if len(line) <= n_characters else "…" + line[-n_characters + 1 :] for line in lines
    )
