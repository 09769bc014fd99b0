"""Thresholds against brute force, and that they never see the rows they are judged on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

from pulmonet.metrics.calibration.fit import patient_folds
from pulmonet.metrics.ranking import resamples as drawing
from pulmonet.metrics.ranking.resamples import LabelRows, PatientResamples
from pulmonet.metrics.thresholds import (
    choose_threshold,
    cross_fitted_calls,
    operating_points,
    rates,
)

Array = NDArray[np.float64]


def rows(seed: int, n: int = 200) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    targets = (generator.random(n) < 0.3).astype(float)
    return targets, np.round(np.clip(generator.random(n) * 0.7 + 0.3 * targets, 0, 1), 2)


def label_rows(
    targets: Array, scores: Array, units: NDArray[np.int64], n_resamples: int = 200, seed: int = 0
) -> LabelRows:
    resamples = PatientResamples(targets[:, None], units, n_resamples, seed)
    return LabelRows(targets, scores, units, resamples)


def brute_force(targets: Array, scores: Array, criterion: str) -> float | None:
    """Every observed score tried as a threshold."""
    name, _, text = criterion.partition("=")
    wanted = float(text or 0)
    best: tuple[float, float] | None = None
    for threshold in sorted(set(scores), reverse=True):
        called = scores >= threshold
        sensitivity = recall_score(targets, called)
        specificity = recall_score(targets, called, pos_label=0)
        gain = {
            "youden": sensitivity + specificity,
            "f1": f1_score(targets, called),
            "sensitivity": specificity if sensitivity >= wanted - 1e-12 else -1,
            "specificity": sensitivity if specificity >= wanted - 1e-12 else -1,
            "ppv": sensitivity if precision_score(targets, called) >= wanted - 1e-12 else -1,
        }[name]
        if gain >= 0 and (best is None or gain > best[0] + 1e-12):
            best = gain, threshold
    return None if best is None else best[1]


@pytest.mark.parametrize("criterion", ["youden", "f1", "sensitivity=0.9", "specificity=0.9"])
@pytest.mark.parametrize("seed", range(3))
def test_thresholds_equal_brute_force(seed: int, criterion: str) -> None:
    targets, scores = rows(seed, n=60)
    assert choose_threshold(targets, scores, criterion) == brute_force(targets, scores, criterion)


@pytest.mark.parametrize("seed", range(3))
def test_wanted_ppv(seed: int) -> None:
    targets, scores = rows(seed, n=60)
    found = choose_threshold(targets, scores, "ppv=0.6")
    assert found == brute_force(targets, scores, "ppv=0.6")
    assert choose_threshold(np.asarray([0, 1.0]), np.asarray([0.9, 0.1]), "ppv=0.9") is None


@pytest.mark.parametrize("criterion", ["sensitivity=0.9", "specificity=0.9", "ppv=0.9"])
def test_a_wanted_value_that_is_met_exactly_is_met(criterion: str) -> None:
    """Nine of ten are 0.9."""
    scores = np.linspace(0.99, 0.01, 20)
    n_before = 8 if criterion == "ppv=0.9" else 9
    targets = np.repeat([1.0, 0.0, 1.0, 0.0], [n_before, 1, 1, 18 - n_before])
    found = choose_threshold(targets, scores, criterion)
    assert found == brute_force(targets, scores, criterion)
    assert found == scores[{"sensitivity=0.9": 8, "specificity=0.9": 10, "ppv=0.9": 9}[criterion]]


def test_one_class_has_no_threshold() -> None:
    assert choose_threshold(np.zeros(4), np.linspace(0, 1, 4), "youden") is None


def test_cross_fitted_calls_use_the_other_folds() -> None:
    targets, scores = rows(0)
    units = np.arange(200) // 2
    called = cross_fitted_calls(label_rows(targets, scores, units, seed=5), "youden")
    folds = patient_folds(targets, units, seed=5)[units]
    for fold in range(5):
        threshold = choose_threshold(targets[folds != fold], scores[folds != fold], "youden")
        np.testing.assert_array_equal(called[folds == fold], scores[folds == fold] >= threshold)


def test_one_patient_with_both_classes_has_no_cross_fitted_point() -> None:
    """All its images are in one fold, so that no row is left to choose on."""
    both = label_rows(np.array([1.0, 0.0]), np.array([0.7, 0.2]), np.array([0, 0]), 100)
    assert cross_fitted_calls(both, "youden") is None
    assert all(point.threshold is None for point in operating_points(both))


def test_operating_point_counts_equal_scikit_learn() -> None:
    targets, scores = rows(1)
    of_label = label_rows(targets, scores, np.arange(200) // 2)
    points = operating_points(of_label, prevalence=0.05)
    for point in points:
        called = cross_fitted_calls(of_label, point.criterion)
        tn, fp, fn, tp = confusion_matrix(targets, called).ravel()
        confusion = point.confusion
        assert (confusion.true_positive, confusion.false_positive) == (tp, fp)
        assert (confusion.true_negative, confusion.false_negative) == (tn, fn)
        assert point.sensitivity.value == pytest.approx(tp / (tp + fn))
        assert point.npv.value == pytest.approx(tn / (tn + fn))
        assert point.f1.value == pytest.approx(f1_score(targets, called))
        assert point.sensitivity.low <= point.sensitivity.value <= point.sensitivity.high
        assert point.estimates == "procedure"
        assert "cross-fitted" in point.chosen_on
        sens, spec = point.sensitivity.value, point.specificity.value
        expected = sens * 0.05 / (sens * 0.05 + (1 - spec) * 0.95)
        assert point.ppv_at_deployment.value == pytest.approx(expected)
    assert [point.criterion for point in points][:2] == ["youden", "f1"]


def test_a_resample_that_draws_everyone_once_gives_the_estimate() -> None:
    """The bootstrap of the procedure is the procedure: weights of one are the rows themselves."""
    targets, scores = rows(2)
    units = np.arange(200)

    class Everyone(PatientResamples):
        def blocks(self, _: int | None = None):  # type: ignore[no-untyped-def,override]
            yield np.ones((2, 200), np.int32)

    everyone = Everyone(targets[:, None], units, 2, 0)
    point = operating_points(LabelRows(targets, scores, units, everyone))[0]
    assert point.sensitivity.low == pytest.approx(point.sensitivity.value)
    assert point.ppv.high == pytest.approx(point.ppv.value)


def test_stored_thresholds_are_used_as_they_are() -> None:
    targets, scores = rows(3)
    scores[np.flatnonzero(targets)[:3]] = 0.4  # a score at the threshold is called positive
    stored = {"youden": 0.4, "ppv=0.9": None}
    first, second, again, _ = operating_points(
        label_rows(targets, scores, np.arange(200), 100),
        criteria=("youden", "ppv=0.9"),
        stored=stored,
        chosen_on="tiny, split valid",
    )
    assert (first.threshold, first.estimates, first.chosen_on) == (
        0.4,
        "threshold",
        "tiny, split valid",
    )
    assert first.sensitivity.value == pytest.approx(recall_score(targets, scores >= 0.4))
    assert (again.criterion, again.estimates, again.threshold) == ("youden", "procedure", None)
    assert (
        again.sensitivity
        == operating_points(label_rows(targets, scores, np.arange(200), 100))[0].sensitivity
    )
    assert second.threshold is None
    assert second.sensitivity.value is None
    assert second.reason


def test_many_rows_choose_anew_in_as_few_resamples_as_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In blocks of 256: three of them for 600, two for 512."""
    targets, scores = rows(5)
    for n_wanted, n_done in ((600, 768), (512, 512)):
        monkeypatch.setattr(drawing, "ROW_RESAMPLES", n_wanted * len(targets))
        of_label = label_rows(targets, scores, np.arange(200), 1024)
        (point,) = operating_points(of_label, criteria=("youden",))
        assert point.n_resamples == n_done


