"""Runs of strangers under fire: their weights, calibration, heat maps, logs and segmentations."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from safetensors.torch import save as save_safetensors

from pulmonet.data.regions import read_segmentations
from pulmonet.data.sources import read_manifest
from pulmonet.errors import ArtifactError, DataError
from pulmonet.metrics.calibration.fit import read_calibration
from pulmonet.models.weight_files import read_tensors
from pulmonet.report.collect import collect
from pulmonet.training.checkpoint import load_checkpoint
from report_factory import make_run

LABELS = ("Edema", "Pleural Effusion")


@cache
def weights() -> tuple[tuple[str, bytes], ...]:
    """(name, bytes) of right files: plain weights in both forms, and a checkpoint."""
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}
    content = {
        "format": 1,
        "progress": {"epoch": 1, "step": 2, "log": [{"epoch": 1.0}]},
        "network": state,
        "fingerprint": "f",
    }
    plain, checkpoint = io.BytesIO(), io.BytesIO()
    torch.save(state, plain)
    torch.save(content, checkpoint)
    return (
        ("best_model.pth", plain.getvalue()),
        ("last_checkpoint.pth", checkpoint.getvalue()),
        ("weights.safetensors", save_safetensors(state)),
    )


def check_weights(content: bytes, folder: Path) -> None:
    """Tensors or an ArtifactError, whatever the file is called."""
    for name in ("best_model.pth", "weights.safetensors"):
        path = folder / name
        path.write_bytes(content)
        with contextlib.suppress(ArtifactError):
            assert all(isinstance(value, torch.Tensor) for value in read_tensors(path).values())
    with contextlib.suppress(ArtifactError):
        load_checkpoint(folder / "best_model.pth", "f")


@cache
def calibration() -> dict[str, Any]:
    """A right calibration.json."""
    entry = {
        "calibrator": {"kind": "platt", "intercept": 0.1, "slope": 1.2, "x": [], "y": []},
        "prevalence": 0.2,
        "n": 50,
        "positives": 10,
        "thresholds": {"youden": 0.4},
    }
    isotonic = {"kind": "isotonic", "intercept": 0.0, "slope": 1.0, "x": [0.0, 1.0], "y": [0, 1]}
    return {
        "schema": 1,
        "fitted_on": "tiny valid",
        "dataset": "tiny",
        "split": "valid",
        "n_rows": 50,
        "n_patients": 40,
        "checkpoint_sha256": "a" * 64,
        "labels": {LABELS[0]: entry, LABELS[1]: entry | {"calibrator": isotonic}},
    }


def check_calibration(content: bytes, folder: Path) -> None:
    """A Calibration whose answers are numbers, or an ArtifactError."""
    path = folder / "calibration.json"
    path.write_bytes(content)
    try:
        read = read_calibration(path)
    except ArtifactError as error:
        assert "calibration.json" in str(error)
        return
    assert read is not None
    for entry in read.labels.values():
        assert entry.calibrator is None or 0 <= entry.calibrator.apply(np.asarray([0.3]))[0] <= 1
    for label in (*LABELS, "none"):
        threshold, reason = read.threshold_of_verdicts(label)
        assert isinstance(threshold, float) or reason


@cache
def segmentations() -> dict[str, Any]:
    """A right CheXlocalize document: 3 x 4 pixels, the middle ones inside."""
    return {
        "patient1_study1_view1_frontal": {
            "Edema": {"size": [3, 4], "counts": "451"},
            "Airspace Opacity": {"size": [3, 4], "counts": "<0"},
        },
        "patient9_study1_view1_frontal": {"Edema": {"size": [3, 4], "counts": "451"}},
    }


def check_segmentations(content: bytes, folder: Path) -> None:
    """Regions or a DataError."""
    root = folder / "root"
    root.mkdir(exist_ok=True)
    (root / "train.csv").write_text("Path,Edema\npatient1/study1/view1_frontal.jpg,1\n")
    path = folder / "gt_segmentations_val.json"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        regions, n_unmatched = read_segmentations(path, read_manifest(root))
        assert n_unmatched >= 0 and all(label for _, label in regions)


# --- the report's files ------------------------------------------------------------------------


@cache
def artifacts() -> dict[str, bytes]:
    """Every file of a small explained run, by its path below the artifacts folder."""
    with tempfile.TemporaryDirectory() as folder:
        make_run(Path(folder), "run", labels=LABELS, n_rows=30, n_explained=2)
        (Path(folder) / "run" / "calibration.json").write_text(json.dumps(calibration()))
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }


def artifact_names() -> st.SearchStrategy[str]:
    """Which of these files is damaged."""
    return st.deferred(lambda: st.sampled_from(sorted(artifacts())))


def check_artifacts(damaged_file: tuple[str, bytes], folder: Path) -> None:
    """A damaged file among good ones is named and left out, or is read for what it is."""
    name, content = damaged_file
    for place, original in artifacts().items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if place == name else original)
    try:
        found = collect(folder)
    except ArtifactError as error:  # the only run's record
        assert "run_config.json" in str(error)
        return
    run = found.runs[0]
    for image in run.heat_maps.images:
        assert image.maps.dtype == np.float16 and len(image.maps) == len(image.labels)
    assert len(found.problems) <= 1
