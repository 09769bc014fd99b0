"""Stage one of `self-trained` is read from disk again: damage there is an error, not a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from chexpert_factory import write_dataset
from pulmonet.cli.main import main

LINE = (
    *("train", "--model", "timm:test_resnet", "--weights", "none", "--image-size", "32"),
    *("--uncertain-policy", "self-trained", "--set", "targets.self_trained_epochs=1"),
    *("--batch-size", "16", "--name", "run"),
)


def test_damaged_weights_of_stage_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_dataset(tmp_path / "tiny", n_train=12, n_valid=4, uncertain=0.3)
    line = [*LINE, "--data-dir", str(data), "--out-dir", str(tmp_path / "artifacts")]
    assert main([*line, "--epochs", "1"]) == 0
    weights = tmp_path / "artifacts" / "run" / "stage1" / "best_model.pth"
    torch.save({"other": torch.zeros(2)}, weights)
    assert main([*line, "--epochs", "2", "--resume"]) == 4
    assert "not the weights of stage one" in capsys.readouterr().err
    weights.write_bytes(b"noise")
    assert main([*line, "--epochs", "2", "--resume"]) == 4
    assert "not readable as plain weights" in capsys.readouterr().err
