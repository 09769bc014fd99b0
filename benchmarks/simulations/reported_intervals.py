"""How often the intervals of ECE, ICI, E90 and chosen thresholds hold the population's value.

Logits are normal (-1, 1.3); scores are ``sigmoid(slope * logit + shift)``. A patient has so many
images with logits that lie close together.

    nice -n 19 python benchmarks/simulations/reported_intervals.py          # about three minutes
"""

from __future__ import annotations

import argparse

import numpy as np

from pulmonet.metrics.calibration.logistic import sigmoid
from pulmonet.metrics.calibration.measures import measure_calibration
from pulmonet.metrics.ranking.resamples import LabelRows, PatientResamples
from pulmonet.metrics.thresholds import operating_points

CRITERIA = ("youden", "f1", "sensitivity=0.9", "specificity=0.9")
DESIGNS = ((1.0, 0.0, 1), (1.0, 0.0, 3), (2.0, 0.0, 1), (1.0, 0.7, 1), (0.5, 0.0, 3))


def population(slope: float, shift: float) -> dict[str, float]:
    """What 400,000 rows with known probabilities have."""
    logits = np.sort(np.random.default_rng(0).normal(-1, 1.3, 400_000))[::-1]
    p, scores = sigmoid(logits), sigmoid(slope * logits + shift)
    bins = np.minimum((scores * 15).astype(int), 14)
    far = np.abs(p - scores)
    tp, fp = np.cumsum(p), np.cumsum(1 - p)
    sensitivity, alarms = tp / tp[-1], fp / fp[-1]
    best = {
        "youden": np.argmax(sensitivity - alarms),
        "f1": np.argmax(2 * tp / (tp + fp + tp[-1])),
        "sensitivity=0.9": np.argmax(sensitivity >= 0.9),
        "specificity=0.9": np.argmax(alarms > 0.1),
    }
    return {
        "ECE": np.abs(np.bincount(bins, p - scores)).sum() / len(p),
        "ICI": far.mean(),
        "E90": np.quantile(far, 0.9),
        **{name: scores[place] for name, place in best.items()},
    }


def coverage(
    slope: float, shift: float, n_images: int, n_patients: int, n_datasets: int
) -> dict[str, tuple[float, float]]:
    """By number: how often its interval holds the truth, and its mean width."""
    truth = population(slope, shift)
    found: dict[str, list[tuple[bool, float]]] = {name: [] for name in truth}
    for dataset in range(n_datasets):
        generator = np.random.default_rng([dataset, n_patients])
        common = np.repeat(generator.normal(size=n_patients), n_images)
        share = 0.8 if n_images > 1 else 0.0
        own = generator.normal(size=len(common))
        logits = -1 + 1.3 * (share**0.5 * common + (1 - share) ** 0.5 * own)
        targets = (generator.random(len(logits)) < sigmoid(logits)).astype(float)
        units = np.repeat(np.arange(n_patients), n_images)
        resamples = PatientResamples(targets[:, None], units, 400, dataset)
        rows = LabelRows(targets, sigmoid(slope * logits + shift), units, resamples)
        measured = measure_calibration(rows)
        every = {"ECE": measured.ece_estimate}
        if measured.smooth is not None:
            every |= {"ICI": measured.smooth.ici_estimate, "E90": measured.smooth.e90_estimate}
        for point in operating_points(rows, criteria=CRITERIA):
            every[point.criterion] = point.threshold_estimate
        for name, one in every.items():
            assert one is not None
            assert one.low is not None
            assert one.high is not None
            found[name].append((one.low <= truth[name] <= one.high, one.high - one.low))
    return {name: tuple(np.mean(some, axis=0)) for name, some in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=200)
    n_datasets = parser.parse_args().datasets
    names = ["ECE", "ICI", "E90", *CRITERIA]
    print(f"| slope, shift, images | patients | {' | '.join(names)} |")
    print(f"|---|---:|{'---:|' * len(names)}")
    for design in DESIGNS:
        for n_patients in (200, 500):
            found = coverage(*design, n_patients, n_datasets)
            cells = (f"{found[name][0]:.3f} ({found[name][1]:.3f})" for name in names)
            print(f"| {', '.join(map(str, design))} | {n_patients} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
