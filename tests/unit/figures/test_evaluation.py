"""The evaluation's figures: drawn for every kind of result, the same bytes again."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from pulmonet.figures.evaluation import evaluation_figures
from pulmonet.metrics.results import RunResult


def read_image(path: str) -> np.ndarray:
    return np.full((40, 50), len(path), np.uint8)


def test_all_figures_are_pictures_and_repeat(make_result: Callable[..., RunResult]) -> None:
    result = make_result(("Edema", "$x_$ & <b>"))
    figures = evaluation_figures(result, read_image)
    assert set(figures) == {
        *("roc", "precision_recall", "reliability"),
        *("score_histograms", "subgroups", "worst_cases"),
    }
    for png in figures.values():
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None and pixels.shape[0] > 150
        assert pixels.std() > 3  # something is drawn
    assert evaluation_figures(result, read_image)["reliability"] == figures["reliability"]


def test_nothing_to_draw_with_one_class(make_result: Callable[..., RunResult]) -> None:
    assert evaluation_figures(make_result(("Edema",), one_class=True), read_image) == {}
