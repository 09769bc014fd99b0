"""A stage: its place in the folder's epochs, and a row of the log that is written of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pulmonet.config.load import parse_config
from pulmonet.training.checkpoint import Progress
from pulmonet.training.stage import Stage
from pulmonet.training.validation import log_row, score_epoch

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
    targets = np.asarray([[1, 1], [0, np.nan], [0, np.nan]], np.float32)
    given = np.asarray([[0.5, 0.9], [0.5, 0.1], [0.5, 0.1]], np.float32)
    scores = score_epoch(targets, given, ("Edema", "Fracture"))
    progress = Progress(epoch=5, step=3, loss_sum=6.0, known_sum=12, epoch_seconds=2.0)
    row = log_row(make_stage(1, 2), progress, scores, torch.device("cpu"))
    assert 1 < row.pop("peak_memory_mb") < 2**20
    assert np.isnan([row.pop(f"val_{kind}_Fracture") for kind in ("auc", "pr")]).all()
    assert row.pop("lr") == pytest.approx(0.1 * (0.505 + 0.495 * np.cos(np.pi * 5 / 11)))
    assert row == {
        "epoch": 6,
        "train_loss": 0.5,
        "val_loss": pytest.approx(-(3 * np.log(0.5) + np.log(0.9)) / 4),
        "val_macro_auroc": 0.5,
        "val_macro_pr_auc": pytest.approx(1 / 3),
        "val_auc_Edema": 0.5,
        "val_pr_Edema": pytest.approx(1 / 3),
        "seconds": 2.0,
        "images_per_second": 5.0,
        "image_size": 48,
    }
