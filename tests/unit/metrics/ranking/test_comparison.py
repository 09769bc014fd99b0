"""Paired differences, Holm and compact letters."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from pulmonet.metrics.ranking.comparison import (
    compact_letters,
    compare,
    holm,
    narrowness,
    paired_differences,
)


def test_paired_interval_of_one_pair_is_the_usual_one() -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal([[0.8], [0.75]], [[0.02], [0.03]], (2, 4000))
    found = paired_differences(np.asarray([0.8, 0.75]), samples)
    spread = np.hypot(0.02, 0.03)
    assert found.difference[0] == pytest.approx(0.05)
    assert found.low[0] == pytest.approx(0.05 - 1.96 * spread, abs=0.004)
    assert found.p[0] == pytest.approx(2 * stats.norm.sf(0.05 / spread), abs=0.02)


def test_simultaneous_intervals_are_wider() -> None:
    samples = np.random.default_rng(0).normal(0.8, 0.02, (5, 4000))
    alone = paired_differences(np.full(2, 0.8), samples[:2])
    together = paired_differences(np.full(5, 0.8), samples)
    assert together.high[0] > 1.2 * alone.high[0]
    assert together.high[0] < 1.6 * alone.high[0]
    # Tukey's studentised range is what max-t approaches for independent models
    expected = stats.studentized_range.ppf(0.95, 5, 10_000) / 2**0.5
    critical = together.high[0] / np.std(samples[0] - samples[1])
    assert critical == pytest.approx(expected, rel=0.04)


def test_equal_models_are_not_distinguished() -> None:
    samples = np.tile(np.random.default_rng(0).normal(0.8, 0.02, 500), (2, 1))
    found = paired_differences(np.asarray([0.8, 0.8]), samples)
    assert not found.distinguished[0]
    assert found.p[0] == 1.0
    assert (found.low[0], found.high[0]) == (0, 0)


def test_holm_against_its_definition() -> None:
    p = np.asarray([0.04, 0.001, np.nan, 0.03])
    np.testing.assert_allclose(holm(p), [0.06, 0.003, np.nan, 0.06])


def test_letters_of_a_tie_that_is_not_transitive() -> None:
    # 0 best, 1 between, 2 worst; only 0 and 2 are told apart
    assert compact_letters([0.9, 0.85, 0.8], [(0, 2)]) == ["a", "ab", "b"]
    assert compact_letters([0.8, 0.9], []) == ["a", "a"]
    assert compact_letters([0.8, 0.9], [(0, 1)]) == ["b", "a"]


def test_letters_go_on_after_z() -> None:
    values = -np.arange(30.0)
    letters = compact_letters(list(values), list(combinations(range(30), 2)))
    assert letters[24:29] == ["y", "z", "a1", "b1", "c1"]


@pytest.mark.parametrize("seed", range(30))
def test_letters_say_exactly_who_is_distinguished(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n = int(generator.integers(2, 8))
    values = generator.random(n)
    pairs = [pair for pair in combinations(range(n), 2) if generator.random() < 0.5]
    letters = compact_letters(list(values), pairs)
    for first, second in combinations(range(n), 2):
        share = bool(set(letters[first]) & set(letters[second]))
        assert share == ((first, second) not in pairs)


def test_compare_tells_a_crippled_model_apart() -> None:
    generator = np.random.default_rng(1)
    targets = (generator.random((300, 2)) < 0.3).astype(float)
    targets[:, 1] = 0  # one class: no comparison for it
    good = stats.norm.cdf(1.5 * targets + generator.normal(size=(300, 2)))
    similar = np.clip(good + generator.normal(0, 0.02, (300, 2)), 0, 1)
    bad = generator.random((300, 2))
    found = compare(
        ["good", "similar", "bad"],
        ["A", "B"],
        targets,
        [good, similar, bad],
        np.arange(300),
        n_resamples=300,
        seed=0,
    )
    assert found.letters == ["a", "a", "b"]
    by_pair = {(c.a, c.b, c.metric, c.label): c for c in found.comparisons}
    assert len(by_pair) == 3 * 2 * 2
    assert by_pair["good", "bad", "auroc", None].distinguished
    assert not by_pair["good", "similar", "auroc", "A"].distinguished
    assert by_pair["good", "bad", "auroc", "A"].p_delong < 0.001
    assert by_pair["good", "bad", "average_precision", "A"].p_delong is None


def test_letters_are_those_of_the_auroc() -> None:
    """One model ranks all but a few negatives right; one finds half of the positives, no more."""
    rng = np.random.default_rng(0)
    targets = np.repeat([1.0, 0.0], [100, 900])[:, None]
    first = np.where(targets == 1, 0.8, 0.1) + 0.1 * rng.random(targets.shape)
    first[100:125] = 0.95
    second = 0.8 * rng.random(targets.shape)
    second[:50] = 0.95
    found = compare(
        ["a", "b"], ["Edema"], targets, [first, second], np.arange(1000), n_resamples=300
    )
    by_metric = {entry.metric: entry for entry in found.comparisons if entry.label is None}
    assert by_metric["auroc"].distinguished and by_metric["auroc"].difference > 0
    assert not by_metric["average_precision"].distinguished
    assert found.letters == ["a", "b"]


def test_narrowness_counts_patients_of_the_rarer_class() -> None:
    targets = np.asarray([[1, 0], [1, 1], [0, np.nan], [0, 0], [1, 1], [0, 1]])
    units = np.asarray([0, 0, 1, 1, 2, 3])
    assert narrowness(targets, units).tolist() == [2 / 1, 2 / 1]  # two patients of each at least
    many = np.repeat([1.0, 0.0], [8, 92])[:, None]
    assert narrowness(many, np.arange(100)) == pytest.approx(8 / 7)


def test_the_variance_factor_widens_intervals_and_raises_p() -> None:
    generator = np.random.default_rng(5)
    values = np.asarray([0.80, 0.83])
    samples = values[:, None] + generator.normal(size=(2, 2000)) * 0.02
    plain = paired_differences(values, samples)
    wide = paired_differences(values, samples, variance_factor=1.21)
    assert (wide.high - wide.low) == pytest.approx(1.1 * (plain.high - plain.low))
    assert wide.difference == plain.difference
    assert wide.p > plain.p
