"""How often does a useless network get a verdict "above the threshold" on some label?

Scores are independent of the labels, two alike images a patient. A dataset counts where at least
one label is judged, which some image then reaches: Youden's threshold is an observed score.

    nice -n 19 python benchmarks/simulations/verdicts.py       # a few minutes
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.special import ndtr

from pulmonet.metrics.calibration.fit import Calibration, LabelCalibration
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.ranking.auc import auroc
from pulmonet.metrics.ranking.intervals import bootstrap_ranking, percentile_interval

PREVALENCES = np.asarray(
    [0.5, 0.35, 0.25, 0.15, 0.4, 0.3, 0.2, 0.45, 0.1, 0.5, 0.35, 0.25, 0.3, 0.4]
)


def has_verdict(n_patients: int, n_labels: int, n_resamples: int, seed: int) -> bool:
    """Whether any score of a useless network is called above its threshold."""
    generator = np.random.default_rng([seed, n_patients, n_labels])
    units = np.repeat(np.arange(n_patients), 2)
    of_patient = generator.random((n_patients, n_labels)) < PREVALENCES[:n_labels]
    targets = of_patient[units].astype(np.float64)
    shared = generator.normal(size=(n_patients, n_labels))[units]
    scores = ndtr(0.8 * shared + 0.6 * generator.normal(size=targets.shape))
    both = np.flatnonzero((targets.min(axis=0) == 0) & (targets.max(axis=0) == 1))
    targets, scores = targets[:, both], scores[:, both]
    samples = bootstrap_ranking(
        targets, [scores], units, n_resamples=n_resamples, with_precision=False
    ).auroc[0]
    labels = {}
    for column in range(len(both)):
        low, high = percentile_interval(samples[:, column])
        value = auroc(targets[:, column], scores[:, column])
        positive = int(targets[:, column].sum()) // 2
        labels[str(column)] = LabelCalibration(
            calibrator=None,
            prevalence=positive / n_patients,
            n=2 * n_patients,
            positives=2 * positive,
            thresholds={"youden": 0.5},
            positive_patients=positive,
            negative_patients=n_patients - positive,
            auroc=Estimate(value=value, low=low, high=high),
        )
    rows = Calibration(
        fitted_on="a simulation", dataset="simulated", split="valid", n_rows=2 * n_patients,
        n_patients=n_patients, labels=labels,
    )  # fmt: skip
    return any(rows.threshold_of_verdicts(label)[0] is not None for label in labels)


def main() -> None:
    """One row a number of patients, one column a number of labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=300)
    options = parser.parse_args()
    print("| patients | 1 label | 5 labels | 14 labels |\n|---:|---:|---:|---:|")
    start = time.perf_counter()
    for n_patients in (40, 60, 100, 200, 400):
        shares = [
            np.mean([
                has_verdict(n_patients, n_labels, options.resamples, seed)
                for seed in range(options.datasets if n_labels < 14 else options.datasets // 2)
            ])
            for n_labels in (1, 5, 14)
        ]  # fmt: skip
        print(
            f"| {n_patients} | {' | '.join(f'{100 * (1 - x):.1f} %' for x in shares)} |", flush=True
        )
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
