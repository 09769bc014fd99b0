"""A fixed threshold's own performance: do its intervals cover, and is McNemar's test at its level?

A threshold that other rows chose (sensitivity 0.9) judges new patients, whose images resemble each
other; what it does in the population is known in closed form. Two equal models are compared at it.
With one image a patient the coverage of a share is exact, from the binomial distribution.

    nice -n 19 python benchmarks/simulations/fixed_threshold.py
    python benchmarks/simulations/fixed_threshold.py --exact
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from pulmonet.metrics.fixed_threshold import mcnemar
from pulmonet.metrics.ranking.resamples import MIN_PATIENTS
from pulmonet.metrics.shares import likelihood_ratio, ratio

DISTANCE = 2**0.5 * ndtri(0.85)
#: Positive patients (expected), negative patients, images each.
DESIGNS = (
    *((8, 192, 1), (20, 180, 1), (38, 162, 1), (109, 91, 1)),
    *((10, 190, 3), (20, 80, 3), (40, 160, 3), (100, 100, 5)),
)


def exact(
    n_positive: int, n_patients: int | None, sensitivities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coverage of the interval at each true sensitivity, with one image a patient.

    So many positive patients, or so many expected of `n_patients`, where there are enough.
    """
    numbers = np.arange(MIN_PATIENTS, 4 * n_positive) if n_patients else np.asarray([n_positive])
    weights = binom.pmf(numbers, n_patients, n_positive / n_patients) if n_patients else np.ones(1)
    covered = np.zeros(len(sensitivities))
    for number, weight in zip(numbers.tolist(), weights / weights.sum(), strict=True):
        for hits in range(number + 1):
            found = ratio(np.arange(number) < hits, np.ones(number))
            inside = (found.low <= sensitivities) & (sensitivities <= found.high)
            covered += weight * inside * binom.pmf(hits, number, sensitivities)
    return covered


def simulate(
    n_positive: int,
    n_negative: int,
    n_images: int,
    n_datasets: int,
    *,
    sensitivity: float = 0.9,
    seed: int = 0,
) -> dict[str, float]:
    """Share of datasets whose interval covers; and of p at most 0.05 for equal models."""
    cut = DISTANCE - ndtri(sensitivity)  # of the latent score
    specificity = float(ndtr(cut))
    n_patients = n_positive + n_negative
    units = np.repeat(np.arange(n_patients), n_images)
    share = n_positive / n_patients
    hit, alarm = sensitivity * share, (1 - specificity) * (1 - share)
    truth = {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "PPV": hit / (hit + alarm),
        "NPV": 1 - (share - hit) / (1 - hit - alarm),
        "LR+": sensitivity / (1 - specificity),
        "LR-": (1 - sensitivity) / specificity,
    }
    hits: defaultdict[str, list[bool]] = defaultdict(list)
    for dataset in range(n_datasets):
        generator = np.random.default_rng([dataset, n_positive, n_images, seed])

        # by chance, as in a cohort: with a fixed number PPV and NPV would vary less
        is_positive = generator.random(n_patients) < share
        if is_positive.sum() < MIN_PATIENTS:
            continue
        positive = is_positive[units]
        both = 0.7**0.5 * generator.normal(size=n_patients)[units]
        both = both + 0.3**0.5 * generator.normal(size=len(units))
        called = []
        for _ in range(2):
            alone = 0.7**0.5 * generator.normal(size=n_patients)[units]
            alone = alone + 0.3**0.5 * generator.normal(size=len(units))
            called.append(DISTANCE * positive + 0.6**0.5 * both + 0.4**0.5 * alone >= cut)
        first = called[0]

        def of_patients(rows: np.ndarray) -> np.ndarray:
            return np.bincount(units, rows, minlength=n_patients)

        tp, fp = of_patients(positive & first), of_patients(~positive & first)
        pos, neg = of_patients(positive), of_patients(~positive)
        found = {
            "sensitivity": ratio(tp, pos),
            "specificity": ratio(neg - fp, neg),
            "PPV": ratio(tp, tp + fp),
            "NPV": ratio(neg - fp, pos + neg - tp - fp),
            "LR+": likelihood_ratio(np.stack([tp, fp], 1), np.stack([pos, neg], 1)),
            "LR-": likelihood_ratio(np.stack([pos - tp, neg - fp], 1), np.stack([pos, neg], 1)),
        }
        for name, estimate in found.items():
            if estimate.low is not None:
                hits[name].append(estimate.low <= truth[name] <= estimate.high)
        for name, rows in (("positives", positive), ("negatives", ~positive)):
            difference = of_patients(rows & called[0]) - of_patients(rows & called[1])
            _, low, high, p = mcnemar(difference, of_patients(rows))
            hits[f"difference, {name}"].append(low <= 0 <= high)
            hits[f"p <= 0.05, {name}"].append(p <= 0.05)
    return {name: float(np.mean(found)) for name, found in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=2000)
    parser.add_argument("--sensitivity", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exact", action="store_true", help="the binomial's coverage alone")
    given = parser.parse_args()
    points, grid = np.asarray([0.7, 0.8, 0.85, 0.9, 0.95, 0.98]), np.linspace(0.5, 0.98, 481)
    for n_positive, n_patients in ((8, 200), (20, 200), (38, 200), (8, None), (20, None)):
        if given.exact:
            at, over = exact(n_positive, n_patients, points), exact(n_positive, n_patients, grid)
            named = dict(zip(points.tolist(), at.round(3).tolist(), strict=True))
            ends = f"mean {over.mean():.3f}, {over.min():.3f} to {over.max():.3f}"
            print(f"{n_positive} of {n_patients}: {named}, from 0.5 to 0.98 {ends}", flush=True)
    for design in () if given.exact else DESIGNS:
        found = simulate(*design, given.datasets, sensitivity=given.sensitivity, seed=given.seed)
        print(design, {name: round(value, 3) for name, value in found.items()}, flush=True)


if __name__ == "__main__":
    main()
