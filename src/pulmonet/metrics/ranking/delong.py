"""DeLong's variance of AUROCs, clustered after Obuchowski where patients repeat."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from pulmonet.arrays import Array


@dataclass(frozen=True)
class DeLong:
    """AUROC of M score columns with their covariance."""

    auroc: Array  # (M,)
    covariance: Array  # (M, M); NaN with fewer than two positive or negative units

    def interval(self, column: int = 0) -> tuple[float, float]:
        """Wald interval of one AUROC, cut at 0 and 1."""
        half = ndtri(0.975) * np.sqrt(self.covariance[column, column])
        value = self.auroc[column]
        return float(max(value - half, 0.0)), float(min(value + half, 1.0))

    def paired_p(self, first: int = 0, second: int = 1) -> float:
        """Two-sided p of equal AUROCs of two columns on the same rows."""
        covariance = self.covariance
        own = covariance[first, first] + covariance[second, second]
        variance = own - 2 * covariance[first, second]
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
    return DeLong(values, s10 / m + s01 / n + (s11 + s11.T) / (m * n))


def _components(positives: Array, negatives: Array) -> tuple[Array, Array]:
    """(m, M) share of negatives below each positive, (n, M) share of positives above each."""
    together = mid_ranks(np.concatenate([positives, negatives]))
    above = [mid_ranks(own) for own in (positives, negatives)]
    m, n = len(positives), len(negatives)
    return (together[:m] - above[0]) / n, 1 - (together[m:] - above[1]) / m


def mid_ranks(values: Array) -> Array:
    """(N, M) as scipy.stats.rankdata over the rows, whose import takes half a second."""
    below, through = (
        [np.searchsorted(np.sort(column), column, side) for column in values.T]
        for side in ("left", "right")
    )
    return np.asarray(np.add(below, through).T + 1, dtype=np.float64) / 2
