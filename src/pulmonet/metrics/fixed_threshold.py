"""What one fixed threshold does on rows that did not choose it, with patients as clusters."""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
from scipy.special import ndtr, stdtrit

from pulmonet.arrays import Array, Floats, Ints
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.ranking.resamples import MIN_PATIENTS
from pulmonet.metrics.results import RunResult, ThresholdTest

#: Up to so many discordant patients McNemar's test is exact; above, normal.
MAX_EXACT = 500


def ratio(parts: Array, wholes: Array) -> Estimate:
    """Share sum(parts) / sum(wholes) of (U,) patients, such as their calls and their images.

    Wilson's interval (1927), of as many independent trials as have the variance of the ratio of two
    sums over patients (Rao and Scott 1992, doi:10.2307/2532311). With at most one row a patient
    these are the rows; else the variance is estimated, and the quantile Student's.
    """
    n, total = np.count_nonzero(wholes), wholes.sum()
    if not total:
        return Estimate(value=None, reason="no row is called so")
    value = parts.sum() / total
    variance = np.sum((parts - value * wholes) ** 2) / total**2
    n_trials = min(value * (1 - value) / variance, total) if variance > 0 else n
    z = stdtrit(np.inf if wholes.max() <= 1 else n - 1, 0.975) ** 2 / n_trials
    middle = (value + z / 2) / (1 + z)
    half = np.sqrt(z * value * (1 - value) + z**2 / 4) / (1 + z)
    return Estimate(value=float(value), low=float(middle - half), high=float(middle + half))


def likelihood_ratio(parts: Array, wholes: Array) -> Estimate:
    """One share over another, of parts and wholes (U, 2); its interval is on the log scale.

    The variance is linearised over the patients, who may have rows of both classes: with one row
    each it is Simel's (1991, doi:10.1016/0895-4356(91)90128-v).
    """
    (first, second), n = parts.sum(axis=0), np.count_nonzero(wholes, axis=0).min()
    if not second:
        return Estimate(value=None, reason="no row is called so")
    shares = parts.sum(axis=0) / wholes.sum(axis=0)
    value = float(shares[0] / shares[1])
    if not first or n < 2:
        return Estimate(value=value, reason="no row is called so")
    influence = (parts - shares * wholes) / parts.sum(axis=0)
    spread = np.sqrt(np.sum((influence[:, 0] - influence[:, 1]) ** 2) * n / (n - 1))
    reach = np.exp(stdtrit(n - 1, 0.975) * spread)
    return Estimate(value=value, low=float(value / reach), high=float(value * reach))


def mcnemar(differences: Array | Ints, n_rows: Array | Ints) -> tuple[float, float, float, float]:
    """Difference of two models' shares on the same rows, its 95 % interval, and p.

    The test flips each patient's sign: exact, and with one row a patient McNemar's exact one; of
    many patients its normal form (Yang et al. 2010, doi:10.1002/bimj.200900231).

    Args:
        differences: (U,) rows that only the first model calls, less those only the second does.
        n_rows: (U,) rows of each patient.
    """
    n, total = np.count_nonzero(n_rows), n_rows.sum()
    value = differences.sum() / total
    variance = np.sum((differences - value * n_rows) ** 2) / total**2 * n / max(n - 1, 1)
    half = stdtrit(n - 1, 0.975) * np.sqrt(variance) if n > 1 else np.nan
    sizes = np.abs(differences[differences != 0]).astype(np.int64)
    observed = abs(int(differences.sum()))
    if len(sizes) > MAX_EXACT:
        p = 2 * ndtr(-observed / np.sqrt(np.sum(sizes**2)))
    else:
        p = _share_as_far(sizes, observed)
    return float(value), float(value - half), float(value + half), float(p)


def _share_as_far(sizes: Ints, observed: int) -> float:
    """Of all ways to sign the sizes, the share whose sum is as far from 0 as the observed one."""
    reached = np.ones(1)
    for size in sizes:
        reached = (np.pad(reached, (0, 2 * size)) + np.pad(reached, (2 * size, 0))) / 2
    sums = np.arange(len(reached)) - len(reached) // 2
    return float(reached[np.abs(sums) >= observed].sum())


def compare_at_thresholds(
    results: Sequence[RunResult],
    labels: Sequence[str],
    targets: Floats,
    scores: Sequence[Floats],
    units: Ints,
) -> list[ThresholdTest]:
    """All pairs of M runs at their first stored thresholds; arguments as `compare`."""
    tests: list[ThresholdTest] = []
    for (one, other), (column, label) in product(
        combinations(range(len(results)), 2), enumerate(labels)
    ):
        stored = [found for run in (one, other) if (found := _stored(results[run], label))]
        if len(stored) < 2 or stored[0][0] != stored[1][0]:
            continue
        called = [
            scores[run][:, column].astype(np.float64) >= threshold
            for run, (_, threshold) in zip((one, other), stored, strict=True)
        ]
        whose = {"a": results[one].run, "b": results[other].run, "label": label}
        for measure, kind in (("sensitivity", 1), ("specificity", 0)):
            inside = targets[:, column] == kind
            n_rows = np.bincount(units, inside)
            if np.count_nonzero(n_rows) >= MIN_PATIENTS:
                right = [np.bincount(units, inside & (of_run == kind)) for of_run in called]
                value, low, high, p = mcnemar(right[0] - right[1], n_rows)
                numbers = {"difference": value, "low": low, "high": high, "p": p, "p_adjusted": p}
                facts = {**whose, "criterion": stored[0][0], "measure": measure}
                tests.append(ThresholdTest.model_validate({**facts, **numbers}))
    largest = 0.0
    for rank, place in enumerate(np.argsort([test.p for test in tests]).tolist()):  # Holm 1979
        largest = max(largest, min((len(tests) - rank) * tests[place].p, 1.0))
        tests[place] = tests[place].model_copy(update={"p_adjusted": largest})
    return tests


def _stored(result: RunResult, label: str) -> tuple[str, float] | None:
    """Criterion of the first threshold that other rows chose, and the threshold."""
    for point in result.labels[label].operating_points:
        if point.estimates == "threshold" and point.threshold is not None:
            return point.criterion, point.threshold
    return None
