"""Paired differences in families, and compact letters."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr
from sklearn.metrics import roc_auc_score

from pulmonet.metrics.ranking.comparison import compact_letters, compare, paired_differences

Array = NDArray[np.float64]


def test_paired_interval_of_one_pair_is_the_usual_one() -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal([[0.8], [0.75]], [[0.02], [0.03]], (2, 4000))[..., None]
    found = paired_differences(np.asarray([[0.8], [0.75]]), samples)
    spread = np.hypot(0.02, 0.03)
    assert found.difference.item() == pytest.approx(0.05)
    assert found.low.item() == pytest.approx(0.05 - 1.96 * spread, abs=0.004)
    assert found.p.item() == pytest.approx(2 * stats.norm.sf(0.05 / spread), abs=0.02)
    assert found.p_adjusted == found.p


def test_simultaneous_intervals_are_wider() -> None:
    samples = np.random.default_rng(0).normal(0.8, 0.02, (5, 4000))[..., None]
    alone = paired_differences(np.full((2, 1), 0.8), samples[:2])
    together = paired_differences(np.full((5, 1), 0.8), samples)
    assert together.high[0, 0] > 1.2 * alone.high[0, 0]
    assert together.high[0, 0] < 1.6 * alone.high[0, 0]
    # Tukey's studentised range is what max-t approaches for independent models
    expected = stats.studentized_range.ppf(0.95, 5, 10_000) / 2**0.5
    critical = together.high[0, 0] / np.std(samples[0] - samples[1])
    assert critical == pytest.approx(expected, rel=0.04)


def test_a_family_over_labels_is_sidak_where_labels_are_independent() -> None:
    generator = np.random.default_rng(1)
    values = np.full((2, 13), 0.8)
    values[0, 0] += 0.06
    samples = values[:, None] + generator.normal(0, 0.02, (2, 20_000, 13))
    found = paired_differences(values, samples)
    alone = 2 * stats.norm.sf(0.06 / (0.02 * 2**0.5))
    assert found.p[0, 0] == pytest.approx(alone, rel=0.1)
    assert found.p_adjusted[0, 0] == pytest.approx(1 - (1 - alone) ** 13, rel=0.1)
    critical = stats.norm.isf((1 - 0.95 ** (1 / 13)) / 2)
    half = (found.high - found.low)[0] / 2
    np.testing.assert_allclose(half, critical * 0.02 * 2**0.5, rtol=0.03)


@pytest.mark.parametrize("seed", range(20))
def test_interval_and_p_say_the_same(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n_resamples = int(generator.integers(100, 700))
    shape = (int(generator.integers(2, 5)), n_resamples, int(generator.integers(1, 9)))
    values = 0.8 + 0.05 * generator.normal(size=(shape[0], shape[2]))
    samples = values[:, None] + 0.02 * generator.standard_t(5, shape)
    found = paired_differences(values, samples, generator.integers(5, 200, shape[2]))
    apart = (found.low > 0) | (found.high < 0)
    np.testing.assert_array_equal(apart, found.p_adjusted <= 0.05)
    assert (found.p_adjusted >= found.p).all()


def test_equal_models_are_not_distinguished() -> None:
    samples = np.tile(np.random.default_rng(0).normal(0.8, 0.02, 500), (2, 1))[..., None]
    found = paired_differences(np.full((2, 1), 0.8), samples)
    assert not found.distinguished.any()
    assert found.p.item() == found.p_adjusted.item() == 1.0
    assert (found.low.item(), found.high.item()) == (0, 0)


def test_a_difference_without_spread_is_one() -> None:
    values = np.asarray([[1.0], [0.5]])
    found = paired_differences(values, np.repeat(values[:, None], 200, axis=1))
    assert found.distinguished.all()
    assert found.p_adjusted.item() == pytest.approx(1 / 201)


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


def test_few_patients_are_judged_by_student() -> None:
    """One measure of n patients: the paired t test, in the interval and in p."""
    for n in (6, 12):
        difference = np.random.default_rng(n).normal(0.9, 1, n)
        draws = difference.mean() + difference.std() / n**0.5 * stats.norm.ppf(
            (np.arange(20_000) + 0.5) / 20_000
        )
        values = np.asarray([[difference.mean()], [0.0]])
        samples = np.stack([draws, np.zeros_like(draws)])[..., None]
        found = paired_differences(values, samples, n)
        test = stats.ttest_1samp(difference, 0)
        expected = test.confidence_interval()
        assert found.p.item() == pytest.approx(test.pvalue, abs=1e-3)
        assert found.low.item() == pytest.approx(expected.low, abs=0.01)
        assert found.high.item() == pytest.approx(expected.high, abs=0.01)


def test_labels_are_one_family_and_the_macro_is_primary() -> None:
    """Two equal models: over thirteen labels one seldom differs, where each alone would."""
    n_apart, n_alone = 0, 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        targets = (generator.random((150, 13)) < 0.3).astype(float)
        scores = [stats.norm.cdf(targets + generator.normal(size=(150, 13))) for _ in range(2)]
        labels = [f"L{number}" for number in range(13)]
        found = compare(["a", "b"], labels, targets, scores, np.arange(150), n_resamples=200)
        of_labels = [one for one in found.comparisons if one.label is not None]
        assert len(found.comparisons) == 2 * 14
        for one in found.comparisons:
            assert one.distinguished == (one.p_adjusted <= 0.05) == (one.low * one.high > 0)
        macro = found.comparisons[0]
        assert (macro.metric, macro.label, macro.p_adjusted) == ("auroc", None, macro.p)
        assert len(set(found.letters)) == 1 + macro.distinguished
        n_apart += any(one.distinguished for one in of_labels)
        n_alone += any(one.p < 0.05 for one in of_labels if one.metric == "auroc")
    assert n_alone >= 12  # 1 - 0.95^13 = 49 %
    assert n_apart <= 6  # at most 5 %: P(7 or more of 40) = 0.3 %


def test_the_data_count_as_one_of_the_draws() -> None:
    """Of 99 resamples the fifth largest deviation is the 95 % end: 5 of 100 are at or beyond it."""
    generator = np.random.default_rng(3)
    values = np.asarray([[0.83], [0.80]])
    deviations = 0.02 * generator.normal(size=99)
    samples = np.stack([values[0] + deviations, np.full(99, 0.80)])[..., None]
    found = paired_differences(values, samples)
    fifth = np.sort(np.abs(deviations))[-5]
    assert found.high.item() - found.difference.item() == pytest.approx(fifth, rel=1e-6)
    assert found.difference.item() - found.low.item() == pytest.approx(fifth, rel=1e-6)
    n_beyond = np.sum(np.abs(deviations) >= 0.03)
    assert found.p.item() == pytest.approx((1 + n_beyond) / 100)


def test_each_label_is_judged_by_its_own_patients() -> None:
    """p of a label is the same beside a rare label as alone; the rare one's is its own, too."""
    generator = np.random.default_rng(8)
    targets = np.zeros((120, 2))
    targets[:50, 0] = targets[50:57, 1] = 1
    strength = np.asarray([[1.5, 1.5], [0.9, 0.9]])[:, None]
    scores = list(stats.norm.cdf(strength * targets + generator.normal(size=(2, 120, 2))))

    def p_of(*columns: int) -> list[float]:
        names = [f"L{column}" for column in columns]
        cut = [run[:, columns] for run in scores]
        found = compare(["a", "b"], names, targets[:, columns], cut, np.arange(120))
        return [one.p for one in found.comparisons if one.label and one.metric == "auroc"]

    assert p_of(0, 1) == p_of(0) + p_of(1)


