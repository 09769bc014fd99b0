"""The Python API gives the verdicts that `explain` writes."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pulmonet
from chexpert_factory import write_dataset
from evaluation_factory import evaluate
from pulmonet.cli.main import main
from pulmonet.labels import DEFAULT_LABELS
from run_factory import make_named_runs
from small_dataset import smooth_image


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
    only = model.explain(image, label="Edema")
    assert only.verdicts == {"Edema": found["Edema"]}
    assert only.verdicts["Edema"].score == pytest.approx(float(only.scores[0]))

    other = (artifacts / "other" / "calibration.json").read_bytes()
    (artifacts / "run" / "calibration.json").write_bytes(other)
    assert all(one.present is None for one in model.explain(image).verdicts.values())
    assert "left out, since it is of other weights" in caplog.text


def test_what_is_no_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image (H, W, 1) was H images, and batches of -1 images were none."""
    make_named_runs(tmp_path, tmp_path / "none", ["run"])
    model = pulmonet.load(tmp_path / "run", device="cpu")
    grey = smooth_image(0)
    for channels in (1, 3, 4):
        with pytest.raises(ValueError, match=rf"with channels \(60, 72, {channels}\): expected"):
            model.predict(np.stack([grey] * channels, axis=2))
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"batch_size {size}: expected 1 or more"):
            model.predict([grey], batch_size=size)
    for other in (Image.fromarray(grey), [Image.fromarray(grey)], None, 3, [grey[0]]):
        with pytest.raises(ValueError, match=r"image (of type|uint8 \(72,\)).*: expected"):
            model.predict(other)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="image of type Image: expected a path, or"):
        model.explain(Image.fromarray(grey))  # type: ignore[arg-type]
    Image.fromarray(grey).save(tmp_path / "a.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    np.testing.assert_array_equal(model.predict("~/a.png"), model.predict(grey))
    assert model.predict([]).shape == (0, 2)


def test_another_process_gets_the_same_model(tmp_path: Path) -> None:
    make_named_runs(tmp_path, tmp_path / "none", ["run"])
    model = pulmonet.load(tmp_path / "run", device="cpu")
    image = smooth_image(0)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(image), model.predict(image))
        assert type(other.run.network) is type(model.run.network)
    explained = model.explain(image)
    assert len({explained, model.explain(image)}) == 2  # told apart, without comparing arrays
