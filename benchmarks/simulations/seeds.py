"""Are two equal recipes told apart too often, when their seeds differ by luck?

Binormal scores of 200 patients; the AUROC of a seed is 0.80 on average, and spreads by luck.
"Arms" are three seeds each, compared by `evaluate --arm`; "single" is one seed against one.

    python benchmarks/simulations/seeds.py                  # about two minutes
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pulmonet.metrics.ranking.comparison import compare

Array = NDArray[np.float64]
RUNS = ("a0", "a1", "a2", "b0", "b1", "b2")
ARMS = {"a": ("a0", "a1", "a2"), "b": ("b0", "b1", "b2")}


def draw(seed: int, spread: float, shift: float = 0.0) -> tuple[Array, list[Array]]:
    """Targets (200, 1) and the scores of two recipes of three seeds each.

    Their binormal separations spread by `spread`; the second recipe's is larger by `shift`.
    """
    generator = np.random.default_rng([seed, 5])
    targets = np.repeat([1.0, 0.0], [80, 120])[:, None]
    shared = generator.normal(size=(200, 1))
    scores = []
    for recipe in range(2):
        for _ in range(3):
            distance = 1.19 + shift * recipe + spread * generator.normal()
            noise = 0.8 * shared + 0.6 * generator.normal(size=(200, 1))
            scores.append(ndtr(distance * targets + noise))
    return targets, scores


def told_apart(spread: float, n_datasets: int, shift: float = 0.0) -> tuple[float, float]:
    """Share of datasets in which the arms differ, and in which two single seeds do."""
    arms, single = 0, 0
    for seed in range(n_datasets):
        targets, scores = draw(seed, spread, shift)
        units = np.arange(200)
        options = {"n_resamples": 200, "seed": seed}
        found = compare(RUNS, ["A"], targets, scores, units, arms=ARMS, **options)
        arms += found.comparisons[0].distinguished
        ones = compare(["a0", "b0"], ["A"], targets, [scores[0], scores[3]], units, **options)
        single += ones.comparisons[0].distinguished
    return arms / n_datasets, single / n_datasets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=300)
    arguments = parser.parse_args()
    print("| spread of the AUROC over seeds | difference | arms | single |")
    print("|---:|---:|---:|---:|", flush=True)
    for spread, shift in ((0.0, 0.0), (0.1, 0.0), (0.25, 0.0), (0.1, 0.5)):
        aurocs = ndtr((1.19 + np.random.default_rng(0).normal(0, spread, 10_000)) / 2**0.5)
        gap = ndtr((1.19 + shift) / 2**0.5) - ndtr(1.19 / 2**0.5)
        shares = told_apart(spread, arguments.datasets, shift)
        print(f"| {aurocs.std():.3f} | {gap:.3f} | {shares[0]:.3f} | {shares[1]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
