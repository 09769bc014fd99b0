"""Inference: order, mode, and too little memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pulmonet.data.batches.load import Batch
from pulmonet.errors import TrainingError
from pulmonet.models.inference import predict


class Brightness(nn.Module):
    """(B, 1, S, S) pixels to one logit: the first pixel; refuses more than 4 images."""

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return images[:, :, 0, 0].float()


def batch_of(*pixels: int) -> Batch:
    images = torch.tensor(pixels, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    return Batch(images, torch.zeros(len(pixels), 0), np.arange(len(pixels)))


def test_scores_come_in_order_and_the_mode_comes_back() -> None:
    network = Brightness().train()
    scores = predict(network, [batch_of(0, 3), batch_of(1)])
    np.testing.assert_allclose(scores[:, 0], 1 / (1 + np.exp(-np.array([0.0, 3.0, 1.0]))), 1e-6)
    assert network.training


def test_too_little_memory_is_an_error_with_a_way_out() -> None:
    network = Brightness().train()
    with pytest.raises(TrainingError, match="out of memory while scoring; use a smaller --batch"):
        predict(network, [batch_of(1, 2, 3, 4, 5)])
    assert network.training
