"""Inference: a network and batches give scores."""

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pulmonet.arrays import Floats32
from pulmonet.data.batches.load import Batch
from pulmonet.errors import TrainingError, is_out_of_memory
from pulmonet.words import first_line

Result = TypeVar("Result")


@torch.inference_mode()
def predict(
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    to_scores: Callable[[Tensor], Tensor] = torch.sigmoid,
    progress: Callable[[int], object] = lambda _: None,
) -> Floats32:
    """Scores (N, L) in [0, 1] of all rows, in the batches' order.

    Args:
        network: takes (B, 1, S, S) pixels; put into eval mode for the time being.
        batches: images (B, 1, S, S), uint8 or float in [0, 255].
        device: where the network is.
        precision: fp32, bf16 or fp16 (autocast); the head stays fp32.
        to_scores: logits (B, n_outputs) -> scores (B, L) in [0, 1].
        progress: called with the number of images of each finished batch.

    Out of memory halves the batches, for the time being.

    Raises:
        TrainingError: the device's memory is too small for one image.
    """
    device = torch.device(device)
    was_training = network.training
    network.eval()
    found: list[Tensor] = []
    limit = sys.maxsize

    def of_parts(images: Tensor, size: int) -> Tensor:
        nonlocal limit
        limit = size
        return torch.cat([to_scores(network(part).float()) for part in torch.split(images, size)])

    try:
        for batch in batches:
            with autocast(device, precision):
                work = partial(of_parts, batch.images.to(device))
                found.append(in_parts(work, min(limit, len(batch))))
            progress(len(batch.rows))
    finally:
        network.train(was_training)
    if not found:
        return np.zeros((0, 0), dtype=np.float32)
    return torch.cat(found).cpu().numpy().astype(np.float32)


def in_parts(work: Callable[[int], Result], size: int) -> Result:
    """What `work` gives with `size` images a pass, or half as many each time memory runs out.

    Raises:
        TrainingError: out of memory with one image a pass.
    """
    while True:
        try:
            return work(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size <= 1:
                what = f"out of memory with one image at a time ({first_line(error)[:160]})"
                raise TrainingError(f"{what}; free some, or use --device cpu") from None
        size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        logging.getLogger(__name__).warning(
            "out of memory: going on with %d images at a time", size
        )


def unlabelled(images: Tensor) -> Batch:
    """(B, 1, S, S) pixels as a batch, of whose labels nothing is known."""
    return Batch(images, images.new_empty((len(images), 0)), np.arange(len(images)))


def mean_scores(of_views: Sequence[Floats32]) -> Floats32:
    """The mean of (N, L) scores of the same rows; those of a single view as they are."""
    return np.asarray(np.stack(of_views).astype(np.float64).mean(axis=0), np.float32)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast context of a precision; fp32 switches it off."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
