"""Calibration against scikit-learn, torchmetrics and closed forms."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import binary_calibration_error

from pulmonet.errors import ArtifactError
from pulmonet.files.write import write_json
from pulmonet.metrics.calibration.fit import (
    Calibration,
    Calibrator,
    LabelCalibration,
    cross_fit,
    fit_calibrator,
    highest_by_chance,
    patient_folds,
    read_calibration,
    to_prevalence,
)
from pulmonet.metrics.calibration.logistic import fit_logistic, logit, sigmoid
from pulmonet.metrics.calibration.measures import (
    correlation_in_patients,
    ece_if_perfect,
    expected_calibration_error,
    measure_calibration,
    slope_and_intercept,
)
from pulmonet.metrics.estimate import Estimate
from pulmonet.metrics.ranking.resamples import LabelRows, PatientResamples

Array = NDArray[np.float64]


def calibrated_rows(seed: int = 0, n: int = 2000) -> tuple[Array, Array]:
    """Scores that are true probabilities, and outcomes drawn from them."""
    generator = np.random.default_rng(seed)
    scores = sigmoid(generator.normal(-1, 1.2, n))
    return (generator.random(n) < scores).astype(float), scores


def label_rows(targets: Array, scores: Array, units: NDArray[np.int64]) -> LabelRows:
    return LabelRows(targets, scores, units, PatientResamples(targets[:, None], units, 200, 0))


@pytest.mark.parametrize("seed", range(5))
def test_ece_equals_torchmetrics(seed: int) -> None:
    targets, scores = calibrated_rows(seed, 300)
    reference = binary_calibration_error(
        torch.tensor(scores), torch.tensor(targets).long(), n_bins=15, norm="l1"
    )
    found = expected_calibration_error(targets, scores)
    assert found == pytest.approx(float(reference), abs=1e-6)


def test_brier_equals_scikit_learn() -> None:
    targets, scores = calibrated_rows(1, 200)
    found = measure_calibration(label_rows(targets, scores, np.arange(200)))
    assert found.brier.value == pytest.approx(brier_score_loss(targets, scores), abs=1e-12)
    assert found.brier.low < found.brier.value < found.brier.high
    assert sum(item.n for item in found.bins) == 200
    assert max(item.n for item in found.bins) <= 15


@pytest.mark.parametrize(
    ("n", "share", "n_bins"), [(60, 0.5, 3), (200, 0.5, 10), (600, 0.5, 15), (200, 0.06, 2)]
)
def test_reliability_has_as_many_bins_as_n_allows(n: int, share: float, n_bins: int) -> None:
    generator = np.random.default_rng(n)
    targets = np.zeros(n)
    targets[generator.choice(n, int(share * n), replace=False)] = 1
    scores = generator.random(n)
    found = measure_calibration(label_rows(targets, scores, np.arange(n))).bins_by_n
    groups = np.array_split(np.argsort(scores), n_bins)  # of equal mass
    assert [item.n for item in found] == pytest.approx([len(rows) for rows in groups], abs=1)
    assert len(found) == n_bins
    assert np.isclose(sum(item.n * item.observed for item in found), targets.sum())
    edges = [(item.low, item.high) for item in found]
    assert all(one[1] < other[0] for one, other in pairwise(edges))
    for item in found:
        inside = (scores >= item.low) & (scores <= item.high)
        assert item.observed == pytest.approx(targets[inside].mean())
        assert item.observed_low <= item.observed <= item.observed_high


def test_logistic_equals_scikit_learn() -> None:
    targets, scores = calibrated_rows(2)
    features = np.column_stack([np.ones_like(scores), logit(scores)])
    found = fit_logistic(features, targets)
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(features[:, 1:], targets)
    assert found.coefficients[0] == pytest.approx(reference.intercept_[0], abs=1e-4)
    assert found.coefficients[1] == pytest.approx(reference.coef_[0, 0], abs=1e-4)
    assert found.converged


def test_separable_classes_do_not_converge_and_do_not_crash() -> None:
    features = np.column_stack([np.ones(20), np.linspace(-1, 1, 20)])
    assert not fit_logistic(features, (features[:, 1] > 0).astype(float)).converged


def test_sandwich_knows_that_copies_are_no_evidence() -> None:
    targets, scores = calibrated_rows(3, 300)
    features = np.column_stack([np.ones_like(scores), logit(scores)])
    once = fit_logistic(features, targets, units=np.arange(300))
    repeated = fit_logistic(
        np.tile(features, (4, 1)), np.tile(targets, 4), units=np.tile(np.arange(300), 4)
    )
    np.testing.assert_allclose(repeated.covariance, once.covariance, rtol=1e-6)


def test_true_probabilities_have_slope_one_and_intercept_zero() -> None:
    inside = 0
    for seed in range(20):
        targets, scores = calibrated_rows(seed, 500)
        slope, intercept = slope_and_intercept(targets, scores, np.arange(500))
        inside += (slope.low < 1 < slope.high) + (intercept.low < 0 < intercept.high)
    assert inside >= 34  # of 40 intervals at 95 %


def test_slope_below_one_means_too_extreme() -> None:
    targets, scores = calibrated_rows(0, 5000)
    slope, intercept = slope_and_intercept(targets, sigmoid(2 * logit(scores)), np.arange(5000))
    assert slope.value == pytest.approx(0.5, abs=0.06)
    assert intercept.value > 0.3


def test_equal_scores_have_no_slope() -> None:
    slope, _ = slope_and_intercept(np.asarray([0, 1, 0, 1]), np.full(4, 0.3), np.arange(4))
    assert slope.value is None
    assert slope.reason == "all scores are equal"
    targets, scores = calibrated_rows(0, 4000)
    narrow = sigmoid(logit(scores) / 100)  # the same ranking within 0.06 of logits
    assert np.ptp(logit(narrow)) < 0.1
    slope, _ = slope_and_intercept(targets, narrow, np.arange(4000))
    assert slope.value == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("gap", [0.0, 0.01, 0.4])
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_that_separate_the_classes_have_no_slope(gap: float, sign: int) -> None:
    """Also where they meet in one value; it once was 60 with an interval of width zero."""
    low, high = np.linspace(0.1, 0.5, 40), np.linspace(0.5 + gap, 0.95, 40)
    targets = np.repeat([0.0, 1.0], 40)[::sign]
    slope, _ = slope_and_intercept(targets, np.concatenate([low, high]), np.arange(80))
    assert (slope.value, slope.low, slope.high) == (None, None, None)
    assert slope.reason == "the scores separate the classes"
    targets[[5, 70]] = targets[[70, 5]]  # one of each class on the other side
    assert slope_and_intercept(targets, np.concatenate([low, high]), np.arange(80))[0].high


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_the_band_of_a_perfect_model_knows_that_patients_repeat(shared: float) -> None:
    units = np.repeat(np.arange(120), 4)
    inside, found = 0, []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        scores = sigmoid(generator.normal(-0.5, 1.5, 120))[units]
        alike = (generator.random(120) < shared)[units]
        strokes = np.where(alike, generator.random(120)[units], generator.random(480))
        targets = (strokes < scores).astype(float)
        correlation = correlation_in_patients(targets, scores, units)
        found.append(correlation)
        band = ece_if_perfect(
            scores, equal_mass=False, n_simulations=200, units=units, correlation=correlation
        )
        inside += band.low <= expected_calibration_error(targets, scores) <= band.high
    assert np.mean(found) == pytest.approx(shared, abs=0.05)
    assert inside >= 34  # of 40 at 95 %; 3 of 40 where copies count as evidence


def test_scores_that_are_too_high_are_no_correlation() -> None:
    targets, scores = calibrated_rows(0, 800)
    units = np.repeat(np.arange(200), 4)
    assert correlation_in_patients(targets, sigmoid(logit(scores) + 2), units) < 0.05
    assert correlation_in_patients(targets, scores, np.arange(800)) == 0
    certain = np.repeat([0.0, 1.0], 400)  # scores that leave nothing open
    assert 0 <= correlation_in_patients(certain, certain, units) <= 1
    alone = ece_if_perfect(scores, equal_mass=True, n_simulations=100)
    of_rows = ece_if_perfect(scores, equal_mass=True, n_simulations=100, units=np.arange(800))
    assert alone == of_rows


def test_perfect_model_has_an_ece_far_from_zero_on_few_rows() -> None:
    _, scores = calibrated_rows(0, 234)
    few = ece_if_perfect(scores, equal_mass=False)
    many = ece_if_perfect(calibrated_rows(0, 20_000)[1], equal_mass=False)
    assert 0.04 < few.value < 0.08
    assert many.value < 0.01


def test_ece_of_calibrated_rows_lies_in_its_band() -> None:
    inside = 0
    for seed in range(30):
        targets, scores = calibrated_rows(seed, 234)
        band = ece_if_perfect(scores, equal_mass=False, n_simulations=300)
        inside += band.low <= expected_calibration_error(targets, scores) <= band.high
    assert inside >= 25


def test_platt_undoes_pos_weight() -> None:
    targets, scores = calibrated_rows(0, 20_000)
    weighted = sigmoid(logit(scores) + np.log(8))  # what pos_weight = 8 does to the logit
    fitted = fit_calibrator(targets, weighted)
    assert fitted.intercept == pytest.approx(-np.log(8), abs=0.15)
    assert fitted.slope == pytest.approx(1, abs=0.06)
    error = np.abs(fitted.apply(weighted) - scores)
    assert error.max() < 0.03


@pytest.mark.parametrize(("n_positive", "n_negative"), [(3, 40), (25, 7), (60, 60)])
def test_platt_fits_his_smoothed_targets(n_positive: int, n_negative: int) -> None:
    """Platt 1999, section 2.2: (N+ + 1) / (N+ + 2) and 1 / (N- + 2), as weighted copies of rows."""
    targets = np.repeat([1.0, 0.0], [n_positive, n_negative])
    scores = sigmoid(np.random.default_rng(n_positive).normal(targets, 1.0))
    wanted = np.where(targets == 1, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    both = np.concatenate([wanted, 1 - wanted])
    reference = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(
        np.tile(logit(scores), 2)[:, None], np.repeat([1, 0], len(scores)), sample_weight=both
    )
    found = fit_calibrator(targets, scores)
    assert found.intercept == pytest.approx(reference.intercept_[0], abs=1e-4)
    assert found.slope == pytest.approx(reference.coef_[0, 0], abs=1e-4)


def test_temperature_moves_the_slope_only() -> None:
    targets, scores = calibrated_rows(1, 20_000)
    fitted = fit_calibrator(targets, sigmoid(3 * logit(scores)), "temperature")
    assert fitted.intercept == 0
    assert fitted.slope == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize("n", [30, 200])
def test_temperature_is_that_of_the_likelihood(n: int) -> None:
    """Guo et al.: the targets as they are, not Platt's smoothed ones."""
    targets, scores = calibrated_rows(4, n)
    sharp = sigmoid(3 * logit(scores))

    def loss(slope: float) -> float:
        return float(log_loss(targets, sigmoid(slope * logit(sharp))))

    expected = minimize_scalar(loss, bounds=(0.01, 5), method="bounded", options={"xatol": 1e-8})
    found = fit_calibrator(targets, sharp, "temperature").slope
    assert found == pytest.approx(expected.x, rel=1e-4)


