"""Random numbers of (seed, epoch, row, stream)."""

from __future__ import annotations

import numpy as np
from scipy import stats

from pulmonet.data.batches.random import hash_rows, permutation, uniform

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
