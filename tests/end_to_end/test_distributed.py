"""Two torchrun processes on the CPU against one process."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from pulmonet.training.validation import score_epoch

#: test_convnext has layer norm only, so batch statistics play no part; test_resnet has batch norm.
SMALL = (
    *("train", "--weights", "none", "--image-size", "32", "--batch-size", "8", "--no-amp"),
    *("--epochs", "2", "--set", "augment.geometry=none", "--set", "runtime.threads=1"),
)


def launch(n_processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(n_processes), "-m", "pulmonet", *SMALL, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=240, check=False
    )


def log_of(run_dir: RunDir) -> list[dict[str, str]]:
    with run_dir.log_path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("model", "tolerance"), [("timm:test_convnext", 1e-5), ("timm:test_resnet", 0.2)]
)
def test_two_processes_train_like_one(tmp_path: Path, model: str, tolerance: float) -> None:
    """Without batch norm the losses and weights agree to rounding; with it, they are alike."""
    data = write_dataset(tmp_path / "tiny", n_train=20, n_valid=7)
    common = ("--data-dir", str(data), "--out-dir", str(tmp_path), "--model", model)
    for n_processes, name in ((1, "one"), (2, "two")):
        done = launch(n_processes, *common, "--name", name)
        assert done.returncode == 0, done.stderr
    one, two = RunDir(tmp_path / "one"), RunDir(tmp_path / "two")
    assert two.read_record().provenance.world_size == 2
    for row_of_one, row_of_two in zip(log_of(one), log_of(two), strict=True):
        for column in ("train_loss", "val_loss"):
            assert float(row_of_two[column]) == pytest.approx(
                float(row_of_one[column]), rel=tolerance
            )
    if tolerance < 1e-3:
        import torch

        states = [torch.load(run.best_model_path, weights_only=True) for run in (one, two)]
        for key, tensor in states[0].items():
            np.testing.assert_allclose(states[1][key], tensor, atol=1e-5)


def test_two_processes_validate_with_the_weights_that_are_saved(tmp_path: Path) -> None:
    """Batch norm's running statistics are each process's own on CPUs; rank 0's are in the file."""
    data = write_dataset(tmp_path / "tiny", n_train=20, n_valid=30)
    arguments = ("--data-dir", str(data), "--out-dir", str(tmp_path), "--epochs", "1")
    done = launch(2, *arguments, "--model", "timm:test_resnet", "--name", "two", "--lr", "0.01")
    assert done.returncode == 0, done.stderr
    run_dir = RunDir(tmp_path / "two")
    assert main(["evaluate", "two", "--artifacts-dir", str(tmp_path), "--bootstrap", "100"]) == 0
    predictions = Predictions.read(run_dir.predictions_path("tiny", "valid"))
    found = score_epoch(predictions.targets, predictions.scores)
    assert found.loss == pytest.approx(float(log_of(run_dir)[0]["val_loss"]), rel=1e-6)


def test_validation_in_two_processes_counts_each_row_once(tmp_path: Path) -> None:
    """The same weights, validated by one and by two processes: the same metrics.

    A learning rate of 1e-30 leaves the first weights as they are.
    """
    data = write_dataset(tmp_path / "tiny", n_train=8, n_valid=7)
    common = ("--data-dir", str(data), "--out-dir", str(tmp_path), "--lr", "1e-30")
    common += ("--model", "timm:test_convnext", "--epochs", "1")
    for n_processes, name in ((1, "one"), (2, "two")):
        done = launch(n_processes, *common, "--name", name)
        assert done.returncode == 0, done.stderr
    one, two = (log_of(RunDir(tmp_path / name))[0] for name in ("one", "two"))
    for column in one:
        if column.startswith("val_"):
            assert float(two[column]) == pytest.approx(float(one[column]), abs=1e-5)


def test_failed_process_ends_all_with_its_reason(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "tiny")
    shutil.rmtree(data / "train" / "patient00003")
    done = launch(2, "--data-dir", str(data), "--out-dir", str(tmp_path), "--model", "resnet50")
    assert done.returncode != 0
    assert "train/patient00003/study1/view1_frontal.jpg" in done.stderr
