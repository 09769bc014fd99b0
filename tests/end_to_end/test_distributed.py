"""Two processes on the CPU against one: what torchrun starts, mostly without torchrun itself.

Importing torch takes torchrun and each of its processes seconds, so only one test does.
"""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

import forked
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


def start_pair(*arguments: str, said: Path) -> list[BaseProcess]:
    """Both processes, as torchrun starts them; what each says is in `said` and its rank."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    shared = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    shared |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
    return [
        forked.start(
            *SMALL,
            *arguments,
            environment=shared | {"RANK": rank, "LOCAL_RANK": rank},
            said=said.with_name(said.name + rank),
        )
        for rank in "01"
    ]


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
    said = tmp_path / "said"
    pair = start_pair(*common, "--name", "two", said=said)
    for process in pair:
        process.join(240)
    assert [process.exitcode for process in pair] == [0, 0], said.with_name("said0").read_text()
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
    where = ("--artifacts-dir", str(tmp_path))
    assert main(["evaluate", "two", *where, "--bootstrap", "100", "--no-figures"]) == 0
    predictions = Predictions.read(two.predictions_path("tiny", "valid"))
    best = two.read_record().provenance.best_epoch
    assert best is not None
    found = score_epoch(predictions.targets, predictions.scores, predictions.labels)
    assert found["val_loss"] == pytest.approx(float(log_of(two)[best - 1]["val_loss"]), rel=1e-6)


def test_two_processes_learn_from_boxes_like_one(tmp_path: Path) -> None:
    """One of the processes has no box in most of the steps; each box weighs as with one process."""
    data = write_dataset(tmp_path / "tiny", n_train=20, n_valid=7)
    with (data / "train.csv").open() as file:
        paths = [row["Path"] for row in csv.DictReader(file)]
    lines = [f"{path},Edema,0.1,0.1,0.4,0.5" for path in paths[::4]]
    (data / "boxes.csv").write_text("\n".join(["Path,label,xmin,ymin,xmax,ymax", *lines]) + "\n")
    common = ("--data-dir", str(data), "--out-dir", str(tmp_path), "--model", "timm:test_resnet")
    more = ("--boxes", "--image-size", "64", "--set", "pointing.weight=5")
    assert main([*SMALL, *common, *more, "--name", "one"]) == 0
    said = tmp_path / "said"
    pair = start_pair(*common, *more, "--name", "two", said=said)
    for process in pair:
        process.join(240)
    assert [process.exitcode for process in pair] == [0, 0], said.with_name("said0").read_text()
    one, two = RunDir(tmp_path / "one"), RunDir(tmp_path / "two")
    assert two.read_record().provenance.boxes == one.read_record().provenance.boxes
    for row_of_one, row_of_two in zip(log_of(one), log_of(two), strict=True):
        loss = float(row_of_one["train_loss"])
        assert loss > 4, "the boxes are most of it"
        assert float(row_of_two["train_loss"]) == pytest.approx(loss, rel=0.05)


def test_two_processes_train_the_head_of_a_frozen_encoder_like_one(tmp_path: Path) -> None:
    """One computes the features while the other waits; batch norms rest, so both agree."""
    data = write_dataset(tmp_path / "tiny", n_train=20, n_valid=7)
    common = ("--data-dir", str(data), "--out-dir", str(tmp_path), "--model", "timm:test_resnet")
    more = ("--set", "model.freeze=encoder", "--image-size", "64", "--no-amp")
    pair = start_pair(*common, *more, "--name", "two", said=tmp_path / "said")
    for process in pair:
        process.join(240)
    assert [process.exitcode for process in pair] == [0, 0], (tmp_path / "said0").read_text()
    assert main([*SMALL, *common, *more, "--name", "one"]) == 0
    logs = (log_of(RunDir(tmp_path / name)) for name in ("one", "two"))
    for row_of_one, row_of_two in zip(*logs, strict=True):
        for column in ("train_loss", "val_loss"):
            expected = pytest.approx(float(row_of_one[column]), rel=1e-4)
            assert float(row_of_two[column]) == expected


def test_two_processes_store_what_the_images_look_like_once(tmp_path: Path) -> None:
    """The first of them writes it, of all rows, as one process does."""
    data = write_dataset(tmp_path / "tiny", n_train=95, n_valid=9)
    common = ("--data-dir", str(data), "--out-dir", str(tmp_path), "--model", "timm:test_resnet")
    assert main([*SMALL, *common, "--epochs", "1", "--name", "one"]) == 0
    pair = start_pair(*common, "--epochs", "1", "--name", "two", said=tmp_path / "said")
    for process in pair:
        process.join(240)
    assert [process.exitcode for process in pair] == [0, 0]
    one, two = RunDir(tmp_path / "one"), RunDir(tmp_path / "two")
    assert two.likeness_path.read_bytes() == one.likeness_path.read_bytes()


def test_torchrun_trains_and_a_failed_process_ends_all_with_its_reason(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "tiny")
    common = ("--data-dir", str(data), "--out-dir", str(tmp_path), "--model", "timm:test_resnet")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "pulmonet", *SMALL, *common]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert RunDir(tmp_path / "timm-test_resnet").read_record().provenance.world_size == 2
    shutil.rmtree(data / "train" / "patient00003")
    pair = start_pair(*common, "--name", "other", said=tmp_path / "said")
    for process in pair:
        process.join(120)
    assert all(process.exitcode not in {0, None} for process in pair)
    said = "".join((tmp_path / f"said{rank}").read_text() for rank in "01")
    assert "train/patient00003/study1/view1_frontal.jpg" in said


def test_a_process_that_is_killed_ends_its_peer_with_the_reason(tmp_path: Path) -> None:
    """Without torchrun's agent, which would end the peer before it notices anything."""
    data = write_dataset(tmp_path / "tiny", n_train=20, n_valid=7)
    common = ("--data-dir", str(data), "--out-dir", str(tmp_path), "--model", "timm:test_resnet")
    run_dir = RunDir(tmp_path / "timm-test_resnet")
    first, second = start_pair(*common, "--epochs", "5000", said=tmp_path / "said")
    while not run_dir.log_path.exists():
        assert first.is_alive() and second.is_alive()
        time.sleep(0.1)
    second.kill()
    second.join()
    first.join(120)
    said = (tmp_path / "said0").read_text()
    assert first.exitcode == 5, said
    assert "process 0 of 2: another process of this torchrun has ended" in said
    assert "Traceback" not in said
    assert run_dir.read_record().provenance.status == "failed"
