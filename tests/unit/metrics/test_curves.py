"""Curves, and the confident errors."""

from __future__ import annotations

import numpy as np
import pytest

from pulmonet.metrics.curves import worst_cases
from pulmonet.metrics.results import RunResult
from pulmonet.run.predictions import Predictions


def test_curves_end_where_they_should(result: RunResult) -> None:
    entry = result.labels["Edema"]
    roc, recall = entry.roc, entry.precision_recall
    assert (roc.x[0], roc.y[0], roc.threshold[0]) == (0, 0, None)
    assert (roc.x[-1], roc.y[-1]) == (1, 1)
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(entry.auroc.value, abs=1e-4)
    assert recall.x[-1] == 1
    steps = np.diff(recall.x) * np.asarray(recall.y[1:])
    assert steps.sum() == pytest.approx(entry.average_precision.value, abs=1e-4)
    inside = np.interp(roc.band_x, roc.x, roc.y)
    assert (np.asarray(roc.band_low) <= inside + 0.02).all()
    assert (np.asarray(roc.band_high) >= inside - 0.02).all()


def test_worst_cases_are_one_a_patient() -> None:
    predictions = Predictions(
        run="run",
        dataset="tiny",
        split="valid",
        labels=("Edema",),
        paths=("a1", "a2", "b1", "c1", "d1"),
        patients=("a", "a", "b", "c", "d"),
        studies=None,
        targets=np.asarray([[0], [0], [1], [1], [np.nan]], np.float32),
        scores=np.asarray([[0.9], [0.8], [0.1], [0.2], [1.0]], np.float32),
        columns={},
    )
    cases = worst_cases(predictions, 0)
    assert [(case.path, case.kind) for case in cases] == [
        ("a1", "false positive"),
        ("b1", "false negative"),
        ("c1", "false negative"),
    ]
