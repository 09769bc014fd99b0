"""The evaluation's figures: drawn for every kind of result, the same bytes again."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from pulmonet.figures.evaluation import draw_histograms, draw_subgroups, evaluation_figures
from pulmonet.metrics.results import FlowStep, RunResult, SubgroupLabel

REASON = "too small to score: 8 positive patients, at least 10 are needed"


def read_image(path: str) -> np.ndarray:
    return np.full((40, 50), len(path), np.uint8)


def test_all_figures_are_pictures_and_repeat(make_result: Callable[..., RunResult]) -> None:
    result = make_result(("Edema", "$x_$ & <b>"))
    figures = evaluation_figures(result, read_image)
    assert set(figures) == {
        *("roc", "precision_recall", "reliability", "decision"),
        *("score_histograms", "subgroups", "calibration_subgroups", "worst_cases"),
    }
    for png in figures.values():
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None and pixels.shape[0] > 150
        assert pixels.std() > 3  # something is drawn
    assert evaluation_figures(result, read_image)["reliability"] == figures["reliability"]


def test_nothing_to_draw_with_one_class(make_result: Callable[..., RunResult]) -> None:
    assert evaluation_figures(make_result(("Edema",), one_class=True), read_image) == {}


def test_one_scale_fits_the_highest_bar_of_all_labels(
    make_result: Callable[..., RunResult], drawn: list[Figure]
) -> None:
    draw_histograms(make_result(("Edema", "Lung Opacity", "Pneumonia")))
    panels = [axes for axes in drawn[0].axes if axes.patches]
    assert len(panels) == 3
    bars = [bar for axes in panels for bar in axes.patches if isinstance(bar, Rectangle)]
    highest = max(abs(bar.get_height()) for bar in bars)
    ((low, *_, top),) = {tuple(axes.get_yticks()) for axes in panels}
    assert highest <= top < highest + 0.2
    assert low == -top
    assert sum(bar.get_height() for bar in bars if bar.get_height() > 0) - 3 < 1e-9


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"Edema": SubgroupLabel(n=40, positives=12, reason=REASON)}, "8 positive patients"),
        ({}, None),
    ],
)
def test_a_group_too_small_says_how_small(
    labels: dict[str, SubgroupLabel],
    words: str | None,
    make_result: Callable[..., RunResult],
    drawn: list[Figure],
) -> None:
    result = make_result(("Edema",))
    first, *others = result.subgroups
    small = first.model_copy(update={"labels": labels})
    draw_subgroups(result.model_copy(update={"subgroups": [small, *others]}))
    said = [text.get_text() for text in drawn[0].axes[0].texts]
    assert said == ["too small" if words is None else f"too small: {words}"]


def test_groups_and_labels_with_dollars_stay_text(
    make_result: Callable[..., RunResult], drawn: list[Figure]
) -> None:
    result = make_result(("$x_$ & <b>", "Edema"))
    groups = [group.model_copy(update={"group": "$y_$"}) for group in result.subgroups]
    flow = [FlowStep(name="all of $z_$", n_rows=90, n_patients=60), FlowStep(name="b", n_rows=80)]
    result = result.model_copy(update={"subgroups": groups, "flow": flow})
    assert {"calibration_subgroups", "flow"} <= set(evaluation_figures(result))
    words = [text.get_text() for figure in drawn for text in figure.findobj(Text)]
    assert "$y_$" in words and "10 left out" in words
    assert "all of $z_$\n90 images of 60 patients" in words
