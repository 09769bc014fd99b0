"""A fixed threshold's own performance: do its intervals cover, and is McNemar's test at its level?

A threshold that other rows chose (sensitivity 0.9) judges new patients, whose images resemble each
other; what it does in the population is known in closed form. Two equal models are compared at it.

    nice -n 19 python benchmarks/simulations/fixed_threshold.py
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
from scipy.special import ndtr, ndtri

from pulmonet.metrics.fixed_threshold import likelihood_ratio, mcnemar, ratio
from pulmonet.metrics.ranking.resamples import MIN_PATIENTS

DISTANCE = 2**0.5 * ndtri(0.85)
CUT = DISTANCE - ndtri(0.9)  # of the latent score: 90 % of the positives are above
SENSITIVITY, SPECIFICITY = 0.9, float(ndtr(CUT))
#: Positive patients (expected), negative patients, images each.
DESIGNS = (
    *((8, 192, 1), (20, 180, 1), (38, 162, 1), (109, 91, 1)),
    *((20, 80, 3), (40, 160, 3), (100, 100, 5)),
)


def simulate(n_positive: int, n_negative: int, n_images: int, n_datasets: int) -> dict[str, float]:
    """Share of datasets whose interval covers; and of p at most 0.05 for equal models."""
    n_patients = n_positive + n_negative
    units = np.repeat(np.arange(n_patients), n_images)
    share = n_positive / n_patients
    hit, alarm = SENSITIVITY * share, (1 - SPECIFICITY) * (1 - share)
    truth = {
        "sensitivity": SENSITIVITY,
        "specificity": SPECIFICITY,
        "PPV": hit / (hit + alarm),
        "NPV": 1 - (share - hit) / (1 - hit - alarm),
        "LR+": SENSITIVITY / (1 - SPECIFICITY),
        "LR-": (1 - SENSITIVITY) / SPECIFICITY,
    }
    hits: defaultdict[str, list[bool]] = defaultdict(list)
    for dataset in range(n_datasets):
        generator = np.random.default_rng([dataset, n_positive, n_images])

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
            called.append(DISTANCE * positive + 0.6**0.5 * both + 0.4**0.5 * alone >= CUT)
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
    n_datasets = parser.parse_args().datasets
    for design in DESIGNS:
        found = simulate(*design, n_datasets)
        print(design, {name: round(value, 3) for name, value in found.items()}, flush=True)


if __name__ == "__main__":
    main()