def test_temperature_of_scores_that_are_all_on_the_right_side_is_finite() -> None:
    targets, scores = np.asarray([1, 1, 0, 0]), np.asarray([0.9, 0.6, 0.4, 0.2])
    fitted = fit_calibrator(targets, scores, "temperature")
    assert 0 < fitted.slope < 10


def test_isotonic_from_a_hundred_positives_up() -> None:
    targets, scores = calibrated_rows(2, 200)
    assert fit_calibrator(targets, scores, "isotonic").kind == "platt"
    targets, scores = calibrated_rows(2, 2000)
    fitted = fit_calibrator(targets, scores, "isotonic")
    assert fitted.kind == "isotonic"
    grid = fitted.apply(np.linspace(0, 1, 50))
    assert (np.diff(grid) >= 0).all()
    assert expected_calibration_error(targets, fitted.apply(scores)) < 0.02


def test_folds_keep_patients_together_and_share_positives() -> None:
    generator = np.random.default_rng(0)
    units = np.sort(generator.integers(0, 60, 200))
    targets = np.isin(units, np.arange(10)).astype(float)
    folds = patient_folds(targets, units)
    assert len(folds) == units.max() + 1
    for fold in range(5):
        positive_patients = len(set(units[(folds[units] == fold) & (targets == 1)]))
        assert positive_patients == 2


