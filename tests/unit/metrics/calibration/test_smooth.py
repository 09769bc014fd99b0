"""The smooth calibration curve against another spline basis, another solver and known curves."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from sklearn.linear_model import LogisticRegression

from pulmonet.metrics.calibration.logistic import logit, sigmoid
from pulmonet.metrics.calibration.smooth import smooth_calibration

Array = NDArray[np.float64]


def draw(seed: int, n: int, slope: float = 1.0, images: int = 1) -> tuple[Array, Array, Array]:
    """Targets, scores that are too extreme by `slope`, patients with `images` equal ones each."""
    generator = np.random.default_rng(seed)
    linear = np.repeat(generator.normal(-1, 1.2, n // images), images)
    strokes = np.repeat(generator.random(n // images), images)
    units = np.repeat(np.arange(n // images), images)
    return (strokes < sigmoid(linear)).astype(float), sigmoid(slope * linear), units


def natural(values: Array, knots: Array) -> Array:
    """Cardinal natural cubic splines, straight beyond the outer knots."""
    columns = []
    for unit in np.eye(len(knots)):
        inside = CubicSpline(knots, unit, bc_type="natural")
        kept = np.clip(values, knots[0], knots[-1])
        columns.append(inside(kept) + inside(kept, 1) * (values - kept))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(("n", "levels"), [(150, [0.1, 0.5, 0.9]), (900, [0.05, 0.35, 0.65, 0.95])])
def test_curve_and_indices_equal_another_basis_and_solver(n: int, levels: list[float]) -> None:
    targets, scores, units = draw(1, n, 1.8)
    found = smooth_calibration(targets, scores, units)
    assert found is not None
    basis = natural(logit(scores), np.quantile(logit(scores), levels))
    model = LogisticRegression(C=1e9, fit_intercept=False, max_iter=10_000, tol=1e-12)
    model.fit(basis, targets)
    fitted = model.predict_proba(basis)[:, 1]
    far = np.abs(fitted - scores)
    assert found.ici == pytest.approx(far.mean(), abs=1e-4)
    assert found.e90 == pytest.approx(np.quantile(far, 0.9), abs=5e-4)
    of_scores = np.interp(found.curve.x, np.sort(scores), fitted[np.argsort(scores)])
    assert np.asarray(found.curve.y) == pytest.approx(of_scores, abs=5e-3)


def test_index_of_a_known_curve_and_of_a_perfect_model() -> None:
    targets, scores, units = draw(2, 40_000, 2.0)
    truth = np.abs(sigmoid(logit(scores) / 2) - scores)
    found = smooth_calibration(targets, scores, units)
    perfect = smooth_calibration(*draw(3, 40_000))
    assert found is not None and perfect is not None
    assert found.ici == pytest.approx(truth.mean(), abs=0.006)
    assert found.e90 == pytest.approx(np.quantile(truth, 0.9), abs=0.012)
    assert perfect.ici is not None and perfect.ici < 0.006


@pytest.mark.parametrize("images", [1, 4])
def test_band_holds_the_truth_also_where_patients_repeat(images: int) -> None:
    """At the median score, where the truth is the diagonal; a band of images covers 67 % there."""
    hits = 0
    for seed in range(200):
        found = smooth_calibration(*draw(seed, 400 * images, images=images))
        assert found is not None
        curve = found.curve
        at = len(curve.x) // 2
        hits += curve.band_low[at] <= curve.x[at] <= curve.band_high[at]
    assert 181 <= hits <= 199  # of 190 ± 3 standard errors


def test_no_curve_of_separable_or_few_scores() -> None:
    targets = np.repeat([0.0, 1.0], 50)
    assert smooth_calibration(targets, np.linspace(0.1, 0.9, 100), np.arange(100)) is None
    assert smooth_calibration(targets, np.tile([0.2, 0.7], 50), np.arange(100)) is None


def test_intervals_of_ici_and_e90_are_those_of_curves_fitted_anew() -> None:
    """Patients are drawn again and scikit-learn fits each curve: ends agree to a few hundredths."""
    targets, scores, units = draw(4, 600, 1.8, images=2)
    found = smooth_calibration(targets, scores, units)
    assert found is not None
    basis = natural(logit(scores), np.quantile(logit(scores), [0.05, 0.35, 0.65, 0.95]))
    model = LogisticRegression(C=1e9, fit_intercept=False, max_iter=10_000)
    generator, drawn = np.random.default_rng(0), []
    for _ in range(300):
        weights = np.bincount(generator.integers(0, 300, 300), minlength=300)[units]
        fitted = model.fit(basis, targets, weights).predict_proba(basis)[:, 1]
        drawn.append([np.abs(fitted - scores).mean(), np.quantile(np.abs(fitted - scores), 0.9)])
    pairs = (found.ici_estimate, found.ici), (found.e90_estimate, found.e90)
    for (one, value), samples in zip(pairs, np.transpose(drawn), strict=True):
        assert one is not None and one.value == value
        ends = np.sqrt(np.maximum(2 * value**2 - np.quantile(samples, [0.975, 0.025]) ** 2, 0))
        assert (one.low, one.high) == pytest.approx(tuple(ends), abs=0.015)


def test_the_interval_of_ici_reaches_zero_for_a_perfect_model() -> None:
    lows, highs = [], []
    for seed in range(40):
        found = smooth_calibration(*draw(seed, 300))
        assert found is not None and found.ici_estimate is not None
        lows.append(found.ici_estimate.low)
        highs.append(found.ici_estimate.high)
        assert lows[-1] <= found.ici <= highs[-1]
    assert np.mean(np.asarray(lows) < 0.002) >= 0.85
