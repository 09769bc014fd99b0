"""Are two equally good models told apart too often, and a better one often enough?

Two models see the same patients; their scores share a part (the image) and differ in another.
"Told apart": the simultaneous 95 % interval of the difference in macro AUROC leaves out 0.

    python benchmarks/simulations/comparison.py                # about a minute
    python benchmarks/simulations/comparison.py --datasets 2000
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from pulmonet.metrics.comparison import paired_differences
from pulmonet.metrics.intervals import bootstrap_ranking
from pulmonet.metrics.ranking import auroc

PREVALENCE = np.asarray([0.3, 0.12, 0.08, 0.25, 0.4])
SHARED = 0.6  # correlation of two models' scores, given the class


def draw(
    n_patients: int, aurocs: tuple[float, ...], generator: np.random.Generator
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]], NDArray[np.int64]]:
    """Targets (N, 5), scores of each model (N, 5), patient numbers; two images a patient."""
    units = np.repeat(np.arange(n_patients), 2)
    of_patient = (generator.random((n_patients, 5)) < PREVALENCE).astype(np.float64)
    targets = of_patient[units]
    shared = 0.7 * generator.normal(size=(n_patients, 5))[units]
    shared += (1 - 0.7**2) ** 0.5 * generator.normal(size=targets.shape)
    scores = []
    for value in aurocs:
        own = generator.normal(size=targets.shape)
        noise = SHARED**0.5 * shared + (1 - SHARED) ** 0.5 * own
        scores.append(ndtr(2**0.5 * ndtri(value) * targets + noise))
    return targets, scores, units


def told_apart(
    n_patients: int, aurocs: tuple[float, ...], n_datasets: int, n_resamples: int = 500
) -> float:
    """Share of datasets in which at least one pair of the models is told apart."""
    count = 0
    for dataset in range(n_datasets):
        generator = np.random.default_rng([dataset, n_patients, 1])  # not that of the resamples
        targets, scores, units = draw(n_patients, aurocs, generator)
        if (targets.sum(axis=0) == 0).any():
            targets[0] = 1
        samples = bootstrap_ranking(targets, scores, units, n_resamples=n_resamples, seed=dataset)
        values = np.asarray(
            [np.mean([auroc(targets[:, i], run[:, i]) for i in range(5)]) for run in scores]
        )
        found = paired_differences(values, samples.macro("auroc"))
        count += bool(found.distinguished.any())
    return count / n_datasets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--patients", type=int, nargs="+", default=[100, 200, 500, 1000])
    arguments = parser.parse_args()
    start = time.perf_counter()
    error = 1.96 * (0.05 * 0.95 / arguments.datasets) ** 0.5
    print(f"{arguments.datasets} datasets each; simulation error at 5 % ± {error:.3f}\n")
    print("| patients (2 images each) | equal, 2 models | equal, 4 models | differ by 0.03 |")
    print("|---:|---:|---:|---:|")
    for n_patients in arguments.patients:
        found = [
            told_apart(n_patients, aurocs, arguments.datasets, arguments.resamples)
            for aurocs in ((0.8, 0.8), (0.8,) * 4, (0.83, 0.8))
        ]
        print(f"| {n_patients:,} | " + " | ".join(f"{value:.3f}" for value in found) + " |")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