def draw_seeds(
    seed: int, spread: float, shift: float = 0.0
) -> tuple[Array, list[Array], NDArray[np.int64]]:
    """Two recipes of three seeds each, whose binormal separations differ by `spread`."""
    generator = np.random.default_rng([seed, 5])
    targets = np.repeat([1.0, 0.0], [80, 120])[:, None]
    shared = generator.normal(size=(200, 1))
    scores = []
    for recipe in range(2):
        for _ in range(3):
            distance = 1.2 + shift * recipe + spread * generator.normal()
            noise = 0.8 * shared + 0.6 * generator.normal(size=(200, 1))
            scores.append(ndtr(distance * targets + noise))
    return targets, scores, np.arange(200)


RUNS = ("a0", "a1", "a2", "b0", "b1", "b2")
ARMS = {"a": ("a0", "a1", "a2"), "b": ("b0", "b1", "b2")}


def test_arms_of_seeds_are_told_apart_in_five_per_cent_and_their_single_runs_oftener() -> None:
    arms, single, far = 0, 0, 0
    for seed in range(80):
        targets, scores, units = draw_seeds(seed, spread=0.25)
        compare_here = partial(compare, labels=["A"], targets=targets, units=units)
        found = compare_here(RUNS, scores=scores, n_resamples=200, seed=seed, arms=ARMS)
        assert found.names == ["a", "b"]
        arms += found.comparisons[0].distinguished
        ones = [scores[0], scores[3]]
        found = compare_here(["a0", "b0"], scores=ones, n_resamples=200, seed=seed)
        single += found.comparisons[0].distinguished
        if seed < 10:
            _, apart, _ = draw_seeds(seed, spread=0.05, shift=1.0)
            found = compare_here(RUNS, scores=apart, n_resamples=200, seed=seed, arms=ARMS)
            far += found.comparisons[0].distinguished
    assert arms <= 9  # P(10 or more of 80 at 5 %) = 0.7 %
    assert single >= 16
    assert far == 10


