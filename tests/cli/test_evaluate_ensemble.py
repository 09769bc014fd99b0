"""`pulmonet evaluate --ensemble`: the mean of several runs' scores as one more row."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from chexpert_factory import write_dataset
from evaluation_factory import LABELS, digests, evaluate, write_predictions
from pulmonet.cli.main import main
from pulmonet.metrics.calibration.fit import read_calibration
from pulmonet.metrics.results import Evaluation, RunResult
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from report_reader import whole_report
from run_factory import make_named_runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset `tiny` and three runs with random weights."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_dataset(folder / "tiny", n_train=20, n_valid=30)
    make_named_runs(folder / "artifacts", data, ("first", "second", "third"))
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "artifacts", tmp_path / "artifacts")
    return tmp_path / "artifacts"


def flags_of(*paths: Path) -> list[str]:
    return [word for path in paths for word in ("--predictions", str(path))]


def result_of(artifacts: Path, name: str, ending: str = "predictions_all") -> RunResult:
    text = (artifacts / name / f"evaluation_{ending}.json").read_text()
    return Evaluation.model_validate_json(text).runs[0]


def test_the_mean_of_the_members_is_evaluated_and_compared(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(runs, "--ensemble") == 0
    shown = capsys.readouterr()
    assert "ensemble on tiny, split valid" in shown.out
    assert "Mean of the scores of first, second, third." in shown.err
    members = [
        pd.read_csv(runs / name / "predictions_tiny_valid.csv")
        for name in ("first", "second", "third")
    ]
    written = runs / "ensemble" / "predictions_tiny_valid.csv"
    table = pd.read_csv(written)
    assert list(table.columns) == list(members[0].columns)
    result = result_of(runs, "ensemble", "tiny_valid")
    for label, entry in result.labels.items():
        scores = [member[f"{label}_score"].to_numpy() for member in members]
        np.testing.assert_allclose(table[f"{label}_score"], np.mean(scores, axis=0), rtol=1.2e-7)
        expected = roc_auc_score(table[label], table[f"{label}_score"])
        assert entry.auroc.value == pytest.approx(expected, abs=1e-9)
    assert (result.combines, result.members) == ("ensemble", ["first", "second", "third"])
    assert result.rows_used_for == ["checkpoint selection"]
    document = json.loads((runs / "first" / "evaluation_tiny_valid.json").read_text())
    pairs = {(entry["a"], entry["b"]) for entry in document["comparisons"]}
    assert pairs == {("first", "second"), ("first", "third"), ("first", "ensemble")}
    with (runs / "final_evaluation_results.csv").open() as file:
        rows = {row["Model"]: row for row in csv.DictReader(file)}
    assert rows["ensemble"]["Combines"] == "mean of the scores of first, second, third"
    assert rows["ensemble"]["Group"]
    assert rows["first"]["Combines"] == ""
    assert "ensemble: mean of" in (runs / "final_evaluation_results.md").read_text()
    before = digests(runs)
    assert evaluate(runs, "--ensemble") == 0
    assert digests(runs) == before


def test_calibration_of_the_same_weights_serves_another_split(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(runs, "first", "second", "--ensemble") == 0
    calibration = read_calibration(RunDir(runs / "ensemble").calibration_path)
    assert calibration is not None
    assert calibration.fitted_on == "tiny, split valid"
    assert calibration.checkpoint_sha256 is not None
    assert evaluate(runs, "first", "second", "--ensemble", "--split", "train") == 0
    point = result_of(runs, "ensemble", "tiny_train").labels["Edema"].operating_points[0]
    assert (point.chosen_on, point.estimates) == ("tiny, split valid", "threshold")


def test_the_folder_of_another_ensemble_stays(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(runs, "first", "second", "--ensemble") == 0
    before = digests(runs)
    assert evaluate(runs, "first", "third", "--ensemble") == 4
    assert "holds results of the ensemble of first, second, which stay" in capsys.readouterr().err
    assert digests(runs) == before
    assert evaluate(runs, "second", "first", "--ensemble") == 0
    assert evaluate(runs, "first", "third", "--ensemble-name", "other") == 0
    assert result_of(runs, "other", "tiny_valid").members == ["first", "third"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["first", "second", "--ensemble-name", "third"], 4, "third: holds a run, which stays"),
        (["first", "second", "--ensemble-name", "first"], 2, "a run evaluated here is called so"),
        (["first", "second", "--ensemble-name", "../x"], 2, "--ensemble-name '../x': not usable"),
        (["first", "first", "--ensemble"], 2, "averages two or more runs, and there is only first"),
        (["first", "second", "--ensemble-name", "mine"], 4, "mine: holds other files (notes.txt)"),
    ],
)
def test_names_that_cannot_be_taken(
    runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    (runs / "mine").mkdir()
    (runs / "mine" / "notes.txt").write_text("mine")
    before = digests(runs)
    found = evaluate(runs, *arguments)
    assert (found, message in capsys.readouterr().err) == (code, True)
    assert digests(runs) == before


def test_a_damaged_member_makes_no_ensemble(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = RunDir(runs / "second").best_model_path
    weights.write_bytes(weights.read_bytes()[:-10])
    assert evaluate(runs, "--ensemble") == 4
    shown = capsys.readouterr()
    assert "second/best_model.pth: its digest is not" in shown.err
    assert "ensemble: not made, since not all of its members were scored" in shown.err
    assert "third on tiny, split valid" in shown.out
    assert not (runs / "ensemble").exists()


def test_another_set_of_rows_is_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = RunDir(runs / "second").config_path
    document = json.loads(path.read_text())
    document["config"]["data"] |= {"folds": 2, "fold": 1}
    path.write_text(json.dumps(document))
    assert evaluate(runs, "first", "second", "--ensemble") == 2
    message = capsys.readouterr().err
    assert "--ensemble: first (30 rows) and second (25) were scored on other rows:" in message
    assert "the folds of one recipe go with --pool-folds" in message


# --- files ----------------------------------------------------------------------------------


def test_files_are_averaged_row_by_row_whatever_their_order(tmp_path: Path) -> None:
    first = write_predictions(tmp_path / "a.csv", seed=1)
    other = write_predictions(tmp_path / "b.csv", seed=2)
    expected = (pd.read_csv(first)["Edema_score"] + pd.read_csv(other)["Edema_score"]) / 2
    shuffled = pd.read_csv(other, dtype=str).sample(frac=1, random_state=3)
    shuffled.drop(columns="patient").to_csv(other, index=False)
    reversed_flags = flags_of(other, first)  # the first file names no patients
    for number, flags in enumerate((flags_of(first, other), reversed_flags)):
        artifacts = tmp_path / f"artifacts{number}"
        assert evaluate(artifacts, *flags, "--ensemble") == 0
        read = Predictions.read(artifacts / "ensemble" / "predictions_predictions_all.csv")
        assert read.patients is not None
        table = pd.read_csv(artifacts / "ensemble" / "predictions_predictions_all.csv")
        table = table.set_index("Path").loc[pd.read_csv(first)["Path"]]
        np.testing.assert_allclose(table["Edema_score"], expected, rtol=1.2e-7)
        assert table["patient"].tolist() == pd.read_csv(first)["patient"].tolist()
        assert result_of(artifacts, "ensemble").bootstrap.unit == "patient"


def test_labels_that_not_all_have_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_predictions(tmp_path / "a.csv", seed=1)
    other = write_predictions(tmp_path / "b.csv", seed=2)
    table = pd.read_csv(other, dtype=str)
    table = table.rename(columns={"Edema": "Hernia", "Edema_score": "Hernia_score"})
    table.to_csv(other, index=False)
    artifacts = tmp_path / "artifacts"
    assert evaluate(artifacts, *flags_of(first, other), "--ensemble") == 0
    assert "ensemble: without Edema, Hernia, which not all of its" in capsys.readouterr().err
    assert list(result_of(artifacts, "ensemble").labels) == ["Pleural Effusion"]
    assert list(result_of(artifacts, "a").labels) == list(LABELS)


def _fewer_rows(table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[:-3]


def _other_targets(table: pd.DataFrame) -> pd.DataFrame:
    flipped = {"0": "1", "1": "0"}
    table.loc[table.index[:2], "Edema"] = table["Edema"].iloc[:2].map(flipped)
    return table


def _other_patients(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[table.index[-1], "patient"] = "someone"
    return table


def _other_labels(table: pd.DataFrame) -> pd.DataFrame:
    names = {label: f"x {label}" for label in LABELS}
    return table.rename(columns={**names, **{f"{k}_score": f"{v}_score" for k, v in names.items()}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_fewer_rows, "a (120 rows) and b (117) were scored on other rows: 3 are in one only"),
        (_other_targets, "a and b have other targets of Edema in 2 of 120 rows"),
        (_other_patients, "a and b name other patients in 1 of 120 rows"),
        (_other_labels, "ensemble: its members share no label"),
    ],
)
def test_what_differs_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: object, message: str
) -> None:
    assert callable(change)
    first = write_predictions(tmp_path / "a.csv", seed=1)
    other = write_predictions(tmp_path / "b.csv", seed=2)
    change(pd.read_csv(other, dtype=str)).to_csv(other, index=False)
    assert evaluate(tmp_path / "artifacts", *flags_of(first, other), "--ensemble") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "artifacts").exists()


def test_a_file_never_touches_the_results_of_an_ensemble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write_predictions(tmp_path / f"{name}.csv", seed=i) for i, name in enumerate("ab")]
    artifacts = tmp_path / "artifacts"
    assert evaluate(artifacts, *flags_of(*paths), "--ensemble") == 0
    before = digests(artifacts)
    flags = ["--predictions", f"ensemble={paths[0]}"]
    assert evaluate(artifacts, *flags) == 4
    assert "holds results of the ensemble of a, b, which stay" in capsys.readouterr().err
    assert digests(artifacts) == before


def test_files_are_named_where_they_would_be_called_the_same(tmp_path: Path) -> None:
    flags = []
    for name in "ab":
        (tmp_path / name).mkdir()
        path = write_predictions(tmp_path / name / "scores.csv", seed=ord(name), n=60)
        flags += ["--predictions", f"{name}={path}"]
    assert evaluate(tmp_path / "artifacts", *flags) == 0
    assert result_of(tmp_path / "artifacts", "b").run == "b"


def test_files_need_no_torch(tmp_path: Path) -> None:
    paths = [write_predictions(tmp_path / f"{name}.csv", n=60) for name in "ab"]
    program = """
import sys
sys.modules["torch"] = None
from pulmonet.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
    arguments = ["evaluate", *flags_of(*paths), "--ensemble", "--bootstrap", "100", "--no-figures"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "artifacts" / "ensemble" / "evaluation_predictions_all.json").exists()


# --- the report -----------------------------------------------------------------------------


def test_the_report_shows_the_ensemble_and_its_members(runs: Path) -> None:
    assert (
        evaluate(runs, "first", "second", "--ensemble", "--labels", "Edema", "--figures", "png")
        == 0
    )
    assert main(["report", "--artifacts-dir", str(runs), "--html"]) == 0
    text = whole_report(runs)
    assert "ensemble: mean of the scores of first, second." in text
    assert "# More about ensemble on tiny, valid" in text
    assert (runs / "report_files" / "ensemble_roc_tiny_valid.png").exists()
    assert "| first less ensemble | AUROC | macro |" in text
    assert "None: each run stands alone" not in text
    assert "ensemble: mean of the scores of" in (runs / "MODEL_CARD.md").read_text()
    page = (runs / "report.html").read_text()
    assert "ensemble: mean of the scores of first, second" in page
