"""Do studies of the size that `evaluate --plan` gives reach the width and the power asked for?

Datasets are those of `coverage.py` and `comparison.py`: the width of DeLong's interval, clustered
by patient, and how often its paired test at 5 % finds a difference of 0.05.

    python benchmarks/simulations/planning.py                  # about a minute
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from comparison import draw
from coverage import Design

from pulmonet.metrics import planning
from pulmonet.metrics.ranking.delong import delong


def width(
    auroc: float, prevalence: float, images: int, wanted: float, n_datasets: int
) -> tuple[int, float]:
    """Patients planned in closed form, and the mean width of the intervals at that number."""
    one = planning.variance_a_patient(auroc, prevalence, images)
    n = planning.patients_for_width(one, wanted)
    n_positive = round(n * prevalence)
    design = Design(n_positive, n - n_positive, images, 0.7, auroc)
    widths = []
    for dataset in range(n_datasets):
        targets, scores, units = design.draw(np.random.default_rng([dataset, 2]))
        low, high = delong(targets[:, 0], scores[:, 0], units).interval()
        widths.append(high - low)
    return n, float(np.mean(widths))


def power(wanted: float, n_datasets: int, label: int = 0) -> tuple[int, float]:
    """Patients planned from a pilot of 3,000, and how often the difference is found."""
    aurocs = (0.85, 0.8)
    targets, scores, units = draw(3000, aurocs, np.random.default_rng(7))
    columns = np.stack([one[:, label] for one in scores], axis=1)
    pilot = delong(targets[:, label], columns, units)
    a_patient = float(3000 * ([1, -1] @ pilot.covariance @ [1, -1]))
    n = planning.patients_for_power(a_patient, 0.05, wanted)
    found = 0
    for dataset in range(n_datasets):
        targets, scores, units = draw(n, aurocs, np.random.default_rng([dataset, 8]))
        columns = np.stack([one[:, label] for one in scores], axis=1)
        found += delong(targets[:, label], columns, units).paired_p() < 0.05
    return n, found / n_datasets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=300)
    arguments = parser.parse_args()
    print("| AUROC | prevalence | images | wanted width | patients | mean width |")
    print("|---:|---:|---:|---:|---:|---:|")
    for auroc, prevalence, images, wanted in (
        (0.7, 0.3, 1, 0.1),
        (0.8, 0.1, 2, 0.1),
        (0.8, 0.1, 2, 0.05),
        (0.9, 0.05, 3, 0.08),
    ):
        n, found = width(auroc, prevalence, images, wanted, arguments.datasets)
        print(f"| {auroc} | {prevalence} | {images} | {wanted} | {n:,} | {found:.3f} |", flush=True)
    print("\n| wanted power | patients | power |\n|---:|---:|---:|")
    for wanted in (0.5, 0.8, 0.9):
        n, share = power(wanted, arguments.datasets)
        print(f"| {wanted} | {n:,} | {share:.3f} |", flush=True)


if __name__ == "__main__":
    main()
