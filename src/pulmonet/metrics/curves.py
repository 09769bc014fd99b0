"""ROC and precision-recall curves with bootstrap bands, histograms, and the confident errors."""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pulmonet.arrays import Array, Floats, Ints
from pulmonet.metrics.label_result import Curve, ErrorKind, Histogram, WorstCase
from pulmonet.metrics.ranking.resamples import LabelRows
from pulmonet.run.predictions import Predictions

MAX_POINTS = 200
GRID = np.linspace(0, 1, 51)


def curves(rows: LabelRows) -> tuple[Curve, Curve]:
    """ROC and precision-recall curve of one label that has both classes.

    The bands are pointwise: 95 % of resampled curves pass between, at each point of a grid.
    """
    order = np.argsort(-rows.scores, kind="stable")
    ordered, positive, of_row = rows.scores[order], rows.targets[order] == 1, rows.units[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    samples: list[tuple[Array, Array]] = []
    for weights in rows.resamples.blocks(64 * len(order)):
        drawn = weights[:, of_row]
        tp = np.cumsum(drawn * positive, axis=1)[:, last]
        fp = np.cumsum(drawn * ~positive, axis=1)[:, last]
        samples += map(_on_grid, tp, fp)
        if len(samples) >= rows.resamples.n_by_row:
            break
    tp, fp = np.cumsum(positive)[last], np.cumsum(~positive)[last]
    thresholds = ordered[last]
    tpr, fpr = tp / tp[-1], fp / fp[-1]
    roc = [(fpr[i], tpr[i], thresholds[i]) for i in _thin(_corners(tpr, fpr))]
    useful = np.flatnonzero(np.diff(tp, prepend=0) > 0)  # recall moves here
    recall = [(tpr[i], tp[i] / (tp[i] + fp[i]), thresholds[i]) for i in _thin(useful)]
    roc_samples, precision_samples = zip(*samples, strict=True)
    return (
        _curve([(0.0, 0.0, None), *roc], roc_samples),
        _curve([(0.0, recall[0][1], None), *recall], precision_samples),
    )


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


def _curve(points: Sequence[tuple[float, float, float | None]], samples: Sequence[Array]) -> Curve:
    low, high = np.quantile(np.stack(samples), [0.025, 0.975], axis=0)
    return Curve(
        x=_rounded([x for x, _, _ in points]),
        y=_rounded([y for _, y, _ in points]),
        threshold=[None if score is None else float(f"{score:.9g}") for _, _, score in points],
        band_x=_rounded(GRID),
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


def worst_cases(predictions: Predictions, column: int, n_each: int = 6) -> list[WorstCase]:
    """A label's most confident false positives, then false negatives; at most one a patient."""
    cases: list[WorstCase] = []
    kinds: list[tuple[ErrorKind, int, int]] = [("false positive", 0, -1), ("false negative", 1, 1)]
    patients = predictions.patients or predictions.paths
    scores = predictions.scores[:, column]
    for kind, target, sign in kinds:
        rows = np.flatnonzero(predictions.targets[:, column] == target)
        rows = rows[np.argsort(sign * scores[rows], kind="stable")]
        worst: dict[str, int] = {}
        for row in rows.tolist():
            worst.setdefault(patients[row], row)
        cases += [
            WorstCase(
                path=predictions.paths[row],
                patient=patient if predictions.patients else None,
                kind=kind,
                score=float(f"{scores[row]:.9g}"),
            )
            for patient, row in itertools.islice(worst.items(), n_each)
        ]
    return cases
