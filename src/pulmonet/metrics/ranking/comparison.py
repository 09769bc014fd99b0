"""Comparing runs: paired differences on the same resamples, and who is not distinguished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from pulmonet.arrays import Array, Flags, Floats, Ints
from pulmonet.metrics.ranking.auc import weighted_ranking
from pulmonet.metrics.ranking.delong import DeLong, delong
from pulmonet.metrics.ranking.intervals import bootstrap_ranking, effective_patients, rankings_of
from pulmonet.metrics.ranking.resamples import class_patients
from pulmonet.metrics.results import Comparison, Metric

METRICS: tuple[Metric, ...] = ("auroc", "average_precision")


@dataclass(frozen=True)
class PairedDifferences:
    """One family: K pairs of M models, in the order of `itertools.combinations`, by H measures."""

    pairs: list[tuple[int, int]]  # (first, second) positions
    difference: Array  # (K, H) first less second on all rows
    low: Array  # (K, H) simultaneous interval: all hold together in 95 % of datasets
    high: Array  # (K, H)
    p: Array  # (K, H) of each difference alone
    p_adjusted: Array  # (K, H) for the whole family: at most 0.05 where the interval leaves out 0

    @property
    def distinguished(self) -> Flags:
        """(K, H) whether the simultaneous interval leaves out 0."""
        return (self.low > 0) | (self.high < 0)


def paired_differences(
    values: Array, samples: Array, n_patients: Array | float = np.inf, confidence: float = 0.95
) -> PairedDifferences:
    """Differences of all pairs in all measures, with simultaneous max-t intervals and p values.

    The largest studentised deviation over the family, resample by resample, gives one critical
    value and all adjusted p values (Westfall and Young 1993), which uses how strongly models and
    measures on the same rows correlate; Bonferroni and Holm would ignore it. A difference that
    hangs on few patients is judged by Student's distribution (`intervals.reach`).

    Args:
        values: (M, H) measures of M models on all rows.
        samples: (M, R, H) the same under the same resamples for all.
        n_patients: (K, H), or (H,), patients of the rarer class.
        confidence: simultaneous level.
    """
    pairs = list(combinations(range(len(values)), 2))
    first, second = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    difference = values[first] - values[second]
    n = np.maximum(np.broadcast_to(np.minimum(n_patients, 1e9), difference.shape), 2)
    p, spread = np.empty_like(difference), np.empty_like(difference)
    observed, largest = np.empty_like(difference), np.zeros(samples.shape[1])
    for k, (one, other) in enumerate(pairs):
        deviations = np.abs(samples[one] - samples[other] - difference[k])
        spread[k] = np.sqrt(np.mean(deviations**2, axis=0) * n[k] / (n[k] - 1))
        spread[k, spread[k] < 1e-12] = 0
        studentised = deviations / np.where(spread[k], spread[k] * np.sqrt(1 - 1 / n[k]), np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            of_student = np.abs(difference[k]) / spread[k]
        of_student[np.abs(difference[k]) < 1e-12] = 0
        observed[k] = -ndtri(stdtr(n[k] - 1, -of_student))
        p[k] = (1 + (studentised >= observed[k]).sum(axis=0)) / (1 + len(largest))
        np.maximum(largest, studentised.max(axis=1), out=largest)
    # A share of R + 1 draws, not of R: the data themselves count as one (Davison, Hinkley 1997).
    n_beyond = len(largest) - np.searchsorted(np.sort(largest), observed)
    n_allowed = int((1 - confidence) * (1 + len(largest)) + 1e-9) - 1
    critical = np.sort(largest)[::-1][max(n_allowed, 0)]
    half = -stdtrit(n - 1, ndtr(-critical)) * spread
    p_adjusted = (1 + n_beyond) / (1 + len(largest))
    return PairedDifferences(pairs, difference, difference - half, difference + half, p, p_adjusted)


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
    letters = [f"{chr(ord('a') + n % 26)}{n // 26 or ''}" for n in range(len(groups))]
    return [
        "".join(letters[index] for index, group in enumerate(groups) if model in group)
        for model in range(len(values))
    ]


@dataclass(frozen=True)
class ModelComparison:
    """M runs on the same rows.

    The `comparisons` are macro and per label, AUROC and average precision, every pair. Two
    families: macro AUROC (primary), and all the others together.
    """

    comparisons: list[Comparison]
    letters: list[str]  # (M,) compact letters by macro AUROC
    names: list[str]  # (M,) the runs


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
    rarer = class_patients(targets, units).min(axis=1)[bootstrap.scored].astype(np.float64)
    kept = np.flatnonzero(bootstrap.scored).tolist()
    columns: list[tuple[Metric, int | None]] = []  # None: the macro
    values, samples, n_patients = [], [], []
    for index, metric in enumerate(METRICS):
        of_labels = getattr(bootstrap, metric)[..., kept]
        of_rows = point[:, kept, index]
        values += [of_rows.mean(axis=1, keepdims=True), of_rows]
        samples += [of_labels.mean(axis=2, keepdims=True), of_labels]
        n_patients.append(_patients_of_pairs(of_labels, rarer))
        columns += [(metric, column) for column in (None, *kept)]
    numbers = (np.concatenate(part, axis=-1) for part in (values, samples, n_patients))
    primary, secondary = zip(*((part[..., :1], part[..., 1:]) for part in numbers), strict=True)
    families = [paired_differences(*primary), paired_differences(*secondary)]
    pairs = families[0].pairs
    apart = [pair for pair, yes in zip(pairs, families[0].distinguished[:, 0], strict=True) if yes]
    comparisons = []
    for place, (metric, column) in enumerate(columns):
        label = None if column is None else labels[column]
        test = None
        if metric == "auroc" and column is not None:
            test = delong(targets[:, column], np.stack([s[:, column] for s in scores], 1), units)
        family, at = families[min(place, 1)], max(place - 1, 0)
        comparisons += _records(names, metric, label, family, at, test)
    return ModelComparison(comparisons, compact_letters(list(values[0][:, 0]), apart), list(names))


def _patients_of_pairs(of_labels: Array, rarer: Array) -> Array:
    """(K, 1 + L) patients of the rarer class behind each pair's macro and labels (M, R, L)."""
    return np.asarray(
        [
            [effective_patients(rarer, (of_labels[one] - of_labels[other]).var(axis=0)), *rarer]
            for one, other in combinations(range(len(of_labels)), 2)
        ]
    )


def _records(
    names: Sequence[str],
    metric: Metric,
    label: str | None,
    family: PairedDifferences,
    column: int,
    test: DeLong | None,
) -> list[Comparison]:
    return [
        Comparison(
            a=names[first],
            b=names[second],
            metric=metric,
            label=label,
            difference=float(family.difference[index, column]),
            low=float(family.low[index, column]),
            high=float(family.high[index, column]),
            p=float(family.p[index, column]),
            p_adjusted=float(family.p_adjusted[index, column]),
            p_delong=None if test is None else test.paired_p(first, second),
            distinguished=bool(family.distinguished[index, column]),
        )
        for index, (first, second) in enumerate(family.pairs)
    ]
