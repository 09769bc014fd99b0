"""From saved predictions to the whole result of one run: no images, no network, no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Array, Flags, Ints
from pulmonet.metrics.calibration import fit
from pulmonet.metrics.calibration.measures import measure_calibration
from pulmonet.metrics.conformal import ConformalResult, choose_conformal, judge_conformal
from pulmonet.metrics.curves import curves, histogram, worst_cases
from pulmonet.metrics.decision import decision_curve
from pulmonet.metrics.estimate import BootstrapFacts, Estimate, without_intervals
from pulmonet.metrics.label_result import LabelResult, OperatingPoint, RankingResult
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.ranking.auc import why_not_scored
from pulmonet.metrics.ranking.delong import delong
from pulmonet.metrics.ranking.intervals import rank_all
from pulmonet.metrics.ranking.resamples import (
    LabelRows,
    PatientResamples,
    class_patients,
    number_units,
    why_no_interval,
)
from pulmonet.metrics.results import RunResult, StudyLevel, Subgroup
from pulmonet.metrics.studies import join_studies
from pulmonet.metrics.subgroups import SubgroupInput, choose_columns, subgroups
from pulmonet.metrics.thresholds import choose_threshold, cross_fitted_calls, operating_points
from pulmonet.run.predictions import Predictions

#: Below this many positive (or negative) patients percentile intervals are too narrow, such as
#: those of thresholds and calibration (docs/experiments/evaluation-statistics.md).
FEW_PATIENTS = 20


def evaluate_predictions(
    predictions: Predictions,
    options: EvaluationOptions | None = None,
    *,
    stored: fit.Calibration | None = None,
    facts: Mapping[str, Any] | None = None,
) -> RunResult:
    """Everything about one run on one split.

    Args:
        predictions: scores and targets, images as rows.
        options: how.
        stored: calibrators and thresholds fitted on other patients; None cross-fits on these.
        facts: further fields of `RunResult` (provenance, notes).

    Returns:
        The result, without comparison letters and baseline.

    Raises:
        ConfigError: an unknown subgroup column; study level without studies.
    """
    options = options or EvaluationOptions()
    images = predictions
    if options.level == "study":
        predictions = join_studies(images, options.study_rule)
    units = number_units(predictions.patients, len(predictions.paths))
    ranked = rank_all(predictions, options)
    labels: dict[str, LabelResult] = {}
    calls: dict[str, Flags] = {}
    calibrated: dict[str, Array] = {}
    for column, (label, ranking) in enumerate(ranked.by_label(predictions).items()):
        found = _label_result(predictions, column, units, ranking, options, stored)
        labels[label], called, probabilities = found
        if called is not None:
            calls[label] = called
        if probabilities is not None:
            calibrated[label] = probabilities
    return RunResult(
        run=predictions.run,
        dataset=predictions.dataset,
        split=predictions.split,
        level=options.level,
        study_rule=options.study_rule if options.level == "study" else None,
        n_rows=len(predictions.paths),
        n_patients=int(units.max()) + 1,
        n_studies=len(set(images.studies)) if images.studies else None,
        bootstrap=BootstrapFacts(
            unit="patient" if predictions.patients else "image",
            n_resamples=options.n_resamples,
            n_redrawn=ranked.n_redrawn,
            seed=options.seed,
            method=options.interval,
        ),
        options=EvaluationOptions(**options.model_dump(include={*EvaluationOptions.model_fields})),
        labels=labels,
        macro=ranked.macro,
        study=_study_level(images, options) if options.level == "image" else None,
        subgroups=_subgroups(predictions, units, labels, calls, calibrated, options),
        **(facts or {}),
    )


def _label_result(
    predictions: Predictions,
    column: int,
    units: Ints,
    ranking: RankingResult,
    options: EvaluationOptions,
    stored: fit.Calibration | None,
) -> tuple[LabelResult, Flags | None, Array | None]:
    """One label, its (N,) calls at the first operating point, and (N,) calibrated scores.

    The latter two are None where it has none, and mean nothing where the target is unknown.
    """
    label, targets = predictions.labels[column], predictions.targets[:, column]
    known = np.isfinite(targets)
    n_patients = class_patients(targets[:, None], units)[0]
    facts = dict(ranking) | {
        "negatives": ranking.n - ranking.positives,
        "n_patients": len(np.unique(units[known])),
        "positive_patients": int(n_patients[0]),
        "prevalence": ranking.positives / ranking.n if ranking.n else None,
        "few_positives": bool(n_patients.min() < FEW_PATIENTS),
        "reason": why_not_scored(targets),
    }
    if facts["reason"] is not None:
        nothing = Estimate(value=None, reason=facts["reason"])
        return LabelResult(**facts, auroc_delong=nothing, brier=nothing), None, None
    truth = targets[known].astype(np.float64)
    of_known = np.unique(units[known], return_inverse=True)[1].astype(np.int64)
    resamples = PatientResamples(truth[:, None], of_known, options.n_resamples, options.seed)
    scores = predictions.scores[known, column].astype(np.float64)
    kept = None if stored is None else stored.labels.get(label)
    judged = _Judged(
        LabelRows(truth, scores, of_known, resamples),
        options,
        options.prevalence_of(label),
        kept,
        None if stored is None or kept is None else stored.fitted_on,
    )
    probabilities = judged.probabilities()
    detail = judged.detail(probabilities)
    if rare := why_no_interval(n_patients):
        detail = {name: without_intervals(part, rare) for name, part in detail.items()}
    span = (float(scores.min()), float(scores.max()))
    worst = worst_cases(predictions, column)
    result = LabelResult(**facts, **detail, score_range=span, worst_cases=worst)
    return result, _on_all_rows(judged.first_calls(), known), _on_all_rows(probabilities, known)


def _on_all_rows(values: NDArray[Any] | None, known: Flags) -> NDArray[Any] | None:
    if values is None:
        return None
    whole = np.zeros(len(known), values.dtype)
    whole[known] = values
    return whole


@dataclass(frozen=True)
class _Judged:
    """Rows of one label, and what was fitted for it on other ones; None cross-fits on these."""

    rows: LabelRows
    options: EvaluationOptions
    prevalence: float | None  # where it is to be used
    kept: fit.LabelCalibration | None
    fitted_on: str | None

    def detail(self, probabilities: Array | None) -> dict[str, Any]:
        """Everything but the ranking; (N,) probabilities are the calibrated scores."""
        rows, kept = self.rows, self.kept
        test = delong(rows.targets, rows.scores, rows.units)
        low, high = test.interval()
        raw = measure_calibration(rows)
        roc, precision_recall = curves(rows)
        points = operating_points(
            rows,
            criteria=self.options.criteria,
            stored=None if kept is None else kept.thresholds,
            chosen_on=self.fitted_on,
            prevalence=self.prevalence,
        )
        return {
            "auroc_delong": Estimate(value=float(test.auroc[0]), low=low, high=high),
            "brier": raw.brier,
            "calibration": raw,
            "operating_points": [self._with_probability(point) for point in points],
            "conformal": self._conformal(),
            "roc": roc,
            "precision_recall": precision_recall,
            "histogram": histogram(rows.targets, rows.scores),
            **({} if probabilities is None else self._calibrated(probabilities)),
        }

    @cached_property
    def calibrator(self) -> tuple[fit.Calibrator, float]:
        """The stored one, else one of all these rows; and the prevalence where it was fitted."""
        rows, kept, here = self.rows, self.kept, float(self.rows.targets.mean())
        if kept is not None and kept.calibrator is not None:
            return kept.calibrator, kept.prevalence or here
        return fit.fit_calibrator(rows.targets, rows.scores, self.options.calibrator), here

    def probabilities(self) -> Array | None:
        """(N,) calibrated scores, of a calibrator that has not seen the patient."""
        if self.kept is not None and self.kept.calibrator is not None:
            return self.kept.calibrator.apply(self.rows.scores)
        return fit.cross_fit(self.rows, self.options.calibrator)

    def first_calls(self) -> Flags | None:
        """(N,) calls at the first operating point; None where it has no threshold."""
        criterion = self.options.criteria[0]
        if self.kept is None:
            return cross_fitted_calls(self.rows, criterion)
        threshold = self.kept.thresholds.get(criterion)
        return None if threshold is None else self.rows.scores >= threshold

    def _with_probability(self, point: OperatingPoint) -> OperatingPoint:
        """What a score at the threshold means, at the rows' prevalence and at a stated one."""
        if point.threshold is None:
            return point
        calibrator, fitted_at = self.calibrator
        here = calibrator.apply(np.asarray([point.threshold]))
        update = {"probability": float(here[0])}
        if self.prevalence is not None:
            there = fit.to_prevalence(here, fitted_at, self.prevalence)
            update["probability_at_deployment"] = float(there[0])
        return point.model_copy(update=update)

    def _conformal(self) -> ConformalResult | None:
        """None where a calibration of an earlier version has no such thresholds."""
        rows, kept = (self.rows.targets, self.rows.scores, self.rows.units), self.kept
        if kept is None:
            return judge_conformal(*rows, None, "these rows")
        if kept.conformal is None:
            return None
        return judge_conformal(*rows, kept.conformal, self.fitted_on or "")

    def _calibrated(self, probabilities: Array) -> dict[str, Any]:
        """How good calibrated scores are, and what decisions by them are worth."""
        calibrator, fitted_at = self.calibrator
        is_kept = self.kept is not None and self.kept.calibrator is not None
        here = "these rows, cross-fitted by patient in 5 folds"
        measured = measure_calibration(
            replace(self.rows, scores=probabilities),
            calibrator=calibrator.kind if is_kept else self.options.calibrator,
            fitted_on=self.fitted_on if is_kept else here,
        )
        if self.prevalence is not None:
            probabilities = fit.to_prevalence(probabilities, fitted_at, self.prevalence)
        decision = decision_curve(replace(self.rows, scores=probabilities), self.prevalence)
        return {"calibrated": measured, "decision_curve": decision}


