"""The study's arms with a second collection, and tables of one label and of some folds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pulmonet.run.predictions import Predictions

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import study
from study_arms import ARMS

DATA = Path("/data/nih-cxr")


def test_arms_named_so_train_on_both_collections() -> None:
    options = argparse.Namespace(data_dir=DATA, more=Path("/data/nih-cxr-more"))
    named = [arm for arm in ARMS if study.more_data(arm, options)]
    assert sorted(named) == [
        *("five-networks-more", "one-lite0-more", "one-lite0-more-evenly"),
        *("one-lite0-more-five-labels", "one-lite1-more", "quick-more", "strong-more"),
        *("three-lite0-more", "three-lite1-more"),
    ]
    assert study.more_data("one-lite0-more", options) == [
        *("--data-dir", options.more, "--same-patients", "nih-cxr,nih-cxr-more")
    ]
    with pytest.raises(SystemExit, match="add --more FOLDER"):
        study.more_data("quick-more", argparse.Namespace(data_dir=DATA, more=None))


@pytest.mark.parametrize("command", [["run", "quick"], ["table"]])
def test_every_study_knows_which_folds_it_is_about(command: list[str], tmp_path: Path) -> None:
    """`pointing.py` uses the parser and the tables, too."""
    parser, _, _ = study.commands_of("A study.", ["quick"], seeds=[0], against="quick")
    options = parser.parse_args([*command, "--data-dir", str(DATA), "--out", str(tmp_path)])
    assert study.finished(options) == {}
    assert len(study.prediction_paths("quick", 0, options)) == study.N_FOLDS


def test_a_fold_whose_scores_are_there_is_not_trained(tmp_path: Path) -> None:
    options = argparse.Namespace(data_dir=DATA, out=tmp_path, folds=None, tta="none")
    for fold in range(study.N_FOLDS):
        path = study.scores_path(f"quick-s0-f{fold}", options)
        path.parent.mkdir()
        path.write_text("Path\n")
    assert study.train_fold("quick", 0, 3, options) == "quick-s0-f3: its scores are there"
    study.score("quick", 0, options)
    assert not list(tmp_path.glob("*.txt")), "nothing was called"


def test_some_folds_and_one_label(tmp_path: Path) -> None:
    options = argparse.Namespace(data_dir=DATA, out=tmp_path, folds=[0, 3])
    names = [path.parent.name for path in study.prediction_paths("quick", 1, options)]
    assert names == ["quick-s1-f0", "quick-s1-f3"]
    both = ("Pneumonia", "Edema", "Atelectasis")
    rows = Predictions(
        *("a", "d", "valid"), both, ("x", "y"), None, None, np.eye(2, 3), np.ones((2, 3)) / 2
    )
    assert study.five_labels(rows).targets.tolist() == [[0, 0], [0, 1]], "in CheXpert's order"
    alone = Predictions(
        *("a", "d", "valid"), ("Pneumonia",), ("x",), None, None, np.ones((1, 1)), np.ones((1, 1))
    )
    assert study.five_labels(alone).labels == ("Pneumonia",)


def test_abnormal_rows_need_no_valid_csv(tmp_path: Path) -> None:
    table = pd.DataFrame({"Path": ["d/a.jpg", "d/b.jpg"], "No Finding": [1.0, 0.0]})
    (tmp_path / "d").mkdir()
    table.to_csv(tmp_path / "d" / "train.csv", index=False)
    rows = Predictions(
        *("a", "d", "valid"), ("Pneumonia",), ("a.jpg", "b.jpg"), None, None, np.ones((2, 1)),
        np.ones((2, 1)),
    )  # fmt: skip
    assert study.abnormal_rows(rows, tmp_path / "d").tolist() == [False, True]
