"""Inference: a network and batches give scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pulmonet.arrays import Floats32
from pulmonet.data.batches.load import Batch
from pulmonet.errors import TrainingError


@torch.inference_mode()
def predict(
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    to_scores: Callable[[Tensor], Tensor] = torch.sigmoid,
    progress: Callable[[int], None] | None = None,
) -> Floats32:
    """Scores (N, L) in [0, 1] of all rows, in the batches' order.

    Args:
        network: takes (B, 1, S, S) pixels; put into eval mode for the time being.
        batches: images (B, 1, S, S), uint8 or float in [0, 255].
        device: where the network is.
        precision: fp32, bf16 or fp16 (autocast); the head stays fp32.
        to_scores: logits (B, n_outputs) -> scores (B, L) in [0, 1].
        progress: called with the number of images of each finished batch.

    Raises:
        TrainingError: the device's memory is too small for a batch.
    """
    device = torch.device(device)
    was_training = network.training
    network.eval()
    found: list[Tensor] = []
    try:
        for batch in batches:
            with autocast(device, precision):
                found.append(to_scores(network(batch.images.to(device)).float()))
            if progress is not None:
                progress(len(batch.rows))
    except torch.OutOfMemoryError:
        raise TrainingError(
            f"{device}: out of memory while scoring; use a smaller --batch-size, or --device cpu"
        ) from None
    finally:
        network.train(was_training)
    if not found:
        return np.zeros((0, 0), dtype=np.float32)
    return torch.cat(found).cpu().numpy().astype(np.float32)


def mean_scores(of_views: Sequence[Floats32]) -> Floats32:
    """The mean of (N, L) scores of the same rows; those of a single view as they are."""
    if len(of_views) == 1:
        return of_views[0]
    return np.asarray(np.stack(of_views).astype(np.float64).mean(axis=0), np.float32)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast context of a precision; fp32 switches it off."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
