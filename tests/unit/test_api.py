"""The Python API gives the verdicts that `explain` writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import pulmonet
from chexpert_factory import write_dataset
from evaluation_factory import evaluate
from pulmonet.cli.main import main
from pulmonet.labels import DEFAULT_LABELS
from run_factory import make_named_runs


def test_verdicts_are_those_of_the_json(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write_dataset(tmp_path / "tiny", n_train=4, n_valid=40)
    artifacts = tmp_path / "artifacts"
    make_named_runs(artifacts, data, ["run", "other"], DEFAULT_LABELS)
    image = next((data / "valid").rglob("*.jpg"))
    model = pulmonet.load(artifacts / "run", device="cpu")
    assert {one.reason for one in model.explain(image).verdicts.values()} == {
        "no threshold yet; `pulmonet evaluate` sets it"
    }
    assert evaluate(artifacts) == 0
    assert main(["explain", str(image), "--run", "run", "--artifacts-dir", str(artifacts)]) == 0
    written = json.loads((artifacts / "run" / "explain" / "explanations.json").read_text())
    told = written["images"][0]["labels"]
    found = model.explain(image).verdicts
    assert [*found] == [*told]
    for label, verdict in found.items():
        for key in ("probability", "threshold", "present", "reason"):
            assert getattr(verdict, key) == told[label][key], (label, key)
    assert any(one.present is not None for one in found.values())
    assert any(one.reason is not None for one in found.values())
    grey = np.zeros((300, 280), np.uint8)
    assert model.predict(np.stack([grey, grey])).shape == (2, len(DEFAULT_LABELS))
    with pytest.raises(ValueError, match=r"colour image \(300, 280, 3\)"):
        model.predict(np.stack([grey] * 3, axis=2))
    only = model.explain(image, label="Edema")
    assert only.verdicts == {"Edema": found["Edema"]}
    assert only.verdicts["Edema"].score == pytest.approx(float(only.scores[0]))

    other = (artifacts / "other" / "calibration.json").read_bytes()
    (artifacts / "run" / "calibration.json").write_bytes(other)
    assert all(one.present is None for one in model.explain(image).verdicts.values())
    assert "left out, since it is of other weights" in caplog.text
