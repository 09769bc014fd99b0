"""All figures of an evaluation: which are drawn, and under which names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pulmonet.figures.reliability import draw_reliability
from pulmonet.figures.roc import draw_precision_recall, draw_roc
from pulmonet.figures.score_histograms import draw_histograms
from pulmonet.figures.subgroups import draw_subgroups
from pulmonet.figures.worst_cases import draw_worst_cases
from pulmonet.metrics.results import RunResult


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
    if all(entry.roc is None for entry in result.labels.values()):
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
