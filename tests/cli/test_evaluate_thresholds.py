"""Whose thresholds `evaluate` takes: those of the same model, chosen on other patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pulmonet.cli.main import main
from pulmonet.metrics.calibration.fit import read_calibration
from pulmonet.metrics.label_result import OperatingPoint
from pulmonet.metrics.results import read_evaluation
from pulmonet.run.folder import RunDir


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
