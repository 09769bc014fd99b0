"""Counts per threshold against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from pulmonet.report.render.threshold_steps import MAX_STEPS, threshold_steps
from pulmonet.run.predictions import Predictions
from report_factory import make_predictions


@pytest.mark.parametrize("n_rows", [20, 90, 2000])
def test_counts_equal_a_plain_loop(n_rows: int) -> None:
    predictions = make_predictions("a", ["Edema"], n_rows=n_rows)
    steps = threshold_steps(predictions, "Edema")
    assert steps is not None
    targets, scores = predictions.targets[:, 0], predictions.scores[:, 0].astype(np.float64)
    for threshold, true, false in zip(
        steps.thresholds, steps.true_positives, steps.false_positives, strict=True
    ):
        called = scores >= threshold
        assert true == sum(called & (targets == 1))
        assert false == sum(called & (targets == 0))
    known = ~np.isnan(targets)
    assert len(steps.thresholds) == min(MAX_STEPS, len(np.unique(scores[known])))
    assert steps.n_positives + steps.n_negatives == n_rows - 1  # one target is unknown


@pytest.mark.parametrize("cut", [0.3217, 0.999])
def test_a_stored_threshold_has_counts_of_its_own(cut: float) -> None:
    """Among more scores than are kept, and above all of them."""
    predictions = make_predictions("a", ["Edema"], n_rows=2000)
    steps = threshold_steps(predictions, "Edema", [("youden", cut, "threshold", "", "")])
    assert steps is not None
    known = ~np.isnan(predictions.targets[:, 0])
    called = predictions.scores[known, 0].astype(np.float64) >= cut
    place = steps.thresholds.index(cut)
    assert steps.true_positives[place] + steps.false_positives[place] == sum(called)


def test_one_class_has_no_slider() -> None:
    one = Predictions(
        run="a",
        dataset="d",
        split="s",
        labels=("Edema",),
        paths=("x", "y"),
        patients=None,
        studies=None,
        targets=np.zeros((2, 1), np.float32),
        scores=np.full((2, 1), 0.5, np.float32),
    )
    assert threshold_steps(one, "Edema") is None
