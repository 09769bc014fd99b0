"""ROC and precision-recall curves with bootstrap bands, histograms, and the confident errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pulmonet.metrics.ranking.auc import Array, Floats, Ints
from pulmonet.metrics.ranking.resamples import PatientResamples
from pulmonet.metrics.results import Curve, ErrorKind, Histogram, WorstCase

MAX_POINTS = 200
GRID = np.linspace(0, 1, 51)


def curves(
    targets: Floats, scores: Floats, units: Ints, resamples: PatientResamples
) -> tuple[Curve, Curve]:
    """ROC and precision-recall curve of one label.

    The bands are pointwise: 95 % of resampled curves pass between, at each point of a grid.

    Args:
        targets: (N,) 1 or 0, both present.
        scores: (N,) in [0, 1].
        units: (N,) patient numbers, as in `resamples`.
        resamples: of the patients.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ordered = np.asarray(scores, np.float64)[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    positive = np.asarray(targets)[order] == 1
    of_row = units[order]
    roc_samples: list[Array] = []
    precision_samples: list[Array] = []
    for weights in resamples.blocks(64 * len(order)):
        rows = weights[:, of_row]
        tp = np.cumsum(rows * positive, axis=1)[:, last]
        fp = np.cumsum(rows * ~positive, axis=1)[:, last]
        for hits, alarms in zip(tp, fp, strict=True):
            sensitivity, precision = _on_grid(hits, alarms)
            roc_samples.append(sensitivity)
            precision_samples.append(precision)
        if len(roc_samples) >= resamples.n_by_row:
            break
    tp, fp = np.cumsum(positive)[last], np.cumsum(~positive)[last]
    thresholds = ordered[last]
    first = [(0.0, 0.0, None)]
    tpr, fpr = tp / tp[-1], fp / fp[-1]
    corners = _corners(tpr, fpr)
    roc = first + [(fpr[i], tpr[i], thresholds[i]) for i in _thin(corners)]
    useful = np.flatnonzero(np.diff(tp, prepend=0) > 0)  # recall moves here
    recall = [(tpr[i], tp[i] / (tp[i] + fp[i]), thresholds[i]) for i in _thin(useful)]
    recall = [(0.0, recall[0][1], None), *recall]
    return _curve(roc, roc_samples), _curve(recall, precision_samples)


def _on_grid(hits: NDArray[np.integer], alarms: NDArray[np.integer]) -> tuple[Array, Array]:
    """Sensitivity over false positive rate, and precision over recall, on the grid."""
    tpr, fpr = hits / hits[-1], alarms / alarms[-1]
    sensitivity = np.interp(GRID, np.append(0, fpr), np.append(0, tpr))
    reaching = np.minimum(np.searchsorted(tpr, GRID - 1e-12), len(tpr) - 1)
    reaching = np.maximum(reaching, np.searchsorted(hits, 1))  # the first hit, for recall 0
    return sensitivity, hits[reaching] / (hits[reaching] + alarms[reaching])


def _corners(tpr: Array, fpr: Array) -> Ints:
    """Points where an ROC curve turns; those on a straight line are left out."""
    steps = np.diff(tpr, prepend=0), np.diff(fpr, prepend=0)
    cross = steps[0][:-1] * steps[1][1:] - steps[0][1:] * steps[1][:-1]
    return np.append(np.flatnonzero(np.abs(cross) > 1e-15), len(tpr) - 1)


def _thin(points: Ints) -> Ints:
    if len(points) <= MAX_POINTS:
        return points
    kept = np.unique(np.linspace(0, len(points) - 1, MAX_POINTS).round().astype(np.int64))
    return np.asarray(points[kept], dtype=np.int64)


def _curve(points: Sequence[tuple[float, float, float | None]], samples: list[Array]) -> Curve:
    low, high = np.quantile(np.stack(samples), [0.025, 0.975], axis=0)
    return Curve(
        x=_rounded([x for x, _, _ in points]),
        y=_rounded([y for _, y, _ in points]),
        threshold=[None if score is None else float(f"{score:.9g}") for _, _, score in points],
        band_x=_rounded(GRID),
        band_resamples=len(samples),
        band_low=_rounded(low),
        band_high=_rounded(high),
    )


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 6) for value in values]


def histogram(targets: Floats, scores: Floats) -> Histogram:
    """Counts of scores in 20 equal bins over [0, 1], by reference standard."""
    edges = np.linspace(0, 1, 21)
    positives, negatives = (
        np.histogram(scores[targets == value], bins=edges)[0].tolist() for value in (1, 0)
    )
    return Histogram(edges=_rounded(edges), positives=positives, negatives=negatives)


def worst_cases(
    targets: Floats,
    scores: Floats,
    paths: Sequence[str],
    patients: Sequence[str] | None,
    n_each: int = 6,
) -> list[WorstCase]:
    """The most confident false positives, then false negatives; at most one a patient.

    Args:
        targets: (N,) 1, 0 or NaN.
        scores: (N,).
        paths: N image paths.
        patients: N patient ids, or None.
        n_each: how many of either kind.
    """
    cases: list[WorstCase] = []
    kinds: list[tuple[ErrorKind, int, int]] = [("false positive", 0, -1), ("false negative", 1, 1)]
    for kind, target, sign in kinds:
        rows = np.flatnonzero(np.asarray(targets) == target)
        rows = rows[np.lexsort((rows, sign * np.asarray(scores, np.float64)[rows]))]
        seen: set[str] = set()
        for row in rows.tolist():
            patient = patients[row] if patients else paths[row]
            if patient in seen:
                continue
            seen.add(patient)
            cases.append(
                WorstCase(
                    path=paths[row],
                    patient=patients[row] if patients else None,
                    kind=kind,
                    score=float(f"{scores[row]:.9g}"),
                )
            )
            if len(seen) == n_each:
                break
    return cases
