"""The selection rows scored after an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulmonet.metrics.ranking.auc import auroc, average_precision


@dataclass(frozen=True)
class EpochScores:
    """How good one epoch's network is on the selection rows.

    Attributes:
        loss: binary cross-entropy of the scores, mean over known targets; the same for every
            training loss, so that runs compare.
        aurocs: (L,), NaN where a label has one class.
        average_precisions: (L,), likewise.
    """

    loss: float
    aurocs: NDArray[np.float64]
    average_precisions: NDArray[np.float64]

    @property
    def macro_auroc(self) -> float:
        """Mean over the labels that have one; NaN without any."""
        return mean_of_known(self.aurocs)

    @property
    def macro_average_precision(self) -> float:
        """Mean over the labels that have one; NaN without any."""
        return mean_of_known(self.average_precisions)


def score_epoch(targets: NDArray[np.float32], scores: NDArray[np.float32]) -> EpochScores:
    """Loss, AUROC and average precision of scores (N, L) against targets (N, L) of 1, 0, NaN."""
    known = ~np.isnan(targets)
    p = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    losses = -np.where(targets == 1, np.log(p), np.log1p(-p))
    columns = range(targets.shape[1])
    return EpochScores(
        loss=float(losses[known].mean()) if known.any() else float("nan"),
        aurocs=np.array([auroc(targets[:, c], scores[:, c]) for c in columns]),
        average_precisions=np.array(
            [average_precision(targets[:, c], scores[:, c]) for c in columns]
        ),
    )


def mean_of_known(values: NDArray[np.float64]) -> float:
    """Mean of the values that are not NaN; NaN when all are."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
