"""Bootstrap of AUROC and average precision against a loop over scikit-learn, in the same run.

Five labels, patients as units, ties. scikit-learn does a few resamples, scaled to all of them.

    python benchmarks/bootstrap.py            # 234 and 200,000 images, then a million rows
    python benchmarks/bootstrap.py --quick    # 234 images only
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from pulmonet.metrics.ranking.intervals import bootstrap_ranking
from pulmonet.metrics.ranking.resamples import PatientResamples

PREVALENCE = np.asarray([0.3, 0.12, 0.08, 0.25, 0.4])  # roughly CheXpert's five labels


def make_rows(
    n_rows: int, n_patients: int
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int64]]:
    """Targets, scores of four digits (so that ties are there) and patient numbers."""
    generator = np.random.default_rng(0)
    targets = (generator.random((n_rows, 5)) < PREVALENCE).astype(np.float64)
    latent = 1.2 * targets + generator.normal(size=(n_rows, 5))
    scores = np.round(1 / (1 + np.exp(-latent)), 4).astype(np.float32)
    units = np.unique(np.sort(generator.integers(0, n_patients, n_rows)), return_inverse=True)[1]
    return targets, scores, units.astype(np.int64)


def time_ours(n_rows: int, n_patients: int, n_resamples: int) -> float:
    """Seconds for all resamples."""
    targets, scores, units = make_rows(n_rows, n_patients)
    start = time.perf_counter()
    bootstrap_ranking(targets, [scores], units, n_resamples=n_resamples, seed=0)
    return time.perf_counter() - start


def time_scikit_learn(n_rows: int, n_patients: int, n_resamples: int, n_done: int) -> float:
    """Seconds for all resamples, from `n_done` of them; each checked against ours."""
    targets, scores, units = make_rows(n_rows, n_patients)
    ours = bootstrap_ranking(targets, [scores], units, n_resamples=n_done, seed=0)
    counts = np.concatenate(list(PatientResamples(targets, units, n_done, 0).blocks()))
    start = time.perf_counter()
    for resample, weights in enumerate(counts):
        picked = np.repeat(np.arange(n_rows), weights[units])
        for label in range(5):
            values = (
                roc_auc_score(targets[picked, label], scores[picked, label]),
                average_precision_score(targets[picked, label], scores[picked, label]),
            )
            assert abs(values[0] - ours.auroc[0, resample, label]) < 1e-9
            assert abs(values[1] - ours.average_precision[0, resample, label]) < 1e-9
    return (time.perf_counter() - start) / n_done * n_resamples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="234 images only")
    quick = parser.parse_args().quick
    print("| images | patients | ours, 1,000 resamples | scikit-learn (scaled) | ratio | wanted |")
    print("|---:|---:|---:|---:|---:|---:|")
    sizes = [(234, 200, 100, 20)] if quick else [(234, 200, 100, 20), (200_000, 64_000, 30, 2)]
    for n_rows, n_patients, wanted, n_done in sizes:
        ours = time_ours(n_rows, n_patients, 1000)
        theirs = time_scikit_learn(n_rows, n_patients, 1000, n_done)
        print(
            f"| {n_rows:,} | {n_patients:,} | {ours:.3f} s | {theirs:.1f} s "
            f"| {theirs / ours:.0f} | {wanted} |"
        )
    if quick:
        return
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time_ours(1_000_000, 300_000, 20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\nA million rows: {seconds / 20 * 1000:.0f} s per 1,000 resamples (20 done), peak memory "
        f"{peak:,.0f} MB ({before:,.0f} MB before)"
    )


if __name__ == "__main__":
    main()