def test_cross_fit_never_sees_the_patient() -> None:
    targets, scores = calibrated_rows(4, 300)
    units = np.arange(300) // 3
    probabilities = cross_fit(label_rows(targets, scores, units))
    folds = patient_folds(targets, units)[units]
    other = folds != folds[0]
    expected = fit_calibrator(targets[other], scores[other]).apply(scores[:1])
    assert probabilities[0] == expected[0]
    few = np.zeros(300)
    few[0] = 1
    assert cross_fit(label_rows(few, scores, units)) is None


def test_recalibration_to_a_prevalence() -> None:
    generator = np.random.default_rng(0)
    marker = generator.normal(size=400_000)
    sick = generator.random(400_000) < sigmoid(marker)
    here = sigmoid(marker)
    rarer = np.concatenate([np.flatnonzero(sick)[::10], np.flatnonzero(~sick)])
    wanted = float(sick[rarer].mean())
    moved = to_prevalence(here[rarer], float(sick.mean()), wanted)
    assert expected_calibration_error(sick[rarer].astype(float), moved) < 0.003
    assert moved.mean() == pytest.approx(wanted, abs=0.003)


def make_calibration() -> Calibration:
    return Calibration(
        fitted_on="tiny, split valid",
        dataset="tiny",
        split="valid",
        n_rows=10,
        n_patients=5,
        labels={
            "Edema": LabelCalibration(
                calibrator=Calibrator(kind="platt", intercept=-1.0, slope=2.0),
                prevalence=0.2,
                n=10,
                positives=2,
                thresholds={"youden": 0.3, "ppv=0.9": None},
            )
        },
    )


