"""Shares of rows, and their ratios, with patients as clusters."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from pulmonet.arrays import Array
from pulmonet.metrics.estimate import Estimate


def ratio(parts: NDArray[Any], wholes: NDArray[Any]) -> Estimate:
    """Share sum(parts) / sum(wholes) of (U,) patients, such as their calls and their images.

    Wilson's interval (1927), of as many independent trials as have the variance of the ratio of two
    sums over patients (Rao and Scott 1992, doi:10.2307/2532311). With at most one row a patient
    these are the rows; else the variance is estimated, and the quantile Student's.
    """
    n, total = np.count_nonzero(wholes), wholes.sum()
    if not total:
        return Estimate(value=None, reason="no row is called so")
    value = parts.sum() / total
    variance = np.sum((parts - value * wholes) ** 2) / total**2
    n_trials = min(value * (1 - value) / variance, total) if variance > 0 else n
    z = stdtrit(np.inf if wholes.max() <= 1 else n - 1, 0.975) ** 2 / n_trials
    middle = (value + z / 2) / (1 + z)
    half = np.sqrt(z * value * (1 - value) + z**2 / 4) / (1 + z)
    return Estimate(value=float(value), low=float(middle - half), high=float(middle + half))


def likelihood_ratio(parts: Array, wholes: Array) -> Estimate:
    """One share over another, of parts and wholes (U, 2); its interval is on the log scale.

    The variance is linearised over the patients, who may have rows of both classes: with one row
    each it is Simel's (1991, doi:10.1016/0895-4356(91)90128-v).
    """
    (first, second), n = parts.sum(axis=0), np.count_nonzero(wholes, axis=0).min()
    if not second:
        return Estimate(value=None, reason="no row is called so")
    shares = parts.sum(axis=0) / wholes.sum(axis=0)
    value = float(shares[0] / shares[1])
    if not first or n < 2:
        return Estimate(value=value, reason="no row is called so")
    influence = (parts - shares * wholes) / parts.sum(axis=0)
    spread = np.sqrt(np.sum((influence[:, 0] - influence[:, 1]) ** 2) * n / (n - 1))
    reach = np.exp(stdtrit(n - 1, 0.975) * spread)
    return Estimate(value=value, low=float(value / reach), high=float(value * reach))
