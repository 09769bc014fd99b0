"""Folders that were renamed after `evaluate`, and files whose name no folder has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from chexpert_factory import write_dataset
from evaluation_factory import evaluate, write_predictions
from pulmonet.cli.main import main
from report_reader import whole_report
from run_factory import make_named_runs

EVALUATION = "evaluation_tiny_valid.json"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "tiny", n_train=8, n_valid=40)


def report(artifacts: Path, *arguments: str) -> str:
    assert main(["report", "--artifacts-dir", str(artifacts), *arguments]) == 0
    return whole_report(artifacts)


def macro(path: Path) -> str:
    return f"{json.loads(path.read_text())['runs'][0]['macro']['auroc']['value']:.3f}"


def test_a_run_whose_folder_was_renamed_keeps_its_results(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_named_runs(tmp_path, data, ["first", "second"])
    assert evaluate(tmp_path, "--ensemble") == 0
    before = report(tmp_path)
    (tmp_path / "first").rename(tmp_path / "the oldest")
    capsys.readouterr()
    after = report(tmp_path, "--verify")
    said = capsys.readouterr()
    assert "the oldest: verified (weights and 1 evaluation" in said.out
    assert "left out" not in said.err
    assert "Not evaluated" not in after
    assert macro(tmp_path / "the oldest" / EVALUATION) in after
    # its comparison with the other one, and what it is a part of
    differences = r"(second less first|first less second)"
    assert re.search(differences, before)
    assert re.search(differences.replace("first", "the oldest"), after)
    assert "first" not in re.findall(r"the mean of [^)]*", after)[0]


def test_a_copy_of_a_run_has_its_own_results_and_no_letters_of_the_first(
    data: Path, tmp_path: Path
) -> None:
    make_named_runs(tmp_path, data, ["first", "second"])
    assert evaluate(tmp_path) == 0
    compared = report(tmp_path).count(" less ")
    for path in sorted((tmp_path / "first").iterdir()):
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    after = report(tmp_path)
    assert "Not evaluated" not in after
    assert after.count(" less ") == compared
    assert "copy less" not in after


def test_results_of_other_weights_are_named_and_not_taken(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_named_runs(tmp_path, data, ["first", "second"])
    assert evaluate(tmp_path, "first") == 0
    (tmp_path / "first" / EVALUATION).rename(tmp_path / "second" / EVALUATION)
    capsys.readouterr()
    assert "Not evaluated: first and second" in report(tmp_path)
    assert f"left out second/{EVALUATION}: of other weights (SHA-256" in capsys.readouterr().err


def test_a_file_of_scores_with_blanks_in_its_name_is_reported(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its results have the name of their folder; so have those of an earlier version."""
    make_named_runs(tmp_path / "artifacts", data, ["first"])
    scores = write_predictions(tmp_path / "my scores.csv")
    assert evaluate(tmp_path / "artifacts", "--predictions", str(scores)) == 0
    assert "my_scores on predictions" in capsys.readouterr().out
    path = tmp_path / "artifacts" / "my_scores" / "evaluation_predictions_all.json"
    assert f"my\\_scores | {macro(path)}" in report(tmp_path / "artifacts")
    path.write_text(path.read_text().replace('"my_scores"', '"my scores"'))
    assert f"my\\_scores | {macro(path)}" in report(tmp_path / "artifacts")
    twin = write_predictions(tmp_path / "my_scores.csv")
    both = ("--predictions", str(scores), "--predictions", str(twin))
    assert evaluate(tmp_path / "artifacts", *both) == 2
    assert "would both be called 'my_scores'" in capsys.readouterr().err
