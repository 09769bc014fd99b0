"""One label of an evaluation as data: curves, calibration, operating points, the worst cases.

Classes that ignore further keys had more numbers in earlier versions.
"""

# ruff: noqa: RUF012  (pydantic copies a default for every object)

from typing import Literal

from pulmonet.metrics.conformal import ConformalResult
from pulmonet.metrics.estimate import Estimate, Number
from pulmonet.run.record import Record

ErrorKind = Literal["false positive", "false negative"]


class Curve(Record, extra="ignore"):
    """A curve as points, thinned to a few hundred, with a pointwise bootstrap band."""

    x: list[float]
    """False positive rate (ROC) or recall (precision-recall), ascending."""
    y: list[float]
    """True positive rate or precision."""
    threshold: list[Number] = []
    """A row is called positive when its score is at least this; null = never."""
    band_x: list[float] = []
    band_low: list[float] = []
    """Lower end of the pointwise 95 % band at `band_x`."""
    band_high: list[float] = []


class ReliabilityBin(Record):
    """One bin of a reliability diagram: scores from low to high."""

    low: float
    high: float
    n: int
    mean_score: Number
    observed: Number
    """Fraction of positives among its rows."""
    observed_low: Number = None
    """Lower end of the 95 % interval of `observed` (patients resampled)."""
    observed_high: Number = None


class SmoothCalibration(Record, extra="ignore"):
    """Distances from the diagonal of a smooth calibration curve (Austin and Steyerberg 2019)."""

    curve: Curve
    """Observed share of positives over the score, from its 1 % to its 99 % quantile."""
    ici: Number
    """Integrated calibration index: mean distance over the rows."""
    e90: Number
    """90 % quantile of the distances."""
    ici_estimate: Estimate | None = None
    """The same with its 95 % interval, from the curve's covariance; null in older files."""
    e90_estimate: Estimate | None = None


class CalibrationResult(Record, extra="ignore"):
    """How far scores are probabilities; read slope and intercept first."""

    scores: Literal["raw", "calibrated"]
    """Raw scores, or probabilities from the calibrator named in `calibrator`."""
    calibrator: str | None = None
    """platt, temperature or isotonic."""
    fitted_on: str | None = None
    """Rows that the calibrator was fitted on, or how it was cross-fitted."""
    slope: Estimate
    """Slope of target on logit(score); 1 is right, below 1 is too extreme."""
    intercept: Estimate
    """Calibration in the large: intercept at slope 1; 0 is right, below 0 is too high."""
    brier: Estimate
    """Mean squared error of the scores."""
    ece: Number
    """Expected calibration error, 15 bins of equal width."""
    ece_estimate: Estimate | None = None
    """The same with its 95 % interval (patients resampled); null in older files."""
    ece_equal_mass: Number
    """Expected calibration error, 15 bins of equal mass."""
    ece_if_perfect: Estimate
    """ECE (equal width) of a perfectly calibrated model on these rows: mean, 95 % range."""
    ece_equal_mass_if_perfect: Estimate
    bins: list[ReliabilityBin]
    """Bins of equal mass, as the ECE has them."""
    bins_by_n: list[ReliabilityBin] = []
    """Reliability diagram: 2 to 15 bins, on average of 20 rows and 5 of the rarer class."""
    smooth: SmoothCalibration | None = None
    """Null where no finite curve can be fitted."""


