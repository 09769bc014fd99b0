"""A fixed threshold's own performance, against scipy, closed forms and plain loops."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from pulmonet.metrics.fixed_threshold import compare_at_thresholds, mcnemar


@pytest.mark.parametrize(("b", "c"), [(7, 2), (5, 0), (3, 3), (1, 0)])
def test_mcnemar_of_one_row_a_patient_is_the_exact_one(b: int, c: int) -> None:
    differences = np.repeat([1.0, -1.0, 0.0], [b, c, 20])
    value, low, high, p = mcnemar(differences, np.ones(len(differences)))
    assert p == pytest.approx(stats.binomtest(b, b + c).pvalue)
    assert value == pytest.approx((b - c) / (b + c + 20))
    half = stats.t.ppf(0.975, b + c + 19) * stats.sem(differences)
    assert (low, high) == pytest.approx((value - half, value + half))


def test_mcnemar_of_clusters_flips_every_sign() -> None:
    differences = np.asarray([3.0, -1, 2, 2, 0, -1, 1])
    observed = abs(differences.sum())
    flipped = [abs(np.dot(signs, differences)) for signs in product([-1, 1], repeat=7)]
    _, _, _, p = mcnemar(differences, np.full(7, 4.0))
    assert p == pytest.approx(np.mean(np.asarray(flipped) >= observed))


def test_mcnemar_of_many_patients_is_the_chi_squared_one() -> None:
    differences = np.repeat([1.0, -1.0], [320, 260])
    *_, p = mcnemar(differences, np.ones(580))
    assert p == pytest.approx(stats.chi2.sf(60**2 / 580, 1))


def test_mcnemar_of_statsmodels() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    differences = np.repeat([1.0, -1.0, 0.0], [12, 4, 60])
    *_, p = mcnemar(differences, np.ones(76))
    assert p == pytest.approx(tables.mcnemar([[30, 12], [4, 30]], exact=True).pvalue)


def _run(name: str, *points: tuple[str, float | None, str]) -> SimpleNamespace:
    made = [
        SimpleNamespace(criterion=criterion, threshold=threshold, estimates=estimates)
        for criterion, threshold, estimates in points
    ]
    return SimpleNamespace(run=name, labels={"A": SimpleNamespace(operating_points=made)})


def test_only_thresholds_that_other_rows_chose_are_compared() -> None:
    """One chosen on these very rows is a procedure's, whatever its number; Holm over the tests."""
    rng = np.random.default_rng(0)
    targets = np.repeat([1.0, 0.0], [40, 60])[:, None]
    scores = [np.clip(targets * shift + rng.random((100, 1)), 0, 1.9) for shift in (0.8, 0.1)]
    units = np.arange(100)
    stored = ("youden", 0.7, "threshold")
    kept = ("youden", 0.7, "procedure")

    def tests(one: object, other: object) -> list[object]:
        runs = [_run("one", one), _run("other", other)]
        return compare_at_thresholds(runs, ["A"], targets, scores, units)

    assert tests(kept, kept) == tests(stored, kept) == []
    assert tests(stored, ("youden", None, "threshold")) == []
    assert tests(stored, ("f1", 0.7, "threshold")) == []
    found = tests(stored, stored)
    assert [test.measure for test in found] == ["sensitivity", "specificity"]
    called = [run[:, 0] >= 0.7 for run in scores]
    differences = [called[0][:40] * 1.0 - called[1][:40], called[1][40:] * 1.0 - called[0][40:]]
    expected = [mcnemar(difference, np.ones(len(difference)))[3] for difference in differences]
    assert [test.p for test in found] == pytest.approx(expected)
    first, last = np.sort(expected)
    assert sorted(test.p_adjusted for test in found) == pytest.approx(
        sorted([min(2 * first, 1), min(max(2 * first, last), 1)])
    )
