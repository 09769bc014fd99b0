"""The evaluation's figures: drawn for every kind of result, the same bytes again."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np
import pytest

from pulmonet.figures.evaluation import (
    _largest_share,
    _why_too_small,
    draw_model_comparison,
    evaluation_figures,
)
from pulmonet.metrics.evaluation import evaluate_predictions
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import RunResult, SubgroupLabel
from pulmonet.run.predictions import Predictions


def make_result(labels: tuple[str, ...], n: int = 80, *, one_class: bool = False) -> RunResult:
    generator = np.random.default_rng(0)
    targets = (generator.random((n, len(labels))) < (0 if one_class else 0.4)).astype(np.float32)
    scores = np.clip(generator.random(targets.shape) * 0.6 + 0.4 * targets, 0, 1)
    predictions = Predictions(
        run="net_$1$",
        dataset="tiny",
        split="valid",
        labels=labels,
        paths=tuple(f"valid/patient{row:05d}/study1/view1_frontal.jpg" for row in range(n)),
        patients=None,
        studies=None,
        targets=targets,
        scores=scores.astype(np.float32),
        columns={"sex": generator.choice(["Female", "Male"], n).astype(object)},
    )
    return evaluate_predictions(predictions, EvaluationOptions(n_resamples=100))


def read_image(path: str) -> np.ndarray:
    return np.full((40, 50), len(path), np.uint8)


def test_all_figures_are_pictures_and_repeat() -> None:
    result = make_result(("Edema", "$x_$ & <b>"))
    figures = evaluation_figures(result, read_image)
    assert set(figures) == {
        *("roc", "precision_recall", "reliability"),
        *("score_histograms", "subgroups", "worst_cases"),
    }
    for png in figures.values():
        pixels = matplotlib.image.imread(io.BytesIO(png))
        assert pixels.shape[0] > 150
        assert pixels[..., :3].std() > 0.01  # something is drawn
    assert evaluation_figures(result, read_image)["reliability"] == figures["reliability"]


def test_nothing_to_draw_with_one_class() -> None:
    assert evaluation_figures(make_result(("Edema",), one_class=True), read_image) == {}


@pytest.mark.parametrize("n_runs", [1, 6])
def test_model_comparison(n_runs: int) -> None:
    base = make_result(("Edema", "Cardiomegaly"))
    results = [base.model_copy(update={"run": f"run{i}"}) for i in range(n_runs)]
    pixels = matplotlib.image.imread(io.BytesIO(draw_model_comparison(results)))
    assert pixels.shape[0] > 150


def test_scale_of_the_histograms_fits_the_highest_bar() -> None:
    result = make_result(("Edema", "Lung Opacity"))
    shares = [
        max(counts) / sum(counts)
        for entry in result.labels.values()
        if entry.histogram is not None
        for counts in (entry.histogram.positives, entry.histogram.negatives)
    ]
    top = _largest_share(result)
    assert max(shares) <= top < max(shares) + 0.2


def test_a_group_too_small_says_how_small() -> None:
    reason = "too small to score: 8 positive patients, at least 10 are needed"
    entry = SubgroupLabel(n=40, positives=12, reason=reason)
    assert _why_too_small(entry) == "too small: 8 positive patients"
    assert _why_too_small(None) == "too small"
