"""The loader on a GPU: what the CPU gets, and what a thread without memory does."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pulmonet.config.fields import AugmentConfig
from pulmonet.data.batches.augment import GPU_TOLERANCE
from pulmonet.data.batches.load import ResidentPack, TrainingBatches
from pulmonet.data.pack.open import Pack, open_pack
from small_dataset import write_dataset

ROWS = np.arange(24)


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return open_pack(write_dataset(tmp_path / "tiny", len(ROWS)), range(len(ROWS)))


def batches_of(pack: Pack, augment: AugmentConfig, **changes: Any) -> TrainingBatches:
    targets = np.random.default_rng(0).integers(0, 2, (len(ROWS), 3)).astype(np.float32)
    return TrainingBatches(
        pack, ROWS, targets, augment, image_size=64, batch_size=5, seed=42, **changes
    )


@pytest.mark.parametrize("augment", [AugmentConfig(), AugmentConfig(mixup_alpha=0.4)])
def test_a_gpu_gets_what_the_cpu_gets(pack: Pack, augment: AugmentConfig) -> None:
    expected = list(batches_of(pack, augment).epoch(1))
    found = list(batches_of(pack, augment, num_workers=3, device="cuda").epoch(1))
    for batch, on_gpu in zip(expected, found, strict=True):
        assert on_gpu.images.device.type == "cuda"
        np.testing.assert_array_equal(on_gpu.rows, batch.rows)
        torch.testing.assert_close(on_gpu.targets.cpu(), batch.targets)
        difference = (on_gpu.images.cpu() - batch.images.float()).abs()
        assert difference.mean() < GPU_TOLERANCE


def test_rows_on_the_card_give_the_batches_of_the_pack(pack: Pack) -> None:
    resident = ResidentPack(pack, ROWS, torch.device("cuda"))
    streamed = list(batches_of(pack, AugmentConfig(), device="cuda").epoch(1))
    found = list(batches_of(resident, AugmentConfig(), num_workers=3, device="cuda").epoch(1))
    for batch, other in zip(streamed, found, strict=True):
        torch.testing.assert_close(other.images, batch.images, rtol=0, atol=0)
        torch.testing.assert_close(other.targets, batch.targets, rtol=0, atol=0)


def test_epochs_share_one_side_stream(pack: Pack) -> None:
    """The allocator keeps memory for each stream: it must not grow from epoch to epoch."""
    batches = batches_of(pack, AugmentConfig(), num_workers=2, device="cuda")
    held = []
    for epoch in range(12):
        for _batch in batches.epoch(epoch):
            pass
        torch.cuda.synchronize()
        held.append(torch.cuda.memory_reserved())
    assert held[-1] - held[1] <= 4 * 2**20, "a stream of its own would take 2 MiB an epoch"


def test_a_thread_without_memory_lets_the_main_one_do_it_again(
    pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, failed = pack.read, []

    def scarce(rows: Any) -> Any:
        if threading.current_thread() is not threading.main_thread() and not failed:
            failed.append(rows)
            torch.empty(2**62, dtype=torch.uint8, device="cuda")
        return read(rows)

    monkeypatch.setattr(pack, "read", scarce)
    n = sum(len(b) for b in batches_of(pack, AugmentConfig(), device="cuda").epoch(0))
    assert failed
    assert n == len(ROWS)
