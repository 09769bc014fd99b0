"""The cases of ../shared/cases about training and resuming, on the real X-rays that they name."""

from __future__ import annotations

import runpy
from pathlib import Path

import pandas as pd
import pytest
import torchvision

from field_cases import case_folder
from pulmonet.cli.main import main
from pulmonet.files.read import sha256_of
from pulmonet.run.folder import RunDir
from small_networks import small_densenet121


@pytest.fixture
def command(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cases' training in an empty folder, with a smaller network, which makes no difference."""
    monkeypatch.chdir(tmp_path)
    network = ("--model", "timm:test_resnet", "--weights", "none", "--image-size", "64")
    data = ("--data-dir", str(shared_data / "nih-cxr"), "--subset", "0.05", "--no-amp")
    return ["train", *data, *network]


def test_resume_finished_without_checkpoint(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--epochs", "2", "--name", "r"]) == 0
    run = RunDir(Path("artifacts/r"))
    run.last_checkpoint_path.unlink()
    before = {path: sha256_of(path) for path in run.path.iterdir()}
    assert main(["train", "--name", "r", "--resume", "--epochs", "4"]) == 4
    assert "last_checkpoint.pth: missing, so the run cannot go on" in capsys.readouterr().err
    assert {path: sha256_of(path) for path in run.path.iterdir()} == before


def test_resume_cosine_longer(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    cosine = ("--set", "optim.schedule=cosine")
    assert main([*command, *cosine, "--epochs", "2", "--name", "cos"]) == 0
    assert main(["train", "--name", "cos", "--resume", "--epochs", "4"]) == 0
    assert "goes on over 4: the learning rate changes from 1e-06 to " in capsys.readouterr().out
    assert main(["train", "--config", "artifacts/cos/run_config.json", "--name", "again"]) == 0
    one, other = (RunDir(Path("artifacts") / name) for name in ("cos", "again"))
    assert sha256_of(one.best_model_path) == sha256_of(other.best_model_path)
    assert pd.read_csv(one.log_path)["lr"].tolist() == pd.read_csv(other.log_path)["lr"].tolist()


def test_lone_image_small_densenet(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = case_folder("lone-image-small-densenet") / "mk.py"
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "data").symlink_to(shared_data)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    runpy.run_path(str(script))
    monkeypatch.setattr(torchvision.models, "densenet121", small_densenet121)  # 1 × 1 cell, too
    network = ("--model", "densenet121", "--weights", "none", "--image-size", "32", "--no-amp")
    command = ["train", "--data-dir", "n65", *network, "--epochs", "1", "--name", "d"]
    assert main(command) == 0
    assert RunDir(Path("artifacts/d")).read_record().provenance.best_epoch == 1
    micro = ("--set", "optim.micro_batch_size=1", "--overwrite", "--subset", "0.1")
    assert main([*command, *micro]) == 0