def test_calibration_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    assert read_calibration(path) is None
    calibration = make_calibration()
    write_json(path, calibration.model_dump(mode="json", by_alias=True))
    read = read_calibration(path)
    assert read == calibration
    assert read is not None
    edema = read.labels["Edema"]
    assert edema.calibrator is not None
    half = edema.calibrator.apply(np.asarray([0.5]))
    assert half == pytest.approx(sigmoid(np.asarray([-1.0])))
    assert edema.thresholds == {"youden": 0.3, "ppv=0.9": None}


NO_CALIBRATION = "not a calibration .*; delete it and run `pulmonet evaluate` again"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((text, NO_CALIBRATION) for text in ("", "[]", "{}")),
        ('{"schema": 2}', r"written by a newer pulmonet \(schema 2\), and this is"),
    ],
)
def test_damaged_calibration_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=said):
        read_calibration(path)


@pytest.mark.parametrize("n_clusters", [2, 5])
def test_sandwich_of_few_clusters_in_closed_form(n_clusters: int) -> None:
    """Of an intercept alone: G / (G - 1) times the squared sums of the clusters' residuals."""
    generator = np.random.default_rng(n_clusters)
    units = np.repeat(np.arange(n_clusters), 7)
    targets = (generator.random(len(units)) < 0.4).astype(float)
    found = fit_logistic(np.ones((len(units), 1)), targets, units=units)
    share = targets.mean()
    meat = sum((targets[units == unit] - share).sum() ** 2 for unit in range(n_clusters))
    bread = 1 / (len(units) * share * (1 - share))
    expected = n_clusters / (n_clusters - 1) * bread * meat * bread
    assert found.covariance.item() == pytest.approx(expected)


@pytest.mark.parametrize("n_labels", [1, 14])
def test_a_useless_label_is_above_the_bound_as_often_as_promised(n_labels: int) -> None:
    """Against the null distribution itself: AUROC of 30 and 50 patients in random order."""
    generator = np.random.default_rng(0)
    ranks = np.argsort(generator.random((20_000, n_labels, 80)), axis=-1)[..., :30].sum(axis=-1)
    aurocs = (ranks - 30 * 29 / 2) / (30 * 50)
    share = (aurocs.max(axis=1) > highest_by_chance(30, 50, n_labels)).mean()
    assert share == pytest.approx(0.025, abs=0.006)


