"""Predictions of a made-up run, and their evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pulmonet.metrics.evaluation import evaluate_predictions
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.results import RunResult
from pulmonet.run.predictions import Predictions


def _make_predictions(n: int = 240, seed: int = 0, run: str = "net") -> Predictions:
    """Three labels: a good one, a rare one, one that is not annotated."""
    generator = np.random.default_rng(seed)
    patients = np.sort(generator.integers(0, n // 2, n))
    targets = (generator.random((n, 3)) < [0.4, 0.03, 0]).astype(np.float32)
    targets[:, 2] = np.nan
    targets[:5, 0] = np.nan
    known = np.nan_to_num(targets)
    scores = np.clip(generator.random((n, 3)) * 0.6 + 0.4 * known, 0, 1).astype(np.float32)
    return Predictions(
        run=run,
        dataset="tiny",
        split="valid",
        labels=("Edema", "Rare", "Absent"),
        paths=tuple(f"p{patient}/image{row}.png" for row, patient in enumerate(patients)),
        patients=tuple(f"p{patient}" for patient in patients),
        studies=tuple(f"p{patient}/s{row % 2}" for row, patient in enumerate(patients)),
        targets=targets,
        scores=scores,
        columns={
            "view": generator.choice(["AP", "PA"], n).astype(object),
            "sex": generator.choice(["Female", "Male"], n).astype(object),
            "age_years": generator.uniform(20, 90, n),
        },
    )


@pytest.fixture(scope="session")
def make_predictions() -> Callable[..., Predictions]:
    return _make_predictions


@pytest.fixture(scope="session")
def result() -> RunResult:
    return evaluate_predictions(_make_predictions(), EvaluationOptions(n_resamples=100))
