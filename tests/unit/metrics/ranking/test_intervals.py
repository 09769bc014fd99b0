"""Bootstrap intervals against scipy, scikit-learn and written-out loops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats
from sklearn.metrics import roc_auc_score

from pulmonet.metrics.ranking import resamples as drawing
from pulmonet.metrics.ranking.auc import macro_mean
from pulmonet.metrics.ranking.intervals import (
    bca_interval,
    bootstrap_ranking,
    effective_patients,
    jackknife_ranking,
    logit_interval,
    percentile_interval,
    reach,
)
from pulmonet.metrics.ranking.resamples import PatientResamples

Array = NDArray[np.float64]


def rows(seed: int = 0, n: int = 150, n_labels: int = 2) -> tuple[Array, Array, NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    targets = (generator.random((n, n_labels)) < 0.3).astype(float)
    scores = stats.norm.cdf(targets + generator.normal(size=(n, n_labels)))
    return targets, np.round(scores, 2), np.sort(generator.integers(0, n // 2, n))


def test_every_resample_equals_scikit_learn() -> None:
    targets, scores, units = rows()
    found = bootstrap_ranking(targets, [scores], units, n_resamples=20, seed=3)
    blocks = PatientResamples(targets, units, 20, 3).blocks()
    counts = np.concatenate(list(blocks))
    for resample, weights in enumerate(counts):
        picked = np.repeat(np.arange(len(units)), weights[units])
        for label in range(2):
            expected = roc_auc_score(targets[picked, label], scores[picked, label])
            assert found.auroc[0, resample, label] == pytest.approx(expected, abs=1e-9)


def test_resamples_draw_whole_patients_and_repeat() -> None:
    targets, _, units = rows()
    resamples = PatientResamples(targets, units, 50, 1)
    first = np.concatenate(list(resamples.blocks()))
    assert (first.sum(axis=1) == resamples.n_units).all()
    second = np.concatenate(list(resamples.blocks(bytes_per_resample=10**9)))  # one a block
    np.testing.assert_array_equal(first, second)


def test_a_second_pass_is_the_same_whether_kept_or_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    targets, _, units = rows()
    kept = PatientResamples(targets, units, 50, 1)
    passes = [np.concatenate(list(kept.blocks())) for _ in range(2)]
    next(iter(kept.blocks()))  # a pass that is broken off
    passes.append(np.concatenate(list(kept.blocks())))
    monkeypatch.setattr(drawing, "KEPT_BYTES", 0)
    drawn = PatientResamples(targets, units, 50, 1)
    passes += [np.concatenate(list(drawn.blocks())) for _ in range(2)]
    for one in passes:
        assert one.dtype == np.int32
        np.testing.assert_array_equal(one, passes[0])


def test_memory_is_bounded_by_the_block() -> None:
    units = np.arange(100_000)
    targets = np.tile([0.0, 1.0], 50_000)[:, None]
    block = next(PatientResamples(targets, units, 1000, 0).blocks())
    assert block.nbytes <= drawing.BLOCK_BYTES


def test_one_class_resamples_of_a_label_leave_the_others_alone() -> None:
    generator = np.random.default_rng(0)
    targets = np.zeros((60, 22))
    targets[:20, 0] = 1
    targets[:5, 1] = 1  # (55/60)^60 = 0.5 % of resamples miss all five
    targets[:20, 2:] = np.eye(20)
    scores = [generator.random((60, 22)) for _ in range(2)]
    found = bootstrap_ranking(targets, scores, np.arange(60), n_resamples=2000, seed=0)
    assert list(found.scored) == [True, True] + [False] * 20
    counts = np.concatenate(
        list(PatientResamples(np.empty((60, 0)), np.arange(60), 2000, 0).blocks())
    )
    without = counts[:, :5].sum(axis=1) == 0
    assert found.n_redrawn == without.sum() > 2
    alone = bootstrap_ranking(targets[:, :1], [run[:, :1] for run in scores], np.arange(60))
    np.testing.assert_array_equal(alone.auroc[..., 0], found.auroc[:, :1000, 0])
    for resample in np.flatnonzero(without):
        following = next(n for n in range(resample, 2000) if not without[n])  # both runs alike
        for metric in (found.auroc, found.average_precision):
            np.testing.assert_array_equal(metric[:, resample, 1], metric[:, following, 1])
    assert np.isfinite(macro_mean(found.auroc, found.scored)).all()


@pytest.mark.parametrize(("n", "expected"), [(8, 2.528), (20, 2.147), (np.inf, 1.960)])
def test_intervals_of_few_patients_reach_further(n: float, expected: float) -> None:
    """Hesterberg's expanded percentiles: of a mean of normal values they are Student's interval."""
    assert reach(n) == pytest.approx(expected, abs=0.001)
    if np.isfinite(n):
        values = np.random.default_rng(int(n)).normal(size=int(n))
        draws = values.mean() + values.std() / n**0.5 * stats.norm.ppf((np.arange(1e5) + 0.5) / 1e5)
        student = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
        low, high = percentile_interval(draws, n_patients=n)
        assert (low, high) == pytest.approx(student, rel=0.01, abs=0.005)
        around = bca_interval(values.mean(), draws, np.zeros(3), n_patients=n)
        assert around == pytest.approx(student, rel=0.01, abs=0.005)


def test_effective_patients_of_a_macro() -> None:
    alike = effective_patients(np.asarray([11.0, 11.0, 11.0]), np.full(3, 0.2))
    assert alike == pytest.approx(1 + 3 * 10)  # Satterthwaite: degrees of freedom add up
    one = effective_patients(np.asarray([11.0, 1001.0]), np.asarray([0.2, 1e-9]))
    assert one == pytest.approx(11, rel=1e-3)
    # statsmodels' and textbooks' Welch test: two means
    first, second = np.random.default_rng(0).normal(size=(2, 9))
    welch = stats.ttest_ind(first, 3 * second, equal_var=False)
    variances = np.asarray([first.var(ddof=1) / 9, 9 * second.var(ddof=1) / 9])
    assert effective_patients(np.full(2, 9.0), variances) == pytest.approx(1 + welch.df)


def test_a_label_with_one_class_is_no_obstacle() -> None:
    targets, scores, units = rows()
    targets[:, 1] = 0
    found = bootstrap_ranking(targets, [scores], units, n_resamples=50)
    assert list(found.scored) == [True, False]
    np.testing.assert_allclose(macro_mean(found.auroc, found.scored)[0], found.auroc[0, :, 0])


def test_percentile_and_bca_against_scipy() -> None:
    generator = np.random.default_rng(5)
    sample = generator.gamma(2.0, size=60)
    reference = stats.bootstrap(
        (sample,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(0)
    )
    draws = sample[generator.integers(0, 60, (20_000, 60))].mean(axis=1)
    jackknife = np.asarray([np.delete(sample, row).mean() for row in range(60)])
    found = bca_interval(sample.mean(), draws, jackknife)
    np.testing.assert_allclose(found, tuple(reference.confidence_interval), atol=0.02)
    np.testing.assert_allclose(percentile_interval(draws), np.quantile(draws, [0.025, 0.975]))


def test_logit_interval_of_a_proportion() -> None:
    """Of a mean of 0 and 1 it is the textbook's delta-method interval, with Student's quantile.

    Around another centre it has the normal quantile, and no bias is taken off.
    """
    generator = np.random.default_rng(2)
    sample = np.repeat([1.0, 0.0], [33, 7])
    draws = sample[generator.integers(0, 40, (40_000, 40))].mean(axis=1)
    odds = np.log(33 / 7)
    half = stats.t.ppf(0.975, 39) * (1 / 33 + 1 / 7) ** 0.5 * (40 / 39) ** 0.5
    bias = (33 / 40 - 0.5) * (1 / 33 + 1 / 7)
    expected = 1 / (1 + np.exp(bias - odds - half * np.asarray([-1, 1])))
    assert logit_interval(33 / 40, draws, n_patients=40) == pytest.approx(expected, abs=0.003)
    half = stats.norm.ppf(0.975) * draws.std() * (40 / 39) ** 0.5 / (31 * 9 / 40**2)
    around = np.log(31 / 9) + half * np.asarray([-1, 1])
    found = logit_interval(33 / 40, draws, n_patients=40, centre=31 / 40)
    assert found == pytest.approx(1 / (1 + np.exp(-around)))


@pytest.mark.parametrize("truth", [0.15, 0.7, 0.85])
def test_the_middle_of_a_logit_interval_is_unbiased(truth: float) -> None:
    """Over all samples of a proportion: the logit of its estimate is too far from 0."""
    n = 80
    shares, weights = np.arange(1, n) / n, stats.binom.pmf(np.arange(1, n), n, truth)
    middles = []
    for share in shares:
        spread = (share * (1 - share) / n) ** 0.5
        ends = logit_interval(share, share + spread * np.asarray([-1.0, 1.0]), n_patients=n)
        middles.append(special.logit(ends).mean())
    plain = np.average(special.logit(shares), weights=weights) - special.logit(truth)
    left = np.average(middles, weights=weights) - special.logit(truth)
    assert plain * (truth - 0.5) > 0
    assert abs(left) < 0.2 * abs(plain)


@pytest.mark.parametrize("n", [5, 20])
def test_logit_interval_of_a_perfect_ranking_has_a_width(n: int) -> None:
    exact = stats.binomtest(n, n).proportion_ci(method="exact")
    found = logit_interval(1.0, np.ones(99), n_patients=n)
    assert found == pytest.approx((exact.low, 1.0))
    none = stats.binomtest(0, n).proportion_ci(method="exact")
    assert logit_interval(0.0, np.zeros(99), n_patients=n) == pytest.approx((0.0, none.high))
    assert np.isnan(logit_interval(0.7, np.full(3, np.nan))).all()


def test_bca_falls_back_when_all_samples_lie_on_one_side() -> None:
    assert bca_interval(1.0, np.full(50, 0.9), np.ones(3)) == (0.9, 0.9)
    assert bca_interval(0.8, np.full(50, 0.9), np.ones(3)) == (0.9, 0.9)
    assert np.isnan(percentile_interval(np.full(3, np.nan))).all()


def test_jackknife_leaves_out_each_patient() -> None:
    targets, scores, units = rows(n=60)
    auroc, precision = jackknife_ranking(targets, scores, units)
    for unit in range(0, int(units.max()) + 1, 7):
        kept = units != unit
        expected = roc_auc_score(targets[kept, 0], scores[kept, 0])
        assert auroc[unit, 0] == pytest.approx(expected, abs=1e-9)
    grouped, _ = jackknife_ranking(targets, scores, units, max_groups=5)
    assert len(grouped) == 5
    assert precision.shape == auroc.shape


def test_a_resample_with_one_positive_is_kept() -> None:
    """Of all resamples those with both classes, and only those: binomial shares."""
    targets = np.repeat([1.0, 0.0, np.nan], [2, 3, 5])[:, None]
    resamples = PatientResamples(targets, np.arange(10), 4000, 0)
    counts = np.concatenate(list(resamples.blocks()))
    positives, negatives = counts[:, :2].sum(axis=1), counts[:, 2:5].sum(axis=1)
    assert positives.min() == negatives.min() == 1
    drawn = np.arange(11)
    joint = stats.multinomial.pmf(
        np.stack(np.broadcast_arrays(drawn[:, None], drawn, 10 - drawn[:, None] - drawn), axis=-1),
        10, [0.2, 0.3, 0.5],
    )  # fmt: skip
    shares = np.nan_to_num(joint)[1:, 1:].sum(axis=1)
    found = np.bincount(positives, minlength=11)[1:] / 4000
    np.testing.assert_allclose(found, shares / shares.sum(), atol=0.025)
