"""The evaluation as data: pydantic models of ``evaluation_*.json`` and ``evaluate --json``.

A number that does not exist (one class only, too few rows) is null and has its reason beside
it; nothing is ever filled in. Scores, probabilities and prevalences are in [0, 1].
"""

# ruff: noqa: RUF012  (pydantic copies a default for every object)

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from pydantic import Field

from pulmonet.choices import COMBINATIONS, TTA_VIEWS, Level, StudyRule, Tta
from pulmonet.metrics.estimate import BootstrapFacts, Estimate, Number
from pulmonet.run.record import Record, SeenBefore, read_model
from pulmonet.words import count, macro_auroc

Metric = Literal["auroc", "average_precision"]
ErrorKind = Literal["false positive", "false negative"]


class Curve(Record):
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
    band_resamples: int | None = None
    """Resamples that the band was made of: fewer than the intervals' on many rows."""


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


class CalibrationResult(Record):
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
    ece_equal_mass: Number
    """Expected calibration error, 15 bins of equal mass."""
    ece_simulations: int | None = None
    """Datasets drawn for the two values below: 1,000, fewer above 20,000 rows."""
    ece_if_perfect: Estimate
    """ECE (equal width) of a perfectly calibrated model on these rows: mean, 95 % range."""
    ece_equal_mass_if_perfect: Estimate
    ece_debiased: Number
    """Root of the squared ECE (equal mass) less that of a perfect model's, at least 0."""
    bins: list[ReliabilityBin]
    """Reliability diagram, bins of equal mass."""
    bins_equal_width: list[ReliabilityBin] = []
    """Reliability diagram, bins of equal width; empty bins left out."""


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
    """The stored threshold: a row is called positive when its score is at least this."""
    estimates: Literal["threshold", "procedure"]
    """threshold: the numbers belong to the stored one (chosen on other rows); procedure: to
    choosing it this way (cross-fitted; the stored one is chosen once more on all rows)."""
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
    reason: str | None = None
    """Why there is no threshold."""


class DecisionCurve(Record):
    """Net benefit over threshold probabilities (Vickers and Elkin 2006), calibrated scores."""

    prevalence: float
    """Prevalence that it is drawn at: stated by the user, else the rows' own."""
    threshold_probability: list[float]
    net_benefit: list[Number]
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


class LabelResult(Record):
    """One label on the evaluated rows."""

    n: int
    """Rows with a known target."""
    positives: int
    negatives: int
    n_patients: int
    """Patients with a known target."""
    positive_patients: int
    """Patients with at least one positive row."""
    prevalence: Number
    few_positives: bool
    """Fewer than 20 positive (or negative) patients: the interval may be too narrow, see docs."""
    reason: str | None = None
    """Why there is no AUROC."""
    auroc: Estimate
    """Patient bootstrap; no interval below 5 positive (or negative) patients."""
    auroc_delong: Estimate
    """The same value; DeLong's interval, clustered after Obuchowski where patients repeat."""
    average_precision: Estimate
    brier: Estimate
    calibration: CalibrationResult | None = None
    """Raw scores."""
    calibrated: CalibrationResult | None = None
    """Calibrated scores; never fitted on the rows that they are judged on."""
    operating_points: list[OperatingPoint] = []
    roc: Curve | None = None
    precision_recall: Curve | None = None
    histogram: Histogram | None = None
    decision_curve: DecisionCurve | None = None
    worst_cases: list[WorstCase] = []


class MacroResult(Record):
    """Mean over labels with 5 positive and negative patients; with both classes where none has."""

    auroc: Estimate
    average_precision: Estimate
    n_labels: int
    labels: list[str]
    left_out: dict[str, str] = {}
    """With the reason."""

    def counted(self) -> str:
        """``5 labels``, or ``4 of 5 labels`` where one has too few positives or negatives."""
        n_all = self.n_labels + len(self.left_out)
        return f"{self.n_labels} of {n_all} labels" if self.left_out else count(n_all, "label")

    def auroc_name(self) -> str:
        """``macro AUROC``, or ``macro AUROC of 4 of 5 labels``."""
        return macro_auroc(self.n_labels, self.n_labels + len(self.left_out))


class SubgroupLabel(Record):
    """One label in one group, beside all other rows."""

    n: int
    positives: int
    reason: str | None = None
    """Why nothing is scored here."""
    auroc: Estimate | None = None
    auroc_gap: Estimate | None = None
    """AUROC in the group less AUROC in the rest."""
    sensitivity: Estimate | None = None
    sensitivity_gap: Estimate | None = None
    """At the first operating point, group less rest."""
    specificity: Estimate | None = None
    specificity_gap: Estimate | None = None
    calibration_slope: Estimate | None = None


class Subgroup(Record):
    """One value of one column."""

    column: str
    group: str
    n_rows: int
    n_patients: int
    n_resamples: int | None = None
    """Resamples of the intervals here: fewer than the others' on many rows."""
    labels: dict[str, SubgroupLabel]
    underdiagnosis: Estimate | None = None
    """Rows with a disease of which none was called (Seyyed-Kalantari et al. 2021)."""
    underdiagnosis_gap: Estimate | None = None


class RankingResult(Record):
    """AUROC and average precision of one label, no more."""

    n: int
    positives: int
    auroc: Estimate
    average_precision: Estimate


