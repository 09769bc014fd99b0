"""Rare labels: do intervals cover the truth, and are equal models told apart too often?

Datasets with as many positives as CheXpert's valid split has (200 patients, 13 labels, two of them
with one positive), and with other sets of rare labels. One image a patient; every label is drawn
by itself; two models of one strength, whose scores correlate, given the class. AUROC is 0.80 to
0.90, and known in closed form; average precision is its integral. The other designs have labels
of 8 to 40 positives at AUROCs of 0.70 to 0.95; in "unseen" some positives score like negatives.

    nice -n 19 python benchmarks/simulations/rare_labels.py --datasets 1000
    nice -n 19 python benchmarks/simulations/rare_labels.py --only "of 200" "of 1000" --no-compare
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from pulmonet.metrics.options import EvaluationOptions
from pulmonet.metrics.ranking.comparison import compare
from pulmonet.metrics.ranking.intervals import rank_all
from pulmonet.metrics.ranking.resamples import MIN_PATIENTS
from pulmonet.run.predictions import Predictions

SHARED = 0.6  # correlation of two models' scores, given the class
ALIKE = 0.7  # of the scores of two images of a patient


@dataclass(frozen=True)
class Design:
    """A kind of dataset.

    Attributes:
        positives: patients, of each label.
        n_patients: all of them.
        aurocs: of each label, the truth; None: from 0.80 to 0.90 over the labels.
        unseen: share of positives that score like negatives; the others score higher.
        n_images: of a patient, all of one class; their scores correlate with 0.7, given the class.
    """

    positives: tuple[int, ...]
    n_patients: int
    aurocs: tuple[float, ...] | None = None
    unseen: float = 0.0
    n_images: int = 1

    @property
    def truth(self) -> NDArray[np.float64]:
        """(L,) AUROC."""
        if self.aurocs is None:
            return np.linspace(0.80, 0.90, len(self.positives))
        return np.asarray(self.aurocs)

    @property
    def distances(self) -> NDArray[np.float64]:
        """(L,) between the means of negatives and of the positives that are seen."""
        return np.asarray(2**0.5 * ndtri((self.truth - self.unseen / 2) / (1 - self.unseen)))

    def precisions(self) -> NDArray[np.float64]:
        """(L,) average precision: the integral of precision over recall."""
        cuts = np.linspace(-9, 12, 100_001)
        alarms, found = ndtr(-cuts), []
        for positives, distance in zip(self.positives, self.distances, strict=True):
            recall = (1 - self.unseen) * ndtr(distance - cuts) + self.unseen * alarms
            share = positives / self.n_patients
            precision = share * recall / (share * recall + (1 - share) * alarms)
            found.append(np.trapezoid(precision[::-1], recall[::-1]))
        return np.asarray(found)

    def draw(
        self, generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float64]]]:
        """Targets (N, L) and scores (N, L) of two equal models."""
        shape = (self.n_patients, len(self.positives))
        places = np.argsort(generator.random(shape), axis=0)
        targets = (places < np.asarray(self.positives)).astype(np.float32)
        means = self.distances * targets * (generator.random(shape) >= self.unseen)
        shared, scores = self._noise(generator), []
        for _ in range(2):
            noise = SHARED**0.5 * shared + (1 - SHARED) ** 0.5 * self._noise(generator)
            scores.append(ndtr(np.repeat(means, self.n_images, axis=0) + noise))
        return np.repeat(targets, self.n_images, axis=0), scores

    def _noise(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """(N, L) of variance one."""
        patients = generator.normal(size=(self.n_patients, len(self.positives)))
        if self.n_images == 1:
            return patients
        images = generator.normal(size=(self.n_patients * self.n_images, len(self.positives)))
        return ALIKE**0.5 * np.repeat(patients, self.n_images, axis=0) + (1 - ALIKE) ** 0.5 * images


LEVELS = (0.70, 0.80, 0.90, 0.95)
EACH = tuple(count for count in (8, 10, 20, 40) for _ in LEVELS)
DESIGNS = {
    "CheXpert valid": Design((38, 109, 68, 126, 1, 45, 33, 8, 80, 8, 67, 1, 107), 200),
    "14 rare": Design((1, 2, 3, 5, 5, 6, 6, 7, 8, 10, 12, 15, 20, 30), 200),
    "NIH-like": Design((115, 28, 133, 199, 58, 63, 14, 53, 47, 23, 25, 17, 34, 5), 1000),
    "of 200": Design(EACH, 200, LEVELS * 4),
    "of 1000": Design(EACH, 1000, LEVELS * 4),
    "of 200, 16 % unseen": Design((8, 20, 40) * 3, 200, (0.7,) * 3 + (0.8,) * 3 + (0.9,) * 3, 0.16),
    "of 200, 3 images": Design(EACH, 200, LEVELS * 4, n_images=3),
}


def simulate(
    design: Design,
    n_datasets: int,
    seconds: float,
    n_resamples: int,
    *,
    seed: int = 3,
    compared: bool = True,
) -> tuple[int, dict[str, float]]:
    """Datasets drawn in that time, and shares: coverage by label, false positives by family."""
    hits: defaultdict[str, list[bool]] = defaultdict(list)
    n_labels = len(design.positives)
    labels = tuple(f"L{number}" for number in range(n_labels))
    units = np.repeat(np.arange(design.n_patients), design.n_images)
    names = tuple(f"p{number}" for number in units)
    paths = tuple(f"{name}/{row}.png" for row, name in enumerate(names))
    stop, dataset = time.perf_counter() + seconds, 0
    truths = {"AUROC": design.truth, "AP": design.precisions()}
    while dataset < n_datasets and time.perf_counter() < stop:
        targets, scores = design.draw(np.random.default_rng([dataset, seed]))
        rows = Predictions(
            "net", "drawn", "valid", labels, paths, names, None, targets, scores[0], {}
        )
        found = rank_all(rows, EvaluationOptions(n_resamples=n_resamples, seed=dataset))
        inside = [labels.index(name) for name in found.macro.labels]
        estimates = {"AUROC": found.auroc, "AP": found.average_precision}
        macros = {"AUROC": found.macro.auroc, "AP": found.macro.average_precision}
        for measure, truth in truths.items():
            for place, estimate in enumerate(estimates[measure]):
                if estimate.low is not None:
                    hit = estimate.low <= truth[place] <= estimate.high
                    what = f"{measure}, {design.positives[place]:3} at {design.truth[place]:.2f}"
                    hits[what].append(hit)
                    hits[f"{measure}, all labels"].append(hit)
            macro, value = macros[measure], truth[inside].mean()
            hits[f"{measure}, macro of {len(inside)}"].append(macro.low <= value <= macro.high)
        if compared:
            told = compare(
                ["a", "b"], labels, targets, scores, units, n_resamples=n_resamples, seed=dataset
            ).comparisons
            primary = [one.label is None and one.metric == "auroc" for one in told]
            apart = [one.distinguished for one in told]
            hits["primary"].append(any(a for a, p in zip(apart, primary, strict=True) if p))
            hits["secondary"].append(any(a for a, p in zip(apart, primary, strict=True) if not p))
            hits["either"].append(any(apart))
            hits["each alone"].append(any(one.p <= 0.05 for one in told if one.label))
        dataset += 1
    return dataset, {name: float(np.mean(found)) for name, found in sorted(hits.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=1e9, help="at most, for each design")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--no-compare", action="store_true")
    parser.add_argument("--only", nargs="+", default=list(DESIGNS)[:3], choices=list(DESIGNS))
    given = parser.parse_args()
    print(f"Labels with fewer than {MIN_PATIENTS} positive patients have no interval.")
    for name in given.only:
        limits = (given.datasets, given.seconds, given.resamples)
        compared = not given.no_compare
        n, found = simulate(DESIGNS[name], *limits, seed=given.seed, compared=compared)
        print(f"\n{name}: {n} datasets, simulation error ± {1.96 * (0.05 * 0.95 / n) ** 0.5:.3f}")
        for what, share in found.items():
            print(f"  {what:20} {share:.3f}", flush=True)


if __name__ == "__main__":
    main()
