"""`pulmonet evaluate --pool-folds`: every image by the network that never saw its patient."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from chexpert_factory import write_dataset
from evaluation_factory import digests, evaluate, write_predictions
from pulmonet.cli.main import main
from pulmonet.errors import ConfigError
from pulmonet.files.write import write_atomic
from pulmonet.flows.evaluate.combine import check_disjoint
from pulmonet.metrics.results import Evaluation, RunResult
from pulmonet.run.folder import RunDir
from report_reader import whole_report
from run_factory import make_run

LABELS = ("Cardiomegaly", "Edema")
FOLDS = ("f0", "f1", "f2")


def make_fold(artifacts_dir: Path, name: str, data: Path, fold: int, **settings: object) -> RunDir:
    """One of three folds; other weights in each, one seed."""
    run_dir = make_run(
        artifacts_dir,
        model="timm:test_resnet",
        labels=LABELS,
        image_size=32,
        data_dir=data,
        name=name,
        settings={"data": {"folds": 3, "fold": fold, **settings}, "select": {"checkpoint": "last"}},
    )
    state = torch.load(run_dir.best_model_path, weights_only=True)
    generator = torch.Generator().manual_seed(fold + len(name))
    state["fc.weight"] = torch.randn(state["fc.weight"].shape, generator=generator) / 10
    torch.save(state, run_dir.best_model_path)
    document = json.loads(run_dir.config_path.read_text())
    document["provenance"]["checkpoint_sha256"] = None
    write_atomic(run_dir.config_path, json.dumps(document))
    return run_dir


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset `tiny`, its three folds, and a run of no fold."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_dataset(folder / "tiny", n_train=40, n_valid=20)
    for fold, name in enumerate(FOLDS):
        make_fold(folder / "artifacts", name, data, fold)
    make_run(
        folder / "artifacts",
        model="timm:test_resnet",
        labels=LABELS,
        image_size=32,
        data_dir=data,
        name="plain",
    )
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "artifacts", tmp_path / "artifacts")
    return tmp_path / "artifacts"


def result_of(artifacts: Path, name: str, ending: str = "tiny_out-of-fold") -> RunResult:
    text = (artifacts / name / f"evaluation_{ending}.json").read_text()
    return Evaluation.model_validate_json(text).runs[0]


def change(path: Path, section: str, **values: object) -> None:
    document = json.loads(path.read_text())
    document["config"][section] |= values
    path.write_text(json.dumps(document))


def test_every_patient_is_scored_once_by_the_run_that_left_them_out(
    runs: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(runs, "f2", "f0", "f1", "--pool-folds", "pooled") == 0
    shown = capsys.readouterr()
    assert "pooled on tiny, split out-of-fold" in shown.out
    assert "60 images, 60 patients" in shown.out
    assert "Out of fold: f0, f1, f2 scored one fold each" in shown.err
    assert "folds are not compared; pooled is all of them together" in shown.err
    assert "These rows decided nothing before." in shown.err
    assert "checkpoint selection" not in shown.err
    parts = pd.concat([pd.read_csv(runs / name / "predictions_tiny_valid.csv") for name in FOLDS])
    pooled = pd.read_csv(runs / "pooled" / "predictions_tiny_out-of-fold.csv")
    pd.testing.assert_frame_equal(pooled, parts.reset_index(drop=True))
    of_dataset = pd.concat([pd.read_csv(trained / "tiny" / f"{s}.csv") for s in ("train", "valid")])
    paths = of_dataset["Path"].str.removeprefix("tiny/")
    assert sorted(pooled["Path"]) == sorted(paths)
    result = result_of(runs, "pooled")
    whole, scored = result.flow
    assert (scored.n_rows, scored.n_patients) == (len(pooled), pooled["patient"].nunique())
    assert whole.n_rows >= scored.n_rows
    folds = [result_of(runs, name, "tiny_valid").missing["Edema"] for name in FOLDS]
    assert result.missing["Edema"] == {kind: sum(one[kind] for one in folds) for kind in folds[0]}
    for label, entry in result.labels.items():
        truth, scores = parts[label], parts[f"{label}_score"]
        assert entry.auroc.value == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
        expected = average_precision_score(truth, scores)
        assert entry.average_precision.value == pytest.approx(expected, abs=1e-9)
    assert (result.combines, result.members) == ("out-of-fold", list(FOLDS))
    assert result.rows_used_for == []
    assert result.baseline is not None
    assert result.baseline.fitted_on == "these rows, cross-fitted by patient"
    assert not RunDir(runs / "pooled").calibration_path.exists()
    with (runs / "final_evaluation_results.csv").open() as file:
        rows = [(row["Model"], row["Split"], row["Rows_Used_For"]) for row in csv.DictReader(file)]
    assert ("pooled", "out-of-fold", "nothing") in rows
    assert [row[1] for row in rows if row[0].startswith("baseline")] == ["out-of-fold"]
    before = digests(runs)
    assert evaluate(runs, *FOLDS, "--pool-folds", "pooled") == 0
    assert digests(runs) == before


def test_what_a_start_of_another_fold_and_size_was_trained_on_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its images were packed at another size, so that only their patients are known again."""
    data, artifacts = write_dataset(tmp_path / "tiny", n_train=12, n_valid=4), tmp_path / "runs"
    line = ["train", "--data-dir", str(data), "--out-dir", str(artifacts), "--epochs", "1"]
    line += ["--model", "timm:test_resnet", "--no-amp", "--folds", "2"]
    one = ["--weights", "none", "--fold", "0", "--image-size", "32", "--name", "one"]
    assert main([*line, *one]) == 0
    assert "--weights was trained on" not in capsys.readouterr().err
    other = ["--weights", "one", "--fold", "1", "--image-size", "256", "--name", "other"]
    assert main([*line, *other]) == 0
    assert "--weights was trained on 8 of 8 images of valid" in capsys.readouterr().err
    assert evaluate(artifacts, "other") == 0
    result = result_of(artifacts, "other", "tiny_valid")
    assert result.rows_used_for[0] == "training (patients of 8 of these 8 images)"


