"""Random numbers of (seed, epoch, row, stream)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pulmonet.data.batches.random import class_aware_order, hash_rows, permutation, uniform
from pulmonet.errors import ConfigError

_MASK = 2**64 - 1


def _mix(state: int) -> int:
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def _reference(seed: int, epoch: int, row: int, stream: int) -> int:
    golden = 0x9E3779B97F4A7C15
    state = 0
    for coordinate in (seed, epoch, stream):
        state = _mix((state + golden + coordinate) & _MASK)
    return _mix((state + golden + row * golden) & _MASK)


def test_mixer_is_splitmix64() -> None:
    # first outputs of the published generator for seed 0
    assert _mix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF
    assert _mix((2 * 0x9E3779B97F4A7C15) & _MASK) == 0x6E789E6AA1B965F4


def test_equals_plain_integers() -> None:
    rows = np.array([0, 1, 2, 223_413, 10**9])
    for seed, epoch, stream in ((0, 0, 0), (42, 3, 7), (2**32 - 1, 1000, 101)):
        expected = [_reference(seed, epoch, int(row), stream) for row in rows]
        assert hash_rows(seed, epoch, rows, stream).tolist() == expected


def test_uniform_is_uniform_and_its_streams_are_independent() -> None:
    rows = np.arange(20_000)
    first, second = uniform(42, 0, rows, 0), uniform(42, 0, rows, 1)
    assert first.min() >= 0
    assert first.max() < 1
    assert stats.kstest(first, "uniform").pvalue > 0.001
    for other in (second, uniform(42, 1, rows, 0), uniform(43, 0, rows, 0), np.roll(first, 1)):
        assert abs(stats.spearmanr(first, other).statistic) < 0.03


def test_a_draw_does_not_depend_on_its_company() -> None:
    rows = np.arange(100)
    assert uniform(1, 2, rows, 3)[57] == uniform(1, 2, np.array([57]), 3)[0]


def test_permutation_is_one_and_changes_with_the_epoch() -> None:
    rows = np.arange(500) * 3
    order = permutation(42, 0, rows, 100)
    assert sorted(order) == list(range(500))
    assert not np.array_equal(order, permutation(42, 1, rows, 100))
    np.testing.assert_array_equal(order, permutation(42, 0, rows, 100))


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
