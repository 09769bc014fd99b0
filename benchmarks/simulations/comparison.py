"""Are two equally good models told apart too often, and a better one often enough?

Two models see the same patients; their scores share a part (the image) and differ in another.
"Told apart": the simultaneous 95 % interval of the difference in macro AUROC leaves out 0.

    python benchmarks/simulations/comparison.py                # about two minutes
    python benchmarks/simulations/comparison.py --datasets 2000 --power-datasets 1000
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from pulmonet.metrics.ranking.auc import auroc, macro_mean
from pulmonet.metrics.ranking.comparison import paired_differences
from pulmonet.metrics.ranking.intervals import bootstrap_ranking, effective_patients
from pulmonet.metrics.ranking.resamples import class_patients

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
    n_patients: int,
    aurocs: tuple[float, ...],
    n_datasets: int,
    n_resamples: int = 500,
    first_of: tuple[int, ...] | None = None,
) -> NDArray[np.float64]:
    """Share of datasets in which at least one pair of the first models is told apart.

    Args:
        n_patients: two images each.
        aurocs: the truth of each model.
        n_datasets: how many are drawn.
        n_resamples: of the patients.
        first_of: how many of the models to compare, one share each; None compares all.
    """
    sizes = first_of or (len(aurocs),)
    counts = np.zeros(len(sizes))
    for dataset in range(n_datasets):
        generator = np.random.default_rng([dataset, n_patients, 1])  # not that of the resamples
        targets, scores, units = draw(n_patients, aurocs, generator)
        targets[0, targets.sum(axis=0) == 0] = 1
        samples = bootstrap_ranking(
            targets, scores, units, n_resamples=n_resamples, seed=dataset, with_precision=False
        )
        values = np.asarray(
            [
                np.mean([auroc(targets[:, i], run[:, i]) for i in np.flatnonzero(samples.scored)])
                for run in scores
            ]
        )
        macro = macro_mean(samples.auroc, samples.scored)
        for index, size in enumerate(sizes):
            rarer = class_patients(targets, units).min(axis=1)
            variances = (samples.auroc[0] - samples.auroc[1]).var(axis=0)
            behind = effective_patients(rarer[samples.scored], variances[samples.scored])
            found = paired_differences(values[:size, None], macro[:size, :, None], behind)
            counts[index] += found.distinguished.any()
    return counts / n_datasets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=200, help="with equal models")
    parser.add_argument("--power-datasets", type=int, default=200, help="with unequal ones")
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--patients", type=int, nargs="+", default=[100, 200, 500])
    arguments = parser.parse_args()
    start = time.perf_counter()
    error = 1.96 * (0.05 * 0.95 / arguments.datasets) ** 0.5
    power_error = 1.96 * 0.5 / arguments.power_datasets**0.5
    print(
        f"{arguments.datasets} datasets of equal models: simulation error at 5 % ± {error:.3f}; "
        f"{arguments.power_datasets} of unequal ones: ± {power_error:.3f} at most; "
        f"{arguments.resamples} resamples\n"
    )
    print("| patients (2 images each) | 2 equal models | 4 equal models | differ by 0.03 |")
    print("|---:|---:|---:|---:|", flush=True)
    for n_patients in arguments.patients:
        of_two, of_four = told_apart(
            n_patients, (0.8,) * 4, arguments.datasets, arguments.resamples, first_of=(2, 4)
        )
        (power,) = told_apart(
            n_patients, (0.83, 0.8), arguments.power_datasets, arguments.resamples
        )
        print(f"| {n_patients:,} | {of_two:.3f} | {of_four:.3f} | {power:.3f} |", flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
