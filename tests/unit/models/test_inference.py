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
    """(B, 1, S, S) pixels to one logit: the first pixel."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, 0, 0].float()


def batch_of(*pixels: int) -> Batch:
    images = torch.tensor(pixels, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    return Batch(images, torch.zeros(len(pixels), 0), np.arange(len(pixels)))


def test_scores_come_in_order_and_the_mode_comes_back() -> None:
    network = Brightness().train()
    scores = predict(network, [batch_of(0, 3), batch_of(1)])
    np.testing.assert_allclose(scores[:, 0], 1 / (1 + np.exp(-np.array([0.0, 3.0, 1.0]))), 1e-6)
    assert network.training


class Limited(Brightness):
    """Takes no more than `limit` images."""

    def __init__(self, limit: int, error: Exception) -> None:
        super().__init__()
        self.limit, self.error, self.sizes = limit, error, list[int]()

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.limit:
            raise self.error
        self.sizes.append(len(images))
        return images[:, :, 0, 0].float()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:75] . DefaultCPUAllocator: can't allocate"),
        RuntimeError("could not create a primitive"),
        MemoryError(),
    ],
)
def test_too_little_memory_halves_the_batches(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    network, batches = Limited(2, error), [batch_of(*range(6)), batch_of(*range(6, 10))]
    np.testing.assert_array_equal(
        predict(network, batches), predict(Brightness(), [batch_of(n) for n in range(10)])
    )
    assert network.sizes == [1] * 10
    said = [record.message for record in caplog.records]
    assert said == [f"out of memory: going on with {n} images at a time" for n in (3, 1)]


def test_no_memory_for_one_image_is_an_error_with_a_way_out() -> None:
    network = Limited(0, MemoryError()).train()
    with pytest.raises(TrainingError, match=r"one image at a time \(MemoryError\); free some"):
        predict(network, [batch_of(1, 2, 3)])
    assert network.training


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        predict(Limited(0, RuntimeError("shapes")), [batch_of(1)])
