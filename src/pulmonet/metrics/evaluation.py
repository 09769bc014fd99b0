"""From saved predictions to the whole result of one run: no images, no network, no torch."""

from __future__ import annotations

from collections.abc import Mapping
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
from pulmonet.metrics.ranking.auc import why_not_scored
from pulmonet.metrics.ranking.delong import delong
from pulmonet.metrics.ranking.intervals import rank_all
from pulmonet.metrics.ranking.resamples import PatientResamples, number_units
from pulmonet.metrics.results import BootstrapFacts, LabelResult, RunResult, StudyLevel
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


@dataclass(frozen=True)
class _LabelRows:
    """The rows with a known target of one label that has both classes."""

    label: str
    targets: NDArray[np.float64]
    scores: NDArray[np.float64]
    units: NDArray[np.int64]
    resamples: PatientResamples
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, predictions: Predictions, column: int, options: EvaluationOptions) -> _LabelRows:
        known = np.isfinite(predictions.targets[:, column])
        all_units = number_units(predictions.patients, len(predictions.paths))
        units = np.unique(all_units[known], return_inverse=True)[1].astype(np.int64)
        targets = predictions.targets[known, column].astype(np.float64)
        return cls(
            predictions.labels[column],
            targets,
            predictions.scores[known, column].astype(np.float64),
            units,
            PatientResamples(targets[:, None], units, options.n_resamples, options.seed),
            known,
        )


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
    ranked = rank_all(predictions, options)
    labels: dict[str, LabelResult] = {}
    calls: dict[str, NDArray[np.bool_]] = {}
    for column, label in enumerate(predictions.labels):
        base = _counts(predictions, column)
        estimates = {
            "auroc": ranked.auroc[column],
            "average_precision": ranked.average_precision[column],
        }
        if base["reason"] is not None:
            nothing = Estimate(value=None, reason=base["reason"])
            labels[label] = LabelResult.model_validate(
                {**base, **estimates, "auroc_delong": nothing, "brier": nothing}
            )
            continue
        rows = _LabelRows.of(predictions, column, options)
        detail, called = _detail(rows, options, stored)
        if called is not None:
            calls[label] = np.zeros(len(predictions.paths), dtype=bool)
            calls[label][rows.known] = called
        cases = worst_cases(
            predictions.targets[:, column],
            predictions.scores[:, column],
            predictions.paths,
            predictions.patients,
        )
        labels[label] = LabelResult.model_validate(
            {**base, **estimates, **detail, "worst_cases": cases}
        )
    units = number_units(predictions.patients, len(predictions.paths))
    groups = choose_columns(predictions.columns, options.subgroup_columns)
    scored = [i for i, label in enumerate(predictions.labels) if labels[label].reason is None]
    subgroup_rows = SubgroupInput(
        [predictions.labels[i] for i in scored],
        predictions.targets[:, scored],
        predictions.scores[:, scored],
        units,
        calls,
    )
    n_for_groups = min(options.n_resamples, max(100, 20_000_000 // len(units)))
    group_resamples = PatientResamples(np.empty((len(units), 0)), units, n_for_groups, options.seed)
    study = None
    if options.level == "image" and has_several_images(images):
        study = _study_level(images, options)
    return RunResult.model_validate(
        {
            "run": predictions.run,
            "dataset": predictions.dataset,
            "split": predictions.split,
            "level": options.level,
            "n_rows": len(predictions.paths),
            "n_patients": int(units.max()) + 1,
            "n_studies": len(set(images.studies)) if images.studies else None,
            "bootstrap": BootstrapFacts(
                unit="patient" if predictions.patients else "image",
                n_resamples=options.n_resamples,
                n_redrawn=ranked.n_redrawn,
                seed=options.seed,
                method=options.interval,
            ),
            "labels": labels,
            "macro": ranked.macro,
            "study": study,
            "subgroups": subgroups(subgroup_rows, groups, group_resamples) if scored else [],
            **(facts or {}),
        }
    )


def _study_level(images: Predictions, options: EvaluationOptions) -> StudyLevel:
    joined = join_studies(images, options.study_rule)
    ranked = rank_all(joined, options)
    return StudyLevel(
        rule=options.study_rule,
        n_studies=len(joined.paths),
        labels=ranked.by_label(joined),
        macro=ranked.macro,
    )


def _counts(predictions: Predictions, column: int) -> dict[str, Any]:
    targets = predictions.targets[:, column]
    units = number_units(predictions.patients, len(predictions.paths))
    positive_patients = len(np.unique(units[targets == 1]))
    negative_patients = len(np.unique(units[targets == 0]))
    n = int(np.isfinite(targets).sum())
    positives = int((targets == 1).sum())
    return {
        "n": n,
        "positives": positives,
        "negatives": n - positives,
        "n_patients": len(np.unique(units[np.isfinite(targets)])),
        "positive_patients": positive_patients,
        "prevalence": positives / n if n else None,
        "few_positives": min(positive_patients, negative_patients) < FEW_PATIENTS,
        "reason": why_not_scored(targets),
    }


def _detail(
    rows: _LabelRows, options: EvaluationOptions, stored: Calibration | None
) -> tuple[dict[str, Any], NDArray[np.bool_] | None]:
    """Everything but the ranking of one label, and its calls at the first operating point."""
    targets, scores, units = rows.targets, rows.scores, rows.units
    test = delong(targets, scores, units)
    low, high = test.interval()
    raw = measure_calibration(targets, scores, units, rows.resamples, seed=options.seed)
    kept = None if stored is None else stored.labels.get(rows.label)
    chosen_on = stored.fitted_on if stored is not None and kept is not None else None
    calibrated, probabilities = _calibrated(rows, options, kept, chosen_on)
    wanted = options.prevalence_of(rows.label)
    points = operating_points(
        targets,
        scores,
        units,
        rows.resamples,
        criteria=options.criteria,
        stored=None if kept is None else dict(kept.thresholds),
        chosen_on=chosen_on,
        prevalence=wanted,
        seed=options.seed,
    )
    roc, precision_recall = curves(targets, scores, units, rows.resamples)
    decision = None
    if probabilities is not None:
        moved = probabilities
        if wanted is not None:
            fitted = kept.prevalence if kept is not None else float(targets.mean())
            moved = to_prevalence(probabilities, fitted, wanted)
        decision = decision_curve(targets, moved, wanted)
    return {
        "auroc_delong": Estimate(value=float(test.auroc[0]), low=low, high=high),
        "brier": raw.brier,
        "calibration": raw,
        "calibrated": calibrated,
        "operating_points": points,
        "roc": roc,
        "precision_recall": precision_recall,
        "histogram": histogram(targets, scores),
        "decision_curve": decision,
    }, _first_calls(rows, options, kept)


def _first_calls(
    rows: _LabelRows, options: EvaluationOptions, kept: LabelCalibration | None
) -> NDArray[np.bool_] | None:
    criterion = options.criteria[0]
    if kept is None:
        return cross_fitted_calls(
            rows.targets, rows.scores, rows.units, criterion, seed=options.seed
        )
    threshold = kept.thresholds.get(criterion)
    return None if threshold is None else rows.scores >= threshold


def _calibrated(
    rows: _LabelRows,
    options: EvaluationOptions,
    kept: LabelCalibration | None,
    fitted_on: str | None,
) -> tuple[Any, NDArray[np.float64] | None]:
    kind: str = options.calibrator
    if kept is not None and kept.calibrator is not None:
        probabilities: NDArray[np.float64] | None = kept.calibrator.apply(rows.scores)
        kind = kept.calibrator.kind
    else:
        fitted_on = "these rows, cross-fitted by patient in 5 folds"
        probabilities = cross_fit(
            rows.targets, rows.scores, rows.units, options.calibrator, seed=options.seed
        )
    if probabilities is None:
        return None, None
    measured = measure_calibration(
        rows.targets,
        probabilities,
        rows.units,
        rows.resamples,
        calibrator=kind,
        fitted_on=fitted_on,
        seed=options.seed,
    )
    return measured, probabilities


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
