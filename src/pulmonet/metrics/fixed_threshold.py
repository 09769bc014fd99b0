"""What one fixed threshold does on rows that did not choose it, with patients as clusters."""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
from scipy.special import ndtr, stdtrit

from pulmonet.arrays import Array, Floats, Ints
from pulmonet.metrics.ranking.resamples import MIN_PATIENTS
from pulmonet.metrics.results import RunResult, ThresholdTest

#: Up to so many discordant patients McNemar's test is exact; above, normal.
MAX_EXACT = 500


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
