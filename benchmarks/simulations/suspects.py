"""Do suspect labels find the errors that phantoms have? Precision among the first 1 % and 5 %.

Labels and truth are the phantoms' (labels.csv and truth.csv say the same, with images), blank
ones taken as negative and uncertain ones left out, as `evaluate` does. Scores are given: of the
truth, with the AUROC that is stated. Chance is the share of wrong labels. Where cleanlab is
installed, its suspects by their self-confidence stand beside them, over all labels.

    python benchmarks/simulations/suspects.py --patients 2000
"""

from __future__ import annotations

import argparse
import importlib.util

import numpy as np
from scipy.special import ndtr, ndtri

from pulmonet.data.phantoms.patients import imagine_patient
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.metrics.suspects import rank_suspects
from pulmonet.run.predictions import Predictions

#: The labels that reports mention too rarely.
NOISY = ("No Finding", "Enlarged Cardiomediastinum", "Lung Opacity", "Pneumonia", "Support Devices")


def phantoms(n_patients: int, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(N, L) labels, NaN where uncertain, and truth, of all studies."""
    studies = [study for n in range(n_patients) for study in imagine_patient(0, n + 1).studies]
    given = np.asarray([[one.labels[name] or 0 for name in names] for one in studies], float)
    truth = np.asarray([[one.truth[name] for name in names] for one in studies], float)
    return np.where(given == -1, np.nan, given), truth


def precision(given: np.ndarray, truth: np.ndarray, auroc: float) -> tuple[float, ...]:
    """Share of wrong labels: of all, of the first 1 % and 5 %; and of errors found in these 5 %."""
    scores = scores_of(truth, auroc)
    paths = tuple(map(str, range(len(given))))
    labels = tuple(map(str, range(given.shape[1])))
    found = rank_suspects(
        Predictions(*("all", "phantoms", "out-of-fold"), labels, paths, None, None, given, scores)
    )
    rows, columns = found["path"].astype(int), found["label"].astype(int)
    is_wrong = (given != truth)[rows, columns]
    known = np.isfinite(given)
    n_wrong = int(((given != truth) & known).sum())
    heads = [is_wrong[: round(share * known.sum())] for share in (0.01, 0.05)]
    return n_wrong / known.sum(), *(head.mean() for head in heads), heads[1].sum() / n_wrong


def scores_of(truth: np.ndarray, auroc: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=truth.shape)
    return np.asarray(ndtr(noise + 2**0.5 * ndtri(auroc) * (truth - 0.5) - 0.5))


def of_cleanlab(given: np.ndarray, truth: np.ndarray, auroc: float) -> tuple[float, float]:
    """Share of wrong labels in cleanlab's first 1 % and 5 %: its default, label by label."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    scores, known = scores_of(truth, auroc), np.isfinite(given)
    quality, wrong = [], []
    for column in range(given.shape[1]):
        rows = np.flatnonzero(known[:, column])
        labels = given[rows, column].astype(int)
        chances = np.stack([1 - scores[rows, column], scores[rows, column]], axis=1)
        found = find_label_issues(labels, chances, n_jobs=1)
        quality.append(get_label_quality_scores(labels, chances)[found])
        wrong.append((given != truth)[rows, column][found])
    order = np.argsort(np.concatenate(quality), kind="stable")
    ranked = np.concatenate(wrong)[order]
    first, five = (ranked[: round(share * known.sum())].mean() for share in (0.01, 0.05))
    return float(first), float(five)


def main() -> None:
    """One row a set of labels and an AUROC."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=2000)
    n_patients = parser.parse_args().patients
    has_cleanlab = importlib.util.find_spec("cleanlab") is not None
    beside = " cleanlab's first 1 % | of its first 5 % |" * has_cleanlab
    print(
        "| labels | AUROC | wrong | wrong in the first 1 % | of the first 5 % | errors there |"
        + beside
    )
    print("|---|---:|---:|---:|---:|---:|" + "---:|---:|" * has_cleanlab)
    for name, labels in (("the five", DEFAULT_LABELS), ("five others", NOISY)):
        given, truth = phantoms(n_patients, labels)
        for auroc in (0.8, 0.9, 0.97):
            found = precision(given, truth, auroc)
            found += of_cleanlab(given, truth, auroc) if has_cleanlab else ()
            cells = " | ".join(f"{100 * one:.1f} %" for one in found)
            print(f"| {name} | {auroc} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
