"""Subgroups against direct computation, and the small ones named."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score, roc_auc_score

from pulmonet.errors import ConfigError
from pulmonet.metrics.calibration.measures import slope_and_intercept
from pulmonet.metrics.ranking.delong import delong
from pulmonet.metrics.ranking.resamples import PatientResamples
from pulmonet.metrics.results import Gap
from pulmonet.metrics.subgroups import SubgroupInput, choose_columns, group_values, subgroups


def make_input(n: int = 400) -> tuple[SubgroupInput, np.ndarray]:
    generator = np.random.default_rng(0)
    targets = (generator.random((n, 2)) < [0.3, 0.01]).astype(float)
    scores = np.clip(generator.random((n, 2)) * 0.7 + 0.3 * targets, 0, 1)
    calls = {"A": scores[:, 0] > 0.5, "B": scores[:, 1] > 0.9}
    sex = generator.choice(["Female", "Male", ""], n).astype(object)
    return SubgroupInput(["A", "B"], targets, scores, np.arange(n), calls), sex


def test_group_and_gap_equal_direct_computation() -> None:
    rows, sex = make_input()
    resamples = PatientResamples(np.empty((400, 0)), rows.units, 200, 0)
    female, male = subgroups(rows, {"sex": sex}, resamples)
    assert (female.column, female.group, male.group) == ("sex", "Female", "Male")
    inside, outside = sex == "Female", sex == "Male"
    found = female.labels["A"]
    aurocs = [roc_auc_score(rows.targets[i, 0], rows.scores[i, 0]) for i in (inside, outside)]
    assert found.auroc.value == pytest.approx(aurocs[0])
    assert found.auroc_gap.value == pytest.approx(aurocs[0] - aurocs[1])
    assert found.auroc_gap.low < found.auroc_gap.value < found.auroc_gap.high
    sensitivity = [recall_score(rows.targets[i, 0], rows.calls["A"][i]) for i in (inside, outside)]
    assert found.sensitivity.value == pytest.approx(sensitivity[0])
    assert found.sensitivity_gap.value == pytest.approx(sensitivity[0] - sensitivity[1])
    assert male.labels["A"].auroc_gap.value == pytest.approx(-found.auroc_gap.value)
    sick = inside & (rows.targets == 1).any(axis=1)
    missed = ~(rows.calls["A"] | rows.calls["B"])[sick]
    assert female.underdiagnosis.value == pytest.approx(missed.mean())


@pytest.mark.parametrize("healthy", ["No Finding", "no_finding", "Normal", "Support Devices"])
def test_no_finding_is_no_finding(healthy: str) -> None:
    """It is neither missed in a healthy patient, nor is a sick one served by it."""
    rows, sex = make_input()
    sick = (rows.targets == 1).any(axis=1)
    targets = np.column_stack([rows.targets, ~sick])
    scores = np.column_stack([rows.scores, np.full(400, 0.5)])
    always, never = np.ones(400, bool), np.zeros(400, bool)
    resamples = PatientResamples(np.empty((400, 0)), rows.units, 200, 0)
    expected = [group.underdiagnosis for group in subgroups(rows, {"sex": sex}, resamples)]
    for called in (always, never):
        with_it = SubgroupInput(
            ["A", "B", healthy], targets, scores, rows.units, {**rows.calls, healthy: called}
        )
        found = subgroups(with_it, {"sex": sex}, resamples)
        assert [group.underdiagnosis for group in found] == expected


def test_small_groups_are_named_not_scored() -> None:
    rows, sex = make_input()
    female = subgroups(rows, {"sex": sex}, PatientResamples(np.empty((400, 0)), rows.units, 100, 0))
    rare = female[0].labels["B"]
    assert (rare.n, rare.positives) == (
        (sex == "Female").sum(),
        rows.targets[sex == "Female", 1].sum(),
    )
    assert rare.auroc is None
    assert rare.reason.startswith("too small to score: ")


def test_ages_become_bands() -> None:
    ages = np.asarray([3.0, 39.9, 40, 79, 80, 101, np.nan])
    expected = ["0–39", "0–39", "40–59", "60–79", "80+", "80+", ""]
    assert list(group_values("age_years", ages)) == expected


def test_columns_are_chosen_and_checked() -> None:
    columns = {
        "view": np.asarray(["AP", "PA"], object),
        "race": np.asarray(["a", "b"], object),
        "scanner": np.asarray([1.0, np.nan]),
        "number": np.arange(30.0),
    }
    assert list(choose_columns(columns, [])) == ["view"]
    assert list(choose_columns(columns, ["race", "scanner"])) == ["view", "race", "scanner"]
    assert list(group_values("scanner", columns["scanner"])) == ["1", ""]
    with pytest.raises(ConfigError, match=r"no such column \(did you mean 'race'"):
        choose_columns(columns, ["rase"])
    with pytest.raises(ConfigError, match="30 different values"):
        choose_columns(columns, ["number"])


def make_calibrated(seed: int, n: int = 400, images: int = 2) -> tuple[SubgroupInput, np.ndarray]:
    """Women and men alike: one label, `images` of a patient, scores that are probabilities."""
    generator = np.random.default_rng(seed)
    units = np.repeat(np.arange(n // images), images)
    linear = generator.normal(-0.5, 1.2, n // images)[units] + 0.3 * generator.normal(size=n)
    scores = 1 / (1 + np.exp(-linear))
    targets = (generator.random(n // images)[units] < scores).astype(float)
    sex = generator.choice(["Female", "Male"], n // images).astype(object)[units]
    calls = {"A": scores > 0.4}
    return SubgroupInput(["A"], targets[:, None], scores[:, None], units, calls, {"A": scores}), sex


def test_slope_and_intercept_have_the_intervals_of_refitting_each_resample() -> None:
    rows, sex = make_calibrated(0, n=1200)
    resamples = PatientResamples(np.empty((1200, 0)), rows.units, 400, 0)
    found = subgroups(rows, {"sex": sex}, resamples)[0].labels["A"]
    refitted = {"Female": [], "Male": []}
    for weights in np.concatenate([[np.ones(600, int)], *resamples.blocks()]):
        for name, values in refitted.items():
            copies = np.repeat(np.arange(1200), weights[rows.units] * (sex == name))
            model = LogisticRegression(C=1e9, tol=1e-8)
            logits = np.log(rows.scores / (1 - rows.scores))
            values.append(model.fit(logits[copies], rows.targets[copies, 0]).coef_[0, 0])
    female, male = (np.asarray(values) for values in refitted.values())
    assert found.slope.value == pytest.approx(female[0], abs=1e-3)
    assert found.slope_gap.value == pytest.approx(female[0] - male[0], abs=2e-3)
    for estimate, values in ((found.slope, female), (found.slope_gap, female - male)):
        low, high = np.quantile(values[1:], [0.025, 0.975])
        assert estimate.high - estimate.low == pytest.approx(high - low, rel=0.12)
    large = slope_and_intercept(*rows.calibrated(sex == "Female", 0))[1]
    assert found.intercept.value == pytest.approx(large.value)
    assert found.intercept.high - found.intercept.low == pytest.approx(
        large.high - large.low, rel=0.1
    )


def test_a_gap_has_the_variance_of_both_groups() -> None:
    rows, sex = make_calibrated(1, n=1200, images=1)
    resamples = PatientResamples(np.empty((1200, 0)), rows.units, 1000, 0)
    gap = subgroups(rows, {"sex": sex}, resamples)[0].labels["A"].auroc_gap
    both = [
        delong(rows.targets[inside, 0], rows.scores[inside, 0]).covariance[0, 0]
        for inside in (sex == "Female", sex == "Male")
    ]
    assert gap.high - gap.low == pytest.approx(3.92 * np.sqrt(sum(both)), rel=0.1)


def test_all_gaps_hold_together_and_each_alone_does_not() -> None:
    """No group differs, in three columns: at most 5 % of datasets may show any gap."""
    alone, together = 0, 0
    for seed in range(40):
        rows, sex = make_calibrated(seed)
        shuffled = np.random.default_rng(seed + 1000)
        patients = sex[::2]
        groups = {str(k): shuffled.permutation(patients)[rows.units] for k in range(3)}
        resamples = PatientResamples(np.empty((400, 0)), rows.units, 200, seed)
        found = subgroups(rows, groups, resamples)
        gaps = [
            gap
            for group in found
            for item in (*group.labels.values(), group)
            for gap in vars(item).values()
            if isinstance(gap, Gap)
        ]
        assert len(gaps) == 6 * 6
        alone += any(gap.low > 0 or gap.high < 0 for gap in gaps)
        together += any(gap.all_low > 0 or gap.all_high < 0 for gap in gaps)
    assert alone > 12
    assert together <= 6  # P(7 or more of 40 at 5 %) = 0.3 %


def test_a_smooth_curve_stands_where_a_group_is_scored() -> None:
    rows, sex = make_calibrated(3)
    groups = subgroups(rows, {"sex": sex}, PatientResamples(np.empty((400, 0)), rows.units, 100, 0))
    assert [group.labels["A"].smooth is not None for group in groups] == [True, True]
    few = np.where(np.arange(400) < 6, "Female", "Male").astype(object)
    small, large = subgroups(
        rows, {"sex": few}, PatientResamples(np.empty((400, 0)), rows.units, 100, 0)
    )
    assert small.labels["A"].smooth is None
    assert small.labels["A"].reason.startswith("too small to score")
    assert large.labels["A"].smooth.curve


def test_long_codes_are_groups_of_their_own() -> None:
    groups = group_values("hospital", np.asarray([1000001.0, 1000002.0, np.nan, 0.25]))
    assert groups.tolist() == ["1000001", "1000002", "", "0.25"]


def test_an_age_that_is_no_number_is_unknown() -> None:
    groups = group_values("age_years", np.asarray(["45", "old", ""], object))
    assert groups.tolist() == ["40–59", "", ""]


def test_only_a_column_that_was_named_may_be_too_many() -> None:
    columns = {"view": np.asarray([f"v{row}" for row in range(14)], object)}
    assert choose_columns(columns, []) == {}
    with pytest.raises(ConfigError, match="--subgroup view: 14 different values"):
        choose_columns(columns, ["view"])