def test_rows_that_chose_a_checkpoint_are_told(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(RunDir(runs / "f1").config_path, "select", checkpoint="best")
    assert evaluate(runs, *FOLDS, "--pool-folds", "pooled") == 0
    assert result_of(runs, "pooled").rows_used_for == ["checkpoint selection"]
    assert "f1 was not trained as f0 was: other select.checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["f0", "f2", "--pool-folds", "p"], "--pool-folds p: no run of fold 1 of 3; name one"),
        (["f1", "--pool-folds", "p"], "no run of folds 0, 2 of 3; name one of each"),
        (["f0", "f1", "f2", "plain", "--pool-folds", "p"], "plain was not trained with --folds"),
        (["f0", "f1", "f2", "again", "--pool-folds", "p"], "f0 and again are both of fold 0"),
        (["f0", "f1", "seed", "--pool-folds", "p"], "with --seed 0, seed with 7"),
        (["f0", "f1", "five", "--pool-folds", "p"], "with --folds 3, five with 5"),
        ([*FOLDS, "--pool-folds", "p", "--split", "train"], "leave out --split and --splits"),
        ([*FOLDS, "--pool-folds", "p", "--ensemble"], "folds share no rows that --ensemble"),
        ([*FOLDS, "--pool-folds", "f1"], "--pool-folds f1: a run evaluated here is called so"),
        ([*FOLDS, "--pool-folds", "a/b"], "--pool-folds 'a/b': not usable as a folder name"),
    ],
)
def test_what_is_no_deal_of_folds_is_refused_before_any_work(
    runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    for name, like in (("again", "f0"), ("seed", "f2"), ("five", "f2")):
        shutil.copytree(runs / like, runs / name)
    change(RunDir(runs / "five").config_path, "data", folds=5)
    path = RunDir(runs / "seed").config_path
    document = json.loads(path.read_text())
    document["config"]["seed"] = 7
    path.write_text(json.dumps(document))
    before = digests(runs)
    assert evaluate(runs, *arguments) == 2
    assert message in capsys.readouterr().err
    assert digests(runs) == before


def test_files_are_no_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_predictions(tmp_path / "mine.csv", n=30)
    assert evaluate(tmp_path / "a", "--predictions", str(path), "--pool-folds", "p") == 2
    assert "a file of scores does not say which fold" in capsys.readouterr().err


def test_a_damaged_fold_leaves_nothing_pooled(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RunDir(runs / "f1").best_model_path.write_bytes(b"nothing")
    assert evaluate(runs, *FOLDS, "--pool-folds", "pooled") == 4
    shown = capsys.readouterr()
    assert "pooled: not made, since not all of its members were scored" in shown.err
    assert "f2 on tiny, split valid" in shown.out
    assert not (runs / "pooled").exists()


def test_data_that_changed_since_training_may_have_other_folds(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = RunDir(runs / "f1").config_path
    document = json.loads(path.read_text())
    document["provenance"]["dataset"] = {
        "name": "tiny",
        "source": "chexpert",
        "root": document["config"]["data"]["data_dir"],
        "fingerprint": "0" * 64,
        "n_rows": {},
        "n_patients": {},
    }
    path.write_text(json.dumps(document))
    assert evaluate(runs, *FOLDS, "--pool-folds", "pooled") == 4
    assert "have changed since f1 was trained" in capsys.readouterr().err
    assert not (runs / "pooled").exists()


def test_folds_of_other_data_are_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_dataset(tmp_path / "tiny", n_train=40, n_valid=20, seed=1)
    make_fold(runs, "stray", other, 2)
    assert evaluate(runs, "f0", "f1", "stray", "--pool-folds", "pooled") == 2
    assert "f0 and stray were trained on other rows or labels" in capsys.readouterr().err
    elsewhere = write_dataset(tmp_path / "elsewhere", n_train=4, n_valid=20)
    assert evaluate(runs, *FOLDS, "--pool-folds", "p", "--data-dir", str(elsewhere)) == 2
    assert "f0 was scored on another dataset than it was trained on" in capsys.readouterr().err


def test_nothing_is_pooled_twice() -> None:
    def fold(run: str, paths: tuple[str, ...], patients: tuple[str, ...] | None) -> Any:
        return SimpleNamespace(run=run, split="valid", paths=paths, patients=patients)

    first, second = fold("f0", ("a", "b"), ("p1", "p2")), fold("f1", ("c",), ("p3",))
    check_disjoint([first, second])
    with pytest.raises(ConfigError, match="f2: shares 1 images of split 'valid' with another run"):
        check_disjoint([first, second, fold("f2", ("b", "d"), None)])
    with pytest.raises(ConfigError, match="f3: shares 1 patients of split 'valid' with another"):
        check_disjoint([first, second, fold("f3", ("e",), ("p1",))])


def test_two_arms_are_compared_by_their_files(
    runs: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for fold, name in enumerate(("other0", "other1", "other2")):
        make_fold(runs, name, trained / "tiny", fold)
    assert evaluate(runs, *FOLDS, "--pool-folds", "quick") == 0
    assert evaluate(runs, "other0", "other1", "other2", "--pool-folds", "strong") == 0
    capsys.readouterr()
    flags = [
        word
        for name in ("quick", "strong")
        for word in ("--predictions", f"{name}={runs}/{name}/predictions_tiny_out-of-fold.csv")
    ]
    assert evaluate(runs.parent / "arms", *flags, "--json") == 0
    found = Evaluation.model_validate_json(capsys.readouterr().out)
    assert [result.n_patients for result in found.runs] == [60, 60]
    macro = next(entry for entry in found.comparisons if entry.label is None)
    values = [result.macro.auroc.value or np.nan for result in found.runs]
    assert (macro.a, macro.b) == ("quick", "strong")
    assert macro.difference == pytest.approx(values[0] - values[1])
    assert evaluate(runs, *flags[:2]) == 4
    assert "holds results of the folds f0, f1, f2, which stay" in capsys.readouterr().err


def test_the_report_shows_the_pooled_row(runs: Path) -> None:
    shutil.rmtree(runs / "plain")
    assert evaluate(runs, *FOLDS, "--pool-folds", "quick") == 0
    assert main(["report", "--artifacts-dir", str(runs)]) == 0
    text = whole_report(runs)
    assert "quick: out of fold, by f0, f1, f2." in text
    assert "Out of fold, quick (f0, f1 and f2 together) reaches a mean AUROC of" in text
    assert "The best run, f" not in text, "the best of three folds is a lucky one"
    assert "f0, f1 and f2 are folds of quick, each on rows of its own" in text
    folds = text.split("# tiny, valid split: folds of quick")[1].split("\n# ")[0]
    assert "| f1 |" in folds
    assert "baseline (view, age, sex)" not in folds and "Rows behind the numbers" not in folds
    assert text.count("Rows behind the numbers") >= 1, "those of the pooled row"


def test_labels_that_may_be_wrong_are_listed(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in FOLDS:  # these networks rank the wrong way round, which tells of no label
        path = runs / name / "best_model.pth"
        weights = torch.load(path, weights_only=True)
        for key in list(weights)[-2:]:
            weights[key] = -weights[key]
        torch.save(weights, path)
    assert evaluate(runs, *FOLDS, "--pool-folds", "pooled") == 0
    pooled = pd.read_csv(runs / "pooled" / "predictions_tiny_out-of-fold.csv").set_index("Path")
    path = runs / "pooled" / "suspect_labels.csv"
    suspects, n_suspects = pd.read_csv(path), 0
    for label in (name for name in pooled if f"{name}_score" in pooled):
        scores, given = pooled[f"{label}_score"], pooled[label]
        means = scores.groupby(given).mean()
        if len(means) == 2 and means[1] > means[0]:
            wrong = ((given == 1) & (scores <= means[0])) | ((given == 0) & (scores >= means[1]))
            mine = suspects[suspects["label"] == label].set_index("path")
            assert set(mine.index) == set(pooled.index[wrong])
            np.testing.assert_allclose(mine["score"], scores[mine.index])
            assert mine["given"].tolist() == given[mine.index].tolist()
            n_suspects += int(wrong.sum())
    assert suspects["rank"].tolist() == [*range(1, n_suspects + 1)] and n_suspects > 0
    assert f"{n_suspects} labels that may be wrong: {path}" in capsys.readouterr().out

    # what a reader has noted in it is not lost
    path.write_text(path.read_text().replace("rank", "rank,seen", 1))
    assert evaluate(runs, *FOLDS, "--pool-folds", "pooled") == 4
    assert "suspect_labels.csv" in capsys.readouterr().err
    assert "rank,seen" in path.read_text()
