"""On many rows some intervals take fewer resamples: each says how many, beside its numbers."""

from __future__ import annotations

import numpy as np
import pytest

from pulmonet.metrics.evaluation import evaluate_predictions
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.ranking import resamples
from pulmonet.metrics.results import RunResult
from pulmonet.run.predictions import Predictions

OPTIONS = EvaluationOptions(n_resamples=300)


def evaluated() -> RunResult:
    generator = np.random.default_rng(0)
    n_rows = 240
    targets = (generator.random((n_rows, 1)) < 0.4).astype(np.float32)
    scores = np.clip(0.3 * targets + 0.7 * generator.random((n_rows, 1)), 0, 1)
    return evaluate_predictions(
        Predictions(
            run="mine",
            dataset="made",
            split="valid",
            labels=("Edema",),
            paths=tuple(f"{row}.png" for row in range(n_rows)),
            patients=tuple(f"p{row // 2}" for row in range(n_rows)),
            studies=None,
            targets=targets,
            scores=scores.astype(np.float32),
            columns={"sex": np.asarray(["Female", "Male"], object)[np.arange(n_rows) // 2 % 2]},
        ),
        OPTIONS,
    )


def test_few_rows_take_all_resamples() -> None:
    result = evaluated()
    label = result.labels["Edema"]
    assert [point.n_resamples for point in label.operating_points] == [300] * 4
    assert [group.n_resamples for group in result.subgroups] == [300, 300]


def test_many_rows_take_fewer_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resamples, "ROW_RESAMPLES", 240 * 120)
    monkeypatch.setattr(resamples, "BLOCK_BYTES", 1)  # a resample a block
    result = evaluated()
    label = result.labels["Edema"]
    assert [point.n_resamples for point in label.operating_points] == [120] * 4
    assert result.bootstrap.n_resamples == 300
