"""Two torchrun processes on the CPU against one process."""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions
from pulmonet.training.validation import score_epoch

pytestmark = pytest.mark.slow

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
    assert main([*SMALL, *common, "--name", "one"]) == 0
    done = launch(2, *common, "--name", "two")
    assert done.returncode == 0, done.stderr
    one, two = RunDir(tmp_path / "one"), RunDir(tmp_path / "two")
    assert two.read_record().provenance.world_size == 2
    for row_of_one, row_of_two in zip(log_of(one), log_of(two), strict=True):
        # each validation row is counted once: 7 of them do not divide by two
        everything = [name for name in row_of_one if name.startswith("val_")]
        for column in ("train_loss", *(everything if tolerance < 1e-3 else ["val_loss"])):
            assert float(row_of_two[column]) == pytest.approx(
                float(row_of_one[column]), rel=tolerance
            )
    if tolerance < 1e-3:
        import torch

        states = [torch.load(run.best_model_path, weights_only=True) for run in (one, two)]
        for key, tensor in states[0].items():
            np.testing.assert_allclose(states[1][key], tensor, atol=1e-5)
        return
    # batch norm's running statistics are each process's own on CPUs; rank 0's are in the file
    assert main(["evaluate", "two", "--artifacts-dir", str(tmp_path), "--bootstrap", "100"]) == 0
    predictions = Predictions.read(two.predictions_path("tiny", "valid"))
    best = two.read_record().provenance.best_epoch
    assert best is not None
    found = score_epoch(predictions.targets, predictions.scores, predictions.labels)
    assert found["val_loss"] == pytest.approx(float(log_of(two)[best - 1]["val_loss"]), rel=1e-6)


def test_failed_process_ends_all_with_its_reason(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "tiny")
    shutil.rmtree(data / "train" / "patient00003")
    done = launch(2, "--data-dir", str(data), "--out-dir", str(tmp_path), "--model", "resnet50")
    assert done.returncode != 0
    assert "train/patient00003/study1/view1_frontal.jpg" in done.stderr


def test_a_process_that_is_killed_ends_its_peer_with_the_reason(tmp_path: Path) -> None:
    """Without torchrun's agent, which would end the peer before it notices anything."""
    data = write_dataset(tmp_path / "tiny", n_train=20, n_valid=7)
    common = ("--data-dir", str(data), "--out-dir", str(tmp_path), "--model", "timm:test_resnet")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    shared = os.environ | {"OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2"}
    shared |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
    command = [*(sys.executable, "-m", "pulmonet"), *SMALL, *common, "--epochs", "5000"]
    run_dir = RunDir(tmp_path / "timm-test_resnet")
    with (tmp_path / "said.txt").open("w") as out:
        first, second = (
            subprocess.Popen(command, env=shared | {"RANK": rank, "LOCAL_RANK": rank}, stderr=out)
            for rank in "01"
        )
    while not run_dir.log_path.exists():
        assert first.poll() is None and second.poll() is None
        time.sleep(0.1)
    second.kill()
    second.wait()
    first.wait(timeout=120)
    said = (tmp_path / "said.txt").read_text()
    assert first.returncode == 5, said
    assert "process 0 of 2: another process of this torchrun has ended" in said
    assert "Traceback" not in said
    assert run_dir.read_record().provenance.status == "failed"
