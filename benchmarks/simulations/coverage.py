"""How often the 95 % intervals of an AUROC cover the truth: patients or images resampled.

Scores are binormal with a patient effect, so that images of one patient resemble each other;
the true AUROC is known in closed form.

    python benchmarks/simulations/coverage.py                  # about a minute
    python benchmarks/simulations/coverage.py --datasets 2000
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from pulmonet.metrics.ranking.delong import delong
from pulmonet.metrics.ranking.intervals import bootstrap_ranking, percentile_interval


@dataclass(frozen=True)
class Design:
    """A kind of dataset.

    Attributes:
        n_positive: positive patients.
        n_negative: negative patients.
        n_images: images a patient.
        correlation: of two images of one patient, given the class.
        auroc: the truth.
    """

    n_positive: int
    n_negative: int
    n_images: int = 1
    correlation: float = 0.7
    auroc: float = 0.8

    def draw(
        self, generator: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Targets (N, 1), scores (N, 1) and patient numbers (N,)."""
        n_patients = self.n_positive + self.n_negative
        units = np.repeat(np.arange(n_patients), self.n_images)
        targets = (units < self.n_positive).astype(np.float64)
        patient = generator.normal(size=n_patients)[units] * self.correlation**0.5
        image = generator.normal(size=len(units)) * (1 - self.correlation) ** 0.5
        distance = 2**0.5 * ndtri(self.auroc)
        return targets[:, None], ndtr(distance * targets + patient + image)[:, None], units


def coverage(design: Design, n_datasets: int, n_resamples: int = 500) -> dict[str, float]:
    """Share of datasets whose interval holds the true AUROC, by kind of interval."""
    hits = dict.fromkeys(("patients", "images", "DeLong", "Obuchowski"), 0)
    for dataset in range(n_datasets):
        targets, scores, units = design.draw(np.random.default_rng([dataset, 1]))
        found = {}
        for name, unit in (("patients", units), ("images", np.arange(len(units)))):
            samples = bootstrap_ranking(
                targets, [scores], unit, n_resamples=n_resamples, seed=dataset, with_precision=False
            ).auroc[0, :, 0]
            found[name] = percentile_interval(samples)
        found["DeLong"] = delong(targets[:, 0], scores[:, 0]).interval()
        found["Obuchowski"] = delong(targets[:, 0], scores[:, 0], units).interval()
        for name, (low, high) in found.items():
            hits[name] += low <= design.auroc <= high
    return {name: count / n_datasets for name, count in hits.items()}


DESIGNS = (
    Design(100, 100, n_images=3),
    Design(100, 100, n_images=5),
    Design(150, 350, n_images=3),
    Design(5, 100),
    Design(10, 100),
    Design(20, 100),
    Design(40, 100),
    Design(5, 100, auroc=0.9),
    Design(10, 100, auroc=0.9),
    Design(20, 100, auroc=0.9),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--first", type=int, default=len(DESIGNS), help="only so many designs")
    arguments = parser.parse_args()
    start = time.perf_counter()
    error = 1.96 * (0.95 * 0.05 / arguments.datasets) ** 0.5
    print(f"{arguments.datasets} datasets each; simulation error ± {error:.3f}\n")
    print(
        "| positive / negative patients | images each | AUROC | patients | images | DeLong |",
        end="",
    )
    print(" Obuchowski |\n|---|---:|---:|---:|---:|---:|---:|")
    for design in DESIGNS[: arguments.first]:
        found = coverage(design, arguments.datasets, arguments.resamples)
        cells = " | ".join(f"{found[name]:.3f}" for name in found)
        print(
            f"| {design.n_positive} / {design.n_negative} | {design.n_images} "
            f"| {design.auroc} | {cells} |",
            flush=True,
        )
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
