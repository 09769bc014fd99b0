"""Calibration: maps that make a score a probability, and what a run keeps of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import ndtri

from pulmonet.arrays import Array, Floats, Ints
from pulmonet.choices import CalibratorKind
from pulmonet.metrics.calibration.logistic import fit_logistic, logit, sigmoid
from pulmonet.metrics.conformal import Conformal
from pulmonet.metrics.estimate import Estimate, Number
from pulmonet.metrics.ranking.auc import check_scores
from pulmonet.metrics.ranking.resamples import LabelRows
from pulmonet.run.record import Record, read_model

#: Positive, and negative, patients that a threshold must have been chosen on to judge an image.
MIN_PATIENTS = 10

#: Isotonic regression overfits below about this many positives (Niculescu-Mizil, Caruana 2005).
ISOTONIC_MIN_POSITIVES = 100


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

    def apply(self, scores: Floats) -> Array:
        """Probabilities (N,) of scores (N,) in [0, 1]."""
        values = np.asarray(scores, dtype=np.float64)
        check_scores(values)
        if self.kind == "isotonic":
            return np.interp(values, self.x, self.y)
        return sigmoid(self.intercept + self.slope * logit(values))


class LabelCalibration(Record):
    """Calibrator and thresholds of one label."""

    calibrator: Calibrator | None
    prevalence: float | None
    """Fraction of positives among the rows fitted on; null of published thresholds."""
    n: int
    positives: int
    thresholds: dict[str, Number]
    """Per criterion (youden, f1, sensitivity=0.9, ...): positive when score >= threshold."""
    positive_patients: int | None = None
    """Patients with a positive row among those; null in files of earlier versions."""
    negative_patients: int | None = None
    """Patients with a negative row."""
    auroc: Estimate | None = None
    """On the rows that chose the thresholds, with its 95 % interval."""
    conformal: Conformal | None = None
    """Thresholds with a guarantee; null in files of earlier versions, and of published ones."""

    def why_too_few(self) -> str | None:
        """Why these rows cannot settle a threshold, whatever the AUROC; None where they can."""
        positive, negative = self.positive_patients, self.negative_patients
        if positive is None or negative is None or self.auroc is None:
            return "threshold of an earlier version; run `pulmonet evaluate` again"
        if min(positive, negative) < MIN_PATIENTS:
            what = f"threshold chosen on {positive:,} positive"
            return f"{what} and {negative:,} negative patients ({MIN_PATIENTS} of each needed)"
        return None

    def why_chance(self, n_labels: int) -> str | None:
        """Why the AUROC may be that of guessing; None where it is significantly above 0.5.

        Its interval has to lie above 0.5. So that a useless network of many labels passes in none,
        the AUROC also has to lie above `highest_by_chance`, with patients as units.
        """
        found, p, n = self.auroc, self.positive_patients, self.negative_patients
        assert found is not None and p and n
        value, low = found.value or 0.0, found.low or 0.0
        if low > 0.5 and value > highest_by_chance(p, n, n_labels):
            return None
        among = f" among {n_labels} labels" if low > 0.5 and n_labels > 1 else ""
        return f"AUROC {found.text()} is not significantly above 0.5{among}"


def highest_by_chance(positives: int, negatives: int, n_labels: int) -> float:
    """The AUROC that none of `n_labels` useless labels exceeds in 97.5 % of datasets.

    Bonferroni's quantile at the null variance of Mann and Whitney (1947), (P + N + 1) / 12PN.
    """
    variance = (positives + negatives + 1) / (12 * positives * negatives)
    return float(0.5 - ndtri(0.025 / n_labels) * variance**0.5)


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
    scores_of: str | None = None
    """Of a file of scores its SHA-256, or the NAME that it was given; null = a run's."""
    rows: tuple[str, ...] = ()
    """Digests of the paths and patients fitted on, salted with the model's; none in older files."""
    dataset_fingerprint: str | None = None
    """Of the dataset then; null where it is not known."""
    labels: dict[str, LabelCalibration]
    left_out: dict[str, str] = {}  # noqa: RUF012
    """Labels without thresholds, with the reason."""
    published: str | None = None
    """Who published the thresholds with the network; null = they were chosen on the rows above."""

    def threshold_of_verdicts(self, label: str) -> tuple[float | None, str | None]:
        """Youden's threshold where it can be relied on; and why it cannot, or whose it is.

        Each verdict of an image that PulmoNet gives is from here.
        """
        entry = self.labels.get(label)
        if entry is None:
            why = self.left_out.get(label, "not among the labels evaluated")
            return None, f"no threshold: {why}"
        if (threshold := entry.thresholds.get("youden")) is None:
            return None, "no threshold (Youden's); `pulmonet evaluate` without --threshold"
        if self.published:
            return threshold, f"threshold published by {self.published}"
        able = [one for one in self.labels.values() if one.why_too_few() is None]
        reason = entry.why_too_few() or entry.why_chance(len(able))
        return threshold if reason is None else None, reason


