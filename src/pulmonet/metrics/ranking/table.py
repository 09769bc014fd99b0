"""AUROC and average precision of one run with intervals, per label and macro."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.ranking.auc import auroc, average_precision, macro_mean, why_not_scored
from pulmonet.metrics.ranking.intervals import (
    BootstrapRanking,
    bca_interval,
    bootstrap_ranking,
    jackknife_ranking,
    percentile_interval,
)
from pulmonet.metrics.ranking.resamples import OneClassError, number_units
from pulmonet.metrics.results import Estimate, MacroResult, RankingResult
from pulmonet.run.predictions import Predictions


@dataclass(frozen=True)
class Ranked:
    """AUROC and average precision of every label and the macro, with intervals."""

    auroc: list[Estimate]
    average_precision: list[Estimate]
    macro: MacroResult
    n_redrawn: int


def rank_all(predictions: Predictions, options: EvaluationOptions) -> Ranked:
    """AUROC and average precision per label and macro, with patient bootstrap intervals."""
    targets, scores = predictions.targets, predictions.scores
    labels = predictions.labels
    units = number_units(predictions.patients, len(predictions.paths))
    reasons = [why_not_scored(targets[:, i]) for i in range(len(labels))]
    scored = np.asarray([reason is None for reason in reasons])
    values = np.asarray(
        [
            [metric(targets[:, i], scores[:, i]) for i in range(len(labels))]
            for metric in (auroc, average_precision)
        ]
    )
    samples, missing = _resample(targets, scores, units, options)
    left_out = None
    if options.interval == "bca" and samples is not None:
        left_out = jackknife_ranking(targets, scores, units)
    per_metric: list[list[Estimate]] = []
    macros: list[Estimate] = []
    for index, name in enumerate(("auroc", "average_precision")):
        columns = None if samples is None else getattr(samples, name)[0]
        jackknife = None if left_out is None else left_out[index]
        estimates = []
        for i, reason in enumerate(reasons):
            estimates.append(
                Estimate(value=None, reason=reason)
                if reason
                else _with_interval(
                    values[index, i],
                    None if columns is None else columns[:, i],
                    None if jackknife is None else jackknife[:, i],
                    missing,
                )
            )
        per_metric.append(estimates)
        macros.append(
            _with_interval(
                float(macro_mean(values[index], scored)),
                None if columns is None else macro_mean(columns, scored),
                None if jackknife is None else macro_mean(jackknife, scored),
                missing,
            )
        )
    macro = MacroResult(
        auroc=macros[0],
        average_precision=macros[1],
        n_labels=int(scored.sum()),
        labels=[label for label, reason in zip(labels, reasons, strict=True) if reason is None],
        left_out={label: reason for label, reason in zip(labels, reasons, strict=True) if reason},
    )
    n_redrawn = 0 if samples is None else samples.n_redrawn
    return Ranked(per_metric[0], per_metric[1], macro, n_redrawn)


def _resample(
    targets: NDArray[np.float32],
    scores: NDArray[np.float32],
    units: NDArray[np.int64],
    options: EvaluationOptions,
) -> tuple[BootstrapRanking | None, str | None]:
    if units.max() < 1:
        return None, "one patient only"
    try:
        samples = bootstrap_ranking(
            targets, [scores], units, n_resamples=options.n_resamples, seed=options.seed
        )
    except OneClassError:
        return None, "nearly every resample of the patients has one class only"
    return samples, None


def _with_interval(
    value: float,
    samples: NDArray[np.float64] | None,
    jackknife: NDArray[np.float64] | None,
    missing: str | None,
) -> Estimate:
    if not np.isfinite(value):
        return Estimate(value=None, reason="no label has both classes")
    if samples is None:
        return Estimate(value=float(value), reason=missing)
    low, high = (
        percentile_interval(samples)
        if jackknife is None
        else bca_interval(float(value), samples, jackknife)
    )
    return Estimate(value=float(value), low=low, high=high)


def ranking_results(predictions: Predictions, ranked: Ranked) -> dict[str, RankingResult]:
    """Per label AUROC and average precision, for study level and baseline."""
    return {
        label: RankingResult(
            n=int(np.isfinite(predictions.targets[:, i]).sum()),
            positives=int(np.nansum(predictions.targets[:, i])),
            auroc=ranked.auroc[i],
            average_precision=ranked.average_precision[i],
        )
        for i, label in enumerate(predictions.labels)
    }
