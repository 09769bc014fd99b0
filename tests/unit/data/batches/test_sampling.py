"""Class-aware order."""

from __future__ import annotations

import numpy as np
import pytest

from pulmonet.data.batches.random import class_aware_order
from pulmonet.errors import ConfigError

ROWS = np.arange(100, 300)


def rare_targets() -> np.ndarray:
    targets = np.zeros((200, 2), np.float32)
    targets[:6, 0] = 1
    targets[50:150, 1] = 1
    targets[10:20, 0] = np.nan
    return targets


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75])
def test_every_batch_holds_its_share_of_one_label(share: float) -> None:
    targets = rare_targets()
    order = class_aware_order(targets, ROWS, batch_size=16, positive_share=share, seed=1, epoch=0)
    assert order.shape == (200,)
    turns = []
    for start in range(0, 200, 16):
        batch = targets[order[start : start + 16]]
        wanted = round(share * len(batch))
        label = [
            column
            for column in range(2)
            if (batch[:, column] == 1).sum() == wanted and not np.isnan(batch[:, column]).any()
        ]
        assert label
        turns.append(label)
    assert all(set(a + b) == {0, 1} for a, b in zip(turns[::2], turns[1::2], strict=False))


def test_rare_positives_take_turns() -> None:
    targets = rare_targets()[:, :1]
    order = class_aware_order(targets, ROWS, batch_size=20, positive_share=0.5, seed=1, epoch=0)
    positives = order[order < 6]
    counts = np.bincount(positives)
    assert counts.max() - counts.min() <= 1
    negatives = order[order >= 20]
    assert len(np.unique(negatives)) == len(negatives)


def test_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        targets = rare_targets()
        return class_aware_order(
            targets, ROWS, batch_size=16, positive_share=0.5, seed=seed, epoch=epoch
        ).tolist()

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_a_part_of_a_batch_holds_positives_too() -> None:
    targets = rare_targets()[:, :1]
    order = class_aware_order(targets, ROWS, batch_size=100, positive_share=0.5, seed=1, epoch=0)
    first_half = targets[order[:50], 0]
    assert 10 < first_half.sum() < 40


def test_last_batch_of_one() -> None:
    targets = rare_targets()[:17]
    order = class_aware_order(
        targets[:, :1], ROWS[:17], batch_size=16, positive_share=0.5, seed=1, epoch=0
    )
    assert len(order) == 17


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_no_label_with_both(value: float) -> None:
    targets = np.full((20, 2), value, np.float32)
    with pytest.raises(ConfigError, match="both positive and negative"):
        class_aware_order(targets, ROWS[:20], batch_size=4, positive_share=0.5, seed=1, epoch=0)


def test_batches_of_one() -> None:
    with pytest.raises(ConfigError, match="2 or more"):
        class_aware_order(rare_targets(), ROWS, batch_size=1, positive_share=0.5, seed=1, epoch=0)