def test_an_arm_is_the_mean_of_its_runs_and_names_them() -> None:
    targets, scores, units = draw_seeds(0, spread=0.1)
    found = compare(RUNS, ["A"], targets, scores, units, n_resamples=200, arms=ARMS, margin=0.9)
    first = found.comparisons[0]
    values = [roc_auc_score(targets[:, 0], one[:, 0]) for one in scores]
    assert first.difference == pytest.approx(np.mean(values[:3]) - np.mean(values[3:]))
    assert (first.a_members, first.b_members) == (list(ARMS["a"]), list(ARMS["b"]))
    assert first.primary and not found.comparisons[1].primary
    assert first.margin_text() == "margin 0.9: a is not inferior to b, b is not inferior to a"
    assert found.comparisons[1].margin_text() == ""


def test_a_primary_label_is_a_family_of_its_own() -> None:
    generator = np.random.default_rng(3)
    units = np.arange(300)
    targets = (generator.random((300, 3)) < 0.3).astype(float)
    shared = 0.5 * targets + generator.random((300, 3))
    scores = [ndtr(shared + generator.normal(0, 0.7, (300, 3))) for _ in range(2)]
    names, labels = ["x", "y"], [f"L{k}" for k in range(targets.shape[1])]
    of_macro = compare(names, labels, targets, scores, units, n_resamples=300)
    found = compare(names, labels, targets, scores, units, n_resamples=300, primary="L1")
    first = found.comparisons[0]
    assert (first.label, first.metric, first.endpoint()) == ("L1", "auroc", "AUROC of L1")
    assert [one.is_primary() for one in found.comparisons] == [True] + [False] * (
        len(found.comparisons) - 1
    )
    (same,) = [one for one in of_macro.comparisons if (one.label, one.metric) == ("L1", "auroc")]
    assert first.difference == same.difference and first.p == same.p
    assert first.p_adjusted == first.p < same.p_adjusted
    assert first.high - first.low < same.high - same.low
