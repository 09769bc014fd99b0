"""Logistic regression by Newton's method, with a covariance that knows patients repeat."""

from dataclasses import dataclass

import numpy as np

from pulmonet.arrays import Array, Floats, Ints

#: Of Newton's, before giving up.
MAX_STEPS = 50


@dataclass(frozen=True)
class LogisticFit:
    """A fitted model."""

    coefficients: Array  # (K,)
    covariance: Array  # (K, K) cluster-robust sandwich; NaN with fewer than two units
    converged: bool  # False where the classes can be separated and no finite fit exists
    influence: Array  # (U, K) what each unit, once more, adds to the coefficients, to first order


def sigmoid(values: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)), dtype=np.float64)


def logit(scores: Floats, clip: float = 1e-7) -> Array:
    """log(p / (1 - p)), p kept `clip` away from 0 and 1 (fp32 sigmoids saturate there)."""
    inside = np.clip(np.asarray(scores, dtype=np.float64), clip, 1 - clip)
    return np.asarray(np.log(inside) - np.log1p(-inside), dtype=np.float64)


def fit_logistic(
    features: Array,
    targets: Array,
    *,
    offset: Array | None = None,
    units: Ints | None = None,
    ridge: float | Array = 0.0,
) -> LogisticFit:
    """Maximum likelihood (or ridge-penalised) logistic regression.

    Args:
        features: (N, K); the intercept is a column of ones of the caller's.
        targets: (N,) in [0, 1]; soft values are allowed (Platt's).
        offset: (N,) added to the linear predictor with coefficient 1.
        units: (N,) cluster of each row for the sandwich; rows are clusters when None.
        ridge: penalty ridge/2 * coefficient², one for all or one per coefficient.
    """
    n_rows, n_features = features.shape
    shift = np.zeros(n_rows) if offset is None else offset
    penalty = np.broadcast_to(np.asarray(ridge, dtype=np.float64), (n_features,))

    def likelihood(coefficients: Array) -> float:
        linear = features @ coefficients + shift
        found = float(np.sum(targets * linear - np.logaddexp(0.0, linear)))
        return found - 0.5 * float(np.sum(penalty * coefficients**2))

    def residuals_and_hessian(coefficients: Array) -> tuple[Array, Array]:
        fitted = sigmoid(features @ coefficients + shift)
        weighted = (features * (fitted * (1 - fitted))[:, None]).T
        return targets - fitted, weighted @ features + np.diag(penalty)

    coefficients = np.zeros(n_features)
    converged, best = False, likelihood(coefficients)
    for _ in range(MAX_STEPS):
        residuals, hessian = residuals_and_hessian(coefficients)
        step = _solve(hessian, features.T @ residuals - penalty * coefficients)
        scale = 1.0
        while scale > 1e-6:  # halve until the likelihood does not fall
            value = likelihood(coefficients + scale * step)
            if value >= best - 1e-12:
                break
            scale /= 2
        coefficients = coefficients + scale * step
        best = value
        converged = bool(np.abs(scale * step).max() < 1e-9)
        if converged or np.abs(coefficients).max() > 1e3:
            break
    residuals, hessian = residuals_and_hessian(coefficients)
    scores = features * residuals[:, None]
    if units is not None:  # those of a cluster count together
        numbers = np.unique(units, return_inverse=True)[1]
        of_rows, scores = scores, np.zeros((int(numbers.max()) + 1, n_features))
        np.add.at(scores, numbers, of_rows)
    influence = _solve(hessian, scores.T).T
    n_units = len(influence)
    sandwich = influence.T @ influence * (n_units / (n_units - 1) if n_units > 1 else np.nan)
    return LogisticFit(coefficients, sandwich, converged, influence)


def _solve(hessian: Array, right: Array) -> Array:
    """By elimination; by the pseudo-inverse, which takes ten times as long, where that fails."""
    try:
        solved = np.asarray(np.linalg.solve(hessian, right), dtype=np.float64)
        if np.isfinite(solved).all():
            return solved
    except np.linalg.LinAlgError:
        pass
    return np.asarray(np.linalg.pinv(hessian, hermitian=True) @ right)
