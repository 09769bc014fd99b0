"""Comparing runs: paired differences on the same resamples, and who is not distinguished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pulmonet.arrays import Array, Flags, Floats, Ints
from pulmonet.metrics.ranking.auc import macro_mean, weighted_ranking
from pulmonet.metrics.ranking.delong import DeLong, delong
from pulmonet.metrics.ranking.intervals import bootstrap_ranking, rankings_of
from pulmonet.metrics.ranking.resamples import class_patients
from pulmonet.metrics.results import Comparison, Metric


@dataclass(frozen=True)
class PairedDifferences:
    """All pairs of M models, in the order of `itertools.combinations`.

    Attributes:
        pairs: (first, second) positions.
        difference: (K,) first less second on all rows.
        low, high: (K,) simultaneous interval: all K hold together in 95 % of datasets.
        p: (K,) of each pair alone.
        p_holm: (K,) after Holm.
    """

    pairs: list[tuple[int, int]]
    difference: Array
    low: Array
    high: Array
    p: Array
    p_holm: Array

    @property
    def distinguished(self) -> Flags:
        """(K,) whether the simultaneous interval leaves out 0."""
        return (self.low > 0) | (self.high < 0)


def narrowness(targets: Floats, units: Ints) -> Array:
    """(L,) factor by which the bootstrap's variance of a label's AUROC is too small.

    A bootstrap of n patients has the variance of dividing by n, not by n - 1 (Hesterberg 2015,
    doi:10.1080/00031305.2015.1089789, "narrowness bias"). What counts here is the rarer class:
    n patients of it give n / (n - 1), 1.14 at eight patients.

    Args:
        targets: (N, L) 1, 0 or NaN.
        units: (N,) patient numbers.
    """
    rarer = np.maximum(class_patients(targets, units).min(axis=1), 2)
    return np.asarray(rarer / (rarer - 1), dtype=np.float64)


def paired_differences(
    values: Array, samples: Array, confidence: float = 0.95, *, variance_factor: float = 1.0
) -> PairedDifferences:
    """Differences of all pairs with simultaneous max-t intervals.

    The largest studentised deviation over the pairs, resample by resample, gives one critical
    value for all of them (Westfall and Young 1993), which uses how strongly models on the same
    rows correlate; Bonferroni would ignore it.

    Args:
        values: (M,) a metric of M models on all rows.
        samples: (M, R) the same under the same resamples for all.
        confidence: simultaneous level.
        variance_factor: by which the bootstrap's variance is too small (`narrowness`).
    """
    pairs = list(combinations(range(len(values)), 2))
    first, second = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    difference = values[first] - values[second]
    deviations = (samples[first] - samples[second]) - difference[:, None]
    spread = np.sqrt(np.mean(deviations**2, axis=1))
    same = spread < 1e-12
    scale = np.where(same, 1.0, spread)
    studentised = np.where(same[:, None], 0.0, np.abs(deviations) / scale[:, None])
    n_resamples = samples.shape[1]
    # A share of R + 1 draws, not of R: the data themselves count as one (Davison, Hinkley 1997).
    level = min(confidence * (1 + 1 / n_resamples), 1.0)
    largest = studentised.max(axis=0, initial=0.0)
    critical = np.quantile(largest, level, method="higher")
    widened = spread * np.sqrt(variance_factor)
    observed = np.abs(difference) / np.where(same, 1.0, widened)
    n_beyond = (studentised >= observed[:, None]).sum(axis=1)
    p = np.where(same, 1.0, (1 + n_beyond) / (1 + n_resamples))
    half = critical * np.where(same, 0.0, widened)
    return PairedDifferences(pairs, difference, difference - half, difference + half, p, holm(p))


def holm(p: Array) -> Array:
    """Holm's adjusted p-values (1979), in the order of `p`; NaN stays NaN and does not count."""
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def compact_letters(values: Sequence[float], distinguished: Sequence[tuple[int, int]]) -> list[str]:
    """Letters of M models: two share a letter exactly when they are not distinguished.

    Insert and absorb (Piepho 2004). A model may have several letters, because "not
    distinguished" is not transitive: a and b, b and c, yet not a and c.

    Args:
        values: M values; the best gets "a".
        distinguished: pairs of positions that are told apart.
    """
    groups: list[frozenset[int]] = [frozenset(range(len(values)))]
    for first, second in distinguished:
        split: list[frozenset[int]] = []
        for group in groups:
            if first in group and second in group:
                split += [group - {first}, group - {second}]
            else:
                split.append(group)
        unique = list(dict.fromkeys(split))
        groups = [one for one in unique if not any(one < other for other in unique)]
    rank_of = {model: place for place, model in enumerate(np.argsort(-np.asarray(values)))}
    groups.sort(key=lambda group: sorted(rank_of[model] for model in group))
    letters = [_letter(index) for index in range(len(groups))]
    return [
        "".join(letters[index] for index, group in enumerate(groups) if model in group)
        for model in range(len(values))
    ]


