"""How the counts of calls move with the threshold: what the page's slider needs, and no more.

Counts per threshold, not rows: the page holds no score that belongs to a nameable image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pulmonet.arrays import Array
from pulmonet.run.predictions import Predictions

#: Scores kept per label as thresholds, beside the stored ones; up to so many the slider is exact.
MAX_STEPS = 400
Stored = tuple[str, float, str, str, str]
"""Of an operating point: criterion, threshold, `estimates`, sensitivity and specificity."""


@dataclass(frozen=True)
class ThresholdSteps:
    """How counts move with the threshold, for one run, split and label; no rows, no ids."""

    run: str
    dataset: str
    split: str
    label: str
    n_positives: int
    n_negatives: int
    thresholds: tuple[float, ...]  # ascending; a score of at least this is called positive
    true_positives: tuple[int, ...]
    false_positives: tuple[int, ...]
    stored: tuple[Stored, ...]


def threshold_steps(
    predictions: Predictions, label: str, stored: Sequence[Stored] = ()
) -> ThresholdSteps | None:
    """Cumulative counts for one label; None where one class is missing."""
    column = predictions.labels.index(label)
    targets, scores = predictions.targets[:, column], predictions.scores[:, column]
    positive = np.sort(scores[targets == 1].astype(np.float64))
    negative = np.sort(scores[targets == 0].astype(np.float64))
    if not len(positive) or not len(negative):
        return None
    thresholds = np.unique(np.concatenate([positive, negative]))
    if len(thresholds) > MAX_STEPS:
        places = np.linspace(0, len(thresholds) - 1, MAX_STEPS).round().astype(np.int64)
        thresholds = thresholds[places]
    thresholds = np.union1d(thresholds, [cut for _, cut, *_ in stored])

    def called(scores: Array) -> tuple[int, ...]:
        return tuple((len(scores) - np.searchsorted(scores, thresholds, side="left")).tolist())

    return ThresholdSteps(
        run=predictions.run,
        dataset=predictions.dataset,
        split=predictions.split,
        label=label,
        n_positives=len(positive),
        n_negatives=len(negative),
        thresholds=tuple(thresholds.tolist()),
        true_positives=called(positive),
        false_positives=called(negative),
        stored=tuple(stored),
    )
