"""The selection rows scored after an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pulmonet.data.batches.load import evaluation_batches
from pulmonet.errors import TrainingError
from pulmonet.metrics.ranking.auc import auroc, average_precision
from pulmonet.models.inference import predict
from pulmonet.training.distributed import gather_rows, share_buffers, wait_for_all
from pulmonet.training.engine import Engine
from pulmonet.training.losses import scores_from_logits
from pulmonet.training.stage import Stage


@dataclass(frozen=True)
class EpochScores:
    """How good one epoch's network is on the selection rows.

    Attributes:
        loss: binary cross-entropy of the scores, mean over known targets; the same for every
            training loss, so that runs compare.
        aurocs: L values, NaN where a label has one class.
        average_precisions: L values, likewise.
    """

    loss: float
    aurocs: list[float]
    average_precisions: list[float]

    @property
    def macro_auroc(self) -> float:
        """Mean over the labels that have one; NaN without any."""
        return mean_of_known(self.aurocs)

    @property
    def macro_average_precision(self) -> float:
        """Mean over the labels that have one; NaN without any."""
        return mean_of_known(self.average_precisions)


def validate(
    engine: Engine, stage: Stage, network: nn.Module, policies: Sequence[str], epoch: int
) -> EpochScores:
    """Score a network on the stage's selection rows, each process its part of them.

    `network` is on the engine's device; `policies` decide the layout of its outputs.

    Raises:
        TrainingError: scores that are not finite.
    """
    config, processes = stage.config, engine.processes
    wait_for_all(processes)
    share_buffers(network, processes)
    own = np.array_split(np.arange(len(stage.select_rows)), processes.world_size)[processes.rank]
    scores = predict(
        network,
        evaluation_batches(
            stage.pack,
            stage.select_rows[own],
            image_size=config.data.image_size,
            batch_size=config.optim.batch_size,
            num_workers=config.runtime.num_workers,
            device=engine.device,
        ),
        device=engine.device,
        precision=engine.precision,
        to_scores=lambda logits: scores_from_logits(logits, policies)[:, : engine.n_labels],
    )
    scores = gather_rows(scores.reshape(len(own), engine.n_labels), processes)
    if not np.isfinite(scores).all():
        raise TrainingError(
            f"epoch {epoch + 1}: the network's scores are not finite; lower --lr, set "
            "optim.clip_norm or try --no-amp; the last good checkpoint is kept"
        )
    return score_epoch(stage.select_targets, scores)


def score_epoch(targets: NDArray[np.float32], scores: NDArray[np.float32]) -> EpochScores:
    """Loss, AUROC and average precision of scores (N, L) against targets (N, L) of 1, 0, NaN."""
    known = ~np.isnan(targets)
    p = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    losses = -np.where(targets == 1, np.log(p), np.log1p(-p))
    columns = list(zip(targets.T, scores.T, strict=True))
    return EpochScores(
        loss=float(losses[known].mean()) if known.any() else float("nan"),
        aurocs=[float(auroc(*column)) for column in columns],
        average_precisions=[float(average_precision(*column)) for column in columns],
    )


def mean_of_known(values: list[float]) -> float:
    """Mean of the values that are not NaN; NaN when all are."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
