"""How far the debiased calibration error is from the population's.

Logits are normal (-0.5, 1.5); scores are ``sigmoid(slope * logit + shift)``.

    python benchmarks/simulations/calibration_error.py                # about a minute
"""

from __future__ import annotations

import argparse

import numpy as np

from pulmonet.metrics.calibration.logistic import sigmoid
from pulmonet.metrics.calibration.measures import ece_if_perfect, expected_calibration_error


def errors(slope: float, shift: float, n: int, n_datasets: int) -> tuple[float, float, float]:
    """ECE of the population, mean ECE (equal mass) of n rows, and mean of the debiased one."""
    logits = np.random.default_rng(0).normal(-0.5, 1.5, 400_000)
    truth = float(np.abs(sigmoid(logits) - sigmoid(slope * logits + shift)).mean())
    found = []
    for dataset in range(n_datasets):
        generator = np.random.default_rng([dataset, n])
        logits = generator.normal(-0.5, 1.5, n)
        targets = (generator.random(n) < sigmoid(logits)).astype(float)
        scores = sigmoid(slope * logits + shift)
        ece = expected_calibration_error(targets, scores, equal_mass=True)
        perfect = ece_if_perfect(scores, equal_mass=True, n_simulations=200, seed=dataset).value
        found.append((ece, max(ece**2 - (perfect or 0.0) ** 2, 0.0) ** 0.5))
    plain, debiased = np.mean(found, axis=0)
    return truth, float(plain), float(debiased)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=200)
    n_datasets = parser.parse_args().datasets
    print("| slope, shift | rows | population | ECE | debiased |\n|---|---:|---:|---:|---:|")
    for slope, shift in ((1.0, 0.0), (1.5, 0.0), (2.0, 0.0), (1.0, 0.5), (0.6, 0.0)):
        for n in (200, 500, 2000):
            truth, plain, debiased = errors(slope, shift, n, n_datasets)
            print(f"| {slope}, {shift} | {n:,} | {truth:.3f} | {plain:.3f} | {debiased:.3f} |")


if __name__ == "__main__":
    main()
