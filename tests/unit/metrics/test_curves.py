"""Curves, net benefit (against dcurves' formulas, row by row), and the confident errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pulmonet.metrics.curves import decision_curve, worst_cases
from pulmonet.metrics.ranking.resamples import LabelRows, PatientResamples
from pulmonet.metrics.results import RunResult
from pulmonet.run.predictions import Predictions

Array = NDArray[np.float64]


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


def label_rows(seed: int, n: int = 200, n_resamples: int = 200) -> LabelRows:
    generator = np.random.default_rng(seed)
    units = generator.integers(0, n // 2, n)
    units = np.unique(units, return_inverse=True)[1].astype(np.int64)
    targets = (generator.random(n) < 0.3).astype(float)
    scores = np.round(np.clip(generator.random(n) * 0.7 + 0.3 * targets, 0, 1), 2)
    resamples = PatientResamples(targets[:, None], units, n_resamples, seed)
    return LabelRows(targets, scores, units, resamples)


def net_benefit(targets: Array, scores: Array, cut: float, prevalence: float | None) -> float:
    """As dcurves has it: test_pos_rate and tp_rate at the prevalence stated, else the rows'."""
    share = targets.mean() if prevalence is None else prevalence
    called = scores >= cut
    tp_rate = called[targets == 1].mean() * share
    fp_rate = called[targets == 0].mean() * (1 - share)
    return float(tp_rate - fp_rate * cut / (1 - cut))


@pytest.mark.parametrize("prevalence", [None, 0.05])
def test_value_and_interval_equal_the_definition(prevalence: float | None) -> None:
    rows = label_rows(4)
    found = decision_curve(rows, prevalence)
    drawn = np.concatenate(list(rows.resamples.blocks()))
    assert found.n_resamples == len(drawn) == 200
    for cut in (0.1, 0.3, 0.7):
        at = found.threshold_probability.index(cut)
        expected = net_benefit(rows.targets, rows.scores, cut, prevalence)
        assert found.net_benefit[at] == pytest.approx(expected)
        copies = [np.repeat(np.arange(200), weights[rows.units]) for weights in drawn]
        values = [net_benefit(rows.targets[c], rows.scores[c], cut, prevalence) for c in copies]
        low, high = np.quantile(values, [0.025, 0.975])
        assert (found.low[at], found.high[at]) == pytest.approx((low, high))
        share = rows.targets.mean() if prevalence is None else prevalence
        assert found.prevalence == share
        assert found.treat_all[at] == pytest.approx(share - (1 - share) * cut / (1 - cut))


@pytest.mark.parametrize("prevalence", [None, 0.05])
def test_the_curve_equals_dcurves(prevalence: float | None) -> None:
    dcurves = pytest.importorskip("dcurves")
    rows = label_rows(7)
    # dcurves calls a score above the threshold positive, PulmoNet one at it, too: none is at one
    rows = replace(rows, scores=np.clip(rows.scores + 0.003, 0, 1))
    found = decision_curve(rows, prevalence)
    table = dcurves.dca(
        pd.DataFrame({"target": rows.targets, "score": rows.scores}), "target", ["score"],
        thresholds=found.threshold_probability, prevalence=prevalence,
    ).set_index(["model", "threshold"])["net_benefit"]  # fmt: skip
    for model, values in (("score", found.net_benefit), ("all", found.treat_all)):
        assert values == pytest.approx(table[model].to_numpy())


def test_many_rows_take_fewer_resamples() -> None:
    rows = label_rows(0, n=30_000, n_resamples=300)
    assert decision_curve(rows).n_resamples == 200
