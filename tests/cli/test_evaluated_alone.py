"""A run that is evaluated again takes no comparison away from the others, or it is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from chexpert_factory import write_dataset
from evaluation_factory import digests, write_predictions
from pulmonet.cli.main import main
from report_reader import whole_report
from run_factory import make_named_runs, make_run

EVALUATION = "evaluation_tiny_valid.json"
NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs that were evaluated together, with figures, and their dataset."""
    work = tmp_path_factory.mktemp("work")
    data = write_dataset(work / "tiny", n_train=6, n_valid=30)
    make_named_runs(work / "artifacts", data, NAMES)
    assert evaluate(work / "artifacts") == 0
    return work


@pytest.fixture
def runs(work: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return shutil.copytree(work / "artifacts", tmp_path / "artifacts")


def evaluate(artifacts: Path, *arguments: str, resamples: str = "100") -> int:
    flags = ("--artifacts-dir", str(artifacts), "--bootstrap", resamples)
    return main(["evaluate", *flags, *arguments])


def letters(artifacts: Path) -> dict[str, str]:
    table = pd.read_csv(artifacts / "final_evaluation_results.csv", keep_default_na=False)
    return {str(row.Model): str(row.Group) for row in table.itertuples() if row.Model in NAMES}


def test_nothing_changes_where_its_scores_are_the_same(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digests(runs)
    capsys.readouterr()
    assert evaluate(runs, "b") == 0
    said = capsys.readouterr().err
    assert "b: of the same weights, rows and scores as before, so the comparison with a, c" in said
    assert "no longer compare" not in said
    assert digests(runs) == before
    assert evaluate(runs, "a", "c") == 0
    changed = {name for name, digest in digests(runs).items() if digest != before[name]}
    assert changed <= {f"c/{EVALUATION}"}  # the order of its differences
    found = json.loads((runs / "c" / EVALUATION).read_text())["comparisons"]
    assert {(one["a"], one["b"]) for one in found} == {("a", "c"), ("b", "c")}
    assert main(["report", "--artifacts-dir", str(runs), "--verify"]) == 0
    assert "a less b" in whole_report(runs)


def test_an_export_changes_nothing_else(runs: Path) -> None:
    pytest.importorskip("onnxscript")
    before = digests(runs)
    assert evaluate(runs, "a", "--export", "onnx") == 0
    after = digests(runs)
    assert after.pop("a/model.onnx")
    assert after == before


def test_other_options_are_said_to_end_the_comparison(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert all(letters(runs).values())
    capsys.readouterr()
    assert evaluate(runs, "a", resamples="200") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "final_evaluation_results.csv and model_comparison.png no longer compare a, b, c" in said
    assert "evaluate them together to compare them" in said
    assert letters(runs) == dict.fromkeys(NAMES, "")


def test_other_weights_end_the_comparison(
    runs: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = work / "tiny"
    make_run(runs, model="timm:test_resnet", image_size=32, data_dir=data, seed=9, name="a")
    capsys.readouterr()
    assert evaluate(runs, "a", "b") == 0
    assert "no longer compare c" in " ".join(capsys.readouterr().err.split())
    found = json.loads((runs / "a" / EVALUATION).read_text())["comparisons"]
    assert {(one["a"], one["b"]) for one in found} == {("a", "b")}
    assert letters(runs)["c"] == ""
    assert letters(runs)["a"]


def test_a_pair_that_the_other_no_longer_holds_does_not_come_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """b had other scores in between: what a and c once were compared with is gone."""
    files = {name: write_predictions(tmp_path / f"{name}.csv", seed=ord(name)) for name in NAMES}
    out = tmp_path / "artifacts"

    def scores(*names: str) -> list[str]:
        flags = [word for name in names for word in ("--predictions", str(files[name]))]
        return [*flags, "--no-figures"]

    assert evaluate(out, *scores(*NAMES)) == 0
    write_predictions(files["b"], seed=0)
    assert evaluate(out, *scores("b")) == 0
    assert letters(out) == dict.fromkeys(NAMES, "")
    capsys.readouterr()
    assert evaluate(out, *scores("a", "c")) == 0
    assert "as before" not in capsys.readouterr().err
    found = json.loads((out / "a" / "evaluation_predictions_all.json").read_text())["comparisons"]
    assert {(one["a"], one["b"]) for one in found} == {("a", "c")}
    assert not letters(out)["b"] and letters(out)["a"]


def test_two_baselines_have_two_names(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the training rows, and cross-fitted on these, which a file of scores leaves alone."""
    capsys.readouterr()
    scores = runs / "a" / "predictions_tiny_valid.csv"
    assert evaluate(runs, "--predictions", f"file={scores}", "--no-figures") == 0
    assert "cross-fitted)" in capsys.readouterr().out
    table = pd.read_csv(runs / "final_evaluation_results.csv").set_index("Model")
    names = [name for name in table.index if str(name).startswith("baseline")]
    assert sorted(names) == ["baseline (view, age, sex)", "baseline (view, age, sex; cross-fitted)"]
    assert table.loc[names, "Macro_AUROC"].nunique() == 2
    assert table.loc[names[0], "Dataset"] != table.loc[names[1], "Dataset"]
    assert main(["report", "--artifacts-dir", str(runs)]) == 0
    report = whole_report(runs)
    assert "baseline (view, age, sex) |" in report
    assert "baseline (view, age, sex; cross-fitted) |" in report
