"""Weights that are there and cannot be read: what a root user's permissions never show."""

from __future__ import annotations

from pathlib import Path

import pytest

from pulmonet.errors import ArtifactError
from pulmonet.files.read import sha256_of
from pulmonet.models.trained import load_run
from run_factory import make_run


def test_a_folder_in_the_place_of_the_weights(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, model="timm:test_resnet", image_size=32)
    run_dir.best_model_path.unlink()
    run_dir.best_model_path.mkdir()
    with pytest.raises(
        ArtifactError, match=r"best_model\.pth: cannot be read \(not a plain file\)"
    ):
        load_run(run_dir, "cpu")
    with pytest.raises(ArtifactError, match="No such file"):
        sha256_of(tmp_path / "nowhere")
