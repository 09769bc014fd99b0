"""Intervals of AUROC and average precision, of each label and of the macro, over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from pulmonet.arrays import Array, Flags, Floats, Floats32, Ints
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.ranking.auc import (
    Ranking,
    auroc,
    average_precision,
    macro_mean,
    rank,
    weighted_ranking,
    why_not_scored,
)
from pulmonet.metrics.ranking.resamples import (
    BLOCK_BYTES,
    OneClassError,
    PatientResamples,
    number_units,
)
from pulmonet.metrics.results import MacroResult, RankingResult
from pulmonet.run.predictions import Predictions


@dataclass(frozen=True)
class BootstrapRanking:
    """(M, R, L) of M runs under the same R resamples of the patients; NaN where one class only.

    `scored` (L,) are the labels with both classes, `n_redrawn` the resamples drawn again.
    """

    auroc: Array
    average_precision: Array
    scored: Flags
    n_redrawn: int

    def macro(self, metric: str) -> Array:
        """(M, R) mean over the scored labels of ``auroc`` or ``average_precision``."""
        return macro_mean(getattr(self, metric), self.scored)


def rankings_of(targets: Floats, scores: Floats, units: Ints) -> list[Ranking]:
    """One `Ranking` a label."""
    return [rank(targets[:, i], scores[:, i], units) for i in range(targets.shape[1])]


def bootstrap_ranking(
    targets: Floats,
    scores: Sequence[Floats],
    units: Ints,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    with_precision: bool = True,
) -> BootstrapRanking:
    """AUROC and average precision of one or more runs on the same patient resamples.

    Args:
        targets: (N, L) 1, 0 or NaN; the same for all runs.
        scores: M arrays (N, L) in [0, 1].
        units: (N,) patient number of each row (`number_units`).
        with_precision: False leaves average precision out (NaN).

    Raises:
        OneClassError: nearly every resample leaves some label with one class.
    """
    rankings = [rankings_of(targets, of_run, units) for of_run in scores]
    resamples = PatientResamples(targets, units, n_resamples, seed)
    shape = (len(scores), n_resamples, targets.shape[1])
    auroc, precision = np.full(shape, np.nan), np.full(shape, np.nan)
    start = 0
    for weights in resamples.blocks():
        stop = start + len(weights)
        for run, of_run in enumerate(rankings):
            for label, ranking in enumerate(of_run):
                result = weighted_ranking(ranking, weights, with_precision=with_precision)
                auroc[run, start:stop, label], precision[run, start:stop, label] = result
        start = stop
    scored = np.asarray([not ranking.one_class for ranking in rankings[0]])
    return BootstrapRanking(auroc, precision, scored, resamples.n_redrawn)


def percentile_interval(samples: Array, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap samples (R,); NaN samples are left out."""
    finite = samples[np.isfinite(samples)]
    if not len(finite):
        return np.nan, np.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def estimate(value: float | Array, samples: Array) -> Estimate:
    """A value with the percentile interval of its bootstrap samples (R,)."""
    low, high = percentile_interval(samples)
    return Estimate(value=float(value), low=low, high=high)


def bca_interval(
    value: float, samples: Array, jackknife: Array, confidence: float = 0.95
) -> tuple[float, float]:
    """Bias-corrected and accelerated interval (Efron 1987).

    `samples` (R,) are the bootstrap's, `jackknife` (J,) the estimates with one patient (or one
    group) left out. The percentile interval where all samples lie on one side of the value.
    """
    finite = samples[np.isfinite(samples)]
    share_below = (np.sum(finite < value) + 0.5 * np.sum(finite == value)) / max(len(finite), 1)
    if not 0 < share_below < 1:
        return percentile_interval(samples, confidence)
    bias = ndtri(share_below)
    left_out = jackknife[np.isfinite(jackknife)]
    deviation = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread = np.sum(deviation**2) ** 1.5
    acceleration = np.sum(deviation**3) / (6 * spread) if spread > 0 else 0.0
    tail = (1 - confidence) / 2
    z = bias + ndtri([tail, 1 - tail])
    levels = ndtr(bias + z / (1 - acceleration * z))
    low, high = np.quantile(finite, levels)
    return float(low), float(high)


