"""last_checkpoint.pth as it is read: anybody may have written it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from pulmonet.errors import ArtifactError
from pulmonet.training.checkpoint import Progress, load_checkpoint

ROW = {"epoch": 1, "val_macro_auroc": 0.5, "val_auc_Edema": float("nan")}


def write(path: Path, **changes: Any) -> Path:
    progress = asdict(Progress(epoch=1, step=2, best_auroc=0.5, best_epoch=0, log=[ROW]))
    content = {"format": 1, "progress": progress | changes.pop("progress", {}), "fingerprint": "f"}
    torch.save(content | changes, path)
    return path


def test_progress_comes_back_as_it_was(tmp_path: Path) -> None:
    found = load_checkpoint(write(tmp_path / "a.pth"), "f")["progress"]
    assert (found.epoch, found.step, found.best_auroc, found.best_epoch) == (1, 2, 0.5, 0)
    assert isinstance(found.log[0]["epoch"], int), "1.0 would be another line of the log"
    assert str(found.log) == str([ROW])


@pytest.mark.parametrize(
    ("progress", "reason"),
    [
        ({"epoch": "1"}, "epoch: Input should be a valid integer"),
        ({"epoch": -1}, "epoch: Input should be greater than or equal to 0"),
        ({"log": [{"epoch": 1, "val_macro_auroc": "high"}]}, "log.0.val_macro_auroc"),
        ({"log": [{"epoch": 1}]}, "'val_macro_auroc'"),
        ({"log": [ROW, ROW]}, "epoch 1, step 2, 2 rows"),
        ({"best_epoch": 4}, "best epoch 4 of 1"),
        ({"speed": 4}, "unexpected keyword argument 'speed'"),
    ],
)
def test_a_progress_that_no_run_has(tmp_path: Path, progress: Any, reason: str) -> None:
    path = write(tmp_path / "a.pth", progress=progress)
    with pytest.raises(ArtifactError, match="not a checkpoint that can be resumed") as caught:
        load_checkpoint(path, "f")
    assert reason in str(caught.value)


def test_another_format_or_run_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pth", format=2)
    with pytest.raises(ArtifactError, match="format 2, this pulmonet writes 1; resume with the"):
        load_checkpoint(path, "f")
    with pytest.raises(ArtifactError, match="the checkpoint of another run; put back its own"):
        load_checkpoint(write(path), "g")