def read_calibration(path: Path) -> Calibration | None:
    """Read a run's ``calibration.json``; None where there is none. ArtifactError: damaged."""
    remedy = "delete it and run `pulmonet evaluate` again"
    return read_model(path, Calibration, "a calibration", remedy) if path.exists() else None


def fit_calibrator(targets: Floats, scores: Floats, kind: CalibratorKind = "platt") -> Calibrator:
    """Fit one label's calibrator on targets (N,) 1 or 0, both present, and scores (N,) in [0, 1].

    Platt's is logistic on the logit, with his smoothed targets (Platt 1999), so that it stays
    finite on few rows; its slope and intercept also undo a pos_weight. Temperature fits the
    slope alone (Guo et al. 2017), on smoothed targets only where no finite slope fits the others.
    Isotonic falls back to Platt below 100 positives.
    """
    values = np.asarray(targets, dtype=np.float64)
    n_positive = int(values.sum())
    n_negative = len(values) - n_positive
    if kind == "isotonic" and n_positive >= ISOTONIC_MIN_POSITIVES:
        return _fit_isotonic(values, np.asarray(scores, dtype=np.float64))
    smoothed = np.where(values == 1, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    logits = logit(scores)
    if kind == "temperature":
        right = (2 * values - 1) * logits
        is_finite = right.min() < 0 < right.max()
        fit = fit_logistic(logits[:, None], values if is_finite else smoothed)
        return Calibrator(kind="temperature", slope=float(fit.coefficients[0]))
    fit = fit_logistic(np.stack([np.ones_like(logits), logits], axis=1), smoothed)
    intercept, slope = fit.coefficients
    return Calibrator(kind="platt", intercept=float(intercept), slope=float(slope))


def _fit_isotonic(targets: Array, scores: Array) -> Calibrator:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, targets)
    x, y = (tuple(knots.tolist()) for knots in (model.X_thresholds_, model.y_thresholds_))
    return Calibrator(kind="isotonic", x=x, y=y)


def patient_folds(targets: Floats, units: Ints, n_folds: int = 5, seed: int = 0) -> Ints:
    """(U,) fold of each patient; patients with a positive are dealt out evenly.

    `targets` (N,) are 1, 0 or NaN of one label, `units` (N,) patient numbers.
    """
    n_units = int(units.max()) + 1
    has_positive = np.bincount(units, weights=np.asarray(targets) == 1, minlength=n_units) > 0
    order = np.random.default_rng([seed, n_units, n_folds]).permutation(n_units)
    order = order[np.argsort(~has_positive[order], kind="stable")]
    folds = np.empty(n_units, dtype=np.int64)
    folds[order] = np.arange(n_units) % n_folds
    return folds


def cross_fitted(
    rows: LabelRows, fit: Callable[[Array, Array], Callable[[Array], NDArray[Any]] | None]
) -> Array | None:
    """(N,) values, each from a function that was fitted on targets and scores of other patients.

    Returns:
        None where one of five folds leaves nothing to fit on (`fit` gives None).
    """
    folds = patient_folds(rows.targets, rows.units, seed=rows.resamples.seed)[rows.units]
    values = np.empty(len(rows.scores))
    for fold in np.unique(folds):
        fitting = folds != fold
        fitted = fit(rows.targets[fitting], rows.scores[fitting])
        if fitted is None:
            return None
        values[~fitting] = fitted(rows.scores[~fitting])
    return values


def cross_fit(rows: LabelRows, kind: CalibratorKind = "platt") -> Array | None:
    """(N,) probabilities, each from a calibrator that has not seen the patient."""

    def fit(targets: Array, scores: Array) -> Callable[[Array], Array] | None:
        return fit_calibrator(targets, scores, kind).apply if len(np.unique(targets)) > 1 else None

    return cross_fitted(rows, fit)


def to_prevalence(probabilities: Array, fitted: float, wanted: float) -> Array:
    """Probabilities (N,) moved from one prevalence, in (0, 1), to another (Saerens et al. 2002).

    Assumes that images of either class look the same in both places.
    """
    shift = logit(np.asarray([wanted]))[0] - logit(np.asarray([fitted]))[0]
    return sigmoid(logit(probabilities, clip=1e-12) + shift)
