"""Field cases `weights-*`: the files that people start from, made by each case's own script."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chexpert_factory import write_dataset
from field_cases import case_folder
from pulmonet.cli.main import main
from pulmonet.models.networks import build_network
from pulmonet.models.pretrained import load_pretrained
from pulmonet.run.folder import RunDir


@pytest.fixture
def files_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the files of a case in the current folder, or skips."""
    monkeypatch.chdir(tmp_path)

    def make(case: str) -> None:
        runpy.run_path(str(case_folder(case) / "mk.py"))

    return make


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("cases") / "tiny", n_train=4, n_valid=4)


def train(data: Path, weights: str) -> int:
    line = ["train", "--data-dir", str(data), "--image-size", "64", "--epochs", "1", "--no-amp"]
    line += ["--model", "densenet121", "--batch-size", "4", "--name", "w", "--overwrite"]
    return main([*line, "--weights", weights])


def facts_of(weights: str) -> dict[str, Any]:
    return load_pretrained(build_network("densenet121", 5), "densenet121", weights)


def test_weights_few_tensors(
    files_of: Callable[[str], None], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files_of("weights-few-tensors")
    assert train(data, "one.pth") == 4
    said = capsys.readouterr().err
    assert "one.pth: 1 of the 604 tensors" in said and "95% are needed" in said
    assert "the file's first others: foo 3" in said
    assert "the network's: features.conv0.weight 64×3×7×7" in said
    for name in ("chexnet.pth.tar", "monai.pth"):
        facts = facts_of(name)
        assert facts["n_fit"] == facts["n_backbone"] == 604
    assert train(data, "chexnet.pth.tar") == 0
    assert "604 of the 604 before the classifier" in capsys.readouterr().out


def test_weights_prefixes(
    files_of: Callable[[str], None], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files_of("weights-prefixes")
    found = {name: facts_of(f"{name}.pth") for name in "abcdefg"}
    assert all(facts["n_fit"] == 604 and not facts["missing"] for facts in found.values())
    assert found["d"]["prefix"] == "module.densenet121."
    assert found["g"]["prefix"] == "net."
    assert train(data, "b.pth") == 0
    said = capsys.readouterr().out
    assert "module._orig_mod." in said
    network = RunDir(Path("artifacts/w")).last_checkpoint_path  # {"network": …}
    assert facts_of(str(network))["prefix"] == "network."


@pytest.mark.filterwarnings("ignore")  # the case's own script leaves a file open
def test_weights_one_channel_and_pickles(
    files_of: Callable[[str], None], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files_of("weights-one-channel-and-pickles")
    assert train(data, "grey.pt") == 0
    said = "".join(capsys.readouterr())
    assert "a third of it for each of three" in said and "batch norm has to adapt" in said
    assert facts_of("scalar.pth")["n_fit"] == 604
    Path("empty.pth").touch()
    Path("page.pth").write_text("<!doctype html><title>Sign in</title>")
    for name, expected in {
        "whole.pt": 'torch.save(torch.load("whole.pt", weights_only=False).state_dict(), ',
        "lfs.pth": "a pointer of Git LFS instead of the file",
        "empty.pth": "empty",
        "page.pth": "a web page instead of the file",
    }.items():
        assert train(data, name) == 4
        said = capsys.readouterr().err
        assert f"{name}: not readable as plain weights" in said and expected in said
