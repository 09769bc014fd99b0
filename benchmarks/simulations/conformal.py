"""Conformal thresholds: in how many datasets do they keep what they promise, and where not?

Each dataset of patients chooses thresholds, whose coverage among new patients is then counted in
100,000 others: of the same kind, of another prevalence, with more images each, or from a place
where positives score lower.

    nice -n 19 python benchmarks/simulations/conformal.py
"""

from __future__ import annotations

import argparse
from functools import cache

import numpy as np
from scipy.special import ndtr, ndtri

from pulmonet.metrics.conformal import COVERAGE, choose_conformal

DISTANCE = 2**0.5 * ndtri(0.85)  # AUROC 0.85
#: Prevalence, most images a patient, and how much lower positives score.
DESIGNS = {
    "one image": (0.3, 1, 0.0),
    "1 to 5 images": (0.3, 5, 0.0),
    "prevalence 0.05": (0.05, 5, 0.0),
    "1 to 10 images": (0.3, 10, 0.0),
    "positives lower by 0.3": (0.3, 5, 0.3),
}


def draw(design: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, scores and units of `n` patients, whose images correlate with 0.7."""
    prevalence, most, lower = DESIGNS[design]
    generator = np.random.default_rng([seed, n, most])
    units = np.repeat(np.arange(n), generator.integers(1, most + 1, n))
    targets = (generator.random(n) < prevalence)[units].astype(float)
    latent = 0.7**0.5 * generator.normal(size=n)[units]
    latent += 0.3**0.5 * generator.normal(size=len(units)) + (DISTANCE - lower) * targets
    return targets, ndtr(latent - 0.7), units


@cache
def population(design: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest score of each positive patient, highest of each negative one, and all: sorted."""
    targets, scores, units = draw(design, 100_000, 2**20)
    starts = np.flatnonzero(np.diff(units, prepend=-1))
    positive = targets[starts] == 1
    low, high = np.minimum.reduceat(scores, starts), np.maximum.reduceat(scores, starts)
    return np.sort(low[positive]), np.sort(high[~positive]), np.sort(scores)


def simulate(
    n: int, n_datasets: int, chosen: str, used: str, *, image_units: bool = False
) -> tuple[float, float, float, float]:
    """Shares of datasets: with a threshold to rule out, of these those whose true coverage is 90 %
    or more, the same of thresholds to rule in; and the mean share of images undecided.
    """
    lows, highs, scores = population(used)
    found: list[tuple[float, float]] = []
    undecided = []
    for seed in range(n_datasets):
        targets, values, units = draw(chosen, n, seed)
        one = choose_conformal(targets, values, np.arange(len(units)) if image_units else units)
        out = np.nan if one.rule_out is None else 1 - lows.searchsorted(one.rule_out) / len(lows)
        above = np.nan
        if one.rule_in is not None:
            above = highs.searchsorted(one.rule_in, "right") / len(highs)
        found.append((out, above))
        ends = scores.searchsorted([one.rule_out or -1.0, one.rule_in or 2.0])
        undecided.append(np.diff(ends)[0] / len(scores))
    table = np.asarray(found)
    is_there = np.isfinite(table)
    kept = [
        float((table[is_there[:, side], side] >= COVERAGE).mean()) if is_there[:, side].any()
        else np.nan
        for side in (0, 1)
    ]  # fmt: skip
    return float(is_there[:, 0].mean()), *kept, float(np.mean(undecided))


def main() -> None:
    """One row a way of choosing, of using, and a number of patients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=2000)
    n_datasets = parser.parse_args().datasets
    several = "1 to 5 images"
    pairs = [(one, one, False) for one in ("one image", several)]
    pairs += [(several, used, False) for used in list(DESIGNS)[2:]]
    pairs += [(several, several, True)]
    print("| chosen on | used on | patients | rules out | kept | kept, to rule in | undecided |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for chosen, used, image_units in pairs:
        for n in (50, 200, 1000):
            cells = simulate(n, n_datasets, chosen, used, image_units=image_units)
            words = " | ".join(f"{cell:.1%}" if np.isfinite(cell) else "–" for cell in cells)
            how = f"{chosen}, as if each were a patient" if image_units else chosen
            print(f"| {how} | {used} | {n:,} | {words} |", flush=True)


if __name__ == "__main__":
    main()
