"""A stage: its place in the folder's epochs, and a row of the log that is written of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pulmonet.config.load import parse_config
from pulmonet.training.checkpoint import Progress
from pulmonet.training.stage import Stage
from pulmonet.training.validation import EpochScores, log_row

OPTIM = {"epochs": 4, "growth": [[32, 1], [48, 2]], "schedule": "cosine", "lr": 0.1}


def make_stage(number: int, n_stages: int) -> Stage:
    none: Any = None
    config = parse_config({"optim": OPTIM, "data": {"image_size": 64}})
    rows, targets = np.arange(10), np.zeros((10, 2), np.float32)
    labels = ("Edema", "Fracture")
    data = (none, rows, targets, rows, targets, labels, [])
    return Stage(config, number, n_stages, none, "", *data)


def test_epochs_are_counted_through_the_networks_of_a_folder() -> None:
    first, last = make_stage(0, 3), make_stage(2, 3)
    assert (first.first_epoch, first.end_epoch, first.total_epochs) == (0, 4, 12)
    assert (last.first_epoch, last.end_epoch, last.total_epochs) == (8, 12, 12)
    assert last.remark == " (network 3 of 3)"
    assert make_stage(0, 1).remark == ""


@pytest.mark.parametrize("number", [0, 1])
def test_every_network_grows_anew(number: int) -> None:
    stage = make_stage(number, 2)
    epochs = range(stage.first_epoch, stage.end_epoch)
    assert [stage.pixels(epoch) for epoch in epochs] == [32, 48, 48, 64]


def test_a_row_of_the_log() -> None:
    scores = EpochScores(0.7, [0.5, float("nan")], [0.25, 0.75])
    progress = Progress(epoch=5, step=3, loss_sum=6.0, known_sum=12, epoch_seconds=2.0)
    row = log_row(make_stage(1, 2), progress, scores, torch.device("cpu"))
    assert 1 < row.pop("peak_memory_mb") < 2**20
    assert np.isnan(row.pop("val_auc_Fracture"))
    assert row.pop("lr") == pytest.approx(0.1 * (0.505 + 0.495 * np.cos(np.pi * 5 / 11)))
    assert row == {
        "epoch": 6,
        "train_loss": 0.5,
        "val_loss": 0.7,
        "val_macro_auroc": 0.5,
        "val_macro_pr_auc": 0.5,
        "val_auc_Edema": 0.5,
        "val_pr_Edema": 0.25,
        "val_pr_Fracture": 0.75,
        "seconds": 2.0,
        "images_per_second": 5.0,
        "image_size": 48,
    }
