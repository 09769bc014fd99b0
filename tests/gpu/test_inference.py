"""What was trained on a GPU, there and on the CPU: scores, maps, ONNX."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from chexpert_factory import write_dataset
from pulmonet.cli.main import main
from pulmonet.run.folder import RunDir
from pulmonet.run.predictions import Predictions


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gpu")
    data = write_dataset(root / "tiny", n_train=24, n_valid=10)
    flags = ["--weights", "none", "--epochs", "3", "--image-size", "64", "--batch-size", "8"]
    code = main(["train", "--data-dir", str(data), "--out-dir", str(root), *flags, "--name", "run"])
    assert code == 0
    return root


def test_scores_are_those_of_the_cpu(trained: Path, tmp_path: Path) -> None:
    found = []
    for device in ("cuda", "cpu"):
        there = tmp_path / device
        shutil.copytree(trained / "run", there / "run")
        flags = ["--artifacts-dir", str(there), "--device", device, "--no-figures"]
        assert main(["evaluate", "run", *flags, "--data-dir", str(trained / "tiny")]) == 0
        found.append(Predictions.read(RunDir(there / "run").predictions_path("tiny", "valid")))
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-3)


def test_maps_are_those_of_the_cpu(trained: Path, tmp_path: Path) -> None:
    image = next((trained / "tiny" / "valid").rglob("*.jpg"))
    for device in ("cuda", "cpu"):
        there = tmp_path / device
        shutil.copytree(trained / "run", there / "run")
        flags = ["--run", "run", "--artifacts-dir", str(there), "--device", device]
        assert main(["explain", str(image), *flags]) == 0
    found = []
    for device in ("cuda", "cpu"):
        text = (tmp_path / device / "run" / "explain" / "explanations.json").read_text()
        (image_facts,) = json.loads(text)["images"]
        found.append([label["score"] for label in image_facts["labels"].values()])
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    paths = [
        next((tmp_path / device / "run" / "explain").glob("*/maps.npz"))
        for device in ("cuda", "cpu")
    ]
    with np.load(paths[0]) as a, np.load(paths[1]) as b:
        assert a.files == b.files
        for name in a.files:
            if a[name].dtype.kind == "f":
                np.testing.assert_allclose(a[name], b[name], atol=1e-2)


def test_onnx_of_a_run_trained_there(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    shutil.copytree(trained / "run", tmp_path / "run")
    flags = ["--artifacts-dir", str(tmp_path), "--data-dir", str(trained / "tiny"), "--no-figures"]
    assert main(["evaluate", "run", "--export", "onnx", *flags]) == 0
    assert (tmp_path / "run" / "model.onnx").exists()