def _subgroups(
    predictions: Predictions,
    units: Ints,
    labels: Mapping[str, LabelResult],
    calls: Mapping[str, Flags],
    calibrated: Mapping[str, Array],
    options: EvaluationOptions,
) -> list[Subgroup]:
    scored = [label for label, entry in labels.items() if entry.reason is None]
    groups = choose_columns(predictions.columns, options.subgroup_columns)
    if not scored:
        return []
    columns = [predictions.labels.index(label) for label in scored]
    targets, scores = predictions.targets[:, columns], predictions.scores[:, columns]
    n_resamples = min(options.n_resamples, max(100, 20_000_000 // len(units)))
    resamples = PatientResamples(np.empty((len(units), 0)), units, n_resamples, options.seed)
    rows = SubgroupInput(scored, targets, scores, units, calls, calibrated)
    return subgroups(rows, groups, resamples)


def _study_level(images: Predictions, options: EvaluationOptions) -> StudyLevel | None:
    """Beside the images, where some study has several."""
    if images.studies is None or len(set(images.studies)) == len(images.studies):
        return None
    joined = join_studies(images, options.study_rule)
    ranked = rank_all(joined, options)
    return StudyLevel(
        rule=options.study_rule,
        n_studies=len(joined.paths),
        labels=ranked.by_label(joined),
        macro=ranked.macro,
    )


def fit_calibration(
    predictions: Predictions,
    options: EvaluationOptions | None = None,
    *,
    result: RunResult | None = None,
    checkpoint_sha256: str | None = None,
) -> fit.Calibration:
    """Calibrators and thresholds of all labels, fitted on all of these rows, for later use.

    Without `result`, of these rows image by image, thresholds have no AUROC and judge no image.
    """
    options = options or EvaluationOptions()
    labels: dict[str, fit.LabelCalibration] = {}
    left_out: dict[str, str] = {}
    units = number_units(predictions.patients, len(predictions.paths))
    n_patients = class_patients(predictions.targets, units)
    for column, label in enumerate(predictions.labels):
        if reason := why_not_scored(predictions.targets[:, column]):
            left_out[label] = reason
            continue
        known = np.isfinite(predictions.targets[:, column])
        targets = predictions.targets[known, column].astype(np.float64)
        scores = predictions.scores[known, column].astype(np.float64)
        labels[label] = fit.LabelCalibration(
            calibrator=fit.fit_calibrator(targets, scores, options.calibrator),
            prevalence=float(targets.mean()),
            n=len(targets),
            positives=int(targets.sum()),
            thresholds={name: choose_threshold(targets, scores, name) for name in options.criteria},
            positive_patients=int(n_patients[column, 0]),
            negative_patients=int(n_patients[column, 1]),
            auroc=None if result is None else result.labels[label].auroc,
            conformal=choose_conformal(targets, scores, units[known]),
        )
    return fit.Calibration(
        fitted_on=f"{predictions.dataset}, split {predictions.split}",
        dataset=predictions.dataset,
        split=predictions.split,
        n_rows=len(predictions.paths),
        n_patients=len(set(predictions.patients or predictions.paths)),
        checkpoint_sha256=checkpoint_sha256,
        labels=labels,
        left_out=left_out,
    )
