"""ONNX: onnxruntime gives the network's scores, and the file says how to feed it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import models

from pulmonet.cli.main import main
from pulmonet.errors import ConfigError
from pulmonet.files.write import write_json
from pulmonet.flows.evaluate.write import export_runs
from pulmonet.labels import DEFAULT_LABELS
from pulmonet.metrics.calibration.fit import Calibration, Calibrator, LabelCalibration
from pulmonet.models import onnx as onnx_export
from pulmonet.models.onnx import export_onnx
from pulmonet.models.trained import load_run
from pulmonet.report.stale import exported_digest
from pulmonet.run.folder import list_runs
from run_factory import make_run
from small_networks import small_densenet121

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

SMALL = "timm:test_resnet"
CALIBRATION = Calibration(
    fitted_on="d, valid",
    dataset="d",
    split="valid",
    n_rows=10,
    n_patients=9,
    labels={
        "Edema": LabelCalibration(
            calibrator=Calibrator(kind="platt", intercept=-1.0, slope=0.5),
            prevalence=0.2,
            n=10,
            positives=2,
            thresholds={"youden": 0.41, "f1": None},
        )
    },
)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "members"), [("densenet121", 1), (SMALL, 2)])
@pytest.mark.filterwarnings("ignore")  # torch's exporter warns of its own internals
def test_onnxruntime_reproduces_the_scores(
    model: str, members: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "densenet121", small_densenet121)  # every layer costs the exporter
    settings = {"model": {"members": members}, "select": {"checkpoint": "last"}}
    run = load_run(make_run(tmp_path, model=model, settings=settings), "cpu")
    path = run.run_dir.path / "model.onnx"
    export_onnx(run, CALIBRATION, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 64, 64)).astype(np.float32)
    with torch.inference_mode():
        expected = torch.sigmoid(run.network(torch.from_numpy(images))).numpy()
    (scores,) = session.run(["scores"], {"images": images})
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    (one,) = session.run(["scores"], {"images": images[:1]})
    np.testing.assert_allclose(one, expected[:1], atol=1e-4)

    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["labels"]) == list(DEFAULT_LABELS)
    assert json.loads(metadata["image_size"]) == 64
    assert json.loads(metadata["fit"]) == "stretch"
    assert json.loads(metadata["thresholds"]) == {"Edema": {"youden": 0.41}}
    assert json.loads(metadata["calibrators"])["Edema"]["slope"] == 0.5
    assert "not a medical device" in metadata["notice"]
    assert exported_digest(path) == run.sha256  # by which `report` knows it from a stale one


def test_the_missing_extra_is_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, model=SMALL)
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(ConfigError, match=r"pip install 'pulmonet\[onnx\]'"):
        onnx_export.check_onnx_installed()
    arguments = ["evaluate", "--artifacts-dir", str(tmp_path), "--export", "onnx"]
    assert main(arguments) == 2
    assert "onnx and onnxscript not installed" in capsys.readouterr().err


def test_a_damaged_run_is_named_and_the_other_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, model=SMALL, name="whole")
    make_run(tmp_path, model=SMALL, name="damaged").best_model_path.write_bytes(b"nothing")
    monkeypatch.setattr(onnx_export, "export_onnx", lambda *given: given[2].touch())
    assert [str(error) for error in export_runs(list_runs(tmp_path))]
    assert (tmp_path / "whole" / "model.onnx").exists()
    assert "damaged" in capsys.readouterr().err


def test_a_calibration_of_other_weights_is_not_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = make_run(tmp_path, model=SMALL, name="again")
    exported: list[Calibration | None] = []
    monkeypatch.setattr(onnx_export, "export_onnx", lambda *given: exported.append(given[1]))
    for sha256 in ("0" * 64, run_dir.read_record().provenance.checkpoint_sha256):
        calibration = Calibration(
            fitted_on="tiny, split valid",
            dataset="tiny",
            split="valid",
            n_rows=2,
            n_patients=2,
            checkpoint_sha256=sha256,
            labels={},
        )
        write_json(run_dir.calibration_path, calibration.model_dump(mode="json", by_alias=True))
        assert export_runs([run_dir]) == []
    assert exported == [None, calibration]
    assert "left out, since it is of other weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--export", "onx"], "unknown (did you mean 'onnx'?)"),
        (["--export", "onnx", "--predictions", "x.csv"], "saved predictions hold no network"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == 2
    assert message in capsys.readouterr().err
