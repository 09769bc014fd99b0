"""timm's Vision Transformers: trained, evaluated, explained where that makes sense."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from chexpert_factory import write_dataset
from pulmonet.cli.main import main


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vit")
    data = write_dataset(root / "tiny", n_train=8, n_valid=4)
    words = ["--model", "timm:test_vit", "--weights", "none", "--epochs", "1", "--no-amp"]
    words += ["--image-size", "160", "--batch-size", "4", "--set", "model.freeze=blocks.3"]
    words += ["--data-dir", str(data), "--out-dir", str(root / "artifacts"), "--name", "vit"]
    assert main(["train", *words]) == 0
    return data


def explain(data: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.chdir(data.parent)
    image = next((data / "valid").rglob("*.jpg"))
    return main(["explain", str(image), "--run", "vit", "--label", "Edema", *words])


def test_scores_and_report(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data.parent)
    assert main(["evaluate", "vit", "--data-dir", str(data), "--no-figures"]) == 0
    assert main(["report"]) == 0
    assert "AUROC" in Path("artifacts/report.md").read_text()
    assert explain(data, monkeypatch, "--no-maps") == 0


@pytest.mark.parametrize("method", ["occlusion", "integrated-gradients"])
def test_methods_that_need_no_feature_map(
    data: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    words = ("--method", method, "--show-absent", "--out-dir", f"out-{method}")
    assert explain(data, monkeypatch, *words) == 0
    folder = data.parent / f"out-{method}"
    maps = np.load(next(folder.rglob(f"maps_{method}.npz")))["maps"]
    assert maps.shape == (1, 160, 160) and maps.min() == 0 and maps.max() == pytest.approx(1)
    record = json.loads((folder / "explanations.json").read_text())
    assert record["method"] == method


@pytest.mark.parametrize(
    "words", [[], ["--method", "layercam"], ["--method", "scorecam"], ["--layer", "blocks.5"]]
)
def test_methods_that_need_one_name_those_that_do_not(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    assert explain(data, monkeypatch, *words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "feature map" in said and "--method" in said and "occlusion" in said


def test_another_size_than_its_own(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data.parent)
    words = ["--data-dir", str(data), "--model", "timm:vit_tiny_patch16_224", "--weights", "none"]
    assert main(["train", *words, "--image-size", "96"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "takes no images of 96 × 96 pixels" in said
