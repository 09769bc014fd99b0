"""Intervals: bootstrap over patients (percentile, BCa) and DeLong's, clustered where needed.

The resamples themselves are in `resamples`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from pulmonet.metrics.ranking.auc import Ranking, macro_mean, rank, weighted_ranking
from pulmonet.metrics.ranking.resamples import BLOCK_BYTES, PatientResamples


@dataclass(frozen=True)
class BootstrapRanking:
    """AUROC and average precision of M runs under the same R resamples of the patients.

    Attributes:
        auroc: (M, R, L); average_precision: (M, R, L); NaN for labels with one class.
        scored: (L,) labels with both classes.
        n_redrawn: resamples drawn again.
    """

    auroc: NDArray[np.float64]
    average_precision: NDArray[np.float64]
    scored: NDArray[np.bool_]
    n_redrawn: int

    def macro(self, metric: str) -> NDArray[np.float64]:
        """(M, R) mean over the scored labels of ``auroc`` or ``average_precision``."""
        return macro_mean(getattr(self, metric), self.scored)


def rankings_of(
    targets: NDArray[np.floating], scores: NDArray[np.floating], units: NDArray[np.int64]
) -> list[Ranking]:
    """One `Ranking` a label."""
    return [rank(targets[:, i], scores[:, i], units) for i in range(targets.shape[1])]


def bootstrap_ranking(
    targets: NDArray[np.floating],
    scores: Sequence[NDArray[np.floating]],
    units: NDArray[np.int64],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    with_precision: bool = True,
) -> BootstrapRanking:
    """AUROC and average precision of one or more runs on the same patient resamples.

    Args:
        targets: (N, L) 1, 0 or NaN; the same for all runs.
        scores: M arrays (N, L) in [0, 1].
        units: (N,) patient number of each row (`number_units`).
        n_resamples: R.
        seed: of the resamples.
        with_precision: False leaves average precision out (NaN).

    Raises:
        OneClassError: nearly every resample leaves some label with one class.
    """
    rankings = [rankings_of(targets, of_run, units) for of_run in scores]
    resamples = PatientResamples(targets, units, n_resamples, seed)
    shape = (len(scores), n_resamples, targets.shape[1])
    auroc, precision = np.full(shape, np.nan), np.full(shape, np.nan)
    start = 0
    for weights in resamples.blocks():
        stop = start + len(weights)
        for run, of_run in enumerate(rankings):
            for label, ranking in enumerate(of_run):
                result = weighted_ranking(ranking, weights, with_precision=with_precision)
                auroc[run, start:stop, label], precision[run, start:stop, label] = result
        start = stop
    scored = np.asarray([not ranking.one_class for ranking in rankings[0]])
    return BootstrapRanking(auroc, precision, scored, resamples.n_redrawn)


def percentile_interval(
    samples: NDArray[np.float64], confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of bootstrap samples (R,); NaN samples are left out."""
    finite = samples[np.isfinite(samples)]
    if not len(finite):
        return np.nan, np.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def bca_interval(
    value: float,
    samples: NDArray[np.float64],
    jackknife: NDArray[np.float64],
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Bias-corrected and accelerated interval (Efron 1987).

    Args:
        value: the estimate on all rows.
        samples: (R,) bootstrap samples.
        jackknife: (J,) estimates with one patient (or one group of patients) left out.
        confidence: level.

    Returns:
        The interval; the percentile one where all samples lie on one side of the value.
    """
    finite = samples[np.isfinite(samples)]
    share_below = (np.sum(finite < value) + 0.5 * np.sum(finite == value)) / max(len(finite), 1)
    if not 0 < share_below < 1:
        return percentile_interval(samples, confidence)
    bias = ndtri(share_below)
    left_out = jackknife[np.isfinite(jackknife)]
    deviation = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread = np.sum(deviation**2) ** 1.5
    acceleration = np.sum(deviation**3) / (6 * spread) if spread > 0 else 0.0
    tail = (1 - confidence) / 2
    z = bias + ndtri([tail, 1 - tail])
    levels = ndtr(bias + z / (1 - acceleration * z))
    low, high = np.quantile(finite, levels)
    return float(low), float(high)


def jackknife_ranking(
    targets: NDArray[np.floating],
    scores: NDArray[np.floating],
    units: NDArray[np.int64],
    *,
    max_groups: int = 500,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUROC and average precision with one patient left out, for BCa.

    Above `max_groups` patients, groups of them are left out (delete-a-group jackknife).

    Returns:
        (J, L) AUROC and (J, L) average precision.
    """
    n_units = int(units.max()) + 1
    groups = np.arange(n_units) % min(n_units, max_groups)
    n_groups = int(groups.max()) + 1
    rankings = rankings_of(targets, scores, units)
    auroc = np.empty((n_groups, targets.shape[1]))
    precision = np.empty_like(auroc)
    width = int(np.clip(BLOCK_BYTES // (32 * len(units)), 1, 128))
    for start in range(0, n_groups, width):
        left_out = np.arange(start, min(start + width, n_groups))
        weights = (left_out[:, None] != groups).astype(np.int32)
        for label, ranking in enumerate(rankings):
            result = weighted_ranking(ranking, weights)
            auroc[left_out, label], precision[left_out, label] = result
    return auroc, precision


# --- DeLong and Obuchowski ------------------------------------------------------------------


@dataclass(frozen=True)
class DeLong:
    """AUROC of M score columns with their covariance.

    Attributes:
        auroc: (M,).
        covariance: (M, M); NaN with fewer than two positive or negative units.
    """

    auroc: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def interval(self, column: int = 0, confidence: float = 0.95) -> tuple[float, float]:
        """Wald interval of one AUROC, cut at 0 and 1."""
        half = ndtri(0.5 + confidence / 2) * np.sqrt(self.covariance[column, column])
        value = self.auroc[column]
        return float(max(value - half, 0.0)), float(min(value + half, 1.0))

    def paired_p(self, first: int = 0, second: int = 1) -> float:
        """Two-sided p of equal AUROCs of two columns on the same rows."""
        covariance = self.covariance
        variance = (
            covariance[first, first] + covariance[second, second] - 2 * covariance[first, second]
        )
        difference = abs(self.auroc[first] - self.auroc[second])
        if np.isnan(variance):
            return float("nan")
        if variance <= 1e-15:
            return 1.0 if difference < 1e-12 else 0.0
        return float(2 * ndtr(-difference / np.sqrt(variance)))


def delong(targets: ArrayLike, scores: ArrayLike, units: ArrayLike | None = None) -> DeLong:
    """AUROCs with DeLong's covariance, clustered after Obuchowski where units repeat.

    Structural components by mid-ranks (Sun and Xu 2014). With one row a unit this is DeLong
    et al. (1988); otherwise components are summed per unit (Obuchowski, Biometrics 1997).

    Args:
        targets: (N,) 1, 0, or NaN (left out).
        scores: (N,) or (N, M).
        units: (N,) unit of each row; rows are their own units when None.
    """
    target_values = np.asarray(targets, dtype=np.float64)
    columns = np.asarray(scores, dtype=np.float64).reshape(len(target_values), -1)
    unit_ids = np.arange(len(target_values)) if units is None else np.asarray(units)
    known = np.isfinite(target_values)
    target_values, columns = target_values[known], columns[known]
    _, unit_numbers = np.unique(unit_ids[known], return_inverse=True)
    positive = target_values == 1
    m, n = int(positive.sum()), int((~positive).sum())
    n_columns = columns.shape[1]
    if not m or not n:
        return DeLong(np.full(n_columns, np.nan), np.full((n_columns, n_columns), np.nan))
    n_units = int(unit_numbers.max()) + 1
    of_positives, of_negatives = _components(columns[positive], columns[~positive])
    values = of_positives.mean(axis=0)
    sums = []
    for components, units_here in (
        (of_positives, unit_numbers[positive]),
        (of_negatives, unit_numbers[~positive]),
    ):
        centred = np.zeros((n_units, n_columns))
        np.add.at(centred, units_here, components - values)
        sums.append(centred)
    n_positive_units = len(np.unique(unit_numbers[positive]))
    n_negative_units = len(np.unique(unit_numbers[~positive]))
    if n_positive_units < 2 or n_negative_units < 2:
        return DeLong(values, np.full((n_columns, n_columns), np.nan))
    s10 = n_positive_units / ((n_positive_units - 1) * m) * sums[0].T @ sums[0]
    s01 = n_negative_units / ((n_negative_units - 1) * n) * sums[1].T @ sums[1]
    s11 = n_units / (n_units - 1) * sums[0].T @ sums[1]
    covariance = s10 / m + s01 / n + (s11 + s11.T) / (m * n)
    return DeLong(values, covariance)


def _components(
    positives: NDArray[np.float64], negatives: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(m, M) share of negatives below each positive, (n, M) share of positives above each."""
    m, n = len(positives), len(negatives)
    of_positives, of_negatives = np.empty_like(positives), np.empty_like(negatives)
    for column in range(positives.shape[1]):
        sorted_positives = np.sort(positives[:, column])
        sorted_negatives = np.sort(negatives[:, column])
        below = np.searchsorted(sorted_negatives, positives[:, column], side="left")
        through = np.searchsorted(sorted_negatives, positives[:, column], side="right")
        of_positives[:, column] = (below + through) / (2 * n)
        below = np.searchsorted(sorted_positives, negatives[:, column], side="left")
        through = np.searchsorted(sorted_positives, negatives[:, column], side="right")
        of_negatives[:, column] = 1 - (below + through) / (2 * m)
    return of_positives, of_negatives
