"""Calibration: how far a score is a probability, and maps that make it one.

Slope and intercept come first (Van Calster et al. 2016); ECE stands beside what a perfectly
calibrated model would show at the same n, because on few rows it is never near zero.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from scipy.special import ndtri

from pulmonet.artifacts import Record
from pulmonet.errors import ArtifactError
from pulmonet.metrics.intervals import PatientResamples, percentile_interval
from pulmonet.metrics.logistic import fit_logistic, logit, sigmoid
from pulmonet.metrics.ranking import check_scores
from pulmonet.metrics.results import CalibrationResult, Estimate, Number, ReliabilityBin

N_BINS = 15
#: Isotonic regression overfits below about this many positives (Niculescu-Mizil, Caruana 2005).
ISOTONIC_MIN_POSITIVES = 100

CalibratorKind = Literal["platt", "temperature", "isotonic"]


class Calibrator(Record):
    """A map from score to probability for one label."""

    kind: CalibratorKind
    """platt and temperature: sigmoid(intercept + slope * logit(score)); isotonic: steps."""
    intercept: float = 0.0
    slope: float = 1.0
    x: tuple[float, ...] = ()
    """Scores at the knots (isotonic), ascending."""
    y: tuple[float, ...] = ()
    """Probabilities at the knots; straight lines between."""

    def apply(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probabilities (N,) of scores (N,) in [0, 1]."""
        values = np.asarray(scores, dtype=np.float64)
        check_scores(values)
        if self.kind == "isotonic":
            return np.interp(values, self.x, self.y)
        return sigmoid(self.intercept + self.slope * logit(values))


class LabelCalibration(Record):
    """Calibrator and thresholds of one label."""

    calibrator: Calibrator | None
    prevalence: float
    """Share of positives among the rows fitted on."""
    n: int
    positives: int
    thresholds: dict[str, Number]
    """Per criterion (youden, f1, sensitivity=0.9, ...): positive when score >= threshold."""


class Calibration(Record):
    """``calibration.json``: what turns a run's scores into probabilities and decisions."""

    schema_version: Literal[1] = Field(default=1, alias="schema", serialization_alias="schema")
    fitted_on: str
    """Rows: dataset and split."""
    dataset: str
    split: str
    n_rows: int
    n_patients: int
    checkpoint_sha256: str | None = None
    """The checkpoint whose scores were used; other weights need another calibration."""
    labels: dict[str, LabelCalibration]

    def probability(
        self, label: str, score: float, *, prevalence: float | None = None
    ) -> float | None:
        """Calibrated probability of one score.

        Args:
            label: one of `labels`.
            score: raw score in [0, 1].
            prevalence: where the image comes from; None takes that of the rows fitted on.

        Returns:
            The probability; None where the label has no calibrator.
        """
        entry = self.labels.get(label)
        if entry is None or entry.calibrator is None:
            return None
        value = entry.calibrator.apply(np.asarray([score]))
        if prevalence is not None:
            value = to_prevalence(value, entry.prevalence, prevalence)
        return float(value[0])

    def threshold(self, label: str, criterion: str = "youden") -> float | None:
        """Threshold on the raw score, or None where there is none."""
        entry = self.labels.get(label)
        return None if entry is None else entry.thresholds.get(criterion)


