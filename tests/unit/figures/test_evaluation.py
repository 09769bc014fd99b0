"""The evaluation's figures: drawn for every kind of result, the same bytes again."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from pulmonet.figures.evaluation import draw_histograms, draw_subgroups, evaluation_figures
from pulmonet.figures.style import render
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
    drawn = {name: render(figure) for name, figure in figures.items()}
    for png in drawn.values():
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None and pixels.shape[0] > 150
        assert pixels.std() > 3  # something is drawn
    again = evaluation_figures(result, read_image)["reliability"]
    assert render(again) == drawn["reliability"]


def test_nothing_to_draw_with_one_class(make_result: Callable[..., RunResult]) -> None:
    assert evaluation_figures(make_result(("Edema",), one_class=True), read_image) == {}


def test_one_scale_fits_the_highest_bar_of_all_labels(
    make_result: Callable[..., RunResult],
) -> None:
    figure = draw_histograms(make_result(("Edema", "Lung Opacity", "Pneumonia")))
    panels = [axes for axes in figure.axes if axes.patches]
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
    labels: dict[str, SubgroupLabel], words: str | None, make_result: Callable[..., RunResult]
) -> None:
    result = make_result(("Edema",))
    first, *others = result.subgroups
    small = first.model_copy(update={"labels": labels})
    figure = draw_subgroups(result.model_copy(update={"subgroups": [small, *others]}))
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said[1:] == ["too small" if words is None else words]


def test_groups_and_labels_with_dollars_stay_text(make_result: Callable[..., RunResult]) -> None:
    result = make_result(("$x_$ & <b>", "Edema"))
    groups = [group.model_copy(update={"group": "$y_$"}) for group in result.subgroups]
    flow = [FlowStep(name="all of $z_$", n_rows=90, n_patients=60), FlowStep(name="b", n_rows=80)]
    result = result.model_copy(update={"subgroups": groups, "flow": flow})
    found = evaluation_figures(result)
    assert {"calibration_subgroups", "flow"} <= set(found)
    every = [text for figure in found.values() for text in figure.findobj(Text)]
    words = [text.get_text() for text in every]
    assert any(word.startswith("$y_$: ") for word in words) and "10 left out" in words
    assert not any(text.get_parse_math() for text in every if "$" in text.get_text())
    assert "all of $z_$\n90 images of 60 patients" in words


def test_worst_cases_contradict_the_reference_and_name_nobody(
    make_result: Callable[..., RunResult],
) -> None:
    result = make_result(("Edema",))
    entry = result.labels["Edema"]
    cut = entry.operating_points[0].threshold
    assert cut is not None
    found = entry.contradictions()
    assert found and len(found) <= 12
    for place, case in found.items():
        assert entry.worst_cases[place - 1] is case
        assert (case.score >= cut) == (case.kind == "false positive")
    # a negative that scores below the threshold is called right, whatever its rank
    right = entry.worst_cases[0].model_copy(update={"score": cut - 0.01})
    some = entry.model_copy(update={"worst_cases": [right, *entry.worst_cases[1:]]})
    assert 1 not in some.contradictions()
    # one that the threshold was taken from reaches it, though it is written with fewer digits
    rounded = float(np.float32(0.49423691630363464)), float("0.494236916")
    point = entry.operating_points[0].model_copy(update={"threshold": rounded[0]})
    case = entry.worst_cases[0].model_copy(update={"kind": "false negative", "score": rounded[1]})
    edge = {"operating_points": [point], "worst_cases": [case]}
    assert rounded[1] < rounded[0] and not entry.model_copy(update=edge).contradictions()
    figure = evaluation_figures(result, read_image)["worst_cases"]
    said = [text.get_text() for text in figure.findobj(Text) if text.get_text()]
    assert not any("patient0" in word or ".jpg" in word for word in said)
    assert any("Threshold: youden." in " ".join(word.split()) for word in said)
    titles = {axes.get_title() for axes in figure.axes if axes.images}
    assert titles <= {f"{place}: {case.score:.2f}" for place, case in found.items()}
    assert [axes.get_title("left") for axes in figure.axes if axes.get_title("left")] == ["Edema\n"]
    assert 0 < len(titles) <= 8


def test_reliability_spans_the_scores_in_few_bins(make_result: Callable[..., RunResult]) -> None:
    result = make_result(("Edema",))
    entry = result.labels["Edema"]
    assert entry.calibration is not None
    # 80 rows give 80 // 20 = 4 bins; there are 15 of equal mass for the ECE
    assert [item.n for item in entry.calibration.bins_by_n] == [20] * 4
    axes = evaluation_figures(result)["reliability"].axes[0]
    scores = [item.mean_score for item in entry.calibration.bins_by_n]
    low, high = axes.get_xlim()
    assert low < min(scores) and max(scores) < high
    # of a rare label, whose scores are low, they end where its scores do
    bins = [
        item.model_copy(update={"mean_score": item.mean_score / 10})
        for item in entry.calibration.bins_by_n
    ]
    rare = entry.calibration.model_copy(update={"bins_by_n": bins, "smooth": None})
    facts = {"calibration": rare, "calibrated": None}
    result = result.model_copy(update={"labels": {"Edema": entry.model_copy(update=facts)}})
    low, high = evaluation_figures(result)["reliability"].axes[0].get_xlim()
    assert -0.01 < low < min(scores) / 10 and max(scores) / 10 < high < 0.11
