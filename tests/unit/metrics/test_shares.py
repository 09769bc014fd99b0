"""Shares and likelihood ratios with patients as clusters, against scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pulmonet.metrics.shares import likelihood_ratio, ratio


@pytest.mark.parametrize(("hits", "rows"), [(1, 1), (0, 4), (8, 8), (9, 12), (18_000, 20_000)])
def test_a_share_of_independent_rows_has_wilson_s_interval(hits: int, rows: int) -> None:
    found = ratio(np.arange(rows) < hits, np.ones(rows))
    expected = stats.binomtest(hits, rows).proportion_ci(method="wilson")
    assert found.value == hits / rows
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("n_patients", [8, 20, 38])
def test_a_share_of_few_rows_covers_neither_too_little_nor_too_much(n_patients: int) -> None:
    """Exact: on average over true sensitivities (Brown, Cai and DasGupta 2001), and at no point
    below 83 %; with Student's quantile the mean at 8 was 98 %."""
    truth, covered = np.linspace(0.5, 0.98, 97), np.zeros(97)
    for hits in range(n_patients + 1):
        found = ratio(np.arange(n_patients) < hits, np.ones(n_patients))
        inside = (found.low <= truth) & (truth <= found.high)
        covered += inside * stats.binom.pmf(hits, n_patients, truth)
    assert 0.945 <= covered.mean() <= 0.96
    assert covered.min() > 0.83


def test_images_of_one_patient_are_no_further_evidence() -> None:
    """As many trials as patients, and Student's quantile: their spread is estimated."""
    copies = ratio(np.repeat([5.0, 0.0], [30, 10]), np.full(40, 5.0))
    z, share = stats.t.ppf(0.975, 39), 0.75
    ends = [
        p for p in np.linspace(0, 1, 200_001) if abs(share - p) <= z * (p * (1 - p) / 40) ** 0.5
    ]
    assert (copies.low, copies.high) == pytest.approx((ends[0], ends[-1]), abs=1e-5)
    apart = ratio(np.repeat([1.0, 0.0], [150, 50]), np.ones(200))
    assert apart.high - apart.low < 0.6 * (copies.high - copies.low)


def test_a_share_of_all_has_as_many_trials_as_patients() -> None:
    found = ratio(np.full(8, 3.0), np.full(8, 3.0))
    z = stats.t.ppf(0.975, 7) ** 2
    assert (found.value, found.high) == (1.0, pytest.approx(1.0))
    assert found.low == pytest.approx(8 / (8 + z))
    assert ratio(np.zeros(3), np.zeros(3)).reason == "no row is called so"
    assert ratio(np.ones(1), np.full(1, 2.0)).low is None


def test_likelihood_ratios_of_independent_rows_are_simel_s() -> None:
    tp, positives, fp, negatives = 80, 100, 90, 900
    parts, wholes = np.zeros((1000, 2)), np.zeros((1000, 2))
    wholes[:positives, 0] = wholes[positives:, 1] = 1
    parts[:tp, 0] = parts[positives : positives + fp, 1] = 1
    found = likelihood_ratio(parts, wholes)
    spread = (1 / tp - 1 / positives + 1 / fp - 1 / negatives) ** 0.5
    reach = stats.t.ppf(0.975, 99) * spread * (100 / 99) ** 0.5
    assert found.value == pytest.approx(8.0)
    assert np.log([found.low, found.high]) == pytest.approx(np.log(8) + reach * np.asarray([-1, 1]))
    parts[:, 1] = 0
    assert (likelihood_ratio(parts, wholes).value, likelihood_ratio(parts, wholes).low) == (
        None,
        None,
    )


def test_rows_of_both_classes_in_a_patient_are_no_two_pieces_of_evidence() -> None:
    """A jackknife over the patients, who have rows of both classes and are called alike."""
    rng = np.random.default_rng(0)
    wholes = rng.integers(1, 4, (150, 2)).astype(float)
    parts = rng.binomial(wholes.astype(int), rng.beta([2, 1], [1, 2], (150, 2))).astype(float)
    found = likelihood_ratio(parts, wholes)

    def log_ratio(kept: np.ndarray) -> float:
        shares = parts[kept].sum(axis=0) / wholes[kept].sum(axis=0)
        return float(np.log(shares[0] / shares[1]))

    left_out = np.asarray([log_ratio(np.arange(150) != one) for one in range(150)])
    spread = np.sqrt(149 * np.var(left_out))
    assert np.log(found.high / found.value) == pytest.approx(
        stats.t.ppf(0.975, 149) * spread, rel=0.03
    )


def test_a_share_of_statsmodels() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for hits, rows in ((9_000, 10_000), (7, 8), (8, 8)):
        found = ratio(np.arange(rows) < hits, np.ones(rows))
        expected = proportion.proportion_confint(hits, rows, method="wilson")
        assert (found.low, found.high) == pytest.approx(expected)
