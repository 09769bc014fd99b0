"""AUROC and average precision against scikit-learn, torchmetrics and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from pulmonet.metrics.ranking.auc import (
    auroc,
    average_precision,
    macro_mean,
    precision_of_others,
    rank,
    weighted_ranking,
    why_not_scored,
)
from pulmonet.metrics.ranking.resamples import number_units

Array = NDArray[np.float64]


def random_rows(seed: int) -> tuple[Array, Array]:
    """Targets and scores with ties, of any prevalence, both classes present."""
    generator = np.random.default_rng(seed)
    n = int(generator.integers(2, 400))
    targets = (generator.random(n) < generator.choice([0.01, 0.2, 0.5, 0.97])).astype(float)
    targets[:2] = [0, 1]
    digits = int(generator.choice([0, 1, 2, 8]))
    return targets, np.round(np.clip(generator.random(n) * 0.7 + 0.3 * targets, 0, 1), digits)


@pytest.mark.parametrize("seed", range(60))
def test_equals_scikit_learn_with_ties(seed: int) -> None:
    targets, scores = random_rows(seed)
    assert auroc(targets, scores) == pytest.approx(roc_auc_score(targets, scores), abs=1e-9)
    expected = average_precision_score(targets, scores)
    assert average_precision(targets, scores) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_equals_torchmetrics(seed: int) -> None:
    targets, scores = random_rows(seed)
    as_tensors = torch.tensor(scores), torch.tensor(targets).long()
    assert auroc(targets, scores) == pytest.approx(float(binary_auroc(*as_tensors)), abs=1e-5)
    expected = float(binary_average_precision(*as_tensors))
    assert average_precision(targets, scores) == pytest.approx(expected, abs=1e-5)


def test_unknown_targets_are_left_out() -> None:
    targets, scores = random_rows(3)
    with_unknown = np.concatenate([targets, np.full(50, np.nan)])
    more_scores = np.concatenate([scores, np.linspace(0, 1, 50)])
    assert auroc(with_unknown, more_scores) == auroc(targets, scores)
    assert average_precision(with_unknown, more_scores) == average_precision(targets, scores)


@pytest.mark.parametrize("seed", range(10))
def test_weights_are_repeated_rows(seed: int) -> None:
    targets, scores = random_rows(seed)
    generator = np.random.default_rng(seed)
    units = generator.integers(0, 20, len(targets))
    weights = generator.integers(0, 4, (3, 20)).astype(np.int32)
    found = weighted_ranking(rank(targets, scores, units), weights)
    for row, counts in enumerate(weights):
        repeated = np.repeat(np.arange(len(targets)), counts[units])
        if len(np.unique(targets[repeated])) < 2:
            assert np.isnan(found[0][row])
            assert np.isnan(found[1][row])
            continue
        expected = roc_auc_score(targets[repeated], scores[repeated])
        assert found[0][row] == pytest.approx(expected, abs=1e-9)
        expected = average_precision_score(targets[repeated], scores[repeated])
        assert found[1][row] == pytest.approx(expected, abs=1e-9)


def test_one_class_is_nan_with_a_reason() -> None:
    assert np.isnan(auroc(np.zeros(5), np.linspace(0, 1, 5)))
    assert np.isnan(average_precision(np.ones(5), np.linspace(0, 1, 5)))
    assert why_not_scored(np.zeros(5)) == "one class only: no positive among 5 rows"
    assert why_not_scored(np.ones(5)) == "one class only: no negative among 5 rows"
    assert why_not_scored(np.full(5, np.nan)) == "not annotated in these rows"
    assert why_not_scored(np.asarray([0.0, 1.0])) is None


@pytest.mark.parametrize("bad", [[-3.0, 2.5], [0.2, 1.01], [0.2, np.nan]])
def test_logits_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="logits are refused"):
        auroc([0, 1], bad)


def test_other_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="targets other than 0, 1 and NaN"):
        rank([0, 1, -1], [0.1, 0.2, 0.3])


def test_macro_averages_scored_labels_only() -> None:
    values = np.asarray([[0.5, np.nan, 0.7], [0.6, np.nan, 0.8]])
    found = macro_mean(values, np.asarray([True, False, True]))
    np.testing.assert_allclose(found, [0.6, 0.7])
    nothing = macro_mean(values, np.zeros(3, bool))
    assert nothing.shape == (2,) and np.isnan(nothing).all()
    # runs x resamples x labels, as a bootstrap has it
    many = np.random.default_rng(0).random((2, 5, 3))
    expected = [[(row[0] + row[2]) / 2 for row in run] for run in many]
    np.testing.assert_allclose(macro_mean(many, np.asarray([True, False, True])), expected)


def test_units_are_numbered_by_appearance() -> None:
    np.testing.assert_array_equal(number_units(["b", "a", "b"], 3), [0, 1, 0])
    np.testing.assert_array_equal(number_units(None, 3), [0, 1, 2])


def test_precision_of_others_has_no_bias_of_few_positives() -> None:
    """A plain loop; and in the mean over datasets the population's, where the plain one is not."""
    generator = np.random.default_rng(4)
    shift, cuts = 1.4, np.linspace(-8, 9, 20_001)
    recall, alarms = norm.sf(cuts - shift), norm.sf(cuts)
    precision = 10 * recall / (10 * recall + 190 * alarms)
    truth = np.trapezoid(precision[::-1], recall[::-1])
    targets, found = np.repeat([1.0, 0.0], [10, 190]), []
    for _ in range(1500):
        scores = norm.cdf(generator.normal(size=200) + shift * targets)
        found.append((average_precision(targets, scores), precision_of_others(targets, scores)))
    scores = scores.round(2)  # ties
    expected = []
    for own in scores[:10]:
        others = np.sum(scores[:10] >= own) - 1
        called = others + np.sum(scores[10:] >= own)
        expected.append(others / called if called else 1.0)
    assert precision_of_others(targets, scores) == pytest.approx(np.mean(expected))
    plain, unbiased = np.mean(found, axis=0) - truth
    assert plain > 0.04
    assert abs(unbiased) < 0.015
    assert np.isnan(precision_of_others(np.ones(3), np.full(3, 0.5)))