@pytest.mark.parametrize(
    ("value", "low", "n_labels", "said"),
    [
        (0.72, 0.6, 1, None),
        (0.72, 0.5, 1, "is not significantly above 0.5"),  # the interval touches it
        (0.61, 0.51, 1, "is not significantly above 0.5"),  # below the bound, 0.628
        (0.66, 0.55, 1, None),
        (0.66, 0.55, 14, "is not significantly above 0.5 among 14 labels"),
    ],
)
def test_a_verdict_needs_more_than_chance(
    value: float, low: float, n_labels: int, said: str | None
) -> None:
    found = LabelCalibration(
        calibrator=None, prevalence=None, n=80, positives=30, thresholds={}, positive_patients=30,
        negative_patients=50, auroc=Estimate(value=value, low=low, high=0.9),
    )  # fmt: skip
    reason = found.why_chance(n_labels)
    assert reason is None if said is None else reason.endswith(said)


def test_what_was_measured_is_said() -> None:
    targets, scores = calibrated_rows(1, 200)
    rows = label_rows(targets, scores, np.arange(200))
    assert measure_calibration(rows).scores == "raw"
    found = measure_calibration(rows, calibrator="platt", fitted_on="dev")
    assert (found.scores, found.calibrator, found.fitted_on) == ("calibrated", "platt", "dev")


def test_a_single_cluster_has_no_variance() -> None:
    targets, scores = calibrated_rows(2, 60)
    features = np.column_stack([np.ones(60), logit(scores)])
    found = fit_logistic(features, targets, units=np.zeros(60, int))
    assert np.isnan(found.covariance).all()
    assert found.converged


def _squares(value: float, drawn: Array) -> tuple[float, float]:
    """The reverse percentile interval of a square, which holds the value."""
    low, high = np.square(np.quantile(drawn, [0.975, 0.025]))
    ends = [max(2 * value**2 - end, 0.0) ** 0.5 for end in (low, high)]
    return min(ends[0], value), max(ends[1], value)


def test_the_interval_of_ece_is_that_of_patients_drawn_again() -> None:
    """Row by row: every drawn patient brings all images, in the same resamples."""
    targets, scores = calibrated_rows(4, 240)
    rows = label_rows(targets, sigmoid(2 * logit(scores)), np.arange(240) // 2)
    drawn = []
    for weights in rows.resamples.blocks():
        for counts in weights:
            again = np.repeat(np.arange(240), counts[rows.units])
            drawn.append(expected_calibration_error(rows.targets[again], rows.scores[again]))
    found = measure_calibration(rows).ece_estimate
    assert found is not None
    assert found.value == expected_calibration_error(rows.targets, rows.scores)
    assert (found.low, found.high) == pytest.approx(_squares(found.value, np.asarray(drawn)))


def test_the_interval_of_ece_is_near_zero_for_a_perfect_model_and_not_for_a_wrong_one() -> None:
    """The plain percentile interval of a perfect model never reached below 0.03."""
    for shift, reaches in ((0.0, True), (1.5, False)):
        lows = []
        for seed in range(20):
            targets, scores = calibrated_rows(seed, 300)
            rows = label_rows(targets, sigmoid(logit(scores) + shift), np.arange(300))
            found = measure_calibration(rows).ece_estimate
            assert found is not None and found.low is not None
            lows.append(found.low)
        assert (np.median(lows) < 0.02) == reaches


@pytest.mark.parametrize("spread", [1e-6, 1e-4, 1e-3])
def test_near_constant_scores_have_no_slope(spread: float) -> None:
    """It was −24,584 once."""
    targets, scores = calibrated_rows(0, 200)
    units = np.arange(200)
    slope, intercept = slope_and_intercept(targets, 0.5 + spread * (scores - 0.5), units)
    assert (slope.value, slope.low) == (None, None)
    assert slope.reason == "not known within ±20: the scores hardly differ"
    assert intercept.low < intercept.value < intercept.high
