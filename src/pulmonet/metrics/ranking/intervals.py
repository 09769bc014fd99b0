"""Intervals of AUROC and average precision, of each label and of the macro, over patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri, stdtrit

from pulmonet.arrays import Array, Flags, Floats, Ints
from pulmonet.choices import IntervalKind
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.label_result import RankingResult
from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.ranking import auc
from pulmonet.metrics.ranking.resamples import (
    BLOCK_BYTES,
    MIN_PATIENTS,
    PatientResamples,
    class_patients,
    number_units,
    why_no_interval,
)
from pulmonet.metrics.results import MacroResult
from pulmonet.run.predictions import Predictions

#: Of every interval.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class BootstrapRanking:
    """(M, R, L) of M runs under the same R resamples of the patients.

    `scored` (L,) are the labels with `MIN_PATIENTS` of both classes; the others are NaN where a
    resample has one class of them. `n_redrawn` resamples had one class of a scored label: for that
    label alone, and in all runs, the next resample that has both stands in.
    """

    auroc: Array
    average_precision: Array
    scored: Flags
    n_redrawn: int


def rankings_of(targets: Floats, scores: Floats, units: Ints) -> list[auc.Ranking]:
    """One `Ranking` a label."""
    return [auc.rank(targets[:, i], scores[:, i], units) for i in range(targets.shape[1])]


def bootstrap_ranking(
    targets: Floats,
    scores: Sequence[Floats],
    units: Ints,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    with_precision: bool = True,
) -> BootstrapRanking:
    """AUROC and average precision (NaN without `with_precision`) of M runs on the same resamples.

    `targets` (N, L) are 1, 0 or NaN, `scores` M arrays (N, L), `units` (N,) patient numbers.
    """
    rankings = [rankings_of(targets, of_run, units) for of_run in scores]
    resamples = PatientResamples(np.empty((len(units), 0)), units, n_resamples, seed)
    shape = (len(scores), n_resamples, targets.shape[1])
    auroc, precision = np.full(shape, np.nan), np.full(shape, np.nan)
    start = 0
    for weights in resamples.blocks():
        stop = start + len(weights)
        for run, of_run in enumerate(rankings):
            for label, ranking in enumerate(of_run):
                result = auc.weighted_ranking(ranking, weights, with_precision=with_precision)
                auroc[run, start:stop, label], precision[run, start:stop, label] = result
        start = stop
    scored = class_patients(targets, units).min(axis=1) >= MIN_PATIENTS
    missing = np.isnan(auroc[0]) & scored
    for label in np.flatnonzero(missing.any(axis=0)).tolist():
        holes, whole = np.flatnonzero(missing[:, label]), np.flatnonzero(~missing[:, label])
        instead = whole[np.searchsorted(whole, holes) % len(whole)]
        for values in (auroc, precision):
            values[:, holes, label] = values[:, instead, label]
    return BootstrapRanking(auroc, precision, scored, int(missing.any(axis=1).sum()))


def reach(n_patients: float = np.inf) -> float:
    """Standard errors from an interval's middle to its end; n patients of the rarer class.

    The bootstrap divides by n where n - 1 is right, and its normal tails should be Student's: 2.53
    at eight patients instead of 1.96. Source: the expanded percentile interval of Hesterberg 2015
    (doi:10.1080/00031305.2015.1089789).
    """
    if np.isinf(n_patients):
        return float(ndtri(0.5 + CONFIDENCE / 2))
    n = max(n_patients, 2)
    return float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2) * np.sqrt(n / (n - 1)))


def effective_patients(n_patients: Array, variances: Array) -> float:
    """Patients behind a mean over labels with (L,) patients of the rarer class and (L,) variances.

    Welch and Satterthwaite: rare labels count as much as they add to the mean's variance. Without
    any, as of AUROCs that are all 1, they are those of the rarest label.
    """
    total = variances.sum()
    if total <= 0:
        return float(min(n_patients, default=np.inf))
    return float(1 + total**2 / np.sum(variances**2 / np.maximum(n_patients - 1, 1)))


def percentile_interval(samples: Array, *, n_patients: float = np.inf) -> tuple[float, float]:
    """Percentile interval of bootstrap samples (R,), NaN left out; `n_patients` as in `reach`."""
    finite = samples[np.isfinite(samples)]
    if not len(finite):
        return np.nan, np.nan
    tail = ndtr(-reach(n_patients))
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def percentile_intervals(samples: Array) -> Array:
    """(2, K) ends of the 95 % percentile intervals of samples (R, K), at one stroke."""
    tail = ndtr(-reach())
    ends = np.quantile(samples, [tail, 1 - tail], axis=0)
    for column in np.flatnonzero(np.isnan(ends[0])):
        ends[:, column] = percentile_interval(samples[:, column])
    return np.asarray(ends)


def estimate(value: float | Array, samples: Array, *, n_patients: float = np.inf) -> Estimate:
    """A value with the percentile interval of its bootstrap samples (R,)."""
    low, high = percentile_interval(samples, n_patients=n_patients)
    return Estimate(value=float(value), low=low, high=high)


def distance(value: float, samples: Array) -> Estimate:
    """A distance of at least 0, such as ECE, with the reverse percentile interval of its square.

    Chance makes a distance longer, and a resample makes it longer once more: as the squares add up,
    2 value² - samples² takes both off (Davison and Hinkley 1997, Bootstrap Methods, 5.2). The
    interval holds the value, which is too long itself.
    """
    low, high = np.sqrt(np.clip(2 * value**2 - np.square(percentile_interval(samples)[::-1]), 0, 1))
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value))


def logit_interval(
    value: float, samples: Array, *, n_patients: float = np.inf, centre: float | None = None
) -> tuple[float, float]:
    """Interval on the logit scale, of the bootstrap's standard error (Pepe 2003).

    The logit of an AUROC is too far from 0 by the curvature of its scale (delta method): that is
    taken off, and the interval goes as far as `reach`. A biased value, which it still holds, has an
    unbiased `centre` and the normal quantile: with Student's, average precision of few patients was
    covered in 96 to 100 % (docs/experiments/evaluation-statistics.md). A `value` of 0 or 1 has no
    standard error: it gets the exact bound of that many patients (Clopper and Pearson 1934).
    """
    finite = samples[np.isfinite(samples)]
    if not len(finite):
        return np.nan, np.nan
    if not 0 < value < 1:
        bound = ((1 - CONFIDENCE) / 2) ** (1 / n_patients)
        return (bound, 1.0) if value else (0.0, 1 - bound)
    middle = value if centre is None else centre
    spread = finite.std() / (middle * (1 - middle))
    bias = (value - 0.5) * spread**2 if centre is None else 0.0
    far = reach(n_patients) if centre is None else reach() / np.sqrt(1 - 1 / n_patients)
    low, high = expit(logit(middle) - bias + far * spread * np.asarray([-1.0, 1.0]))
    return min(float(low), value), max(float(high), value)


def bca_interval(
    value: float, samples: Array, jackknife: Array, *, n_patients: float = np.inf
) -> tuple[float, float]:
    """Bias-corrected and accelerated interval (Efron 1987).

    `samples` (R,) are the bootstrap's, `jackknife` (J,) the estimates with one patient (or one
    group) left out. The percentile interval where all samples lie on one side of the value.
    """
    finite = samples[np.isfinite(samples)]
    share_below = (np.sum(finite < value) + 0.5 * np.sum(finite == value)) / max(len(finite), 1)
    if not 0 < share_below < 1:
        return percentile_interval(samples, n_patients=n_patients)
    bias = ndtri(share_below)
    left_out = jackknife[np.isfinite(jackknife)]
    deviation = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread = np.sum(deviation**2) ** 1.5
    acceleration = np.sum(deviation**3) / (6 * spread) if spread > 0 else 0.0
    z = bias + reach(n_patients) * np.asarray([-1.0, 1.0])
    low, high = np.quantile(finite, ndtr(bias + z / (1 - acceleration * z)))
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
            result = auc.weighted_ranking(ranking, weights)
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
    n_patients = class_patients(targets, units)
    without = [auc.why_not_scored(column) for column in targets.T]
    scored = np.asarray([reason is None for reason in without])
    reasons = [no or why_no_interval(n) for no, n in zip(without, n_patients, strict=True)]
    n_resamples, seed = options.n_resamples, options.seed
    samples = bootstrap_ranking(targets, [scores], units, n_resamples=n_resamples, seed=seed)
    averaged = samples.scored if samples.scored.any() else scored
    left_out: Sequence[Array | None] = (None, None)
    if options.interval == "bca":
        left_out = jackknife_ranking(targets, scores, units)
    rarer, whys = n_patients.min(axis=1), [*reasons, _why_no_macro(samples, scored)]
    found: list[list[Estimate]] = []
    measured = (auc.auroc, None), (auc.average_precision, auc.precision_of_others)
    for (metric, unbiased), jackknife in zip(measured, left_out, strict=True):
        values, centres = (
            [None] * (len(labels) + 1)
            if of_rows is None
            else _and_macro(np.asarray(list(map(of_rows, targets.T, scores.T))), averaged)
            for of_rows in (metric, unbiased)
        )
        drawn = _and_macro(getattr(samples, metric.__name__)[0], averaged)
        left = [None] * len(values) if jackknife is None else _and_macro(jackknife, averaged).T
        of_macro = effective_patients(rarer[averaged], drawn[:, :-1].var(axis=0)[averaged])
        parts = zip(values, centres, drawn.T, left, [*rarer, of_macro], whys, strict=True)
        found.append([_with_interval(*part, kind=options.interval) for part in parts])
    macro = MacroResult(
        auroc=found[0].pop(),
        average_precision=found[1].pop(),
        n_labels=int(averaged.sum()),
        labels=[label for label, inside in zip(labels, averaged, strict=True) if inside],
        left_out={
            label: str(reason)
            for label, reason, inside in zip(labels, reasons, averaged, strict=True)
            if not inside
        },
    )
    return Ranked(found[0], found[1], macro, samples.n_redrawn)


def _and_macro(of_labels: Array, scored: Flags) -> Array:
    """(..., L + 1): the labels, then their macro."""
    return np.concatenate([of_labels, auc.macro_mean(of_labels, scored)[..., None]], axis=-1)


def _why_no_macro(samples: BootstrapRanking, scored: Flags) -> str | None:
    if samples.scored.any():
        return None
    if scored.any():
        return f"no label has {MIN_PATIENTS} positive and {MIN_PATIENTS} negative patients"
    return "no label has both classes"


def _with_interval(
    value: float,
    centre: float | None,
    samples: Array,
    jackknife: Array | None,
    n_patients: float,
    reason: str | None,
    *,
    kind: IntervalKind,
) -> Estimate:
    """The value alone, or no value, where there is a reason."""
    if reason is not None:
        return Estimate(value=float(value), reason=reason)
    if kind == "percentile":
        return estimate(value, samples, n_patients=n_patients)
    if jackknife is None:
        low, high = logit_interval(float(value), samples, n_patients=n_patients, centre=centre)
    else:
        low, high = bca_interval(float(value), samples, jackknife, n_patients=n_patients)
    return Estimate(value=float(value), low=low, high=high)
