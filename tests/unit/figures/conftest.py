"""Figures that can be asked what they say, and a result to draw them of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pulmonet.metrics.evaluation import evaluate_predictions
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import RunResult
from pulmonet.run.predictions import Predictions


@pytest.fixture(autouse=True)
def _drawn(drawn_figures: None) -> None:
    """Here everything is drawn."""


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """All figures drawn from here on."""
    figures: list[Figure] = []
    draw = FigureCanvasAgg.draw

    def remember(canvas: FigureCanvasAgg) -> None:
        figures.append(canvas.figure)
        draw(canvas)

    monkeypatch.setattr(FigureCanvasAgg, "draw", remember)
    return figures


def _make_result(labels: tuple[str, ...], n: int = 80, *, one_class: bool = False) -> RunResult:
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


@pytest.fixture(scope="session")
def make_result() -> Callable[..., RunResult]:
    """An evaluation of a model of middling strength."""
    return _make_result
