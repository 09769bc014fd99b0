"""A smooth calibration curve, and how far it lies from the diagonal (Austin and Steyerberg 2019).

The curve is logistic in a restricted cubic spline of logit(score), as theirs in a loess: the
spline's covariance knows that patients repeat. doi:10.1002/sim.8281
"""

import numpy as np

from pulmonet.arrays import Array, Floats, Ints
from pulmonet.metrics.calibration.logistic import LogisticFit, fit_logistic, logit, sigmoid
from pulmonet.metrics.label_result import Curve, SmoothCalibration
from pulmonet.metrics.ranking.intervals import distance

#: Knots at these quantiles of the scores (Harrell, Regression Modeling Strategies 2015, table 2.3).
KNOTS, KNOTS_OF_FEW = (0.05, 0.35, 0.65, 0.95), (0.1, 0.5, 0.9)
#: Below so many rows of the rarer class there are three knots.
FEW_ROWS = 100
#: Curves drawn for intervals, and scores where they are measured: the 41st middle of 45 is at 90 %.
N_DRAWS, N_MIDDLES, AT_90 = 1000, 45, 40


def spline(values: Array, knots: Array) -> Array:
    """(N, K) intercept, values (N,) and the K - 2 terms of a cubic spline that ends in lines."""
    cubes = np.maximum(values[:, None] - knots, 0) ** 3
    last, before = knots[-1], knots[-2:-1]
    inner = knots[:-2]
    terms = cubes[:, :-2] - cubes[:, -2:-1] * (last - inner) / (last - before)
    terms += cubes[:, -1:] * (before - inner) / (last - before)
    return np.column_stack([np.ones_like(values), values, terms / (last - knots[0]) ** 2])


def smooth_calibration(targets: Floats, scores: Floats, units: Ints) -> SmoothCalibration | None:
    """Curve with a pointwise 95 % band, and ICI and E90.

    Of targets (N,) 1 or 0, scores (N,) in [0, 1] and patient numbers (N,); None where there is no
    finite curve: the scores separate the classes, or have fewer than four values.
    """
    logits = logit(scores)
    rarer = min(np.sum(np.asarray(targets) == value) for value in (0, 1))
    knots = np.unique(np.quantile(logits, KNOTS if rarer >= FEW_ROWS else KNOTS_OF_FEW))
    if len(knots) < 3 or len(np.unique(logits)) < 4:
        return None
    fit = fit_logistic(spline(logits, knots), np.asarray(targets, np.float64), units=units)
    if not fit.converged:
        return None
    far = np.abs(sigmoid(spline(logits, knots) @ fit.coefficients) - scores)
    x = np.unique(np.quantile(scores, np.linspace(0.01, 0.99, 50)))
    design = spline(logit(x), knots)
    middle = design @ fit.coefficients
    half = 1.96 * np.sqrt(np.einsum("nk,kl,nl->n", design, fit.covariance, design))
    y, low, high = (sigmoid(middle + reach).round(6).tolist() for reach in (0, -half, half))
    ici, e90 = float(far.mean()), float(np.quantile(far, 0.9))
    at = np.quantile(scores, (np.arange(N_MIDDLES) + 0.5) / N_MIDDLES)
    drawn = _drawn_distances(fit, spline(logit(at), knots), at)
    x = x.round(6).tolist()
    return SmoothCalibration(
        curve=Curve(x=x, y=y, band_x=x, band_low=low, band_high=high),
        ici=ici,
        e90=e90,
        ici_estimate=distance(ici, drawn.mean(axis=1)),
        e90_estimate=distance(e90, np.partition(drawn, AT_90, axis=1)[:, AT_90]),
    )


def _drawn_distances(fit: LogisticFit, design: Array, scores: Floats) -> Array:
    """(R, X) distances at scores (X,) of curves drawn from the fit's covariance.

    The one-step bootstrap of patients has this covariance; it needs no pass over the resamples.
    """
    if not np.isfinite(fit.covariance).all():  # of one patient
        return np.full((N_DRAWS, len(scores)), np.nan)
    roots, vectors = np.linalg.eigh(fit.covariance)
    normal = np.random.default_rng(0).standard_normal((N_DRAWS, len(roots)))
    drawn = fit.coefficients + normal * np.sqrt(np.maximum(roots, 0)) @ vectors.T
    return np.abs(sigmoid(drawn @ design.T) - scores)