def jackknife_ranking(
    targets: Floats, scores: Floats, units: Ints, *, max_groups: int = 500
) -> tuple[Array, Array]:
    """(J, L) AUROC and (J, L) average precision with one patient left out, for BCa.

    Above `max_groups` patients, groups of them are left out (delete-a-group jackknife).
    """
    n_units = int(units.max()) + 1
    groups = np.arange(n_units) % min(n_units, max_groups)
    n_groups = int(groups.max()) + 1
    rankings = rankings_of(targets, scores, units)
    auroc = np.empty((n_groups, targets.shape[1]))
    precision = np.empty_like(auroc)
    width = int(np.clip(BLOCK_BYTES // (32 * len(units)), 1, 128))
    for start in range(0, n_groups, width):
        left_out = np.arange(start, min(start + width, n_groups))
        weights = (left_out[:, None] != groups).astype(np.int32)
        for label, ranking in enumerate(rankings):
            result = weighted_ranking(ranking, weights)
            auroc[left_out, label], precision[left_out, label] = result
    return auroc, precision


@dataclass(frozen=True)
class Ranked:
    """AUROC and average precision of every label and the macro, with intervals."""

    auroc: list[Estimate]
    average_precision: list[Estimate]
    macro: MacroResult
    n_redrawn: int

    def by_label(self, predictions: Predictions) -> dict[str, RankingResult]:
        """The labels' alone, for study level and baseline."""
        return {
            label: RankingResult(
                n=int(np.isfinite(predictions.targets[:, i]).sum()),
                positives=int(np.nansum(predictions.targets[:, i])),
                auroc=self.auroc[i],
                average_precision=self.average_precision[i],
            )
            for i, label in enumerate(predictions.labels)
        }


def rank_all(predictions: Predictions, options: EvaluationOptions) -> Ranked:
    """AUROC and average precision per label and macro, with patient bootstrap intervals."""
    targets, scores, labels = predictions.targets, predictions.scores, predictions.labels
    units = number_units(predictions.patients, len(predictions.paths))
    reasons = [why_not_scored(column) for column in targets.T]
    scored = np.asarray([reason is None for reason in reasons])
    samples, missing = _resample(targets, scores, units, options)
    left_out: Sequence[Array | None] = (None, None)
    if options.interval == "bca" and samples is not None:
        left_out = jackknife_ranking(targets, scores, units)
    found: list[list[Estimate]] = []
    for metric, jackknife in zip((auroc, average_precision), left_out, strict=True):
        values = np.asarray([metric(*rows) for rows in zip(targets.T, scores.T, strict=True)])
        values = _and_macro(values, scored)
        drawn = (
            None if samples is None else _and_macro(getattr(samples, metric.__name__)[0], scored)
        )
        left = None if jackknife is None else _and_macro(jackknife, scored)
        found.append(
            [
                Estimate(value=None, reason=reason)
                if reason
                else _with_interval(
                    values[i],
                    None if drawn is None else drawn[:, i],
                    None if left is None else left[:, i],
                    missing,
                )
                for i, reason in enumerate([*reasons, None])
            ]
        )
    macro = MacroResult(
        auroc=found[0].pop(),
        average_precision=found[1].pop(),
        n_labels=int(scored.sum()),
        labels=[label for label, reason in zip(labels, reasons, strict=True) if reason is None],
        left_out={label: reason for label, reason in zip(labels, reasons, strict=True) if reason},
    )
    return Ranked(found[0], found[1], macro, 0 if samples is None else samples.n_redrawn)


def _and_macro(of_labels: Array, scored: Flags) -> Array:
    """(..., L + 1): the labels, then their macro."""
    return np.concatenate([of_labels, macro_mean(of_labels, scored)[..., None]], axis=-1)


def _resample(
    targets: Floats32, scores: Floats32, units: Ints, options: EvaluationOptions
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
    value: float, samples: Array | None, jackknife: Array | None, missing: str | None
) -> Estimate:
    if not np.isfinite(value):
        return Estimate(value=None, reason="no label has both classes")
    if samples is None:
        return Estimate(value=float(value), reason=missing)
    if jackknife is None:
        return estimate(value, samples)
    low, high = bca_interval(float(value), samples, jackknife)
    return Estimate(value=float(value), low=low, high=high)
