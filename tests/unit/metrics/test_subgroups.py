"""Subgroups against direct computation, and the small ones named."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from pulmonet.errors import ConfigError
from pulmonet.metrics.ranking.resamples import PatientResamples
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
    assert found.calibration_slope.value is not None
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
    assert rare.auroc is None
    assert rare.reason.startswith("too small to score: ")
    assert rare.positives < 10


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