def read_calibration(path: Path) -> Calibration | None:
    """Read a run's ``calibration.json``; None where there is none.

    Raises:
        ArtifactError: damaged.
    """
    try:
        return Calibration.model_validate(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise ArtifactError(
            f"{path}: not a calibration ({str(error).splitlines()[0]}); "
            "delete it and run `pulmonet evaluate` again"
        ) from None


def fit_calibrator(
    targets: NDArray[np.floating], scores: NDArray[np.floating], kind: CalibratorKind = "platt"
) -> Calibrator:
    """Fit one label's calibrator.

    Platt's is logistic on the logit, with his smoothed targets (Platt 1999), so that it stays
    finite on few rows; its slope and intercept also undo a pos_weight. Temperature fits the
    slope alone (Guo et al. 2017). Isotonic falls back to Platt below 100 positives.

    Args:
        targets: (N,) 1 or 0, both present.
        scores: (N,) in [0, 1].
        kind: platt, temperature or isotonic.
    """
    values = np.asarray(targets, dtype=np.float64)
    n_positive = int(values.sum())
    n_negative = len(values) - n_positive
    if kind == "isotonic" and n_positive >= ISOTONIC_MIN_POSITIVES:
        return _fit_isotonic(values, np.asarray(scores, dtype=np.float64))
    smoothed = np.where(values == 1, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    logits = logit(scores)
    if kind == "temperature":
        fit = fit_logistic(logits[:, None], smoothed)
        return Calibrator(kind="temperature", slope=float(fit.coefficients[0]))
    fit = fit_logistic(np.stack([np.ones_like(logits), logits], axis=1), smoothed)
    intercept, slope = fit.coefficients
    return Calibrator(kind="platt", intercept=float(intercept), slope=float(slope))


def _fit_isotonic(targets: NDArray[np.float64], scores: NDArray[np.float64]) -> Calibrator:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, targets)
    return Calibrator(
        kind="isotonic",
        x=tuple(float(value) for value in model.X_thresholds_),
        y=tuple(float(value) for value in model.y_thresholds_),
    )


def patient_folds(
    targets: NDArray[np.floating], units: NDArray[np.int64], n_folds: int = 5, seed: int = 0
) -> NDArray[np.int64]:
    """(U,) fold of each patient; patients with a positive are dealt out evenly.

    Args:
        targets: (N,) 1, 0 or NaN of one label.
        units: (N,) patient numbers.
        n_folds: folds.
        seed: of the shuffle.
    """
    n_units = int(units.max()) + 1
    has_positive = np.bincount(units, weights=np.asarray(targets) == 1, minlength=n_units) > 0
    order = np.random.default_rng([seed, n_units, n_folds]).permutation(n_units)
    order = order[np.argsort(~has_positive[order], kind="stable")]
    folds = np.empty(n_units, dtype=np.int64)
    folds[order] = np.arange(n_units) % n_folds
    return folds


def cross_fit(
    targets: NDArray[np.floating],
    scores: NDArray[np.floating],
    units: NDArray[np.int64],
    kind: CalibratorKind = "platt",
    *,
    seed: int = 0,
) -> NDArray[np.float64] | None:
    """Probabilities (N,), each from a calibrator that has not seen the patient.

    Args:
        targets: (N,) 1 or 0.
        scores: (N,) in [0, 1].
        units: (N,) patient numbers.
        kind: of calibrator.
        seed: of the folds.

    Returns:
        None where some fold leaves one class only for fitting.
    """
    folds = patient_folds(targets, units, seed=seed)[units]
    probabilities = np.empty(len(scores))
    for fold in np.unique(folds):
        fitting = folds != fold
        if len(np.unique(targets[fitting])) < 2:
            return None
        calibrator = fit_calibrator(targets[fitting], scores[fitting], kind)
        probabilities[~fitting] = calibrator.apply(scores[~fitting])
    return probabilities


def to_prevalence(
    probabilities: NDArray[np.float64], fitted: float, wanted: float
) -> NDArray[np.float64]:
    """Probabilities moved from one prevalence to another (Saerens et al. 2002).

    Assumes that images of either class look the same in both places.

    Args:
        probabilities: (N,) calibrated at prevalence `fitted`.
        fitted: prevalence where the calibrator was fitted, in (0, 1).
        wanted: prevalence to move to, in (0, 1).
    """
    shift = logit(np.asarray([wanted]))[0] - logit(np.asarray([fitted]))[0]
    return sigmoid(logit(probabilities, clip=1e-12) + shift)


# --- measuring ------------------------------------------------------------------------------


def slope_and_intercept(
    targets: NDArray[np.floating],
    scores: NDArray[np.floating],
    units: NDArray[np.int64],
    confidence: float = 0.95,
) -> tuple[Estimate, Estimate]:
    """Calibration slope, and intercept at slope 1, with patient-clustered intervals.

    Args:
        targets: (N,) 1 or 0.
        scores: (N,) in [0, 1].
        units: (N,) patient numbers.
        confidence: level.
    """
    values = np.asarray(targets, dtype=np.float64)
    logits = logit(scores)
    ones = np.ones((len(values), 1))
    if np.ptp(logits) < 1e-12:
        slope = Estimate(value=None, reason="all scores are equal")
    else:
        fit = fit_logistic(np.column_stack([ones, logits]), values, units=units)
        slope = _wald(fit.coefficients[1], fit.covariance[1, 1], confidence)
        if not fit.converged:
            slope = Estimate(value=None, reason="the scores separate the classes")
    large = fit_logistic(ones, values, offset=logits, units=units)
    return slope, _wald(large.coefficients[0], large.covariance[0, 0], confidence)


def _wald(value: float, variance: float, confidence: float) -> Estimate:
    half = float(ndtri(0.5 + confidence / 2)) * float(np.sqrt(variance))
    return Estimate(value=float(value), low=float(value) - half, high=float(value) + half)


def bin_numbers(scores: NDArray[np.float64], *, equal_mass: bool) -> NDArray[np.int64]:
    """(N,) bin 0..14 of each score: equal width (last bin closed), or equal mass by rank.

    Equal scores share a bin.
    """
    if not equal_mass:
        return np.minimum((scores * N_BINS).astype(np.int64), N_BINS - 1)
    ordered = np.sort(scores)
    middle = (
        np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right") - 1
    ) / 2
    return np.minimum((middle * N_BINS / len(scores)).astype(np.int64), N_BINS - 1)


def expected_calibration_error(
    targets: NDArray[np.floating], scores: NDArray[np.floating], *, equal_mass: bool = False
) -> float:
    """ECE with 15 bins: mean over rows of |observed share - mean score| of the row's bin.

    Args:
        targets: (N,) 1 or 0.
        scores: (N,) in [0, 1].
        equal_mass: bins of equal row counts instead of equal width.
    """
    values = np.asarray(scores, dtype=np.float64)
    bins = bin_numbers(values, equal_mass=equal_mass)
    difference = np.bincount(bins, np.asarray(targets, np.float64) - values, minlength=N_BINS)
    return float(np.abs(difference).sum() / len(values))


def n_ece_simulations(n_rows: int, wanted: int = 1000) -> int:
    """Datasets that `ece_if_perfect` draws: fewer above 20,000 rows, where they differ less."""
    return int(np.clip(2e7 // max(n_rows, 1), 100, wanted))


def ece_if_perfect(
    scores: NDArray[np.float64], *, equal_mass: bool, n_simulations: int = 1000, seed: int = 0
) -> Estimate:
    """Mean and 95 % range of the ECE that a perfectly calibrated model shows on these scores.

    Targets are drawn from the scores; far above 20,000 rows fewer simulations are drawn.
    """
    generator = np.random.default_rng([seed, len(scores)])
    n_draws = n_ece_simulations(len(scores), n_simulations)
    bins = bin_numbers(scores, equal_mass=equal_mass)
    order = np.argsort(bins, kind="stable")
    starts = np.unique(bins[order], return_index=True)[1]
    ordered = scores[order]
    expected = np.add.reduceat(ordered, starts)
    values = np.empty(n_draws)
    for draw in range(n_draws):
        positives = generator.random(len(ordered)) < ordered
        drawn = np.add.reduceat(positives, starts, dtype=np.float64)
        values[draw] = np.abs(drawn - expected).sum() / len(ordered)
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(value=float(values.mean()), low=float(low), high=float(high))


def unit_sums(
    values: NDArray[np.floating], units: NDArray[np.int64], n_units: int
) -> NDArray[np.float64]:
    """(U, K) sums over each unit's rows of values (N, K)."""
    return np.stack(
        [np.bincount(units, weights=column, minlength=n_units) for column in values.T], axis=1
    )


def resampled_sums(resamples: PatientResamples, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R, K) totals of per-unit sums (U, K) under every resample."""
    return np.concatenate(
        [weights.astype(np.float64) @ sums for weights in resamples.blocks(8 * len(sums))]
    )


def measure_calibration(
    targets: NDArray[np.floating],
    scores: NDArray[np.floating],
    units: NDArray[np.int64],
    resamples: PatientResamples,
    *,
    calibrator: str | None = None,
    fitted_on: str | None = None,
    seed: int = 0,
) -> CalibrationResult:
    """Everything about one label's calibration.

    Args:
        targets: (N,) 1 or 0, both present.
        scores: (N,) raw scores, or probabilities when `calibrator` is named.
        units: (N,) patient numbers, as in `resamples`.
        resamples: for the intervals of Brier score and bins.
        calibrator: kind that made the probabilities; None for raw scores.
        fitted_on: rows that fitted it.
        seed: of the simulations.
    """
    values = np.asarray(scores, dtype=np.float64)
    check_scores(values)
    truth = np.asarray(targets, dtype=np.float64)
    slope, intercept = slope_and_intercept(truth, values, units)
    perfect = ece_if_perfect(values, equal_mass=False, seed=seed)
    perfect_mass = ece_if_perfect(values, equal_mass=True, seed=seed)
    ece_mass = expected_calibration_error(truth, values, equal_mass=True)
    brier, bins, bins_equal_width = _resampled_means(truth, values, units, resamples)
    return CalibrationResult(
        scores="raw" if calibrator is None else "calibrated",
        calibrator=calibrator,
        fitted_on=fitted_on,
        slope=slope,
        intercept=intercept,
        brier=brier,
        ece=expected_calibration_error(truth, values),
        ece_equal_mass=ece_mass,
        ece_simulations=n_ece_simulations(len(values)),
        ece_if_perfect=perfect,
        ece_equal_mass_if_perfect=perfect_mass,
        ece_debiased=max(ece_mass - (perfect_mass.value or 0.0), 0.0),
        bins=bins,
        bins_equal_width=bins_equal_width,
    )


def _resampled_means(
    targets: NDArray[np.float64],
    scores: NDArray[np.float64],
    units: NDArray[np.int64],
    resamples: PatientResamples,
) -> tuple[Estimate, list[ReliabilityBin], list[ReliabilityBin]]:
    """Brier score and the bins of equal mass and of equal width, in one pass of the resamples."""
    errors = (scores - targets) ** 2
    columns = [np.stack([errors, np.ones_like(errors)], axis=1)]
    members = []
    for equal_mass in (True, False):
        bins = bin_numbers(scores, equal_mass=equal_mass)
        member = bins[:, None] == np.unique(bins)
        members.append(member)
        columns += [member * targets[:, None], member.astype(np.float64)]
    sums = unit_sums(np.concatenate(columns, axis=1), units, resamples.n_units)
    ends = np.cumsum([column.shape[1] for column in columns])[:-1]
    totals = np.split(resampled_sums(resamples, sums), ends, axis=1)
    low, high = percentile_interval(totals[0][:, 0] / np.maximum(totals[0][:, 1], 1))
    brier = Estimate(value=float(errors.mean()), low=low, high=high)
    mass, width = (
        _reliability_bins(targets, scores, member, totals[1 + 2 * at], totals[2 + 2 * at])
        for at, member in enumerate(members)
    )
    return brier, mass, width


def _reliability_bins(
    targets: NDArray[np.float64],
    scores: NDArray[np.float64],
    member: NDArray[np.bool_],
    positives: NDArray[np.float64],
    counts: NDArray[np.float64],
) -> list[ReliabilityBin]:
    """Bins (N, K) with intervals of the observed share from resampled positives and rows (R, K)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(counts > 0, positives / counts, np.nan)
    result = []
    for column, inside in enumerate(member.T):
        here = scores[inside]
        low, high = percentile_interval(shares[:, column])
        result.append(
            ReliabilityBin(
                low=float(here.min()),
                high=float(here.max()),
                n=len(here),
                mean_score=float(here.mean()),
                observed=float(targets[inside].mean()),
                observed_low=low,
                observed_high=high,
            )
        )
    return result
