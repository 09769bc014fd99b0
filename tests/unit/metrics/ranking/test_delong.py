"""DeLong's variance against his formula, Obuchowski's against hers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pulmonet.metrics.ranking.delong import delong

Array = NDArray[np.float64]


def rows(seed: int = 0, n: int = 150, n_labels: int = 2) -> tuple[Array, Array, NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    targets = (generator.random((n, n_labels)) < 0.3).astype(float)
    scores = stats.norm.cdf(targets + generator.normal(size=(n, n_labels)))
    return targets, np.round(scores, 2), np.sort(generator.integers(0, n // 2, n))


def delong_by_hand(targets: Array, scores: Array) -> tuple[float, float]:
    """DeLong et al. (1988) written out over all pairs."""
    positives, negatives = scores[targets == 1], scores[targets == 0]
    wins = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    v10, v01 = wins.mean(axis=1), wins.mean(axis=0)
    return wins.mean(), v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01)


@pytest.mark.parametrize("seed", range(5))
def test_delong_equals_the_formula(seed: int) -> None:
    targets, scores, _ = rows(seed)
    found = delong(targets[:, 0], scores[:, 0])
    value, variance = delong_by_hand(targets[:, 0], scores[:, 0])
    assert found.auroc[0] == pytest.approx(value, abs=1e-12)
    assert found.covariance[0, 0] == pytest.approx(variance, rel=1e-9)
    low, high = found.interval()
    half = 1.959964 * variance**0.5
    assert (low, high) == pytest.approx((max(value - half, 0), min(value + half, 1)), abs=1e-6)


def obuchowski_by_hand(targets: Array, scores: Array, units: NDArray[np.int64]) -> float:
    """Obuchowski (1997), the variance of one AUROC, cluster by cluster."""
    positives, negatives = scores[targets == 1], scores[targets == 0]
    m, n = len(positives), len(negatives)
    theta = delong_by_hand(targets, scores)[0]
    s10 = s01 = s11 = 0.0
    clusters = np.unique(units)
    i10 = i01 = 0
    for cluster in clusters:
        mine_pos = scores[(units == cluster) & (targets == 1)]
        mine_neg = scores[(units == cluster) & (targets == 0)]
        v10 = sum(np.mean((x > negatives) + 0.5 * (x == negatives)) for x in mine_pos)
        v01 = sum(np.mean((positives > y) + 0.5 * (positives == y)) for y in mine_neg)
        i10 += len(mine_pos) > 0
        i01 += len(mine_neg) > 0
        s10 += (v10 - len(mine_pos) * theta) ** 2
        s01 += (v01 - len(mine_neg) * theta) ** 2
        s11 += (v10 - len(mine_pos) * theta) * (v01 - len(mine_neg) * theta)
    s10 *= i10 / ((i10 - 1) * m)
    s01 *= i01 / ((i01 - 1) * n)
    s11 *= len(clusters) / (len(clusters) - 1)
    return float(s10 / m + s01 / n + 2 * s11 / (m * n))


@pytest.mark.parametrize("seed", range(3))
def test_clustered_variance_equals_obuchowski(seed: int) -> None:
    targets, scores, units = rows(seed)
    found = delong(targets[:, 0], scores[:, 0], units)
    expected = obuchowski_by_hand(targets[:, 0], scores[:, 0], units)
    assert found.covariance[0, 0] == pytest.approx(expected, rel=1e-9)


def test_paired_test() -> None:
    targets, scores, _ = rows(0, n=400)
    better = np.clip(scores[:, 0] + 0.5 * targets[:, 0], 0, 1)
    found = delong(targets[:, 0], np.stack([scores[:, 0], better, scores[:, 0]], axis=1))
    assert found.paired_p(0, 1) < 1e-6
    assert found.paired_p(0, 2) == 1.0


def test_the_p_of_a_pair_is_that_of_its_z() -> None:
    """DeLong's test by scipy's normal tail, the covariance from the structural components."""
    rng = np.random.default_rng(7)
    targets = np.repeat([1.0, 0.0], [30, 50])
    columns = rng.normal(targets[:, None] * [0.8, 0.5], 1.0)
    wins = [
        (part[:30, None] > part[None, 30:]) + 0.5 * (part[:30, None] == part[None, 30:])
        for part in columns.T
    ]
    difference = wins[0].mean() - wins[1].mean()
    of_positives = (wins[0] - wins[1]).mean(axis=1)
    of_negatives = (wins[0] - wins[1]).mean(axis=0)
    variance = of_positives.var(ddof=1) / 30 + of_negatives.var(ddof=1) / 50
    expected = 2 * stats.norm.sf(abs(difference) / np.sqrt(variance))
    assert 0.05 < expected < 0.95
    assert delong(targets, columns).paired_p() == pytest.approx(expected)


def test_the_first_of_several_columns_unless_told_otherwise() -> None:
    rng = np.random.default_rng(5)
    targets = (np.arange(60) % 3 == 0).astype(float)
    columns = np.stack([rng.random(60), np.clip(0.5 * targets + 0.5 * rng.random(60), 0, 1)], 1)
    found = delong(targets, columns)
    assert found.interval() == found.interval(0) != found.interval(1)
    assert found.interval(0) == pytest.approx(delong(targets, columns[:, 0]).interval())
    assert found.paired_p() == found.paired_p(0, 1) < 1


def test_two_units_of_either_class_have_a_variance() -> None:
    targets, scores = np.asarray([0.0, 0, 1, 1]), np.asarray([0.1, 0.6, 0.5, 0.9])
    value, variance = delong_by_hand(targets, scores)
    found = delong(targets, scores)
    assert found.auroc[0] == value
    assert found.covariance[0, 0] == pytest.approx(variance) and variance > 0


def test_too_few_units_have_no_variance() -> None:
    assert np.isnan(delong([0, 0, 1], [0.1, 0.2, 0.3]).covariance).all()
    assert np.isnan(delong([0, 0, 0], [0.1, 0.2, 0.3]).auroc).all()
    assert np.isnan(delong([0, 0, 1], [0.1, 0.2, 0.3]).paired_p(0, 0))


PROC = """
suppressMessages(library(pROC))
data <- read.csv("rows.csv")
first <- roc(data$target, data$first, levels = c(0, 1), direction = "<", quiet = TRUE)
second <- roc(data$target, data$second, levels = c(0, 1), direction = "<", quiet = TRUE)
cat(format(c(auc(first), var(first), cov(first, second), ci(first)[c(1, 3)],
             roc.test(first, second, method = "delong")$p.value), digits = 15))
"""


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="needs R with pROC")
@pytest.mark.parametrize("seed", [0, 1])
def test_proc_says_the_same(seed: int, tmp_path: Path) -> None:
    """Robin et al. 2011: value, variance, covariance, interval and paired test."""
    targets, scores, _ = rows(seed)
    scores[:, 1] = np.round((scores[:, 0] + scores[:, 1]) / 2, 2)
    np.savetxt(
        tmp_path / "rows.csv", np.column_stack([targets[:, 0], scores]), delimiter=",",
        header="target,first,second", comments="",
    )  # fmt: skip
    command = ["Rscript", "-e", PROC]
    asked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "no package called" in asked.stderr:
        pytest.skip("R has no pROC here")
    expected = [float(number) for number in asked.stdout.split()]
    found = delong(targets[:, 0], scores)
    assert [
        found.auroc[0], *found.covariance[0], *found.interval(), found.paired_p()
    ] == pytest.approx(expected, rel=1e-6)  # fmt: skip
