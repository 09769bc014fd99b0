"""Comparing runs: paired differences on the same resamples, and who is not distinguished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from pulmonet.arrays import Array, Flags, Floats, Ints
from pulmonet.metrics.ranking.auc import weighted_ranking
from pulmonet.metrics.ranking.delong import DeLong, delong
from pulmonet.metrics.ranking.intervals import bootstrap_ranking, effective_patients, rankings_of
from pulmonet.metrics.ranking.resamples import class_patients
from pulmonet.metrics.results import Comparison, Metric, ThresholdTest

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
    values: Array, samples: Array, n_patients: Array | float = np.inf
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
    n_allowed = int(0.05 * (1 + len(largest)) + 1e-9) - 1
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
    families: the primary endpoint (macro AUROC, or a label's), and all the others together.
    """

    comparisons: list[Comparison]
    letters: list[str]  # (M,) compact letters by the primary endpoint
    names: list[str]  # (M,) the runs, or arms of several
    threshold_tests: Sequence[ThresholdTest] = ()


def compare(
    names: Sequence[str],
    labels: Sequence[str],
    targets: Floats,
    scores: Sequence[Floats],
    units: Ints,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    primary: str | None = None,
    margin: float | None = None,
    arms: Mapping[str, Sequence[str]] | None = None,
) -> ModelComparison:
    """Compare M runs on the same rows and the same `n_resamples` patient resamples.

    `targets` (N, L) are the same for all, `scores` M arrays (N, L), `units` (N,) patient numbers.
    The `primary` endpoint is a label's AUROC, None the macro's; `margin` is its non-inferiority's.
    Runs named in `arms` are seeds of one recipe: their mean is compared, and resampled, too.

    Returns:
        Only labels with enough patients of both classes (`class_patients`); none without one, or
        where the primary one is not among them. Letters of arms, and of the other runs.
    """
    in_arms = {run for members in (arms or {}).values() for run in members}
    members_of = dict(arms or {}) | {name: [name] for name in names if name not in in_arms}
    members = [[names.index(run) for run in of_arm] for of_arm in members_of.values()]
    bootstrap = bootstrap_ranking(targets, scores, units, n_resamples=n_resamples, seed=seed)
    kept = np.flatnonzero(bootstrap.scored).tolist()
    of_primary = None if primary is None else list(labels).index(primary)
    if not kept or of_primary not in (None, *kept):
        return ModelComparison([], [""] * len(members_of), list(members_of))
    once = np.ones((1, int(units.max()) + 1), np.int32)
    point = np.asarray(
        [
            [np.ravel(weighted_ranking(one, once)) for one in rankings_of(targets, of_run, units)]
            for of_run in scores
        ]
    )  # (M, L, 2)
    rarer = class_patients(targets, units).min(axis=1)[bootstrap.scored].astype(np.float64)
    columns: list[tuple[Metric, int | None]] = []  # None: the macro
    values, samples, n_patients = [], [], []
    for index, metric in enumerate(METRICS):
        drawn = getattr(bootstrap, metric)[..., kept]
        of_rows, of_labels, by_seed = _as_arms(point[:, kept, index], drawn, members, seed)
        values += [of_rows.mean(axis=1, keepdims=True), of_rows]
        samples += [of_labels.mean(axis=2, keepdims=True), of_labels]
        n_patients.append(_patients_of_pairs(of_labels, rarer, by_seed, members))
        columns += [(metric, column) for column in (None, *kept)]
    first = columns.index(("auroc", of_primary))
    order = [first, *(place for place in range(len(columns)) if place != first)]
    numbers = [np.concatenate(p, axis=-1)[..., order] for p in (values, samples, n_patients)]
    primary_one, others = zip(*((part[..., :1], part[..., 1:]) for part in numbers), strict=True)
    families = [paired_differences(*primary_one), paired_differences(*others)]
    pairs = families[0].pairs
    apart = [pair for pair, yes in zip(pairs, families[0].distinguished[:, 0], strict=True) if yes]
    comparisons = []
    for place, (metric, column) in enumerate(columns[place] for place in order):
        facts: dict[str, Any] = {"metric": metric, "primary": place == 0}
        facts["label"] = None if column is None else labels[column]
        facts["margin"] = None if place else margin
        test = None
        if metric == "auroc" and column is not None and not arms:
            test = delong(targets[:, column], np.stack([s[:, column] for s in scores], 1), units)
        comparisons += _records(members_of, facts, families[min(place, 1)], max(place - 1, 0), test)
    letters = compact_letters(list(numbers[0][:, 0]), apart)
    return ModelComparison(comparisons, letters, list(members_of))


def _as_arms(
    values: Array, samples: Array, arms: Sequence[Sequence[int]], seed: int
) -> tuple[Array, Array, Array]:
    """Means over the seeds of A arms: (A, L) of values (M, L), (A, R, L) of samples (M, R, L).

    The samples draw the seeds anew, too, as if they were patients. Third the variance (A, 1 + L)
    that this adds to the macro and the labels. What differs between seeds on these patients alone
    counts in both parts, so that the interval errs on the wide side.
    """
    means, drawn, by_seed = [], [], []
    for number, members in enumerate(arms):
        own, k = values[list(members)], len(members)
        picks = np.random.default_rng([seed, number]).integers(0, k, (samples.shape[1], k))
        means.append(own.mean(axis=0))
        drawn.append(samples[list(members)].mean(axis=0) + own[picks].mean(axis=1) - means[-1])
        by_seed.append(np.append(own.mean(axis=1).var(), own.var(axis=0)) / k)
    return np.stack(means), np.stack(drawn), np.stack(by_seed)


def _patients_of_pairs(
    of_labels: Array, rarer: Array, by_seed: Array, arms: Sequence[Sequence[int]]
) -> Array:
    """(K, 1 + L) behind each pair's macro and labels (A, R, L): patients of the rarer class.

    Where seeds add to the variance (A, 1 + L), fewer (Welch and Satterthwaite).
    """
    found = []
    for one, other in combinations(range(len(of_labels)), 2):
        drawn = of_labels[one] - of_labels[other]
        n_patients = [effective_patients(rarer, drawn.var(axis=0)), *rarer]
        total = np.append(drawn.mean(axis=1).var(), drawn.var(axis=0))
        of_seeds = by_seed[[one, other]]
        parts = np.stack([np.maximum(total - of_seeds.sum(axis=0), 0), *of_seeds], axis=1)
        sizes = np.asarray([[n, len(arms[one]), len(arms[other])] for n in n_patients])
        found.append([effective_patients(*both) for both in zip(sizes, parts, strict=True)])
    return np.asarray(found)


def _records(
    members_of: Mapping[str, Sequence[str]],
    facts: Mapping[str, Any],
    family: PairedDifferences,
    column: int,
    test: DeLong | None,
) -> list[Comparison]:
    names = list(members_of)
    seeds = {name: list(members) for name, members in members_of.items() if len(members) > 1}
    return [
        Comparison(
            **facts,
            a=names[first],
            b=names[second],
            a_members=seeds.get(names[first], []),
            b_members=seeds.get(names[second], []),
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