class Confusion(Record):
    """Counts of rows."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


class OperatingPoint(Record):
    """What a threshold does on rows that did not choose it."""

    criterion: str
    """youden, f1, sensitivity=0.9, specificity=0.9, ppv=0.5, ..."""
    chosen_on: str
    """Rows that chose the threshold: another split, or cross-fitted by patient."""
    threshold: Number
    """The stored threshold: a row is called positive when its score is at least this. Null of a
    procedure where another split's is stored; else the one that is chosen on all rows, and kept."""
    threshold_estimate: Estimate | None = None
    """One that these rows chose, with its 95 % interval: it is chosen anew in every resample."""
    estimates: Literal["threshold", "procedure"]
    """threshold: the numbers belong to the stored one (chosen on other rows), with intervals of
    patients as clusters; procedure: to choosing one this way (cross-fitted, resampled)."""
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    """Positive predictive value at this dataset's prevalence."""
    npv: Estimate
    """Negative predictive value at this dataset's prevalence."""
    f1: Estimate
    n_resamples: int | None = None
    """Resamples of these intervals: fewer than the others' where many rows choose the threshold
    anew in each."""
    confusion: Confusion
    deployment_prevalence: Number = None
    """Prevalence stated by the user."""
    ppv_at_deployment: Estimate | None = None
    npv_at_deployment: Estimate | None = None
    positive_likelihood_ratio: Estimate | None = None
    """Sensitivity over 1 - specificity; of a stored threshold, as the next one."""
    negative_likelihood_ratio: Estimate | None = None
    """1 - sensitivity over specificity."""
    probability: Number = None
    """Calibrated probability of a score that just reaches the threshold."""
    probability_at_deployment: Number = None
    """The same, moved to `deployment_prevalence` (Saerens et al. 2002)."""
    reason: str | None = None
    """Why there is no threshold."""


class DecisionCurve(Record):
    """Net benefit over threshold probabilities (Vickers and Elkin 2006), calibrated scores."""

    prevalence: float
    """Prevalence that it is drawn at: stated by the user, else the rows' own."""
    threshold_probability: list[float]
    net_benefit: list[Number]
    low: list[Number] = []
    """Lower ends of the pointwise 95 % intervals of `net_benefit` (patients resampled)."""
    high: list[Number] = []
    n_resamples: int | None = None
    """Resamples of these intervals: fewer than the others' on many rows."""
    treat_all: list[float]


class Histogram(Record):
    """Counts of raw scores in equal bins over [0, 1], by reference standard."""

    edges: list[float]
    positives: list[int]
    negatives: list[int]


class WorstCase(Record):
    """A confident error."""

    path: str
    """The image's path in the dataset."""
    patient: str | None
    kind: ErrorKind
    """Scored high though negative, or low though positive, by the reference standard."""
    score: float


class RankingResult(Record):
    """AUROC and average precision of one label."""

    n: int
    """Rows with a known target."""
    positives: int
    auroc: Estimate
    """Patient bootstrap; no interval below 5 positive (or negative) patients."""
    average_precision: Estimate


class LabelResult(RankingResult):
    """One label on the evaluated rows."""

    negatives: int
    n_patients: int
    """Patients with a known target."""
    positive_patients: int
    """Patients with at least one positive row."""
    prevalence: Number
    few_positives: bool
    """Fewer than 20 positive (or negative) patients: intervals of thresholds and calibration may be
    too narrow."""
    reason: str | None = None
    """Why there is no AUROC."""
    auroc_delong: Estimate
    """The same value; DeLong's interval, clustered after Obuchowski where patients repeat."""
    brier: Estimate
    calibration: CalibrationResult | None = None
    """Raw scores."""
    calibrated: CalibrationResult | None = None
    """Calibrated scores; never fitted on the rows that they are judged on."""
    operating_points: list[OperatingPoint] = []
    conformal: ConformalResult | None = None
    """Rule out, rule in or undecided, with a guarantee."""
    roc: Curve | None = None
    precision_recall: Curve | None = None
    score_range: tuple[float, float] | None = None
    """Lowest and highest raw score."""
    histogram: Histogram | None = None
    decision_curve: DecisionCurve | None = None
    worst_cases: list[WorstCase] = []
    """Highest scores of negative rows, lowest of positive ones, at most one a patient."""

    def counted(self) -> str:
        """``30 of 186 positive``, with a star where `few_positives`."""
        return f"{self.positives:,} of {self.n:,} positive{' *' * self.few_positives}"

    def contradictions(self) -> dict[int, WorstCase]:
        """The worst cases on the wrong side of the first threshold, by their place from 1."""
        cut = self.operating_points[0].threshold if self.operating_points else None
        if cut is None:
            return {}
        cut = float(f"{cut:.9g}")  # as scores are written: the one it was taken from reaches it
        return {
            place: case
            for place, case in enumerate(self.worst_cases, 1)
            if (case.score >= cut) == (case.kind == "false positive")
        }
