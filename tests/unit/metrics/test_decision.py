"""Net benefit against dcurves' formulas, row by row, and against resampling the rows by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pulmonet.metrics.decision import decision_curve
from pulmonet.metrics.ranking.resamples import LabelRows, PatientResamples

Array = NDArray[np.float64]


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
