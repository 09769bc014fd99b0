"""A run's folder as a network: what is loaded, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pulmonet.errors import ArtifactError
from pulmonet.files.read import sha256_of
from pulmonet.models.trained import load_run
from run_factory import make_run


def test_run_loads_and_a_changed_checkpoint_is_noticed(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, model="timm:test_resnet", image_size=48)
    run = load_run(run_dir, "cpu")
    assert (run.image_size, run.fit, len(run.labels)) == (48, "stretch", 5)
    assert not run.network.training
    content = bytearray(run_dir.best_model_path.read_bytes())
    content[len(content) // 2] ^= 1
    run_dir.best_model_path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="digest is not the one"):
        load_run(run_dir, "cpu")


def test_an_ensemble_loads_with_the_members_that_it_has(tmp_path: Path) -> None:
    """An interrupted run has fewer members than were asked for; more are not its own."""
    settings = {"model": {"members": 3}, "select": {"checkpoint": "last"}}
    run_dir = make_run(tmp_path, model="timm:test_resnet", settings=settings)
    assert len(load_run(run_dir, "cpu").network.members) == 3
    state = torch.load(run_dir.best_model_path, weights_only=True)
    fewer = {key: tensor for key, tensor in state.items() if not key.startswith("members.2.")}
    more = state | {key.replace("members.0.", "members.3."): state[key] for key in state}
    record = run_dir.read_record()
    for content in (fewer, more):
        torch.save(content, run_dir.best_model_path)
        digest = sha256_of(run_dir.best_model_path)
        provenance = record.provenance.model_copy(update={"checkpoint_sha256": digest})
        run_dir.write_record(record.config, provenance)
        if content is fewer:
            assert len(load_run(run_dir, "cpu").network.members) == 2
        else:
            with pytest.raises(ArtifactError, match="does not fit timm:test_resnet"):
                load_run(run_dir, "cpu")


def test_missing_checkpoint(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, model="timm:test_resnet")
    run_dir.best_model_path.unlink()
    with pytest.raises(ArtifactError, match=r"best_model\.pth: missing"):
        load_run(run_dir, "cpu")
