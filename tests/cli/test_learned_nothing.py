"""A network that learned nothing is named: in training, in the table, in the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from chexpert_factory import write_dataset
from evaluation_factory import evaluate, write_predictions
from pulmonet.cli.main import main
from pulmonet.files.read import sha256_of
from pulmonet.metrics.calibration.fit import highest_by_chance
from pulmonet.run.folder import RunDir
from report_reader import whole_report

TINY = ("--model", "timm:test_resnet", "--weights", "none", "--image-size", "32")
EVALUATION = "evaluation_tiny_valid.json"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny, and one run of an epoch on it: images of noise, labels by chance."""
    folder = tmp_path_factory.mktemp("trained")
    write_dataset(folder / "tiny", n_train=8, n_valid=24)
    command = ["train", "--data-dir", str(folder / "tiny"), "--out-dir", str(folder / "runs")]
    assert main([*command, *TINY, "--epochs", "1", "--name", "run"]) == 0
    return folder


def report(artifacts: Path) -> str:
    assert main(["report", "--artifacts-dir", str(artifacts)]) == 0
    return whole_report(artifacts).replace("\\", "")


def test_training_says_that_its_scores_guess(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data-dir", str(trained / "tiny"), "--out-dir", str(tmp_path)]
    assert main([*command, *TINY, "--epochs", "1", "--lr", "1e-9", "--name", "run"]) == 0
    log = RunDir(tmp_path / "run").read_log()
    aurocs = log.filter(regex="^val_auc_").iloc[0].dropna()
    label, best = str(aurocs.idxmax()).removeprefix("val_auc_"), aurocs.max()
    said = f"No label's AUROC on valid is significantly above 0.5 (the highest: {label} {best:.3f})"
    assert said in " ".join(capsys.readouterr().err.split())
    assert said in report(tmp_path).split("What it is not.")[0]


def test_the_highest_auroc_by_chance_against_a_simulation() -> None:
    """Of 14 labels that mean nothing, one exceeds it in 2.5 % of datasets."""
    random, n, labels = np.random.default_rng(0), 200, 14
    is_positive = np.arange(n) < 60
    ranks = random.random((2000, labels, n)).argsort(axis=-1).argsort(axis=-1)
    aurocs = (ranks[..., is_positive].sum(axis=-1) - 60 * 59 / 2) / (60 * 140)
    share = float((aurocs.max(axis=-1) > highest_by_chance(60, 140, labels)).mean())
    assert 0.012 <= share <= 0.04


def make_blind(run: RunDir) -> None:
    """Weights that give every image the same scores; the record has their digest."""
    state = torch.load(run.best_model_path, weights_only=True)
    for name in [*state][-2:]:
        state[name] = torch.zeros_like(state[name])
    torch.save(state, run.best_model_path)
    document = json.loads(run.config_path.read_text())
    document["provenance"]["checkpoint_sha256"] = sha256_of(run.best_model_path)
    run.config_path.write_text(json.dumps(document))


def test_scores_that_are_all_alike_are_named(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And that the training log has others: what the report's summary says, too."""
    run = RunDir(tmp_path / "run")
    for name in ("run_config.json", "best_model.pth", "seen.npz", "training_log.csv"):
        run.path.mkdir(exist_ok=True)
        (run.path / name).write_bytes((trained / "runs" / "run" / name).read_bytes())
    make_blind(run)
    log = pd.read_csv(run.log_path)
    for column in log.columns[log.columns.str.startswith("val_auc_")]:
        log[column] = 0.5413
    log.to_csv(run.log_path, index=False)
    assert evaluate(tmp_path) == 0
    said = " ".join(capsys.readouterr().err.split())
    texts = [
        "Scores all within 0.001: all 5 labels",
        "The training log has a mean AUROC of 0.541 on these rows, this evaluation 0.500 over",
    ]
    for text in texts:
        assert text in said
        assert text in report(tmp_path).split("What it is not.")[0]
    assert texts[0] in (tmp_path / "final_evaluation_results.md").read_text().replace("\\", "")


def test_a_log_that_agrees_is_not_mentioned(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the macro of either: the labels that are too rare for it are in both means."""
    assert evaluate(trained / "runs") == 0
    assert "training log" not in capsys.readouterr().err


def test_intervals_that_hold_a_half_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_predictions(tmp_path / "good.csv", strength=0.6)
    assert evaluate(tmp_path, "--predictions", str(good)) == 0
    assert "guessing" not in capsys.readouterr().err
    table = pd.read_csv(good)
    table["Edema_score"] = np.random.default_rng(1).random(len(table))
    table.to_csv(tmp_path / "half.csv", index=False)
    assert evaluate(tmp_path, "--predictions", str(tmp_path / "half.csv")) == 0
    said = "AUROC not significantly above 0.5 (guessing): Edema."
    assert said in " ".join(capsys.readouterr().err.split())
    path = tmp_path / "half" / "evaluation_predictions_all.json"
    found = json.loads(path.read_text())["runs"][0]["labels"]["Edema"]
    assert found["auroc"]["low"] <= 0.5
    assert found["score_range"] == pytest.approx([*table["Edema_score"].agg(["min", "max"])])
