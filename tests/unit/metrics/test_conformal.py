"""Conformal thresholds: brute force, the guarantee by simulation, and patients as units."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest

from pulmonet.metrics.conformal import choose_conformal, judge_conformal

RNG = np.random.default_rng(7)


def _k(n: int) -> int:
    """The most patients that may lie below a threshold, by exact sums of the binomial."""

    def at_most(k: int) -> float:
        return sum(comb(n, j) * 0.1**j * 0.9 ** (n - j) for j in range(k + 1))

    return next(k for k in range(n + 1) if at_most(k) > 0.05)


def _brute(targets: np.ndarray, scores: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    worst: dict[int, dict[int, float]] = {1: {}, 0: {}}
    for target, score, unit in zip(targets.astype(int), scores, units, strict=True):
        keep, found = (min if target else max), worst[target]
        found[unit] = keep(found.get(unit, score), score)
    lows, highs = sorted(worst[1].values()), sorted(worst[0].values(), reverse=True)
    return lows[_k(len(lows)) - 1], highs[_k(len(highs)) - 1]


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("n_images", [1, 4])
def test_thresholds_are_those_of_brute_force(n_images: int, shift: float) -> None:
    units = RNG.permutation(np.repeat(np.arange(250), n_images))
    targets = (RNG.random(len(units)) < 0.4).astype(float)  # of a patient some of either class
    scores = np.round(RNG.random(len(units)) * 0.4 + shift * targets, 2)  # with ties
    found = choose_conformal(targets, scores, units)
    low, high = _brute(targets, scores, units)
    assert (found.rule_out, found.rule_in) == (min(low, high), max(low, high))
    assert bool(low > high) is (shift == 0.6), "both orders occur"
    words = found.decide(scores)
    assert words == [
        "ruled out" if one < min(low, high) else "ruled in" if one > max(low, high) else "undecided"
        for one in scores
    ]


@pytest.mark.parametrize(("n_positive", "rules_out"), [(28, False), (29, True)])
def test_29_patients_are_needed(n_positive: int, rules_out: bool) -> None:
    """1 - 0.9^28 = 0.948, 1 - 0.9^29 = 0.953; further images of a patient do not count."""
    targets = np.repeat([1.0, 0.0], [2 * n_positive, 100])
    units = np.concatenate([np.repeat(np.arange(n_positive), 2), 1000 + np.arange(100)])
    scores = RNG.random(len(units))
    found = choose_conformal(targets, scores, units)
    assert (found.rule_out is not None) is rules_out
    assert found.rule_in is not None
    if rules_out:
        assert found.why_undecided() is None
        assert found.rule_out == min(scores[: 2 * n_positive].min(), found.rule_in)
    else:
        assert found.why_undecided() == (
            "nothing is ruled out, which 29 positive patients or more have to choose"
        )
        assert "ruled out" not in found.decide(scores)


def test_nothing_is_decided_by_few_of_both() -> None:
    found = choose_conformal(np.tile([1.0, 0.0], 20), RNG.random(40), np.arange(40))
    assert found.decide(np.asarray([0.0, 0.5, 1.0])) == ["undecided"] * 3
    assert "ruled out" in str(found.why_undecided()) and "ruled in" in str(found.why_undecided())


def test_coverage_on_other_rows_is_counted_by_patient() -> None:
    units = np.repeat(np.arange(400), 2)
    targets = np.repeat(RNG.random(400) < 0.5, 2).astype(float)
    scores = np.clip(RNG.normal(0.4 + 0.2 * targets, 0.15), 0, 1)
    here, there = units < 200, units >= 200
    kept = choose_conformal(targets[here], scores[here], units[here])
    found = judge_conformal(targets[there], scores[there], units[there], kept, "others")
    pairs = scores[there].reshape(-1, 2), targets[there][::2] == 1
    share = np.mean(pairs[0][pairs[1]].min(axis=1) >= kept.rule_out)
    assert found.positive_coverage == pytest.approx(share)
    share = np.mean(pairs[0][~pairs[1]].max(axis=1) <= kept.rule_in)
    assert found.negative_coverage == pytest.approx(share)
    n_patients = int(pairs[1].sum())
    right = int(np.sum(pairs[0][pairs[1]].min(axis=1) >= kept.rule_out))
    wilson = binomtest(right, n_patients).proportion_ci(method="wilson")
    one = found.positive_coverage_estimate
    assert one is not None and (one.low, one.high) == pytest.approx((wilson.low, wilson.high))
    every = found.negative_coverage_estimate, found.undecided_estimate
    for share, value in zip(every, (found.negative_coverage, found.undecided), strict=True):
        assert share is not None and share.value == value and share.low < value < share.high
    own = judge_conformal(targets[here], scores[here], units[here], None, "these rows")
    assert (own.rule_out, own.rule_in) == (kept.rule_out, kept.rule_in)
    assert own.positive_coverage is own.negative_coverage is None
    assert own.positive_coverage_estimate is own.negative_coverage_estimate is None
