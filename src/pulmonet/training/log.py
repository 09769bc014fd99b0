"""A row of training_log.csv."""

from __future__ import annotations

import torch

from pulmonet.files.system import peak_memory_bytes
from pulmonet.training.checkpoint import Progress
from pulmonet.training.optimisers import learning_rate
from pulmonet.training.stage import Stage
from pulmonet.training.validation import EpochScores


def log_row(
    stage: Stage, progress: Progress, scores: EpochScores, device: torch.device
) -> dict[str, float]:
    """What an epoch that has just ended is remembered by: column -> value."""
    optim, n_steps = stage.config.optim, max(progress.step, 1)
    seconds = progress.epoch_seconds
    done = (progress.epoch - stage.first_epoch + 1) * n_steps
    return {
        "epoch": progress.epoch + 1,
        "train_loss": progress.loss_sum / max(progress.known_sum, 1),
        "val_loss": scores.loss,
        "val_macro_auroc": scores.macro_auroc,
        "val_macro_pr_auc": scores.macro_average_precision,
        **{f"val_auc_{label}": v for label, v in zip(stage.labels, scores.aurocs, strict=True)},
        **{
            f"val_pr_{label}": value
            for label, value in zip(stage.labels, scores.average_precisions, strict=True)
        },
        "lr": learning_rate(optim, done - 1, optim.epochs * n_steps),
        "seconds": round(seconds, 3),
        "images_per_second": round(len(stage.train_rows) / max(seconds, 1e-9), 3),
        "image_size": stage.pixels(progress.epoch),
        "peak_memory_mb": peak_memory_mb(device),
    }


def peak_memory_mb(device: torch.device) -> float:
    """The most memory held so far: allocated on a GPU, resident on the CPU. MiB."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return round(peak_memory_bytes() / 2**20, 1)