def test_predictive_values_at_a_prevalence() -> None:
    found = rates(np.asarray([90, 20, 80, 10]), 0.01)
    assert found["ppv_at_deployment"] == pytest.approx(0.009 / (0.009 + 0.198))
    assert found["npv_at_deployment"] == pytest.approx(0.792 / (0.792 + 0.001))


def test_intervals_at_a_stated_prevalence_are_those_of_the_likelihood_ratios() -> None:
    targets, scores = rows(4)
    (point, *_) = operating_points(
        label_rows(targets, scores, np.arange(len(targets)), 100),
        criteria=("youden",), stored={"youden": 0.5}, chosen_on="valid", prevalence=0.02,
    )  # fmt: skip
    odds = 0.02 / 0.98
    for found, of in (
        (point.ppv_at_deployment, point.positive_likelihood_ratio),
        (point.npv_at_deployment, point.negative_likelihood_ratio),
    ):
        posterior = [odds * end / (1 + odds * end) for end in (of.low, of.value, of.high)]
        if found is point.npv_at_deployment:
            posterior = [1 - end for end in posterior[::-1]]
        assert [found.low, found.value, found.high] == pytest.approx(posterior)


@pytest.mark.parametrize("criterion", ["youden", "sensitivity=0.9", "ppv=0.95"])
def test_the_interval_of_a_chosen_threshold_is_of_those_that_resamples_choose(
    criterion: str,
) -> None:
    targets, scores = rows(6)
    of_label = label_rows(targets, scores, np.arange(200) // 2)
    (point,) = operating_points(of_label, criteria=(criterion,))
    chosen = [
        choose_threshold(np.repeat(targets, counts), np.repeat(scores, counts), criterion)
        for weights in of_label.resamples.blocks()
        for counts in weights[:, of_label.units]
    ]
    ends = np.quantile([one for one in chosen if one is not None], [0.025, 0.975])
    found = point.threshold_estimate
    assert found is not None and found.value == point.threshold
    assert (found.low, found.high) == pytest.approx(tuple(ends))


def test_a_stored_threshold_is_a_constant_here() -> None:
    targets, scores = rows(3)
    of_label = label_rows(targets, scores, np.arange(200), 100)
    points = operating_points(
        of_label, criteria=("youden",), stored={"youden": 0.4}, chosen_on="tiny"
    )
    assert [point.threshold_estimate for point in points] == [None, None]
