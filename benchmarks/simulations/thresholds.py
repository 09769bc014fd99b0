"""Thresholds judged on the rows that chose them flatter; cross-fitted ones do not.

Binormal scores, so that what a threshold really does is known in closed form.

    python benchmarks/simulations/thresholds.py
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.special import ndtr, ndtri

from pulmonet.metrics.ranking.resamples import LabelRows, PatientResamples
from pulmonet.metrics.thresholds import choose_threshold, cross_fitted_calls

DISTANCE = 2**0.5 * ndtri(0.75)


def youden_bias(
    n_positive: int, n_negative: int, n_datasets: int, n_images: int = 2
) -> dict[str, float]:
    """Mean sensitivity + specificity: on the choosing rows, cross-fitted, and in truth."""
    sums = dict.fromkeys(("apparent", "cross-fitted", "truth"), 0.0)
    n_patients = n_positive + n_negative
    units = np.repeat(np.arange(n_patients), n_images)
    targets = (units < n_positive).astype(np.float64)
    for dataset in range(n_datasets):
        generator = np.random.default_rng([dataset, n_positive])
        patient = generator.normal(size=n_patients)[units] * 0.7**0.5
        latent = DISTANCE * targets + patient + generator.normal(size=len(units)) * 0.3**0.5
        scores = ndtr(latent)
        resamples = PatientResamples(targets[:, None], units, 0, dataset)  # none is drawn
        threshold = choose_threshold(targets, scores, "youden")
        called = cross_fitted_calls(LabelRows(targets, scores, units, resamples), "youden")
        assert threshold is not None
        assert called is not None
        sums["apparent"] += _sum_of_rates(targets, scores >= threshold)
        sums["cross-fitted"] += _sum_of_rates(targets, called)
        cut = ndtri(threshold)
        sums["truth"] += float(1 - ndtr(cut - DISTANCE) + ndtr(cut))
    return {name: value / n_datasets for name, value in sums.items()}


def _sum_of_rates(targets: np.ndarray, called: np.ndarray) -> float:
    return float(called[targets == 1].mean() + 1 - called[targets == 0].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=2000)
    n_datasets = parser.parse_args().datasets
    start = time.perf_counter()
    print(f"Sensitivity + specificity at Youden's threshold, mean of {n_datasets} datasets\n")
    print("| + / − patients | truth of the stored threshold | apparent | cross-fitted |")
    print("|---|---:|---:|---:|")
    for n_positive, n_negative in ((10, 50), (20, 100), (50, 200), (200, 800)):
        found = youden_bias(n_positive, n_negative, n_datasets)
        print(
            f"| {n_positive} / {n_negative} | {found['truth']:.3f} "
            f"| {found['apparent']:.3f} ({found['apparent'] - found['truth']:+.3f}) "
            f"| {found['cross-fitted']:.3f} ({found['cross-fitted'] - found['truth']:+.3f}) |",
            flush=True,
        )
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
