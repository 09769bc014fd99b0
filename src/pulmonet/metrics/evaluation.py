"""From saved predictions to the whole result of one run: no images, no network, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulmonet.metrics.calibration.fit import (
    Calibration,
    LabelCalibration,
    cross_fit,
    fit_calibrator,
    to_prevalence,
)
from pulmonet.metrics.calibration.measures import measure_calibration
from pulmonet.metrics.curves import curves, histogram, worst_cases
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.ranking.auc import Array, Flags, Ints, why_not_scored
from pulmonet.metrics.ranking.delong import delong
from pulmonet.metrics.ranking.intervals import rank_all
from pulmonet.metrics.ranking.resamples import PatientResamples, number_units
from pulmonet.metrics.results import BootstrapFacts, LabelResult, RunResult, StudyLevel, Subgroup
from pulmonet.metrics.studies import has_several_images, join_studies
from pulmonet.metrics.subgroups import SubgroupInput, choose_columns, subgroups
from pulmonet.metrics.thresholds import (
    choose_threshold,
    cross_fitted_calls,
    decision_curve,
    operating_points,
)
from pulmonet.run.predictions import Predictions

#: Below this many positive (or negative) patients intervals are too narrow: the coverage of the
#: nominal 95 % falls to about 88 % (docs/experiments.md).
FEW_PATIENTS = 20


def evaluate_predictions(
    predictions: Predictions,
    options: EvaluationOptions | None = None,
    *,
    stored: Calibration | None = None,
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
    for column, label in enumerate(predictions.labels):
        counts = _counts(predictions.targets[:, column], units)
        counts["auroc"] = ranked.auroc[column]
        counts["average_precision"] = ranked.average_precision[column]
        if counts["reason"] is not None:
            nothing = Estimate(value=None, reason=counts["reason"])
            labels[label] = LabelResult(**counts, auroc_delong=nothing, brier=nothing)
            continue
        rows = _LabelRows.of(predictions, units, column, options)
        kept = None if stored is None else stored.labels.get(label)
        chosen_on = None if stored is None or kept is None else stored.fitted_on
        labels[label] = LabelResult(
            **counts,
            **_detail(rows, options, kept, chosen_on),
            worst_cases=worst_cases(
                predictions.targets[:, column],
                predictions.scores[:, column],
                predictions.paths,
                predictions.patients,
            ),
        )
        called = _first_calls(rows, options, kept)
        if called is not None:
            calls[label] = np.zeros(len(units), dtype=bool)
            calls[label][rows.known] = called
    study = None
    if options.level == "image" and has_several_images(images):
        study = _study_level(images, options)
    return RunResult(
        run=predictions.run,
        dataset=predictions.dataset,
        split=predictions.split,
        level=options.level,
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
        labels=labels,
        macro=ranked.macro,
        study=study,
        subgroups=_subgroups(predictions, units, ranked.macro.labels, calls, options),
        **(facts or {}),
    )


@dataclass(frozen=True)
class _LabelRows:
    """The N rows with a known target of one label that has both classes; `known` is of all rows."""

    targets: Array
    scores: Array
    units: Ints
    resamples: PatientResamples
    known: Flags
    prevalence: float | None

    @classmethod
    def of(
        cls, predictions: Predictions, units: Ints, column: int, options: EvaluationOptions
    ) -> _LabelRows:
        known = np.isfinite(predictions.targets[:, column])
        units = np.unique(units[known], return_inverse=True)[1].astype(np.int64)
        targets = predictions.targets[known, column].astype(np.float64)
        return cls(
            targets,
            predictions.scores[known, column].astype(np.float64),
            units,
            PatientResamples(targets[:, None], units, options.n_resamples, options.seed),
            known,
            options.prevalence_of(predictions.labels[column]),
        )


def _counts(targets: NDArray[np.float32], units: Ints) -> dict[str, Any]:
    known = np.isfinite(targets)
    n, positives = int(known.sum()), int((targets == 1).sum())
    n_patients = [len(np.unique(units[rows])) for rows in (known, targets == 1, targets == 0)]
    return {
        "n": n,
        "positives": positives,
        "negatives": n - positives,
        "n_patients": n_patients[0],
        "positive_patients": n_patients[1],
        "prevalence": positives / n if n else None,
        "few_positives": min(n_patients[1:]) < FEW_PATIENTS,
        "reason": why_not_scored(targets),
    }


def _detail(
    rows: _LabelRows,
    options: EvaluationOptions,
    kept: LabelCalibration | None,
    chosen_on: str | None,
) -> dict[str, Any]:
    """Everything but the ranking of one label."""
    targets, scores, units = rows.targets, rows.scores, rows.units
    test = delong(targets, scores, units)
    low, high = test.interval()
    raw = measure_calibration(targets, scores, units, rows.resamples, seed=options.seed)
    points = operating_points(
        targets,
        scores,
        units,
        rows.resamples,
        criteria=options.criteria,
        stored=None if kept is None else dict(kept.thresholds),
        chosen_on=chosen_on,
        prevalence=rows.prevalence,
        seed=options.seed,
    )
    roc, precision_recall = curves(targets, scores, units, rows.resamples)
    return {
        "auroc_delong": Estimate(value=float(test.auroc[0]), low=low, high=high),
        "brier": raw.brier,
        "calibration": raw,
        "operating_points": points,
        "roc": roc,
        "precision_recall": precision_recall,
        "histogram": histogram(targets, scores),
        **_calibrated(rows, options, kept, chosen_on),
    }


def _calibrated(
    rows: _LabelRows,
    options: EvaluationOptions,
    kept: LabelCalibration | None,
    fitted_on: str | None,
) -> dict[str, Any]:
    """How good calibrated scores are, and what decisions by them are worth."""
    kind, prevalence = options.calibrator, float(rows.targets.mean())
    if kept is not None and kept.calibrator is not None:
        probabilities: Array | None = kept.calibrator.apply(rows.scores)
        kind = kept.calibrator.kind
    else:
        fitted_on = "these rows, cross-fitted by patient in 5 folds"
        probabilities = cross_fit(rows.targets, rows.scores, rows.units, kind, seed=options.seed)
    if probabilities is None:
        return {}
    measured = measure_calibration(
        rows.targets,
        probabilities,
        rows.units,
        rows.resamples,
        calibrator=kind,
        fitted_on=fitted_on,
        seed=options.seed,
    )
    if rows.prevalence is not None:
        fitted = prevalence if kept is None else kept.prevalence
        probabilities = to_prevalence(probabilities, fitted, rows.prevalence)
    decision = decision_curve(rows.targets, probabilities, rows.prevalence)
    return {"calibrated": measured, "decision_curve": decision}


def _first_calls(
    rows: _LabelRows, options: EvaluationOptions, kept: LabelCalibration | None
) -> Flags | None:
    """(N,) calls at the first operating point; None where it has no threshold."""
    criterion = options.criteria[0]
    if kept is None:
        return cross_fitted_calls(
            rows.targets, rows.scores, rows.units, criterion, seed=options.seed
        )
    threshold = kept.thresholds.get(criterion)
    return None if threshold is None else rows.scores >= threshold


def _subgroups(
    predictions: Predictions,
    units: Ints,
    scored: Sequence[str],
    calls: Mapping[str, Flags],
    options: EvaluationOptions,
) -> list[Subgroup]:
    groups = choose_columns(predictions.columns, options.subgroup_columns)
    if not scored:
        return []
    columns = [predictions.labels.index(label) for label in scored]
    targets, scores = predictions.targets[:, columns], predictions.scores[:, columns]
    n_resamples = min(options.n_resamples, max(100, 20_000_000 // len(units)))
    resamples = PatientResamples(np.empty((len(units), 0)), units, n_resamples, options.seed)
    return subgroups(SubgroupInput(scored, targets, scores, units, calls), groups, resamples)


def _study_level(images: Predictions, options: EvaluationOptions) -> StudyLevel:
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
    checkpoint_sha256: str | None = None,
) -> Calibration:
    """Calibrators and thresholds of all labels, fitted on all of these rows, for later use.

    Args:
        predictions: images as rows.
        options: which calibrator, which criteria.
        checkpoint_sha256: of the weights that gave the scores.
    """
    options = options or EvaluationOptions()
    labels: dict[str, LabelCalibration] = {}
    for column, label in enumerate(predictions.labels):
        if why_not_scored(predictions.targets[:, column]) is not None:
            continue
        known = np.isfinite(predictions.targets[:, column])
        targets = predictions.targets[known, column].astype(np.float64)
        scores = predictions.scores[known, column].astype(np.float64)
        labels[label] = LabelCalibration(
            calibrator=fit_calibrator(targets, scores, options.calibrator),
            prevalence=float(targets.mean()),
            n=len(targets),
            positives=int(targets.sum()),
            thresholds={name: choose_threshold(targets, scores, name) for name in options.criteria},
        )
    return Calibration(
        fitted_on=f"{predictions.dataset}, split {predictions.split}",
        dataset=predictions.dataset,
        split=predictions.split,
        n_rows=len(predictions.paths),
        n_patients=len(set(predictions.patients or predictions.paths)),
        checkpoint_sha256=checkpoint_sha256,
        labels=labels,
    )
