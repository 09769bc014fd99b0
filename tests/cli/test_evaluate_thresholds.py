"""Whose thresholds `evaluate` takes: those of the same model, chosen on other patients."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pulmonet.cli.main import main
from pulmonet.files.write import write_json
from pulmonet.metrics.calibration.fit import read_calibration
from pulmonet.metrics.label_result import OperatingPoint
from pulmonet.metrics.results import read_evaluation
from pulmonet.run.folder import RunDir
from report_factory import make_run
from report_reader import whole_report


def scores(seed: int, patients: range, n_images: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    ids = np.repeat([f"p{number:03}" for number in patients], n_images)
    table = pd.DataFrame({"Path": [f"{one}/{row}.png" for row, one in enumerate(ids)]})
    table["patient"], table["Edema"] = ids, (rng.random(len(ids)) < 0.4).astype(int)
    table["Edema_score"] = (0.3 * table["Edema"] + rng.uniform(0, 0.7, len(ids))).round(4)
    return table


def evaluate(
    folder: Path, table: pd.DataFrame, *flags: str, file: str = "m.csv", name: str = ""
) -> int:
    (folder / file).parent.mkdir(exist_ok=True)
    table.to_csv(folder / file, index=False)
    named = f"{name}={folder / file}" if name else str(folder / file)
    common = ["--bootstrap", "100", "--no-figures", "--artifacts-dir", str(folder / "out")]
    return main(["evaluate", "--predictions", named, *common, *flags])


def first_point(folder: Path, split: str = "all") -> OperatingPoint:
    path = RunDir(folder / "out" / "m").evaluation_path("predictions", split)
    return read_evaluation(path).runs[0].labels["Edema"].operating_points[0]


def test_the_same_rows_are_no_other_rows_whatever_their_split_is_called(tmp_path: Path) -> None:
    for name in ("", "m"):
        for split in ("valid", "test"):
            assert evaluate(tmp_path, scores(0, range(40)), "--split", split, name=name) == 0
            point = first_point(tmp_path, split)
            assert (point.estimates, "cross-fitted" in point.chosen_on) == ("procedure", True)


def test_another_file_of_the_same_name_is_another_model(tmp_path: Path) -> None:
    """Its thresholds and calibrator are its own; only a name that is typed says one model."""
    assert evaluate(tmp_path, scores(0, range(40)), "--split", "valid", file="a/m.csv") == 0
    assert evaluate(tmp_path, scores(1, range(40, 80)), "--split", "test", file="b/m.csv") == 0
    assert first_point(tmp_path, "test").estimates == "procedure"
    kept = read_calibration(tmp_path / "out" / "m" / "calibration.json")
    assert kept is not None
    assert kept.fitted_on == "predictions, split test"


def test_files_of_one_name_are_one_model_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tmp_path, scores(0, range(40)), name="m") == 0
    chosen = first_point(tmp_path).threshold
    calibration = tmp_path / "out" / "m" / "calibration.json"
    before = calibration.read_bytes()
    capsys.readouterr()
    for split in ("all", "test"):  # the rows tell, not the split's name
        flags = [] if split == "all" else ["--split", split]
        assert evaluate(tmp_path, scores(1, range(40, 80)), *flags, name="m") == 0
        point = first_point(tmp_path, split)
        assert (point.estimates, point.threshold) == ("threshold", chosen)
        assert point.chosen_on == "predictions, split all"
        assert "m: thresholds of predictions, split all; " in capsys.readouterr().err
        assert calibration.read_bytes() == before  # the first rows have chosen them


def test_flags_that_a_stored_calibration_does_not_follow_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tmp_path, scores(0, range(40)), "--split", "valid", name="m") == 0
    flags = ("--threshold", "ppv=0.6", "--calibrator", "isotonic", "--split", "test")
    capsys.readouterr()
    assert evaluate(tmp_path, scores(1, range(40, 80)), *flags, name="m") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "are used, which have none of --threshold ppv=0.6, --calibrator isotonic" in said


def test_rows_that_hold_some_that_chose_are_no_other_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tmp_path, scores(0, range(40)), "--split", "valid", name="m") == 0
    both = pd.concat([scores(0, range(40)), scores(1, range(40, 80))])
    capsys.readouterr()
    assert evaluate(tmp_path, both, "--split", "test", name="m") == 0
    assert first_point(tmp_path, "test").estimates == "procedure"
    assert "50% of its rows and these are shared; fitted anew" in capsys.readouterr().err
    without = scores(0, range(20)).drop(columns="patient")  # then images tell
    assert evaluate(tmp_path, without, "--split", "train", name="m") == 0
    assert first_point(tmp_path, "train").estimates == "procedure"


def test_rows_are_known_again_without_the_name_of_their_collection(tmp_path: Path) -> None:
    """A part that was saved alone has chosen the thresholds of both."""
    parts = {"a": scores(0, range(40)), "b": scores(1, range(40, 80))}
    for name, part in parts.items():
        front = {column: f"{name}/" + part[column] for column in ("Path", "patient")}
        parts[name] = part.assign(collection=name, **front)
    assert evaluate(tmp_path, pd.concat(parts.values()), name="m") == 0
    assert evaluate(tmp_path, scores(0, range(40)), "--split", "valid", name="m") == 0
    assert first_point(tmp_path, "valid").estimates == "procedure"
    assert evaluate(tmp_path, scores(2, range(80, 120)), "--split", "test", name="m") == 0
    assert first_point(tmp_path, "test").estimates == "threshold"


def test_stored_thresholds_have_numbers_of_their_own_and_are_compared(tmp_path: Path) -> None:
    """Rates, likelihood ratios and McNemar's test on new patients; beside them the procedure."""
    better = scores(0, range(80))
    worse = better.assign(Edema_score=np.random.default_rng(9).permutation(better["Edema_score"]))
    new = scores(1, range(100, 260))
    new_worse = new.assign(Edema_score=np.random.default_rng(8).permutation(new["Edema_score"]))
    out = ["--bootstrap", "100", "--no-figures", "--artifacts-dir", str(tmp_path / "out")]
    for split, tables in (("valid", (better, worse)), ("test", (new, new_worse))):
        flags = []
        for name, table in zip("mn", tables, strict=True):
            table.to_csv(tmp_path / f"{name}_{split}.csv", index=False)
            flags += ["--predictions", f"{name}={tmp_path / f'{name}_{split}.csv'}"]
        assert main(["evaluate", *flags, "--split", split, "--prevalence", "0.1", *out]) == 0
    path = RunDir(tmp_path / "out" / "m").evaluation_path("predictions", "test")
    run = read_evaluation(path).runs[0]
    points = run.labels["Edema"].operating_points
    assert [point.estimates for point in points] == ["threshold"] * 4 + ["procedure"] * 4
    point, procedure = points[0], points[4]
    assert (procedure.criterion, procedure.threshold) == (point.criterion, None)
    called, truth = new["Edema_score"] >= point.threshold, new["Edema"] == 1
    sensitivity, alarms = called[truth].mean(), called[~truth].mean()
    assert point.sensitivity.value == pytest.approx(sensitivity)
    assert point.sensitivity.low < sensitivity < point.sensitivity.high
    assert point.positive_likelihood_ratio.value == pytest.approx(sensitivity / alarms)
    assert point.negative_likelihood_ratio.value == pytest.approx((1 - sensitivity) / (1 - alarms))
    moved = [
        0.1 * end / (0.1 * end + 0.9)  # Bayes, in odds
        for end in (point.positive_likelihood_ratio.low, point.positive_likelihood_ratio.high)
    ]
    assert [point.ppv_at_deployment.low, point.ppv_at_deployment.high] == pytest.approx(moved)
    odds = 0.1 / 0.9 * point.negative_likelihood_ratio.low
    assert point.npv_at_deployment.high == pytest.approx(1 / (1 + odds))
    tests = {test.measure: test for test in run.threshold_tests}
    assert [(test.a, test.b, test.criterion) for test in tests.values()] == [
        ("m", "n", "youden")
    ] * 2
    other = read_evaluation(RunDir(tmp_path / "out" / "n").evaluation_path("predictions", "test"))
    theirs = new_worse["Edema_score"] >= other.runs[0].labels["Edema"].operating_points[0].threshold
    assert tests["sensitivity"].difference == pytest.approx(sensitivity - theirs[truth].mean())
    assert tests["specificity"].difference == pytest.approx(theirs[~truth].mean() - alarms)
    p_values = sorted(test.p for test in tests.values())
    adjusted = sorted(test.p_adjusted for test in tests.values())
    assert adjusted == pytest.approx([min(1, 2 * p_values[0]), max(2 * p_values[0], p_values[1])])
    alone = ["--predictions", f"m={tmp_path / 'm_test.csv'}", "--split", "test"]
    assert main(["evaluate", *alone, "--prevalence", "0.1", *out]) == 0
    assert read_evaluation(path).runs[0].threshold_tests == run.threshold_tests
    make_run(tmp_path / "out", "trained")
    assert main(["report", "--artifacts-dir", str(tmp_path / "out")]) == 0
    text = whole_report(tmp_path / "out")
    for title in ("stored thresholds", "choosing a threshold", "Stored thresholds of two runs"):
        assert title in text


