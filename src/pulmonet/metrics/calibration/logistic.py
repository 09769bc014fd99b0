"""Logistic regression by Newton's method, with a covariance that knows patients repeat."""

from dataclasses import dataclass

import numpy as np

from pulmonet.arrays import Array, Floats, Ints


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
    max_steps: int = 50,
) -> LogisticFit:
    """Maximum likelihood (or ridge-penalised) logistic regression.

    Args:
        features: (N, K); the intercept is a column of ones of the caller's.
        targets: (N,) in [0, 1]; soft values are allowed (Platt's).
        offset: (N,) added to the linear predictor with coefficient 1.
        units: (N,) cluster of each row for the sandwich; rows are clusters when None.
        ridge: penalty ridge/2 * coefficient², one for all or one per coefficient.
        max_steps: Newton steps before giving up.
    """
    n_rows, n_features = features.shape
    shift = np.zeros(n_rows) if offset is None else offset
    penalty = np.broadcast_to(np.asarray(ridge, dtype=np.float64), (n_features,))
    coefficients = np.zeros(n_features)
    converged = False
    best = _objective(features, targets, shift, penalty, coefficients)
    for _ in range(max_steps):
        fitted = sigmoid(features @ coefficients + shift)
        gradient = features.T @ (targets - fitted) - penalty * coefficients
        hessian = (features * (fitted * (1 - fitted))[:, None]).T @ features + np.diag(penalty)
        step = _solve(hessian, gradient)
        scale = 1.0
        while scale > 1e-6:  # halve until the likelihood does not fall
            value = _objective(features, targets, shift, penalty, coefficients + scale * step)
            if value >= best - 1e-12:
                break
            scale /= 2
        coefficients = coefficients + scale * step
        best = value
        if np.abs(scale * step).max() < 1e-9:
            converged = True
            break
        if np.abs(coefficients).max() > 1e3:
            break
    fitted = sigmoid(features @ coefficients + shift)
    hessian = (features * (fitted * (1 - fitted))[:, None]).T @ features + np.diag(penalty)
    scores = features * (targets - fitted)[:, None]
    influence = _influence(hessian, scores, units)
    n_units = len(influence)
    sandwich = influence.T @ influence * (n_units / (n_units - 1) if n_units > 1 else np.nan)
    return LogisticFit(coefficients, sandwich, converged, influence)


def _objective(
    features: Array, targets: Array, offset: Array, penalty: Array, coefficients: Array
) -> float:
    linear = features @ coefficients + offset
    likelihood = float(np.sum(targets * linear - np.logaddexp(0.0, linear)))
    return likelihood - 0.5 * float(np.sum(penalty * coefficients**2))


def _influence(hessian: Array, contributions: Array, units: Ints | None) -> Array:
    if units is not None:
        _, numbers = np.unique(units, return_inverse=True)
        summed = np.zeros((int(numbers.max()) + 1, contributions.shape[1]))
        np.add.at(summed, numbers, contributions)
        contributions = summed
    return _solve(hessian, contributions.T).T


def _solve(hessian: Array, right: Array) -> Array:
    """By elimination; by the pseudo-inverse, which takes ten times as long, where that fails."""
    try:
        solved = np.asarray(np.linalg.solve(hessian, right), dtype=np.float64)
        if np.isfinite(solved).all():
            return solved
    except np.linalg.LinAlgError:
        pass
    return np.asarray(np.linalg.pinv(hessian, hermitian=True) @ right)
