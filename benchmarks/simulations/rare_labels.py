"""Rare labels: do intervals cover the truth, and are equal models told apart too often?

Datasets with as many positives as CheXpert's valid split has (200 patients, 13 labels, two of them
with one positive), and with other sets of rare labels. One image a patient; every label is drawn
by itself; two models of one strength, whose scores correlate, given the class. AUROC is 0.80 to
0.90, and known in closed form; average precision is its integral.

    nice -n 19 python benchmarks/simulations/rare_labels.py --seconds 480
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.ranking.comparison import compare
from pulmonet.metrics.ranking.intervals import rank_all
from pulmonet.metrics.ranking.resamples import MIN_PATIENTS
from pulmonet.run.predictions import Predictions

#: Positives of each label, and patients.
DESIGNS = {
    "CheXpert valid": ((38, 109, 68, 126, 1, 45, 33, 8, 80, 8, 67, 1, 107), 200),
    "14 rare": ((1, 2, 3, 5, 5, 6, 6, 7, 8, 10, 12, 15, 20, 30), 200),
    "NIH-like": ((115, 28, 133, 199, 58, 63, 14, 53, 47, 23, 25, 17, 34, 5), 1000),
}
SHARED = 0.6  # correlation of two models' scores, given the class


def draw(
    positives: tuple[int, ...], n_patients: int, generator: np.random.Generator
) -> tuple[NDArray[np.float32], list[NDArray[np.float64]], NDArray[np.float64]]:
    """Targets (N, L), scores (N, L) of two equal models, and their true AUROC (L,)."""
    truth = np.linspace(0.80, 0.90, len(positives))
    places = np.argsort(generator.random((n_patients, len(positives))), axis=0)
    targets = (places < np.asarray(positives)).astype(np.float32)
    shared = generator.normal(size=targets.shape)
    scores = []
    for _ in range(2):
        noise = SHARED**0.5 * shared + (1 - SHARED) ** 0.5 * generator.normal(size=targets.shape)
        scores.append(ndtr(2**0.5 * ndtri(truth) * targets + noise))
    return targets, scores, truth


def true_precision(auroc: float, prevalence: float) -> float:
    """Average precision of the binormal model: the integral of precision over recall."""
    cuts = np.linspace(-9, 12, 100_001)
    recall, alarms = ndtr(2**0.5 * ndtri(auroc) - cuts), ndtr(-cuts)
    called = prevalence * recall + (1 - prevalence) * alarms
    return float(np.trapezoid((prevalence * recall / called)[::-1], recall[::-1]))


def simulate(
    positives: tuple[int, ...], n_patients: int, n_datasets: int, seconds: float, n_resamples: int
) -> tuple[int, dict[str, float]]:
    """Datasets drawn in that time, and shares: coverage by positives, false positives by family."""
    hits: defaultdict[str, list[bool]] = defaultdict(list)
    labels = tuple(f"L{number}" for number in range(len(positives)))
    units, names = np.arange(n_patients), tuple(f"p{number}" for number in range(n_patients))
    stop, dataset = time.perf_counter() + seconds, 0
    true_aurocs = np.linspace(0.80, 0.90, len(positives))
    shares = np.asarray(positives) / n_patients
    precision = np.asarray(list(map(true_precision, true_aurocs, shares)))
    while dataset < n_datasets and time.perf_counter() < stop:
        targets, scores, truth = draw(positives, n_patients, np.random.default_rng([dataset, 3]))
        rows = Predictions(
            "net", "drawn", "valid", labels, names, names, None, targets, scores[0], {}
        )
        found = rank_all(rows, EvaluationOptions(n_resamples=n_resamples, seed=dataset))
        for count, value, estimate in zip(positives, truth, found.auroc, strict=True):
            if estimate.low is not None:
                hit = estimate.low <= value <= estimate.high
                hits[f"label of {count:3}"].append(hit)
                hits["labels"].append(hit)
        inside = [labels.index(name) for name in found.macro.labels]
        value, macro = truth[inside].mean(), found.macro.auroc
        hits["macro"].append(macro.low <= value <= macro.high)
        for place in inside:
            estimate = found.average_precision[place]
            hits["labels, AP"].append(estimate.low <= precision[place] <= estimate.high)
        value, macro = precision[inside].mean(), found.macro.average_precision
        hits["macro, AP"].append(macro.low <= value <= macro.high)
        compared = compare(
            ["a", "b"], labels, targets, scores, units, n_resamples=n_resamples, seed=dataset
        ).comparisons
        primary = [one.label is None and one.metric == "auroc" for one in compared]
        apart = [one.distinguished for one in compared]
        hits["primary"].append(any(a for a, p in zip(apart, primary, strict=True) if p))
        hits["secondary"].append(any(a for a, p in zip(apart, primary, strict=True) if not p))
        hits["either"].append(any(apart))
        hits["each alone"].append(any(one.p <= 0.05 for one in compared if one.label))
        dataset += 1
    return dataset, {name: float(np.mean(found)) for name, found in sorted(hits.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=120, help="for all designs together")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--only", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    arguments = parser.parse_args()
    print(f"Labels with fewer than {MIN_PATIENTS} positive patients have no interval.")
    for name in arguments.only:
        seconds = arguments.seconds / len(arguments.only)
        n, found = simulate(
            *DESIGNS[name], arguments.datasets, seconds, n_resamples=arguments.resamples
        )
        errors = [1.96 * (share * (1 - share) / n) ** 0.5 for share in (0.05,)]
        print(f"\n{name}: {n} datasets, simulation error ± {errors[0]:.3f}")
        for what, share in found.items():
            print(f"  {what:14} {share:.3f}", flush=True)


if __name__ == "__main__":
    main()