def test_with_one_row_a_patient_shares_have_wilson_s_interval(tmp_path: Path) -> None:
    """scipy's, of few rows that have the finding, or are called."""
    assert evaluate(tmp_path, scores(0, range(60)), name="m") == 0
    new = scores(1, range(100, 128), n_images=1)
    assert evaluate(tmp_path, new, "--split", "test", name="m") == 0
    point = first_point(tmp_path, "test")
    assert point.estimates == "threshold"
    called, truth = new["Edema_score"] >= point.threshold, new["Edema"] == 1
    for found, inside, right in (
        (point.sensitivity, truth, called),
        (point.specificity, ~truth, ~called),
        (point.ppv, called, truth),
        (point.npv, ~called, ~truth),
    ):
        exact = stats.binomtest(int((inside & right).sum()), int(inside.sum()))
        expected = exact.proportion_ci(method="wilson")
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_conformal_thresholds_are_stored_and_judge_other_patients(tmp_path: Path) -> None:
    here, there = scores(0, range(120)), scores(1, range(120, 240))
    here.loc[here["patient"] < "p010", "Mass"] = 1.0  # of ten patients, of others none
    here["Mass"], here["Mass_score"] = here["Mass"].fillna(0), here["Edema_score"]
    assert evaluate(tmp_path, here, "--split", "valid", name="m") == 0
    assert evaluate(tmp_path, there, "--split", "test", name="m") == 0
    kept = read_calibration(path := tmp_path / "out" / "m" / "calibration.json")
    assert kept is not None and kept.labels["Edema"].conformal and kept.labels["Mass"].conformal
    one = kept.labels["Edema"].conformal
    assert one.rule_out is not None and one.rule_in is not None
    assert kept.labels["Mass"].conformal.rule_out is None, "ten positive patients cannot choose it"
    assert kept.labels["Mass"].conformal.rule_in is not None

    def judged(split: str) -> dict[str, object] | None:
        file = RunDir(tmp_path / "out" / "m").evaluation_path("predictions", split)
        found = read_evaluation(file).runs[0].labels["Edema"].conformal
        return found and found.model_dump()

    def around(share: float) -> dict[str, object]:
        ends = pytest.approx(share, abs=0.08)
        return {"value": pytest.approx(share), "low": ends, "high": ends, "reason": None}

    positive = there[there["Edema"] == 1].groupby("patient")["Edema_score"].min()
    negative = there[there["Edema"] == 0].groupby("patient")["Edema_score"].max()
    shares = {
        "positive_coverage": (positive >= one.rule_out).mean(),
        "negative_coverage": (negative <= one.rule_in).mean(),
        "undecided": there["Edema_score"].between(one.rule_out, one.rule_in).mean(),
    }
    assert judged("test") == {
        "rule_out": one.rule_out,
        "rule_in": one.rule_in,
        "chosen_on": kept.fitted_on,
        **{name: pytest.approx(share) for name, share in shares.items()},
        **{f"{name}_estimate": around(share) for name, share in shares.items()},
    }
    assert judged("valid") is not None

    # a calibration of before has none: it is read, and nothing is said
    document = json.loads(path.read_text())
    for label in document["labels"].values():
        del label["conformal"]
    write_json(path, document)
    assert evaluate(tmp_path, there, "--split", "test", name="m") == 0
    assert judged("test") is None and first_point(tmp_path, "test").estimates == "threshold"