class StudyLevel(Record):
    """The same scores joined per study."""

    rule: StudyRule
    """max (CheXpert's) or mean over a study's images; a study is positive if an image is."""
    n_studies: int
    labels: dict[str, RankingResult]
    macro: MacroResult


class Baseline(Record):
    """A logistic model on view, age and sex: what can be predicted without the image."""

    features: list[str]
    fitted_on: str
    n_rows_fitted: int
    labels: dict[str, RankingResult]
    macro: MacroResult


class Shift(Record):
    """How the evaluated rows differ from the training rows; pairs are (training, here)."""

    notes: list[str]
    """Sentences, the largest differences first."""
    prevalence: dict[str, tuple[Number, Number]] = {}
    mean_age_years: tuple[Number, Number] = (None, None)
    views: dict[str, tuple[Number, Number]] = {}
    """Fraction of rows per view."""
    sex: dict[str, tuple[Number, Number]] = {}
    """Fraction of rows per sex."""


class RunResult(Record):
    """One run (or predictions file) on one split of one dataset."""

    run: str
    dataset: str
    split: str
    level: Level
    n_rows: int
    """Images, or studies at study level."""
    n_patients: int
    n_studies: int | None = None
    synthetic: bool = False
    """Whether the images are phantoms."""
    rows_used_for: list[str] = []
    """What these rows decided before: checkpoint selection; empty = nothing."""
    blank: str = "zeros"
    """What a blank label counted as: zeros or ignore."""
    views: str = "all"
    bootstrap: BootstrapFacts
    labels: dict[str, LabelResult]
    macro: MacroResult
    group_letters: str = ""
    """Compact letters: runs that share one are not significantly different in macro AUROC."""
    baseline: Baseline | None = None
    study: StudyLevel | None = None
    """Beside the image level, where studies have several images."""
    subgroups: list[Subgroup] = []
    shift: Shift | None = None
    combines: Literal["ensemble", "out-of-fold"] | None = None
    """ensemble: each row's score is the mean over `members`; out-of-fold: each row was scored by
    the one of `members` whose validation fold it is in; null = a run, or a file of scores."""
    members: list[str] = []
    """The runs (or files) combined."""
    tta: Tta = "none"
    """Test-time augmentation: the views of each image that its score is the mean over."""
    checkpoint_sha256: str | None = None
    """Of best_model.pth; of several members the SHA-256 of their digests, sorted, one a line."""
    predictions_sha256: str | None = None
    """Of the predictions CSV beside it that this was computed from."""
    dataset_fingerprint: str | None = None
    same_data_as_training: bool | None = None
    """Whether the fingerprint equals the training's; null = unknown."""
    external: bool | None = None
    """Whether this is another dataset, of which the run was trained on nothing; null = unknown."""
    seen: SeenBefore | None = None
    """What was trained on, by the digests beside the run; null = it has none."""
    one_class_in_training: dict[str, str] = {}
    """Labels without a positive, a negative or any known value in training -> what is missing."""
    notes: list[str] = []

    def label_notes(self) -> list[str]:
        """Labels that the macro leaves out, and those of which nothing could be learned."""
        untrained = self.one_class_in_training.items()
        left_out = "; ".join(f"{label}: {why}" for label, why in self.macro.left_out.items())
        unknown = "; ".join(f"{name}: {why}" for name, why in untrained if name in self.labels)
        notes = [f"{self.macro.auroc_name()} ({left_out})"] if left_out else []
        return notes + [f"nothing could be learned in training of {unknown}"] * bool(unknown)

    def is_external(self, trained_on: Collection[str]) -> bool:
        """Whether this is external testing; by the names of datasets where nothing else tells."""
        if self.external is None:
            return self.dataset not in trained_on and not self.same_data_as_training
        return self.external

    def combination_text(self) -> str:
        """What the scores are made of: ``mean of the scores of a, b``; empty for a plain run."""
        views = "" if self.tta == "none" else f"{TTA_VIEWS[self.tta]} views of each image"
        if self.combines is None:
            return views
        return f"{COMBINATIONS[self.combines]}{', '.join(self.members)}" + (views and f"; {views}")


class Comparison(Record):
    """Run a less run b on the same rows and the same resamples."""

    a: str
    b: str
    metric: Metric
    label: str | None
    """null for the macro."""
    difference: Number
    low: Number
    """Simultaneous 95 % interval (max-t): over all pairs in macro AUROC; over all of the others."""
    high: Number
    p: Number
    """Bootstrap p of this difference alone."""
    p_adjusted: Number = None
    """Max-t p over the family: at most 0.05 where the interval leaves out 0."""
    p_holm: Number = None
    """In older files only."""
    p_delong: Number = None
    """DeLong's paired test (clustered), per label, as a cross-check."""
    distinguished: bool
    """Whether the simultaneous interval leaves out 0."""
    a_sha256: str | None = None
    """Of the weights that were compared."""
    b_sha256: str | None = None


class Evaluation(Record):
    """The document: ``evaluation_*.json`` and the output of ``evaluate --json``."""

    schema_version: Literal[1] = Field(default=1, alias="schema", serialization_alias="schema")
    runs: list[RunResult]
    comparisons: list[Comparison] = []


def read_evaluation(path: Path) -> Evaluation:
    """evaluation_*.json, or an ArtifactError."""
    return read_model(path, Evaluation, "an evaluation", "run `pulmonet evaluate` again")