def _letter(index: int) -> str:
    return chr(ord("a") + index % 26) + ("" if index < 26 else str(index // 26))


@dataclass(frozen=True)
class ModelComparison:
    """M runs on the same rows.

    Attributes:
        comparisons: macro and per label, AUROC and average precision, every pair.
        letters: (M,) compact letters by macro AUROC.
        names: (M,) the runs.
    """

    comparisons: list[Comparison]
    letters: list[str]
    names: list[str]


def compare(
    names: Sequence[str],
    labels: Sequence[str],
    targets: Floats,
    scores: Sequence[Floats],
    units: Ints,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> ModelComparison:
    """Compare M runs on the same rows and the same `n_resamples` patient resamples.

    `targets` (N, L) are the same for all, `scores` M arrays (N, L), `units` (N,) patient numbers.

    Returns:
        Only labels with enough patients of both classes (`class_patients`); none without one.
    """
    bootstrap = bootstrap_ranking(targets, scores, units, n_resamples=n_resamples, seed=seed)
    if not bootstrap.scored.any():
        return ModelComparison([], [""] * len(names), list(names))
    once = np.ones((1, int(units.max()) + 1), np.int32)
    point = np.asarray(
        [
            [[float(value[0]) for value in weighted_ranking(ranking, once)] for ranking in of_run]
            for of_run in (rankings_of(targets, run_scores, units) for run_scores in scores)
        ]
    )  # (M, L, 2)
    too_small = narrowness(targets, units)
    comparisons: list[Comparison] = []
    letters: list[str] = []
    metrics: tuple[Metric, Metric] = ("auroc", "average_precision")
    for column, metric in enumerate(metrics):
        macro_values = macro_mean(point[:, :, column], bootstrap.scored)
        macro = paired_differences(
            macro_values,
            bootstrap.macro(metric),
            variance_factor=float(macro_mean(too_small, bootstrap.scored)),
        )
        comparisons += _records(names, metric, None, macro)
        if metric == "auroc":
            pairs = zip(macro.pairs, macro.distinguished, strict=True)
            letters = compact_letters(list(macro_values), [pair for pair, apart in pairs if apart])
        for label in np.flatnonzero(bootstrap.scored).tolist():
            of_label = paired_differences(
                point[:, label, column],
                getattr(bootstrap, metric)[:, :, label],
                variance_factor=float(too_small[label]),
            )
            test = None
            if metric == "auroc":
                columns = np.stack([run[:, label] for run in scores], axis=1)
                test = delong(targets[:, label], columns, units)
            comparisons += _records(names, metric, labels[label], of_label, test)
    return ModelComparison(comparisons, letters, list(names))


def _records(
    names: Sequence[str],
    metric: Metric,
    label: str | None,
    differences: PairedDifferences,
    test: DeLong | None = None,
) -> list[Comparison]:
    return [
        Comparison(
            a=names[first],
            b=names[second],
            metric=metric,
            label=label,
            difference=float(differences.difference[index]),
            low=float(differences.low[index]),
            high=float(differences.high[index]),
            p=float(differences.p[index]),
            p_holm=float(differences.p_holm[index]),
            p_delong=None if test is None else test.paired_p(first, second),
            distinguished=bool(differences.distinguished[index]),
        )
        for index, (first, second) in enumerate(differences.pairs)
    ]
